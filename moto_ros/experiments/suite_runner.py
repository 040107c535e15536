"""Runs what of a suite is not finished yet, shows how far it is, and gathers the results."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from moto_ros.experiments.engine import STOPPED, Engine, ProcessJob
from moto_ros.experiments.progress import read_progress
from moto_ros.experiments.results import read_rows, write_rows
from moto_ros.experiments.suite import Cell
from moto_ros.experiments.suite_folder import SuiteFolder
from moto_ros.stopping import StopFlag
from moto_ros.training.metrics import Row


@dataclass
class SuiteOutcome:
    """What became of the cells, by id: finished, asked to stop, and failed with which status."""

    finished: list[str] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)
    failed: dict[str, int] = field(default_factory=dict)


class SuiteRunner:
    """The cells of a suite in one folder."""

    def __init__(self, cells: Sequence[Cell], place: SuiteFolder) -> None:
        self.cells, self.place = {cell.id: cell for cell in cells}, place
        self._drawn: dict[str, TaskID] = {}

    def unfinished(self) -> list[Cell]:
        """Return the cells that are still to run, in order."""
        return [cell for cell in self.cells.values() if not self.place.is_finished(cell)]

    def run(self, engine: Engine, *, seconds: float = 0.0, stop: StopFlag | None = None) -> SuiteOutcome:
        """Run every unfinished cell; after `seconds` > 0, or at a signal, stop, to go on another time."""
        waiting = self.unfinished()
        outcome = SuiteOutcome([cell.id for cell in self.cells.values() if cell not in waiting])
        return self._carry_out([self.job(cell) for cell in waiting], engine, outcome, _due(seconds, stop))

    def _carry_out(
        self, jobs: Sequence[ProcessJob], engine: Engine, outcome: SuiteOutcome, due: Callable[[], bool]
    ) -> SuiteOutcome:
        """Run jobs until `due`, and sort what became of them into `outcome`."""

        def look(names: Sequence[str]) -> bool:
            self._show(bars, names)
            return due()

        # Closed at once when a line cannot be written: the engine must not go on, nor its processes.
        with _bars() as bars, contextlib.closing(engine.run(jobs, look)) as ended:
            done = len(outcome.finished)
            whole = bars.add_task("runs", total=done + len(jobs), completed=done)
            for name, status in ended:
                _sort(outcome, name, status)
                bars.update(whole, completed=len(outcome.finished))
                self.gather()
        known = {*outcome.finished, *outcome.stopped, *outcome.failed}
        outcome.stopped += [job.name for job in jobs if job.name not in known]
        return outcome

    def prepare(self, engine: Engine, *, seconds: float = 0.0, stop: StopFlag | None = None) -> SuiteOutcome:
        """Make the demonstrations of all cells and no more; cells that share them are asked for once."""
        first = {self.place.data(cell): cell for cell in reversed(self.cells.values())}
        return self._carry_out(
            [self.job(cell, "data") for cell in first.values()], engine, SuiteOutcome(), _due(seconds, stop)
        )

    def job(self, cell: Cell, *only: str) -> ProcessJob:
        """Describe a cell to its process, and return that; `only` "data" makes its demonstrations and no more."""
        description = self.place.describe(cell)
        arguments = (str(description.resolve()), str(self.place.path.resolve()), *only)
        return ProcessJob(cell.id, arguments, int(cell.trainer_values["threads"]), self.place.log(cell))

    def _show(self, bars: Progress, names: Sequence[str]) -> None:
        """Show how far each running cell is."""
        for name in set(self._drawn) - set(names):
            bars.remove_task(self._drawn.pop(name))
        for name in names:
            stand = read_progress(self.place.progress(self.cells[name]))
            if name not in self._drawn:
                self._drawn[name] = bars.add_task(name, total=stand.total)
            text = f"{name}: {stand.phase}"
            bars.update(self._drawn[name], description=text, completed=stand.done, total=stand.total)

    def gather(self) -> list[Row]:
        """Write and return the rows of every cell that has any; without any, the file of results stays as it is."""
        files = [self.place.results(cell) for cell in self.cells.values()]
        rows = [row for path in files if path.exists() for row in read_rows(path)]
        if rows:
            write_rows(self.place.results_file, rows)
        return rows

    def problem(self, outcome: SuiteOutcome) -> str:
        """Return one sentence that names the cells that failed and what they said last; empty without any."""
        said = [f"{name} ({_last_line(self.place.log(self.cells[name]))})" for name in outcome.failed]
        return f"{len(said)} runs failed: {'; '.join(said)}; mend it and run the same command again" if said else ""


def _due(seconds: float, stop: StopFlag | None) -> Callable[[], bool]:
    """Return what tells whether it is time to stop."""
    end = time.monotonic() + seconds if seconds else float("inf")
    return lambda: bool(stop) or time.monotonic() > end


def _bars() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns)


def _sort(outcome: SuiteOutcome, name: str, status: int) -> None:
    if status == 0:
        outcome.finished.append(name)
    elif status == STOPPED:
        outcome.stopped.append(name)
    else:
        outcome.failed[name] = status


def _last_line(path: Path) -> str:
    lines = path.read_text(errors="replace", encoding="utf-8").strip().splitlines() if path.exists() else []
    return lines[-1].removeprefix("error: ") if lines else "no output"
