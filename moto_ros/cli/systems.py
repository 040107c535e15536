"""`moto record`, `moto pretrain`, `moto evaluate`: one system each; `moto up` starts any of them."""

from __future__ import annotations

import argparse
from collections.abc import Iterable

from moto_ros.cli.arguments import add_arguments, given_arguments
from moto_ros.systems.phases import SystemPhase, single_phase
from moto_ros.systems.processes import run_system


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the system's arguments."""
    add_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Run the system that `moto up` names, or the one with the sub-command's name."""
    return run_phases(single_phase(getattr(options, "system", options.command), given_arguments(options)))


def run_phases(phases: Iterable[SystemPhase]) -> int:
    """Run one phase after the other; return the first exit status that is not 0."""
    for phase in phases:
        print(f"== {phase.title}", flush=True)
        if status := run_system(phase.system):
            return status
    return 0
