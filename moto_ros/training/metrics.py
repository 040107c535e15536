"""Metrics of a run: one JSON line an event, the same scalars in TensorBoard, and their reader."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from moto_ros.errors import MotoError, read_text, unwritable
from moto_ros.files import sync_file
from moto_ros.training.run_folder import RunFolder

Row = dict[str, Any]

COUNTERS = ("time", "kind", "updates", "env_steps", "episode")

ARM_ROW = "arm"
"""Kind of the rows that say how often one of several arms has succeeded; its scalars are told apart by the arm."""


@dataclass
class Clock:
    """The counters of a run, which every row has."""

    updates: int = 0
    env_steps: int = 0
    episode: int = 0
    """Online episodes learned from so far."""


class MetricsLog:
    """Appends rows to `metrics.jsonl`; a row is one write, so a killed process leaves whole lines but the last."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        except OSError as error:
            raise unwritable(path, error) from error
        self.rows = self._cut_at(math.inf)

    def write(self, row: Row) -> None:
        """Append one row; numbers that JSON cannot hold (NaN, infinity) are written as null."""
        clean = {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in row.items()
        }
        line = json.dumps(clean, allow_nan=False) + "\n"
        try:
            written = os.write(self._handle, line.encode())
        except OSError as error:
            raise unwritable(self.path, error) from error
        if written != len(line.encode()):
            raise MotoError(f"{self.path}: only {written} of {len(line)} bytes written; free disk space and run again")
        self.rows += 1

    def rewind(self, rows: int) -> None:
        """Keep the first `rows` rows, so that what a resumed run repeats is there once."""
        self.rows = self._cut_at(rows)

    def _cut_at(self, rows: float) -> int:
        """Cut after `rows` whole lines (and any torn last line); return how many are left."""
        kept = length = 0
        with self.path.open("rb") as file:
            for line in file:
                if kept == rows or not line.endswith(b"\n"):
                    break
                kept, length = kept + 1, length + len(line)
        os.ftruncate(self._handle, length)
        return kept

    def close(self) -> None:
        """Force everything to disk and close."""
        sync_file(self.path)
        os.close(self._handle)


class MetricsWriter:
    """Writes rows and TensorBoard scalars of a run, each stamped with wall time (s since 1970) and the clock."""

    def __init__(self, run: RunFolder, *, tensorboard: bool = True) -> None:
        self._run = run
        self._tensorboard = tensorboard
        self._writer: SummaryWriter | None = None
        self._purge: int | None = None
        self.log = MetricsLog(run.metrics_file)
        self.clock = Clock()

    def row(self, kind: str, **fields: Any) -> None:
        """Write one event; its numbers become TensorBoard scalars `<kind>/<name>` over updates."""
        stamp = {"time": time.time(), "kind": kind, **vars(self.clock)}
        self.log.write(stamp | fields)
        parts = [kind, fields.get("phase"), fields.get("purpose"), fields.get("arm") if kind == ARM_ROW else None]
        prefix = "/".join(str(part) for part in parts if part)
        for name, value in fields.items():
            if isinstance(value, (int, float)) and not isinstance(value, bool) and self._tensorboard:
                self._events().add_scalar(f"{prefix}/{name}", value, self.clock.updates)

    def _events(self) -> SummaryWriter:
        if self._writer is None:
            self._writer = SummaryWriter(str(self._run.tensorboard), purge_step=self._purge)
        return self._writer

    def state(self) -> dict[str, int]:
        """Return what a checkpoint keeps: rows written and the clock."""
        return {"rows": self.log.rows, **vars(self.clock)}

    def load_state(self, state: dict[str, int]) -> None:
        """Go back to a checkpoint: later rows are cut, later TensorBoard events hidden."""
        self.clock = Clock(**{name: state[name] for name in vars(Clock())})
        self.log.rewind(state["rows"])
        self._purge = self.clock.updates + 1

    def close(self) -> None:
        """Flush and close both."""
        if self._writer is not None:
            self._writer.close()
        self.log.close()

    def __enter__(self) -> MetricsWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_metrics(path: Path) -> list[Row]:
    """Return the rows of a `metrics.jsonl`; a torn last line is left out, any other bad line is a MotoError."""
    if not path.exists():
        raise MotoError(f"{path}: no such file, expected the metrics of a run; give the folder of a run")
    return list(_rows(path))


def _rows(path: Path) -> Iterator[Row]:
    for number, line in enumerate(read_text(path).splitlines(keepends=True), 1):
        if not line.endswith("\n"):
            return
        try:
            yield json.loads(line)
        except ValueError as error:
            raise MotoError(f"{path}, line {number}: not JSON ({error}); remove the line and run again") from error
