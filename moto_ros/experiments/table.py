"""Results by task, method and number of demonstrations: what the figures draw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from moto_ros.experiments.aggregate import aggregate
from moto_ros.training.metrics import Row
from moto_ros.training.statistics import Interval


@dataclass(frozen=True)
class RunResults:
    """The evaluations of one run, in order."""

    task: str
    method: str
    seed: int
    demonstrations: int
    evaluations: tuple[Row, ...]

    @property
    def last(self) -> Row:
        """Return the newest evaluation."""
        return self.evaluations[-1]

    def at(self, after: int) -> Row | None:
        """Return the evaluation after this many online episodes; None where there is none."""
        return next((row for row in self.evaluations if row["after"] == after), None)

    def online(self, name: str) -> np.ndarray:
        """Return a field of every online episode up to the newest evaluation, NaN where unknown."""
        values = [value for row in self.evaluations for value in row["online"][name]]
        return np.asarray([np.nan if value is None else value for value in values], np.float64)


class Results:
    """All runs of a suite."""

    def __init__(self, rows: Sequence[Row]) -> None:
        found: dict[str, list[Row]] = {}
        for row in rows:
            found.setdefault(row["cell"], []).append(row)
        self.runs = [_run(sorted(one, key=lambda row: int(row["after"]))) for one in found.values()]

    def _names(self, field: str) -> list[Any]:
        return list(dict.fromkeys(getattr(run, field) for run in self.runs))

    @property
    def tasks(self) -> list[str]:
        """Return the tasks in the suite's order."""
        return self._names("task")

    @property
    def methods(self) -> list[str]:
        """Return the labels of the methods in the suite's order."""
        return self._names("method")

    @property
    def demonstrations(self) -> list[int]:
        """Return the numbers of demonstrations, ascending."""
        return sorted(self._names("demonstrations"))

    @property
    def usual(self) -> int:
        """Return the largest number of demonstrations: what every figure shows but the one over that number."""
        return self.demonstrations[-1]

    @property
    def shown(self) -> list[RunResults]:
        """Return the runs with the usual number of demonstrations."""
        return [run for run in self.runs if run.demonstrations == self.usual]

    def of(self, *, method: str, task: str = "", demonstrations: int = 0) -> list[RunResults]:
        """Return the runs of a method, of one task or of all, with the usual number of demonstrations or another."""
        count = demonstrations or self.usual
        return [
            run
            for run in self.runs
            if run.method == method and run.task in (task or run.task,) and run.demonstrations == count
        ]

    def stages(self, method: str, task: str = "") -> list[int]:
        """Return the numbers of online episodes after which every run of a method was evaluated."""
        runs = self.of(method=method, task=task)
        common = set.intersection(*({one["after"] for one in run.evaluations} for run in runs)) if runs else set()
        return sorted(common)

    def success(self, method: str, after: int, task: str = "", demonstrations: int = 0) -> Interval | None:
        """Return the interquartile mean of scores without drawn actions, over tasks and seeds; None without a run."""
        runs = self.of(method=method, task=task, demonstrations=demonstrations)
        strata = {run.task: list[float]() for run in runs}
        for run in runs:
            found = run.at(after)
            if found is not None:
                strata[run.task].append(found["score"])
        scores = [one for one in strata.values() if one]
        return aggregate(scores, np.random.default_rng(0)) if scores else None

    def final(self, method: str, task: str = "", demonstrations: int = 0) -> Interval | None:
        """Return success at each run's newest evaluation after online episodes; None where no run has one."""
        strata: dict[str, list[float]] = {}
        for run in self.of(method=method, task=task, demonstrations=demonstrations):
            if run.last["after"] > 0:
                strata.setdefault(run.task, []).append(run.last["score"])
        return aggregate(list(strata.values()), np.random.default_rng(0)) if strata else None


def _run(rows: Sequence[Row]) -> RunResults:
    first = rows[0]
    return RunResults(first["task"], first["row"], first["seed"], first["demonstrations"], tuple(rows))
