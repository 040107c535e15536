"""Comparison of runs: seeds of one configuration form a group, other configurations are ablations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from moto_ros.report.history import History, rate_of
from moto_ros.training.metrics import Row
from moto_ros.training.statistics import Interval, bootstrap

SEED = "trainer.seed"
MISSING = "not run"


@dataclass(frozen=True)
class Group:
    """Runs that differ in their seed only."""

    label: str
    runs: list[History]

    @property
    def before(self) -> Interval | None:
        """Return success after the offline phase, over seeds."""
        return over_seeds([run.before for run in self.runs])

    @property
    def after(self) -> Interval | None:
        """Return success after online learning, over seeds."""
        return over_seeds([run.after for run in self.runs])

    @property
    def gain(self) -> Interval | None:
        """Return the gain of the runs that have both, over seeds."""
        pairs = [(run.before, run.after) for run in self.runs]
        gains = [after["success_rate"] - before["success_rate"] for before, after in pairs if before and after]
        return bootstrap(gains, np.random.default_rng(0)) if gains else None


def over_seeds(rows: Sequence[Row | None]) -> Interval | None:
    """Return the mean success rate of evaluation rows with its bootstrap interval; None without any."""
    rates = [row["success_rate"] for row in rows if row is not None]
    return bootstrap(rates, np.random.default_rng(0)) if rates else None


def grouped(histories: Sequence[History]) -> list[Group]:
    """Return runs by configuration, the first run's first; labels say how the others differ from it."""
    reference = _without_seed(histories[0])
    found: dict[str, list[History]] = {}
    for history in histories:
        found.setdefault(_label(reference, _without_seed(history)), []).append(history)
    return [Group(label, runs) for label, runs in found.items()]


DREAMER_V2 = {f"agent.{switch}" for switch in ("uncertainty", "behaviour_prior", "value_expansion")}
"""MOTO's switches; with all of them off it is DreamerV2."""


def _without_seed(history: History) -> dict[str, Any]:
    return {name: value for name, value in history.configuration.items() if name != SEED}


def _label(reference: dict[str, Any], other: dict[str, Any]) -> str:
    """Return "full" for the reference itself, else the settings that differ, switches as "no <switch>"."""
    changed = [name for name in sorted(set(reference) | set(other)) if reference.get(name) != other.get(name)]
    if set(changed) == DREAMER_V2 and not any(other.get(name) for name in changed):
        return "DreamerV2"
    return ", ".join(_phrase(name, other.get(name)) for name in changed) or str(
        reference.get("agent.name", "reference")
    )


def _phrase(name: str, value: Any) -> str:
    plain = name.split(".", 1)[-1].replace("_", " ")
    return f"no {plain}" if value is False else f"{plain} = {value}"


def group_rows(groups: Sequence[Group]) -> list[tuple[str, ...]]:
    """Return a table row for each group."""
    return [
        (
            group.label,
            str(len(group.runs)),
            percent(group.before),
            percent(group.after),
            percent(group.gain, signed=True),
            number_range([len(run.online) for run in group.runs]),
        )
        for group in groups
    ]


def run_rows(histories: Sequence[History]) -> list[tuple[str, ...]]:
    """Return a table row for each run; the last cell is wall time in seconds."""
    return [
        (
            history.name,
            str(history.seed),
            percent(None if history.before is None else rate_of(history.before)),
            percent(None if history.after is None else rate_of(history.after)),
            str(len(history.online)),
            f"{sum(history.wall_time().values()):.0f}",
        )
        for history in histories
    ]


def percent(interval: Interval | None, *, signed: bool = False) -> str:
    """Return an interval in % as text; one seed has no interval."""
    if interval is None:
        return MISSING
    sign = "+" if signed else ""
    mean = f"{100 * interval.mean:{sign}.0f}"
    return f"{mean} [{100 * interval.low:{sign}.0f}, {100 * interval.high:{sign}.0f}]" if interval.n > 1 else mean


def number_range(counts: Sequence[int]) -> str:
    """Return counts as one number, or as the smallest and the largest where they differ."""
    if not counts:
        return MISSING
    return str(counts[0]) if len(set(counts)) == 1 else f"{min(counts)} to {max(counts)}"
