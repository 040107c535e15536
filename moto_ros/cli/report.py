"""`moto report RUN...`: the HTML page of one run, or of several beside each other, their numbers, an animation."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.table import Table

from moto_ros.cli.console import console
from moto_ros.errors import MotoError
from moto_ros.report.animation import write_animation
from moto_ros.report.comparison import run_rows
from moto_ros.report.diagnosis import diagnose, figures_of
from moto_ros.report.history import History
from moto_ros.report.report import write_report

COLUMNS = ("run", "seed", "success offline, %", "success online, %", "online episodes", "wall time, s")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run folder; several are compared")
    parser.add_argument("--output", type=Path, metavar="FILE", help="HTML file to write; default: report.html in RUN")
    parser.add_argument(
        "--animation",
        type=Path,
        metavar="FILE",
        help="write an animated .webp or .gif of one run instead: camera view, success and uncertainty over episodes",
    )


def run(options: argparse.Namespace) -> int:
    """Write the report of the named runs, or the animation of one."""
    if options.animation is not None:
        return animate(options.runs, options.output, options.animation)
    return report_on(options.runs, options.output)


def animate(runs: Sequence[Path], output: Path | None, target: Path) -> int:
    """Write the animation of the only run in `runs` and print where it is; return 0."""
    if len(runs) != 1:
        raise MotoError(f"--animation: {len(runs)} run folders given, expected one; name the run to animate alone")
    if output is not None:
        raise MotoError("--output and --animation are both given, expected one; write page and animation one by one")
    print(f"animation: {write_animation(runs[0], target)}")
    return 0


def report_on(runs: Sequence[Path], output: Path | None = None) -> int:
    """Write the page of `runs`; print success with 95 % intervals, what may keep each from improving, and the page."""
    page = write_report(runs, output)
    table = Table(*COLUMNS, box=box.SIMPLE_HEAD)
    for row in run_rows([History(run) for run in runs]):
        table.add_row(*map(str, row))
    console().print(table)
    for history in map(History, runs):
        for finding in diagnose(figures_of(history))[:1]:
            print(f"{history.name}: {finding.text()}")
    print(f"report: {page}")
    return 0
