"""`moto benchmark SUITE`: the papers' experiments on simulated worlds, without ROS, and their figures."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich import box
from rich.table import Table
from rich.text import Text

from moto_ros.cli.console import console
from moto_ros.errors import MotoError
from moto_ros.experiments.comparison import comparison
from moto_ros.experiments.engine import ENGINES, make_engine
from moto_ros.experiments.page import write_page
from moto_ros.experiments.suite import Suite, chosen, read_suite, runs_of
from moto_ros.experiments.suite_folder import SuiteFolder
from moto_ros.experiments.suite_runner import SuiteOutcome, SuiteRunner
from moto_ros.experiments.table import Results
from moto_ros.report import page
from moto_ros.stopping import StopFlag, signals_handled_by


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("suite", metavar="SUITE", help="name of a file in config/suites, or a path to one")
    parser.add_argument(
        "--output", type=Path, metavar="FOLDER", help="default: benchmarks/SUITE; resumes an existing one"
    )
    parser.add_argument("--tasks", nargs="+", default=[], metavar="TASK", help="only these tasks of the suite")
    parser.add_argument(
        # --rows is the former name
        "--methods",
        "--rows",
        nargs="+",
        default=[],
        metavar="METHOD",
        help="only these methods of the suite",
    )
    parser.add_argument(
        "--seeds", nargs="+", type=int, default=[], metavar="SEED", help="these seeds in place of the suite's"
    )
    parser.add_argument("--jobs", type=int, default=0, help="number of runs at once on this machine; 0: as many as fit")
    parser.add_argument("--engine", choices=ENGINES, default="local", help="this machine, or a Ray cluster")
    parser.add_argument(
        "--seconds", type=float, default=0.0, help="stop after this time, to be resumed later; 0: never"
    )
    parser.add_argument(
        "--data", action="store_true", help="only make the demonstrations that the runs learn from, as bags"
    )
    parser.add_argument("--list", action="store_true", help="only list the runs")
    parser.add_argument(
        "--report", action="store_true", help="only write figures, page and table, from the results so far"
    )
    parser.add_argument("-p", "--parameter", action="append", default=[], metavar="NAME:=VALUE", help="set a parameter")


def run(options: argparse.Namespace) -> int:
    """Run the runs that are not finished, then write figures and page."""
    suite = chosen(
        read_suite(options.suite, options.parameter), tasks=options.tasks, methods=options.methods, seeds=options.seeds
    )
    folder = SuiteFolder(options.output or Path("benchmarks") / suite.name)
    suite = folder.as_begun(suite)
    runner = SuiteRunner(runs_of(suite), folder)
    if options.list:
        return _list(runner)
    stop = StopFlag()
    # What ends a job (kill, timeout, a cluster's scheduler) must end its runs as Ctrl-C does, not leave them running.
    with signals_handled_by(stop.set):
        outcome = SuiteOutcome() if options.report else _run(options, suite, runner, stop)
    if stop:
        return stop.status
    if options.data and not runner.problem(outcome):
        print("\n".join(f"bags: {path}" for path in sorted({folder.data(run) for run in runs_of(suite)})))
    rows = runner.gather()
    if rows:
        _print(comparison(Results(rows)))
        print(f"results: {folder.results_file}\nreport: {write_page(rows, folder)}")
    if problem := runner.problem(outcome):
        raise MotoError(problem)
    return 0


def _run(options: argparse.Namespace, suite: Suite, runner: SuiteRunner, stop: StopFlag) -> SuiteOutcome:
    settings = suite.settings
    engine = make_engine(options.engine, jobs=options.jobs, threads=settings.threads, memory=settings.memory)
    start = runner.prepare if options.data else runner.run
    outcome = start(engine, seconds=options.seconds, stop=stop)
    if outcome.stopped:
        print(f"not finished: {page.counted(len(outcome.stopped), 'run')}; the same command resumes", file=sys.stderr)
    return outcome


def _print(found: page.Table) -> None:
    """Print a table of the page, so that it can be pasted into a document."""
    table = Table(*found.header, box=box.MARKDOWN)
    for line in found.rows:
        table.add_row(*map(Text, line))
    console().print(table)
    print(found.note)


def _list(runner: SuiteRunner) -> int:
    """Print every run and whether it is finished."""
    table = Table("run", "task", "method", "demonstrations", "seed", "finished", box=box.SIMPLE_HEAD)
    unfinished = {one.id for one in runner.unfinished()}
    for one in runner.runs.values():
        done = "" if one.id in unfinished else "yes"
        table.add_row(one.id, one.task, one.method, str(one.demonstrations), str(one.seed), done)
    console().print(table)
    return 0
