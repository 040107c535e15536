"""`moto record`, `moto pretrain`, `moto evaluate`: the systems that are one step of the work, each by its own name."""

from __future__ import annotations

import argparse

from moto_ros.bringup import resolve
from moto_ros.cli.arguments import add_arguments, given_arguments
from moto_ros.cli.processes import run_system


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the system's arguments."""
    add_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Run the system that has the sub-command's name."""
    return run_system(resolve(options.command, given_arguments(options)))
