"""Reward rules on hardware: when the robot state alone shows that a task is solved. No ROS."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from moto_ros.config import parameter
from moto_ros.errors import MotoError


@dataclass(frozen=True)
class Measured:
    """Inputs of a rule: stamp (ns), episode and steps executed, end effector (3,) m in the base frame, width m."""

    stamp: int
    episode: int
    step: int
    position: np.ndarray
    width: float


@dataclass(frozen=True)
class RuleSettings:
    """Parameters of the reward: 1 in every step in which the rule holds, else 0."""

    rule: str = parameter(
        "none",
        "what rewards a step: only the operator, the end effector near a point or above a height, or reward/external",
        choices=("none", "distance", "height", "external"),
    )
    goal: tuple[float, ...] = parameter((), "rule distance: point x, y, z in the base frame", unit="m")
    radius: float = parameter(
        0.02, "rule distance: maximum distance from the point that is rewarded", unit="m", low=0.0, high=10.0
    )
    height: float = parameter(0.0, "rule height: minimum z of the end effector that is rewarded", unit="m")
    grip: tuple[float, ...] = parameter(
        (),
        "rule height: minimum and maximum gripper width while an object is held; empty: any width",
        unit="m",
    )
    hold_steps: int = parameter(1, "steps in a row in which the rule must hold before it rewards", unit="steps", low=1)

    def __post_init__(self) -> None:
        """Refuse a rule that lacks its numbers."""
        if self.rule == "distance" and len(self.goal) != 3:
            raise MotoError(f"parameter 'goal' is {self.goal}, expected x, y, z in m; set it for rule distance")
        if self.grip and (len(self.grip) != 2 or self.grip[0] > self.grip[1]):
            raise MotoError(f"parameter 'grip' is {self.grip}, expected minimum and maximum width in m; set it, or []")

    def holds(self, measured: Measured) -> bool:
        """Return whether the rule holds in a robot state."""
        if self.rule == "distance":
            return bool(np.linalg.norm(measured.position - np.array(self.goal)) <= self.radius)
        grasped = not self.grip or self.grip[0] <= measured.width <= self.grip[1]
        return self.rule == "height" and measured.position[2] >= self.height and grasped
