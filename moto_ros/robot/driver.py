"""Base class of arm drivers: the registry of arms names classes derived from `ArmDriver`. No ROS."""

from __future__ import annotations

from typing import Any, ClassVar, cast

from moto_ros.registry import Requirement
from moto_ros.robot.interface import Arm
from moto_ros.robot.limits import RobotSettings


class ArmDriver:
    """Base class of a driver: add the methods of `interface.Arm`, and an `__init__` that takes the settings.

    Where the maker's package is optional, derive a separate driver class that imports the arm's class in `make`: then
    the parameters are known and checked also where the package is not installed.
    """

    settings_class: ClassVar[type[RobotSettings]] = RobotSettings
    """Its parameters: a frozen dataclass derived from RobotSettings that adds its own, and defaults for this arm."""

    requires: ClassVar[Requirement | None] = None
    """The maker's package."""

    @classmethod
    def make(cls, settings: Any) -> Arm:
        """Return the arm, not connected yet, for settings of `settings_class`."""
        return cast("Arm", cast("Any", cls)(settings))

    @classmethod
    def check_connection(cls, settings: Any) -> None:
        """Raise MotoError if the arm cannot be connected to. Called before any node starts; may take a few seconds."""
