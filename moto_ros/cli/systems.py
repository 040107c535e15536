"""`moto record`, `moto pretrain`, `moto evaluate`: one system each; `moto up` starts any of them."""

from __future__ import annotations

import argparse
from collections.abc import Iterable

from moto_ros.cli.arguments import add_arguments, given_arguments
from moto_ros.systems.phases import SystemPhase, alone
from moto_ros.systems.processes import run_system


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the system's arguments."""
    add_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Run the named system; the one that has the sub-command's name where no other is named."""
    return run_phases(alone(getattr(options, "system", options.command), given_arguments(options)))


def run_phases(phases: Iterable[SystemPhase]) -> int:
    """Run one phase after the other; return the status of the first that ends with another than 0."""
    for phase in phases:
        print(f"== {phase.title}", flush=True)
        if status := run_system(phase.system):
            return status
    return 0
