"""`moto finetune`: demonstrations, offline phase, online phase, evaluations and report, with one command."""

from __future__ import annotations

import argparse

from moto_ros.cli.arguments import add_arguments, given_arguments
from moto_ros.cli.report import report_on
from moto_ros.cli.systems import run_phases
from moto_ros.systems.bringup import run_folder
from moto_ros.systems.phases import finetune


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the system's arguments and --fresh."""
    add_arguments(parser)
    parser.add_argument(
        "--fresh", action="store_true", help="set an existing run folder aside and start again from the beginning"
    )


def run(options: argparse.Namespace) -> int:
    """Run every system that is still to run, then write the report."""
    given = given_arguments(options)
    return run_phases(finetune(given, fresh=options.fresh)) or report_on([run_folder(given)])
