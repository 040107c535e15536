"""Forward kinematics from Denavit-Hartenberg parameters, to check joint targets and home. No ROS."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial.transform import Rotation

from moto_ros.robot.interface import ArmState

Chain = Sequence[tuple[float, float, float]]

FRANKA = (
    (0.0, 0.333, 0.0),
    (0.0, 0.0, -np.pi / 2),
    (0.0, 0.316, np.pi / 2),
    (0.0825, 0.0, np.pi / 2),
    (-0.0825, 0.384, -np.pi / 2),
    (0.0, 0.0, np.pi / 2),
    (0.088, 0.0, np.pi / 2),
)
"""The chain of FR3 and Panda, from Franka's documentation."""


@dataclass(frozen=True)
class Pose:
    """A position and an orientation in the base frame."""

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


def last_joint(positions: ArrayLike, chain: Chain) -> Pose:
    """Return the pose of the last joint's frame for joint positions (n,) rad."""
    whole = np.eye(4)
    for (a, d, alpha), angle in zip(chain, np.asarray(positions, float), strict=True):
        whole = whole @ _link(a, d, alpha, angle)
    return Pose(whole[:3, 3], Rotation.from_matrix(whole[:3, :3]))


def _link(a: float, d: float, alpha: float, angle: float) -> np.ndarray:
    """Return a link's transformation (4, 4) (Craig, Introduction to Robotics, equation 3.6)."""
    cos, sin, cos_alpha, sin_alpha = math.cos(angle), math.sin(angle), math.cos(alpha), math.sin(alpha)
    return np.array(
        [
            [cos, -sin, 0.0, a],
            [sin * cos_alpha, cos * cos_alpha, -sin_alpha, -sin_alpha * d],
            [sin * sin_alpha, cos * sin_alpha, cos_alpha, cos_alpha * d],
            [0.0, 0.0, 0.0, 1.0],
        ]
    )


class Kinematics:
    """Forward kinematics to the end effector; the tool's transform is taken from one measurement."""

    def __init__(self, state: ArmState, chain: Chain) -> None:
        """Compute the tool's pose in the last joint's frame from a measurement."""
        self._chain = chain
        self._tool = last_joint(state.joint_position, chain).inverse() @ measured(state)

    def pose(self, positions: ArrayLike) -> Pose:
        """Return the end effector's pose for joint positions (n,) rad."""
        return last_joint(positions, self._chain) @ self._tool
