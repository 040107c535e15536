"""What a normalised action means: how far, in which direction, and what the hand does. No ROS."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np

from moto_ros.robot.limits import AXES, GRIPPER, RobotSettings


class Fingers(Enum):
    """What the hand was told last."""

    LEFT_ALONE = "left alone"
    OPEN = "open"
    CLOSED = "closed"


@dataclass(frozen=True)
class Move:
    """One action in SI units; those parts that the control has no use for are zero."""

    translation: np.ndarray  # (3,) m, in the base frame
    rotation: np.ndarray  # (3,) rotation vector, rad, in the base frame
    joints: np.ndarray  # (n,) rad, or rad/s with joint velocities


class ActionScale:
    """Turns actions into moves and into what the fingers do."""

    def __init__(self, settings: RobotSettings) -> None:
        """Take the axes and their scales."""
        self.axes = settings.action_axes
        self._settings = settings
        velocity = settings.control == "joint_velocity"
        self._joint_scale = settings.joint_velocity_scale if velocity else settings.joint_step
        self._joints = [f"joint{number + 1}" for number in range(settings.joints)]

    @property
    def size(self) -> int:
        """Return how many entries an action has."""
        return len(self.axes)

    def move(self, values: np.ndarray) -> Move:
        """Return what an action (A,) in [-1, 1] means for the arm."""
        given = dict(zip(self.axes, (float(value) for value in values), strict=True))
        way, turn, joints = (
            np.array([given.get(axis, 0.0) for axis in axes]) for axes in (AXES[:3], AXES[3:6], self._joints)
        )
        settings = self._settings
        return Move(settings.translation_step * way, settings.rotation_step * turn, self._joint_scale * joints)

    def fingers(self, values: np.ndarray, last: Fingers) -> Fingers:
        """Return what the hand shall do: close below zero, open above, as before where it is near zero."""
        if GRIPPER not in self.axes:
            return last
        value = float(values[self.axes.index(GRIPPER)])
        if abs(value) <= self._settings.gripper.hysteresis:
            return last
        return Fingers.CLOSED if value < 0.0 else Fingers.OPEN
