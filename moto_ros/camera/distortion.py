"""Fits the distortion model that ROS calls plumb_bob to any lens."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

GRID = 21
"""Points along each side of the grid at which a lens is fitted."""

Lens = Callable[[float, float], tuple[float, float]]
"""Maps an ideal normalised image point (x/z, y/z) to where the lens puts it, normalised too."""


def plumb_bob_of(lens: Lens, corner: tuple[float, float]) -> tuple[float, float, float, float, float]:
    """Return the k1, k2, p1, p2, k3 (Brown 1966, OpenCV's order) that fit `lens` best up to the image's `corner`.

    The model is linear in its coefficients, so this is one linear least-squares problem.
    """
    ideal = _grid(corner)
    moved = np.array([lens(float(x), float(y)) for x, y in ideal]) - ideal
    x, y = ideal.T
    r = x**2 + y**2
    for_x = np.stack([x * r, x * r**2, 2 * x * y, r + 2 * x**2, x * r**3], 1)
    for_y = np.stack([y * r, y * r**2, r + 2 * y**2, 2 * x * y, y * r**3], 1)
    found, *_ = np.linalg.lstsq(np.concatenate([for_x, for_y]), moved.T.reshape(-1), rcond=None)
    k1, k2, p1, p2, k3 = (float(value) for value in found)
    return k1, k2, p1, p2, k3


def _grid(corner: tuple[float, float]) -> np.ndarray:
    x, y = np.meshgrid(np.linspace(-corner[0], corner[0], GRID), np.linspace(-corner[1], corner[1], GRID))
    return np.stack([x.reshape(-1), y.reshape(-1)], 1)
