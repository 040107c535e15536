"""`moto report RUN...`: the HTML page of one run, or of several beside each other, and their numbers."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.table import Table

from moto_ros.cli.console import console
from moto_ros.report.comparison import run_rows
from moto_ros.report.history import History
from moto_ros.report.report import write_report

COLUMNS = ("run", "seed", "success offline, %", "success online, %", "online episodes", "wall time, s")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run folder; several are compared")
    parser.add_argument("--output", type=Path, metavar="FILE", help="HTML file to write; default: report.html in RUN")


def run(options: argparse.Namespace) -> int:
    """Write the report of the named runs."""
    return report_on(options.runs, options.output)


def report_on(runs: Sequence[Path], output: Path | None = None) -> int:
    """Write the page of `runs`, print their success with 95 % intervals and where the page is; return 0."""
    page = write_report(runs, output)
    table = Table(*COLUMNS, box=box.SIMPLE_HEAD)
    for row in run_rows([History(run) for run in runs]):
        table.add_row(*map(str, row))
    console().print(table)
    print(f"report: {page}")
    return 0
