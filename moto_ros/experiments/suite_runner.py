"""Runs the unfinished runs of a suite, shows their progress, and gathers the results."""

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
from moto_ros.experiments.suite import SuiteRun
from moto_ros.experiments.suite_folder import SuiteFolder
from moto_ros.report.page import counted
from moto_ros.stopping import StopFlag
from moto_ros.training.metrics import Row


@dataclass
class SuiteOutcome:
    """How the runs ended, by id: finished, asked to stop, and failed with which status."""

    finished: list[str] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)
    failed: dict[str, int] = field(default_factory=dict)


class SuiteRunner:
    """Does the runs of a suite in one folder."""

    def __init__(self, runs: Sequence[SuiteRun], folder: SuiteFolder) -> None:
        self.runs, self.folder = {run.id: run for run in runs}, folder
        self._drawn: dict[str, TaskID] = {}

    def unfinished(self) -> list[SuiteRun]:
        """Return the runs that are still to run, in order."""
        return [run for run in self.runs.values() if not self.folder.is_finished(run)]

    def run(self, engine: Engine, *, seconds: float = 0.0, stop: StopFlag | None = None) -> SuiteOutcome:
        """Do every unfinished run; stop after `seconds` > 0, or at a signal: the same call resumes."""
        waiting = self.unfinished()
        outcome = SuiteOutcome([run.id for run in self.runs.values() if run not in waiting])
        return self._run_jobs([self.job(run) for run in waiting], engine, outcome, _due(seconds, stop))

    def _run_jobs(
        self, jobs: Sequence[ProcessJob], engine: Engine, outcome: SuiteOutcome, due: Callable[[], bool]
    ) -> SuiteOutcome:
        """Run jobs until `due`, and sort how they ended into `outcome`."""

        def on_poll(names: Sequence[str]) -> bool:
            self._show(bars, names)
            return due()

        # Closed at once when a line cannot be written: the engine must stop, and its processes.
        with _bars() as bars, contextlib.closing(engine.run(jobs, on_poll)) as ended:
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
        """Only make the demonstrations of all runs, once for runs that share them."""
        first = {self.folder.data(run): run for run in reversed(self.runs.values())}
        return self._run_jobs(
            [self.job(run, "data") for run in first.values()], engine, SuiteOutcome(), _due(seconds, stop)
        )

    def job(self, run: SuiteRun, *only: str) -> ProcessJob:
        """Describe a run in its folder, and return its process; with `only` "data" it only makes demonstrations."""
        description = self.folder.describe(run)
        arguments = (str(description.resolve()), str(self.folder.path.resolve()), *only)
        return ProcessJob(run.id, arguments, int(run.trainer_values["threads"]), self.folder.log(run))

    def _show(self, bars: Progress, names: Sequence[str]) -> None:
        """Show the progress of each running run."""
        for name in set(self._drawn) - set(names):
            bars.remove_task(self._drawn.pop(name))
        for name in names:
            progress = read_progress(self.folder.progress(self.runs[name]))
            if name not in self._drawn:
                self._drawn[name] = bars.add_task(name, total=progress.total)
            text = f"{name}: {progress.phase}"
            bars.update(self._drawn[name], description=text, completed=progress.done, total=progress.total)

    def gather(self) -> list[Row]:
        """Write and return the rows of every run that has any; without any, the file of results stays as it is."""
        files = [self.folder.results(run) for run in self.runs.values()]
        rows = [row for path in files if path.exists() for row in read_rows(path)]
        if rows:
            write_rows(self.folder.results_file, rows)
        return rows

    def problem(self, outcome: SuiteOutcome) -> str:
        """Return one sentence that names the runs that failed and their last lines of output; empty without any."""
        failed = [f"{name} ({_last_line(self.folder.log(self.runs[name]))})" for name in outcome.failed]
        if not failed:
            return ""
        return (
            f"{counted(len(failed), 'run')} failed: {'; '.join(failed)}; fix the cause and run the same command again"
        )


def _due(seconds: float, stop: StopFlag | None) -> Callable[[], bool]:
    """Return a function that returns whether it is time to stop."""
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
