"""History of a run for the report: its metrics by kind, phase and episode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from moto_ros.agents.interface import BASE
from moto_ros.training.metrics import ARM_ROW, Row, read_metrics
from moto_ros.training.run_folder import RunFolder
from moto_ros.training.settings import stored_configuration
from moto_ros.training.statistics import Interval


@dataclass(frozen=True)
class ScalarHistory:
    """One scalar over gradient updates."""

    phase: str
    name: str
    updates: np.ndarray
    values: np.ndarray


class History:
    """The metrics of one run, read from its folder."""

    def __init__(self, path: Path) -> None:
        self.run = RunFolder(path)
        self.identity: dict[str, Any] = self.run.identity()
        self.rows: list[Row] = read_metrics(self.run.metrics_file)

    @property
    def name(self) -> str:
        """Return the folder's name."""
        return self.run.path.resolve().name

    @property
    def seed(self) -> int:
        """Return the seed of the run."""
        return int(self.identity["seed"])

    @property
    def configuration(self) -> dict[str, Any]:
        """Return the settings that shape the run's result, flat."""
        return stored_configuration(self.identity["configuration"], str(self.run.identity_file))

    @property
    def plan(self) -> dict[str, Any]:
        """Return the plan of the newest session; empty where it has none."""
        return dict(self.identity["sessions"][-1].get("plan", {}))

    def of(self, kind: str, **wanted: Any) -> list[Row]:
        """Return the rows of a kind whose fields equal `wanted`."""
        return [row for row in self.rows if row["kind"] == kind and all(row.get(k) == v for k, v in wanted.items())]

    @cached_property
    def demonstrations(self) -> list[Row]:
        """Return one row for each recorded episode."""
        return self.of("episode", purpose="demonstration")

    @cached_property
    def online(self) -> list[Row]:
        """Return one row for each online episode learned from."""
        return self.of("episode", purpose="training")

    @cached_property
    def evaluations(self) -> list[Row]:
        """Return one row for each finished evaluation, in order."""
        return self.of("evaluation")

    @cached_property
    def arms(self) -> tuple[str, ...]:
        """Return the arms that acted, the base first, of an agent that has several; empty for others."""
        found = dict.fromkeys(str(row["arm"]) for row in self.of(ARM_ROW))
        return tuple(sorted({BASE: None} | found, key=lambda arm: arm != BASE)) if found else ()

    @property
    def outcomes(self) -> list[tuple[str, bool]]:
        """Return of each online episode which arm acted, and whether it solved the task without a person."""
        return [(str(row.get("arm", "")), bool(row["success"] and not row.get("human_share"))) for row in self.online]

    def arm_outcomes(self, arm: str) -> list[bool]:
        """Return whether the online episodes that an arm acted were solved without a person."""
        return [solved for acted, solved in self.outcomes if acted == arm]

    @property
    def before(self) -> Row | None:
        """Return the evaluation after the offline phase."""
        return next((row for row in self.evaluations if row["after"] == 0), None)

    @property
    def after(self) -> Row | None:
        """Return the newest evaluation after online episodes."""
        return next((row for row in reversed(self.evaluations) if row["after"] > 0), None)

    @cached_property
    def quantiles(self) -> list[float]:
        """Return 0, 1, ... 100 % of the uncertainty on recorded data, as last measured; empty where it was not."""
        return next((list(row["values"]) for row in reversed(self.of("quantiles"))), [])

    @cached_property
    def boundary(self) -> int:
        """Return the gradient updates of the offline phase (so far)."""
        return max((row["updates"] for row in self.of("update", round="offline")), default=0)

    @property
    def updates(self) -> int:
        """Return the gradient updates done."""
        return max((row["updates"] for row in self.rows), default=0)

    def scalar(self, phase: str, name: str) -> ScalarHistory:
        """Return one scalar of a phase over gradient updates."""
        rows = [row for row in self.of("update", phase=phase) if row.get(name) is not None]
        updates, values = [row["updates"] for row in rows], [row[name] for row in rows]
        return ScalarHistory(phase, name, np.asarray(updates, np.int64), np.asarray(values, np.float64))

    def scalars(self) -> list[tuple[str, str]]:
        """Return (phase, name) of every scalar, in the order of first appearance."""
        plain = {"time", "kind", "updates", "env_steps", "episode", "phase", "round", "count"}
        return list(
            dict.fromkeys((row["phase"], name) for row in self.of("update") for name in row if name not in plain)
        )

    def pictures(self, kind: str) -> dict[int, Path]:
        """Return the arrays saved as `kind`_<online episodes>.npz, by number of online episodes."""
        found = {path.stem.removeprefix(f"{kind}_"): path for path in sorted(self.run.plots.glob(f"{kind}_*.npz"))}
        return {int(tag): path for tag, path in found.items() if tag.isdigit()}

    def wall_time(self) -> dict[str, float]:
        """Return seconds by stage: the time before each row, gaps between sessions left out."""
        starts = [datetime.fromisoformat(session["started"]).timestamp() for session in self.identity["sessions"]]
        spent: dict[str, float] = {}
        for earlier, row in pairwise(self.rows):
            if not any(earlier["time"] < start <= row["time"] for start in starts[1:]):
                spent[stage_of(row)] = spent.get(stage_of(row), 0.0) + row["time"] - earlier["time"]
        return spent


def stage_of(row: Row) -> str:
    """Return the stage that a row ends."""
    if row["kind"] == "update":
        return "offline updates" if row["round"] == "offline" else "online updates"
    if row["kind"] == "episode":
        return {"training": "online episodes", "evaluation": "evaluation"}.get(row["purpose"], "reading bags")
    return "evaluation" if row["kind"] == "evaluation" else "other"


def rate_of(row: Row) -> Interval:
    """Return the success rate of an evaluation row."""
    return Interval(row["success_rate"], row["low"], row["high"], row["n"])


def column(rows: Sequence[Row], name: str) -> np.ndarray:
    """Return a field of rows as float64; rows without it give NaN."""
    return np.asarray([np.nan if row.get(name) is None else row[name] for row in rows], np.float64)
