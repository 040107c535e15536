"""What a line of the registry of arms names: a class derived from `ArmDriver`. No ROS."""

from __future__ import annotations

from typing import Any, ClassVar, cast

from moto_ros.registry import Requirement
from moto_ros.robot.interface import Arm
from moto_ros.robot.limits import RobotSettings


class ArmDriver:
    """Derive an arm's class from it, add the methods of `interface.Arm`, and take the settings in `__init__`.

    Where the maker's package is an extra, a driver is a class of its own that imports the arm's in `make`: parameters
    are then known, and checked, where the package is not installed.
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
        """Raise MotoError where the arm could not be connected to, before any node starts; may wait a few seconds."""
