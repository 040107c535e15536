"""Action scaling: from a normalised action to a motion in SI units and a gripper command. No ROS."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np

from moto_ros.robot.limits import AXES, GRIPPER, RobotSettings


class Fingers(Enum):
    """The last command to the hand."""

    LEFT_ALONE = "left alone"
    OPEN = "open"
    CLOSED = "closed"


@dataclass(frozen=True)
class Move:
    """One action in SI units; parts that the control mode does not use are zero."""

    translation: np.ndarray  # (3,) m, in the base frame
    rotation: np.ndarray  # (3,) rotation vector, rad, in the base frame
    joints: np.ndarray  # (n,) rad, or rad/s with joint velocities


class ActionScale:
    """Converts actions to moves and gripper commands."""

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
        """Return the motion of the arm for an action (A,) in [-1, 1]."""
        given = dict(zip(self.axes, (float(value) for value in values), strict=True))
        translation, rotation, joints = (
            np.array([given.get(axis, 0.0) for axis in axes]) for axes in (AXES[:3], AXES[3:6], self._joints)
        )
        steps = self._settings.translation_step, self._settings.rotation_step
        return Move(steps[0] * translation, steps[1] * rotation, self._joint_scale * joints)

    def fingers(self, values: np.ndarray, last: Fingers) -> Fingers:
        """Return the command to the hand: closed below zero, open above, `last` within the hysteresis."""
        if GRIPPER not in self.axes:
            return last
        value = float(values[self.axes.index(GRIPPER)])
        if abs(value) <= self._settings.gripper.hysteresis:
            return last
        return Fingers.CLOSED if value < 0.0 else Fingers.OPEN
