"""Envelope of a target: workspace box, tilt, and distance to the measured pose. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

APPROACH = (0.0, 0.0, 1.0)
"""The tool's axis, in the tool's frame."""


@dataclass(frozen=True)
class Box:
    """A box in the base frame, m."""

    low: np.ndarray
    high: np.ndarray

    @classmethod
    def of(cls, low: Sequence[float], high: Sequence[float]) -> Box:
        """Return the box between two corners (3,)."""
        return cls(np.array(low, float), np.array(high, float))

    def clip(self, position: np.ndarray) -> np.ndarray:
        """Return the nearest position inside."""
        return np.clip(position, self.low, self.high)

    def outside(self, position: np.ndarray) -> float:
        """Return how far (m) a position is outside, 0 inside."""
        return float(np.linalg.norm(position - self.clip(position)))


def tilt(rotation: Rotation, home: Rotation) -> float:
    """Return the angle (rad) of the tool's axis to its direction at home; rotation about the axis does not count."""
    cosine = float(np.dot(rotation.apply(APPROACH), home.apply(APPROACH)))
    return float(np.arccos(np.clip(cosine, -1.0, 1.0)))


def clip_tilt(rotation: Rotation, home: Rotation, limit: float) -> Rotation:
    """Return the orientation, rotated back by the shortest rotation if it is tilted by more than `limit` (rad)."""
    angle = tilt(rotation, home)
    if angle <= limit:
        return rotation
    axis = np.cross(rotation.apply(APPROACH), home.apply(APPROACH))
    length = np.linalg.norm(axis)
    # Upside down, all rotations back are equally long: take the one about the tool's x axis.
    axis = axis / length if length > 1e-9 else rotation.apply((1.0, 0.0, 0.0))
    return Rotation.from_rotvec(axis * (angle - limit)) * rotation


def clip_lead(position: np.ndarray, measured: np.ndarray, limit: float) -> np.ndarray:
    """Return the position, moved towards the measured one if it is farther away than `limit` (m)."""
    lead = position - measured
    distance = float(np.linalg.norm(lead))
    return position if distance <= limit else measured + lead * (limit / distance)


def clip_turn(rotation: Rotation, measured: Rotation, limit: float) -> Rotation:
    """Return the orientation, rotated towards the measured one if the angle between them exceeds `limit` (rad)."""
    turn = (rotation * measured.inv()).as_rotvec()
    angle = float(np.linalg.norm(turn))
    return rotation if angle <= limit else Rotation.from_rotvec(turn * (limit / angle)) * measured
