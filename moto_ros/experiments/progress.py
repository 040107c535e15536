"""Progress of a run: its process writes it to a small file, and the suite's runner reads it."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from moto_ros.errors import MotoError
from moto_ros.files import read_json
from moto_ros.training.settings import UpdateBudget

WRITE_PERIOD = 1.0
"""Minimum time between two writes, s."""


@dataclass(frozen=True)
class RunProgress:
    """What a run does, and how much of its updates is done."""

    phase: str = "waiting"
    done: int = 0
    total: int = 1


class ProgressReporter:
    """Writes the progress of a run, in its process."""

    def __init__(self, path: Path) -> None:
        self._path, self._last, self._total = path, -WRITE_PERIOD, 1

    def expect(self, budget: UpdateBudget) -> None:
        """Set how many updates there will be."""
        self._total = max(1, sum(budget.offline.values()) + budget.online_episodes * sum(budget.online.values()))

    def report(self, phase: str, updates: int) -> None:
        """Write the progress of the run, at most once a `WRITE_PERIOD`."""
        now = time.monotonic()
        if now - self._last < WRITE_PERIOD:
            return
        self._last = now
        self._path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._path.with_suffix(".part")
        temporary.write_text(json.dumps(asdict(RunProgress(phase, updates, self._total))), encoding="utf-8")
        temporary.replace(self._path)


def read_progress(path: Path) -> RunProgress:
    """Return the progress of a run; the initial one where its process has written nothing."""
    try:
        return RunProgress(**read_json(path))
    except (MotoError, TypeError):
        return RunProgress()
