"""Forward kinematics of the Franka arms (FR3 and Panda have the same), to check joint targets and home. No ROS."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial.transform import Rotation

from moto_ros.robot.interface import ArmState

# Denavit-Hartenberg parameters after Craig, from Franka's documentation: a (m), d (m), alpha (rad).
CHAIN = (
    (0.0, 0.333, 0.0),
    (0.0, 0.0, -np.pi / 2),
    (0.0, 0.316, np.pi / 2),
    (0.0825, 0.0, np.pi / 2),
    (-0.0825, 0.384, -np.pi / 2),
    (0.0, 0.0, np.pi / 2),
    (0.088, 0.0, np.pi / 2),
)


@dataclass(frozen=True)
class Pose:
    """A place and an orientation in the base frame."""

    position: np.ndarray  # (3,) m
    rotation: Rotation

    def __matmul__(self, other: Pose) -> Pose:
        """Return `other`, given in this pose's frame, in the base frame."""
        return Pose(self.position + self.rotation.apply(other.position), self.rotation * other.rotation)

    def inverse(self) -> Pose:
        """Return the base frame in this pose's frame."""
        back = self.rotation.inv()
        return Pose(-back.apply(self.position), back)


def measured(state: ArmState) -> Pose:
    """Return the measured pose of the end effector."""
    return Pose(state.position, Rotation.from_quat(state.quaternion))


def last_joint(positions: ArrayLike) -> Pose:
    """Return the pose of the seventh joint's frame for joint positions (7,) rad."""
    pose = Pose(np.zeros(3), Rotation.identity())
    for (a, d, alpha), angle in zip(CHAIN, np.asarray(positions, float), strict=True):
        tilt = Rotation.from_rotvec([alpha, 0.0, 0.0])
        offset = np.array([a, 0.0, 0.0]) + tilt.apply([0.0, 0.0, d])
        pose = pose @ Pose(offset, tilt * Rotation.from_rotvec([0.0, 0.0, angle]))
    return pose


class Kinematics:
    """From joint positions to the end effector, wherever the tool's tip is said to be: one measurement shows it."""

    def __init__(self, state: ArmState) -> None:
        """Take the tool's place in the last joint's frame from a measurement."""
        self._tool = last_joint(state.joint_position).inverse() @ measured(state)

    def pose(self, positions: ArrayLike) -> Pose:
        """Return the end effector's pose for joint positions (7,) rad."""
        return last_joint(positions) @ self._tool
