"""The report of one run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from moto_ros.config import read_parameters
from moto_ros.errors import MotoError
from moto_ros.report import curves, pictures
from moto_ros.report.arm_page import arm_section
from moto_ros.report.diagnosis import diagnose, figures_of
from moto_ros.report.history import History, column, rate_of
from moto_ros.report.intervention_page import interventions_section
from moto_ros.report.missing_results import missing_results
from moto_ros.report.page import Picture, Section, Table, Tile, duration, interval_text, picture
from moto_ros.training.artifacts import CONTEXT, read_arrays
from moto_ros.training.statistics import paired_difference

CHANCE = " Green, right scale: the chance of success that the policy estimates at the start of each online episode."


def single_page(history: History) -> dict[str, Any]:
    """Return the template's values for one run."""
    makers: tuple[Callable[[History], Section], ...] = (
        success_section,
        diagnosis_section,
        arm_section,
        learning_section,
        interventions_section,
        picture_section,
        data_section,
        missing_section,
        configuration_section,
    )
    return {
        "title": history.name,
        "subtitle": subtitle(history),
        "tiles": tiles(history),
        "sections": [section for section in (make(history) for make in makers) if not section.empty],
    }


def subtitle(history: History) -> str:
    """Return agent, task where known, seed and when the run began."""
    task = parameter_of(history, "world")
    started = history.identity["sessions"][0]["started"][:16].replace("T", " ")
    parts = [str(history.configuration.get("agent.name", "")), task, f"seed {history.seed}", started]
    return " · ".join(part for part in parts if part)


def parameter_of(history: History, name: str, otherwise: str = "") -> str:
    """Return the first value of a parameter, of any node and group, in the parameter files of the run."""
    found = (value for known, value in shipped_settings(history) if known.split(": ")[-1].split(".")[-1] == name)
    return str(next(found, otherwise))


def tiles(history: History) -> list[Tile]:
    """Return the tiles at the top: success before and after, gain, episodes, time."""
    found = []
    if history.before is not None:
        rate, label = rate_of(history.before), f"success after the offline phase{by_arm(history, history.before)}"
        found.append(Tile(label, f"{100 * rate.mean:.0f} %", interval_text(rate), "offline"))
    if history.after is not None:
        rate, after = rate_of(history.after), history.after["after"]
        label = f"success after {after} online episodes{by_arm(history, history.after)}"
        found.append(Tile(label, f"{100 * rate.mean:.0f} %", interval_text(rate), "online"))
    found += gain_tile(history)
    steps = int(sum(column(history.online, "steps"))) if history.online else 0
    found.append(
        Tile("online", f"{len(history.online)} episodes", f"{steps:,} steps, {history.updates:,} updates in all")
    )
    found.append(Tile("wall time", duration(sum(history.wall_time().values())), "waiting between sessions left out"))
    return found


def by_arm(history: History, row: dict[str, Any]) -> str:
    """Return which arm acted an evaluation, as the end of a label; empty for an agent with only one."""
    return f", by {row['arm']}" if history.arms and row.get("arm") else ""


def gain_tile(history: History) -> list[Tile]:
    """Return the gain from before to after over paired start states, where both were measured."""
    before, after = history.before, history.after
    if before is None or after is None or before["n"] != after["n"]:
        return []
    gain = paired_difference(before["outcomes"], after["outcomes"], np.random.default_rng(0))
    detail = f"points, 95 % [{100 * gain.low:+.0f}, {100 * gain.high:+.0f}], same {gain.n} start states"
    return [Tile("gain online", f"{100 * gain.mean:+.0f}", detail, "gain")]


def success_section(history: History) -> Section:
    """Return the learning curve and the outcomes of every evaluation."""
    section, plots = Section("Success"), history.run.plots
    if history.evaluations or history.online:
        caption = (
            f"Success over gradient updates. Ticks at top and bottom are the {len(history.online)} online episodes; "
            f"dots are evaluations ({evaluated_by(history)}) with Wilson 95 % intervals."
        )
        figure = curves.learning_curve(history)
        section.pictures.append(picture(figure, plots / "learning_curve.png", "Learning curve", caption))
    if history.evaluations:
        caption = "Each square is one evaluation episode, green where it succeeded; a column is one start state."
        figure = curves.paired_outcomes(history)
        section.pictures.append(picture(figure, plots / "outcomes.png", "Outcome by start state", caption))
    if history.online:
        caption = f"Return of each of {len(history.online)} online episodes; reward 1 in each step with success."
        section.pictures.append(picture(curves.returns(history), plots / "returns.png", "Returns", caption))
    return section


def evaluated_by(history: History) -> str:
    """Return how the policy chose its actions in evaluations, by the policy node's parameter `explore`."""
    return "sampled actions" if parameter_of(history, "explore") == "always" else "mode of the policy"


def diagnosis_section(history: History) -> Section:
    """Return what may keep the run from improving, and the figures that this is judged by."""
    section = Section("Why it may not improve")
    if not history.online:
        return section
    found = figures_of(history)
    section.points += [finding.text() for finding in diagnose(found)] or ["Nothing that would be known of."]
    rows = [(f"success, {arm}", rate.percent()) for arm, rate in found.by_arm.items()]
    figures = {
        "AUC of predicted against achieved success": found.auc,
        "share of edited steps, newest episodes": found.edited,
        "rank of the uncertainty among that on recorded data": found.rank,
        "chance of success predicted at the start": found.predicted,
    }
    rows += [(name, f"{value:.2f}") for name, value in figures.items() if value is not None]
    section.tables.append(Table("Training episodes", ("", ""), rows, note="What each means: docs/no_improvement.md."))
    return section


def learning_section(history: History) -> Section:
    """Return losses, uncertainty and the other scalars of the updates."""
    section, plots = Section("Learning"), history.run.plots
    if not history.of("update"):
        return section
    rows = len(history.of("update"))
    averaged = f"Averages over the updates of a row ({rows} rows); the grey band is the offline phase."
    section.pictures.append(picture(curves.losses(history), plots / "losses.png", "Losses", averaged))
    chances = curves.has_probability(history.online)
    if chances or any("uncertainty" in name for _, name in history.scalars()):
        caption = "Disagreement of the ensemble, in imagination, on recorded actions, and at executed actions; "
        caption += "dotted, its quantiles on recorded data after the offline phase."
        caption += CHANCE if chances else ""
        section.pictures.append(picture(curves.uncertainty(history), plots / "uncertainty.png", "Uncertainty", caption))
    if any(not name.endswith("loss") and "uncertainty" not in name for _, name in history.scalars()):
        figure = curves.diagnostics(history)
        section.pictures.append(picture(figure, plots / "diagnostics.png", "Other scalars", averaged))
    return section


def picture_section(history: History) -> Section:
    """Return the first and the last prediction of the model and rollout of the policy."""
    section = Section("Pictures")
    for kind, make in (("prediction", prediction), ("rollout", rollout)):
        found = history.pictures(kind)
        for after in sorted({min(found), max(found)}) if found else ():
            section.pictures.append(make(history, after, found[after]))
    return section


def prediction(history: History, after: int, path: Path) -> Picture:
    """Return the prediction strip saved after `after` online episodes."""
    caption = (
        f"An evaluation episode that is not training data (n = 1), by step. The model gets {CONTEXT} frames (grey), "
        "then predicts the rest (teal) from the actions alone; below, the absolute difference."
    )
    figure = pictures.prediction_strip(read_arrays(path))
    title = f"Open-loop prediction, {moment(after)}"
    return picture(figure, history.run.plots / f"{path.stem}.png", title, caption)


def rollout(history: History, after: int, path: Path) -> Picture:
    """Return the contact sheet saved after `after` online episodes."""
    arrays = read_arrays(path)
    outcome = "success" if arrays["success"].any() else "no success"
    caption = (
        f"First evaluation episode (n = 1): {outcome}, return {arrays['reward'].sum():.0f}. Green frames hold success."
    )
    if pictures.has_probability(arrays):
        caption += " Green line: the chance of success that the policy estimates at each step."
    title = f"Rollout, {moment(after)}"
    return picture(pictures.contact_sheet(arrays), history.run.plots / f"{path.stem}.png", title, caption)


def moment(after: int) -> str:
    """Return when a picture was taken."""
    return "after the offline phase" if after == 0 else f"after {after} online episodes"


def data_section(history: History) -> Section:
    """Return the episodes learned from, and the wall time by stage."""
    section = Section("Data and time")
    kinds = (("demonstrations", history.demonstrations), ("online episodes", history.online))
    rows = [(name, *episode_cells(found)) for name, found in kinds if found]
    if rows:
        section.tables.append(Table("Episodes", ("", "episodes", "steps", "successful", "mean return"), rows))
    spent = sorted(history.wall_time().items(), key=lambda item: -item[1])
    if spent:
        cells = [(stage, duration(seconds)) for stage, seconds in spent]
        section.tables.append(Table("Wall time", ("stage", "time"), cells))
    return section


def episode_cells(rows: Sequence[dict[str, Any]]) -> tuple[str, str, str, str]:
    """Return number, steps, successes and mean return of episode rows."""
    steps, successes = int(column(rows, "steps").sum()), int(column(rows, "success").sum())
    return str(len(rows)), f"{steps:,}", str(successes), f"{column(rows, 'return').mean():.1f}"


def missing_section(history: History) -> Section:
    """Return the list of results that the run does not have."""
    return Section("What was not run", points=missing_results(history))


def configuration_section(history: History) -> Section:
    """Return sessions with machine and versions, and every setting."""
    section = Section("Configuration and versions")
    last = history.identity["sessions"][-1]
    facts = [*last["versions"].items(), *last["machine"].items(), ("commit", last["commit"] or "unknown")]
    sessions = len(history.identity["sessions"])
    note = f"{sessions} session(s); the newest is shown."
    section.tables.append(Table("Versions and machine", ("", ""), text_rows(facts), note=note))
    configuration = sorted(history.configuration.items())
    section.tables.append(
        Table("Settings of agent and trainer", ("parameter", "value"), text_rows(configuration), folded=True)
    )
    shipped = shipped_settings(history)
    if shipped:
        section.tables.append(
            Table("Parameter files of the run", ("parameter", "value"), text_rows(shipped), folded=True)
        )
    return section


def shipped_settings(history: History) -> list[tuple[str, Any]]:
    """Return every parameter in `config/**/<node>.yaml` as `<file>: <name>`; other YAML files are left out."""
    found: list[tuple[str, Any]] = []
    for path in sorted(history.run.config.rglob("*.yaml")):
        try:
            values = read_parameters(path, path.stem)
        except MotoError:
            continue
        label = path.relative_to(history.run.config).with_suffix("")
        found += [(f"{label}: {name}", value) for name, value in values.items()]
    return found


def text_rows(items: Iterable[tuple[str, Any]]) -> list[tuple[str, ...]]:
    """Return name and value as text."""
    return [(name, str(value)) for name, value in items]
