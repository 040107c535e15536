"""Section of a report: interventions of people and of the uncertainty guard, and faults of robot and cameras."""

from __future__ import annotations

from collections.abc import Sequence

from moto_ros.data.records import GUARDS
from moto_ros.report import intervention_curves
from moto_ros.report.history import History, column
from moto_ros.report.page import Section, Table, picture
from moto_ros.training.metrics import Row

TABLE_PERCENTILES = (0, 10, 25, 50, 75, 90, 95, 99, 100)
"""Percentiles of the uncertainty in the table."""

COLUMNS = ("", "episodes", "human steps, %", *(f"{name} steps" for name in GUARDS[1:]), "robot faults", "camera gaps")


def interventions_section(history: History) -> Section:
    """Return fractions of human steps, the guard's counts, faults, and the uncertainty that the guard uses."""
    section, plots = Section("Interventions and faults"), history.run.plots
    if any(_acted(row) for row in history.online):
        caption = f"Share of the steps of each of {len(history.online)} online episodes."
        section.pictures.append(
            picture(intervention_curves.shares(history), plots / "shares.png", "Who chose the actions", caption)
        )
    if history.quantiles:
        caption = "The guard acts above a chosen share of this distribution; see its parameters."
        figure = intervention_curves.distribution(history)
        section.pictures.append(
            picture(figure, plots / "uncertainty_quantiles.png", "Uncertainty on recorded data", caption)
        )
        values = tuple(f"{history.quantiles[percent]:.3g}" for percent in TABLE_PERCENTILES)
        header = ("share below", *(f"{percent} %" for percent in TABLE_PERCENTILES))
        section.tables.append(Table("Uncertainty on recorded data", header, [("u", *values)]))
    section.tables += _counts(history)
    return section


def _counts(history: History) -> list[Table]:
    kinds = {
        "demonstrations": history.demonstrations,
        "online episodes": history.online,
        "evaluation": history.of("episode", purpose="evaluation"),
    }
    rows = [(name, *_cells(found)) for name, found in kinds.items() if any("human_share" in row for row in found)]
    return [Table("Who chose the actions, and faults", COLUMNS, rows)] if rows else []


def _cells(rows: Sequence[Row]) -> tuple[str, ...]:
    known = [row for row in rows if row.get("human_share") is not None]
    steps = column(known, "steps")
    human = float((column(known, "human_share") * steps).sum() / max(1.0, steps.sum()))
    counted = (*(f"guard_{name}" for name in GUARDS[1:]), "faults", "camera_gaps")
    return (str(len(known)), f"{100 * human:.1f}", *(f"{column(known, name).sum():.0f}" for name in counted))


def _acted(row: Row) -> bool:
    return any(row.get(name) for name in ("human_share", *(f"guard_{name}" for name in GUARDS[1:])))
