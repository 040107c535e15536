"""Parameters of the robot node: everything about the arm, the scene, and what it publishes. No ROS, no driver."""

from __future__ import annotations

from dataclasses import dataclass

from moto_ros.config import parameter
from moto_ros.contract.peers import Peers
from moto_ros.robot.arms import ARMS
from moto_ros.robot.limits import RobotSettings, check_robot
from moto_ros.robot.reset import SceneSettings, check_scene


@dataclass(frozen=True, kw_only=True)
class RobotNodeSettings(RobotSettings, SceneSettings, Peers):
    """The robot node."""

    arm: str = parameter("franka", "which arm", choices=tuple(ARMS))
    state_rate: float = parameter(100.0, "robot states a second", unit="Hz", low=50.0, high=200.0)
    cameras: tuple[str, ...] = parameter((), "cameras without whose sight it does not move")
    health_timeout: float = parameter(
        3.0, "a camera without a health message for this long counts as lost", unit="s", low=1.5
    )

    def __post_init__(self) -> None:
        """Refuse settings that contradict one another."""
        check_robot(self, "robot")
        check_scene(self, self, "robot")
