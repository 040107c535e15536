"""Snapshot of a simulated world after each control period: robot state, reward and success."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from moto_ros.data.proprio_fields import PROPRIO_FIELDS
from moto_ros.errors import MotoError
from moto_ros.robot.interface import ArmState


@dataclass(frozen=True)
class Snapshot:
    """Robot state in SI units, poses in the robot's base frame, and reward and success of the task.

    Arrays are float64. Arm joints only: joint_position (n,) in rad, joint_velocity (n,) in rad/s, joint_effort (n,) in
    N m, the external torque. ee_position (3,) in m; ee_quaternion (4,) xyzw; ee_linear_velocity (3,) in m/s and
    ee_angular_velocity (3,) in rad/s, along the base axes; wrench (6,) is the contact force and torque on the hand in
    N and N m, about ee_position; gripper_width in m. objects and goals (n, 3) are positions in m of the
    task's objects and goals. `shaped` is the task's dense reward, 0 to 1, whatever `reward` is.
    """

    joint_position: np.ndarray
    joint_velocity: np.ndarray
    joint_effort: np.ndarray
    ee_position: np.ndarray
    ee_quaternion: np.ndarray
    ee_linear_velocity: np.ndarray
    ee_angular_velocity: np.ndarray
    gripper_width: float
    wrench: np.ndarray
    reward: float = 0.0
    success: bool = False
    shaped: float = 0.0
    objects: np.ndarray = field(default_factory=lambda: np.zeros((0, 3)))
    goals: np.ndarray = field(default_factory=lambda: np.zeros((0, 3)))
    facts: Mapping[str, float | bool | str | tuple[str, ...]] = field(default_factory=dict)
    """Facts of this task alone, such as the kitchen elements completed so far."""

    def arm_state(self) -> ArmState:
        """Return the state of the arm as its driver would measure it, without a stamp."""
        joints = (self.joint_position, self.joint_velocity, self.joint_effort)
        pose = (self.ee_position, self.ee_quaternion, self.ee_linear_velocity, self.ee_angular_velocity)
        return ArmState(0, 0, *joints, *pose, self.wrench[:3], self.wrench[3:])

    @property
    def object_position(self) -> np.ndarray:
        """Return the position of the first object (3,); MotoError where this world tracks none."""
        return _first(self.objects, "object_position")

    @property
    def goal_position(self) -> np.ndarray:
        """Return the position of the first goal (3,); MotoError where this world has none."""
        return _first(self.goals, "goal_position")


def _first(positions: np.ndarray, name: str) -> np.ndarray:
    if not len(positions):
        raise MotoError(f"proprio field '{name}': this world has none; leave it out of 'proprio'")
    return positions[0]


def proprio(snapshot: Snapshot, fields: Sequence[str]) -> np.ndarray:
    """Concatenate the named fields of the robot state as float32 (P,), in the given order."""
    unknown = [name for name in fields if name not in PROPRIO_FIELDS]
    if unknown:
        raise MotoError(f"proprio field '{unknown[0]}' is unknown, expected some of {', '.join(PROPRIO_FIELDS)}")
    parts = [np.atleast_1d(getattr(snapshot, name)) for name in fields]
    return np.concatenate(parts or [np.zeros(0)]).astype(np.float32)
