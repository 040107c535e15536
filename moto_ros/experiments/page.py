"""The page of a suite: every figure and table of its results in one HTML file that opens anywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader
from matplotlib.figure import Figure

from moto_ros.experiments import figures
from moto_ros.experiments.comparison import comparison
from moto_ros.experiments.suite_folder import SuiteFolder
from moto_ros.experiments.table import Results
from moto_ros.files import write_durably
from moto_ros.report.comparison import percent
from moto_ros.report.page import Picture, Section, Table, Tile, counted, duration, picture
from moto_ros.report.report import TEMPLATE, require_own
from moto_ros.training.metrics import Row
from moto_ros.training.statistics import Interval

BAND = "bands: 95 % bootstrap over seeds within tasks (rliable); with one seed a task they have no width"


def write_page(rows: Sequence[Row], folder: SuiteFolder) -> Path:
    """Write `report.html` in the suite's folder from the rows of its results alone; return its path."""
    results = Results(rows)
    template = Environment(loader=PackageLoader("moto_ros", "report"), autoescape=True).get_template(TEMPLATE)
    require_own(folder.page_file)
    write_durably(folder.page_file, template.render(**content(rows, results, folder.figures)))
    return folder.page_file


def content(rows: Sequence[Row], results: Results, folder: Path) -> dict[str, Any]:
    """Return what the template needs."""
    seeds = ", ".join(map(str, sorted({run.seed for run in results.runs})))
    return {
        "title": f"Benchmark {rows[0]['suite']}",
        "subtitle": " · ".join((counted(len(results.runs), "run"), ", ".join(results.tasks), f"seeds {seeds}")),
        "tiles": tiles(results),
        "sections": [
            Section(
                "Success",
                text=reading(rows, results),
                pictures=list(success_pictures(results, folder)),
                tables=[summary(results), comparison(results)],
            ),
            Section("Uncertainty, values and model", pictures=list(diagnostic_pictures(results, folder))),
            Section("Every run", tables=[every_run(results), machines(rows)]),
            Section("What was not run", points=missing_results(results)),
        ],
    }


def reading(rows: Sequence[Row], results: Results) -> str:
    """Return how to read the numbers."""
    counts = sorted({row["n"] for row in rows})
    twins = ", and as many with drawn ones from the same start states" if sampled(results) else ""
    several = f" Where a figure does not say otherwise, runs learned from {results.usual} demonstrations."
    return (
        f"Every evaluation is {' or '.join(map(str, counts))} episodes without drawn actions{twins}. "
        "The newest evaluation counts, not the best. n is the number of runs: tasks times seeds. Nothing is smoothed. "
        "In the kitchen, success is the share of the elements that are complete at an episode's best moment; the "
        "tables of every task and run count whole successes."
    ) + (several if len(results.demonstrations) > 1 else "")


def sampled(results: Results) -> bool:
    """Return whether any evaluation was played again by sampled actions."""
    return any(row["sampled"] is not None for run in results.runs for row in run.evaluations)


def tiles(results: Results) -> list[Tile]:
    """Return the end result of each method."""
    found = []
    for method in results.methods:
        rate = results.final(method) or results.success(method, 0)
        if rate is not None:
            stage = "newest evaluation" if results.final(method) else "offline only"
            found.append(Tile(method, f"{100 * rate.mean:.0f} %", f"{stage}, n = {counted(rate.n, 'run')}", "online"))
    return found


Drawing = tuple[str, Callable[[Results], Figure], str, str]


def success_pictures(results: Results, folder: Path) -> Iterator[Picture]:
    """Yield the figures of success that the results allow."""
    drawings: list[Drawing] = [
        ("aggregate", figures.aggregate_curve, "All tasks", f"Interquartile mean over tasks and seeds; {BAND}."),
        ("tasks", figures.task_curves, "Each task", f"Mean over the middle half of the seeds; {BAND}."),
        ("ablations", figures.ablation_bars, "Methods beside each other", f"Over tasks and seeds; {BAND}."),
    ]
    if len(results.demonstrations) > 1:
        text = f"Over tasks and seeds, n at each number in turn; {BAND}."
        drawings.append(("demonstrations", figures.demonstration_curve, "Success against demonstrations", text))
    yield from _drawn(results, folder, drawings)


def diagnostic_pictures(results: Results, folder: Path) -> Iterator[Picture]:
    """Yield the figures of uncertainty, predicted returns and model error that the results allow."""
    drawings: list[Drawing] = []
    if figures.with_uncertainty(results):
        text = "Mean of an episode, over that of the run's first episodes; thin: runs, thick: their mean."
        drawings.append(("uncertainty", figures.uncertainty_decay, "Uncertainty during fine-tuning", text))
    evaluations = [row for run in results.shown for row in run.evaluations]
    if any(row["predicted"] for row in evaluations):
        text = (
            "At the first action of each evaluation episode, mean over the episodes: the minimum of MOTO's critics, "
            "the mean of FOWM's Q heads, IQL's V. All look beyond an episode's end, so that a perfect one lies above "
            "the line where success keeps being rewarded."
        )
        drawings.append(("return_prediction", figures.return_prediction, "Predicted and achieved return", text))
    if any(row["model_error"] for row in evaluations):
        text = "First evaluation episode of each run, agents that predict images; bands: 95 % bootstrap over runs."
        drawings.append(("model_error", figures.model_error, "Model error against horizon", text))
    yield from _drawn(results, folder, drawings)


def _drawn(results: Results, folder: Path, drawings: Sequence[Drawing]) -> Iterator[Picture]:
    for name, draw, title, caption in drawings:
        yield picture(draw(results), folder / f"{name}.png", title, caption)


def summary(results: Results) -> Table:
    """Return success of each method over all tasks, offline and at the newest evaluation."""
    found = [(method, results.success(method, 0), results.final(method)) for method in results.methods]
    rows = [(method, percent(before), percent(after), _runs(before, after)) for method, before, after in found]
    note = f"Interquartile mean over tasks and seeds; {BAND}."
    return Table("All tasks", ("method", "offline, %", "online, %", "runs"), rows, note=note)


def _runs(before: Interval | None, after: Interval | None) -> str:
    counts = [0 if found is None else found.n for found in (before, after)]
    return str(counts[0]) if counts[0] == counts[1] else f"{counts[0]} and {counts[1]}"


def every_run(results: Results) -> Table:
    """Return every run's newest evaluation with its Wilson interval, not sampled and, where it was played, sampled."""
    twins = ("sampled, %",) if sampled(results) else ()
    header = ("run", "demos", "seed", "online", "not sampled, %", *twins, "return", "updates", "wall time")
    rows = [
        (
            f"{run.task}, {run.method}",
            str(run.demonstrations),
            str(run.seed),
            str(run.last["after"]),
            _rate(run.last),
            *(_rate(run.last["sampled"]) for _ in twins),
            f"{run.last['return']:.1f}",
            f"{run.last['updates']:,}",
            duration(run.last["wall_s"]),
        )
        for run in results.runs
    ]
    return Table("Newest evaluation of every run", header, rows, folded=True, note="With Wilson's 95 % interval.")


def _rate(found: Row | None) -> str:
    if found is None:
        return "not run"
    return f"{100 * found['success_rate']:.0f} [{100 * found['low']:.0f}, {100 * found['high']:.0f}], n = {found['n']}"


def machines(rows: Sequence[Row]) -> Table:
    """Return the machines and versions that the numbers come from."""
    found = {str(sorted({**row["machine"], **row["versions"]}.items())): row for row in rows}
    lines = []
    for row in found.values():
        machine = ", ".join(f"{name} {value}" for name, value in row["machine"].items())
        versions = ", ".join(f"{name} {value}" for name, value in row["versions"].items())
        lines.append((machine, f"{versions}, commit {row['commit'] or 'unknown'}"))
    return Table("Machines and versions", ("machine", "versions"), lines, folded=True)


def missing_results(results: Results) -> list[str]:
    """Return a sentence for each method without a run of a task, each run that is not complete, and a single seed."""
    found = [
        f"{method}: no run of {task}."
        for method in results.methods
        for task in results.tasks
        if not results.of(method=method, task=task)
    ]
    most = max(run.last["after"] for run in results.runs)
    found += [
        f"{run.task}, {run.method}, seed {run.seed}: evaluated after {run.last['after']} of {most} online episodes."
        for run in results.runs
        if run.last["after"] < most
    ]
    if len({run.seed for run in results.runs}) == 1:
        found.append("One seed: no interval over seeds.")
    return found
