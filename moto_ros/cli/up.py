"""`moto up SYSTEM`: start a system's processes, as `ros2 launch` would, without the launch package."""

from __future__ import annotations

import argparse

from moto_ros.cli import systems
from moto_ros.systems.bringup import SYSTEMS

run = systems.run


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the system's name and its arguments."""
    parser.add_argument("system", choices=tuple(SYSTEMS), help="which system to start")
    systems.configure(parser)
