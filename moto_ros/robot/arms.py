"""Registry of arms; a new arm is a file that implements `interface.Arm`, and one line here."""

from __future__ import annotations

import importlib

from moto_ros.errors import MotoError
from moto_ros.robot.interface import Arm
from moto_ros.robot.limits import RobotSettings

ARMS = {"franka": "moto_ros.robot.franka_arm:FrankaArm"}
"""Name of an arm, and where its class is; only the chosen one is imported, since it needs the maker's driver."""


def make_arm(name: str, settings: RobotSettings) -> Arm:
    """Return the arm called `name`. Raises MotoError if its driver is not installed."""
    module, kind = ARMS[name].split(":")
    try:
        made: Arm = getattr(importlib.import_module(module), kind)(settings)
    except ImportError as error:
        raise MotoError(
            f"arm '{name}': its driver cannot be imported ({error}); pip install 'moto_ros[{name}]'"
        ) from error
    return made
