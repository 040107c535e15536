"""Parameters of the robot node: those of the arm, of the scene, and of what it publishes. No ROS, no driver."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from moto_ros.config import parameter
from moto_ros.contract.peers import Peers
from moto_ros.registry import Requirement
from moto_ros.robot.arms import ARMS, DEFAULT_ARM
from moto_ros.robot.limits import RobotSettings
from moto_ros.robot.reset import SceneSettings, check_scene


@dataclass(frozen=True, kw_only=True)
class RobotNodeSettings(RobotSettings, SceneSettings, Peers):
    """Parameters of the robot node, without those that only the arm's driver has."""

    arm: str = parameter(DEFAULT_ARM, "arm to drive; module:class for a driver of your own", choices=ARMS)
    state_rate: float = parameter(100.0, "robot states per second", unit="Hz", low=50.0, high=200.0)
    cameras: tuple[str, ...] = parameter((), "cameras that must be healthy; otherwise the robot holds")
    health_timeout: float = parameter(
        3.0, "a camera without a health message for this long counts as lost", unit="s", low=1.5
    )

    @property
    def requirements(self) -> tuple[Requirement, ...]:
        """Return the packages that the arm's driver imports."""
        found = ARMS.load(self.arm).requires
        return () if found is None else (found,)

    def __post_init__(self) -> None:
        """Refuse settings that contradict one another."""
        self.check("robot")
        check_scene(self, self, "robot")


@lru_cache
def with_arm(name: str) -> type[RobotNodeSettings]:
    """Return the parameters of the robot node together with those of an arm's driver; MotoError for an unknown arm.

    Where both declare a parameter, the driver's default holds.
    """
    own = ARMS.load(name).settings_class
    if issubclass(RobotNodeSettings, own):
        return RobotNodeSettings
    bases = (own, RobotNodeSettings)
    return dataclasses.make_dataclass("RobotNodeSettings", [], bases=bases, frozen=True, kw_only=True)


def robot_settings(given: Mapping[str, Any]) -> type[RobotNodeSettings]:
    """Return the settings class of the robot node for the arm that `given` names."""
    return with_arm(str(given.get("arm", DEFAULT_ARM)))
