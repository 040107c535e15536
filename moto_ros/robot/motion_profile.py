"""Motion profile of a target: bounded speed and acceleration towards a goal, within a given time. No ROS."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Bounds:
    """Maximum speed and acceleration, of the vector's norm of that `order`: 2 for its length, inf for each entry."""

    speed: float
    acceleration: float
    order: float = 2

    def norm(self, vector: np.ndarray) -> float:
        """Return the length of a vector, or its largest entry."""
        return float(np.linalg.norm(vector, self.order))


def next_velocity(velocity: np.ndarray, to_goal: np.ndarray, remaining: float, dt: float, bounds: Bounds) -> np.ndarray:
    """Return the velocity for the next `dt` seconds, from the present one and the vector `to_goal` (n,).

    It reaches the goal in `remaining` seconds where the bounds on speed and acceleration allow that, and brakes in time
    not to overshoot.
    """
    distance = bounds.norm(to_goal)
    wanted = np.zeros_like(to_goal)
    if distance > 0.0:
        speed = min(distance / max(remaining, dt), math.sqrt(2.0 * bounds.acceleration * distance), bounds.speed)
        wanted = to_goal * (speed / distance)
    return velocity + clip_norm(wanted - velocity, bounds.acceleration * dt, bounds)


def clip_norm(vector: np.ndarray, limit: float, bounds: Bounds) -> np.ndarray:
    """Return the vector, scaled down to the norm `limit` if it exceeds it."""
    size = bounds.norm(vector)
    return vector if size <= limit else vector * (limit / size)
