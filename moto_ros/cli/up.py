"""`moto up SYSTEM`: start a system's processes, as `ros2 launch` would, without the launch package."""

from __future__ import annotations

import argparse

from moto_ros.cli.arguments import add_arguments, given_arguments
from moto_ros.cli.systems import run_phases
from moto_ros.systems.bringup import SYSTEMS
from moto_ros.systems.phases import alone


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the system's name and its arguments."""
    parser.add_argument("system", choices=tuple(SYSTEMS), help="which system to start")
    add_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Start the system and wait for its end."""
    return run_phases(alone(options.system, given_arguments(options)))
