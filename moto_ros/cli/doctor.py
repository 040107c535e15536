"""`moto doctor`: what this machine has, what it lacks, what to do."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict

from rich import box
from rich.markup import escape
from rich.table import Table

from moto_ros.cli.checks.arm import check_arm
from moto_ros.cli.checks.cameras import check_cameras
from moto_ros.cli.checks.finding import Finding, Level, missing
from moto_ros.cli.checks.machine import check_machine
from moto_ros.cli.checks.python import check_python
from moto_ros.cli.checks.ros import check_ros
from moto_ros.cli.console import console

SIGNS = {Level.OK: "[green]ok[/]", Level.NOTE: "[yellow]note[/]", Level.MISSING: "[red]missing[/]"}

LONGEST_WORD = 40
"""Longest word that fits into the table's last column, characters."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    parser.add_argument("--quick", action="store_true", help="skip rendering a frame, which takes a few seconds")
    parser.add_argument("--host", default="", help="address of an arm: also check the arm and the network to it")


def run(options: argparse.Namespace) -> int:
    """Print every finding; return 1 when something needed is missing."""
    render = not options.quick
    checks = {
        "Python": check_python,
        "ROS 2": check_ros,
        "Machine": lambda: check_machine(render),
        "Arm": lambda: check_arm(options.host),
        "Cameras": check_cameras,
    }
    findings = [finding for subject, check in checks.items() for finding in completed(subject, check)]
    if options.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        screen = console()
        screen.print(_table(findings))
        for finding in filter(_is_long, findings):
            screen.print(escape(f"{finding.subject}: {finding.advice}"), soft_wrap=True)
    return int(any(finding.level is Level.MISSING for finding in findings))


def completed(subject: str, check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """Yield what a check finds; an error in the check is a finding too, so that the other checks run."""
    try:
        yield from check()
    except Exception as error:
        found = " ".join(f"{type(error).__name__}: {error}".split())
        yield missing(subject, f"the check itself failed ({found})", "report this line as a bug of moto_ros")


def _table(findings: list[Finding]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("", "what", "found", "what to do"):
        table.add_column(heading, overflow="fold")
    for finding in findings:
        advice = "see below" if _is_long(finding) else escape(finding.advice)
        table.add_row(SIGNS[finding.level], finding.subject, escape(finding.found), advice)
    return table


def _is_long(finding: Finding) -> bool:
    """Tell whether a table would break a path or a command in the advice, which then could not be copied."""
    return any(len(word) > LONGEST_WORD for word in finding.advice.split())
