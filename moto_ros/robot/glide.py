"""How a target moves: with bounded speed and acceleration towards a goal, to be there in the time it has. No ROS."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Bounds:
    """Greatest speed and acceleration; `order` says of what: 2 of the vector's length, inf of each entry."""

    speed: float
    acceleration: float
    order: float = 2

    def size(self, vector: np.ndarray) -> float:
        """Return the length of a vector, or its greatest entry."""
        return float(np.linalg.norm(vector, self.order))


def steer(velocity: np.ndarray, way: np.ndarray, remaining: float, dt: float, bounds: Bounds) -> np.ndarray:
    """Return the velocity for the next `dt` seconds, from the present one and the way (n,) that is left.

    It is such as to be there in `remaining` seconds, changes by no more than the acceleration allows, and is never
    greater than the speed. It brakes in time not to pass the goal.
    """
    distance = bounds.size(way)
    wanted = np.zeros_like(way)
    if distance > 0.0:
        speed = min(distance / max(remaining, dt), math.sqrt(2.0 * bounds.acceleration * distance), bounds.speed)
        wanted = way * (speed / distance)
    return velocity + limited(wanted - velocity, bounds.acceleration * dt, bounds)


def limited(vector: np.ndarray, most: float, bounds: Bounds) -> np.ndarray:
    """Return the vector, shortened to the size `most` where it is longer."""
    size = bounds.size(vector)
    return vector if size <= most else vector * (most / size)
