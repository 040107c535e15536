"""Standstill detection from measured positions: an arm still moves after the end of control. No ROS."""

from __future__ import annotations

import numpy as np

MOTION_TOLERANCE = 0.0002
"""m; a larger displacement counts as motion: above the noise of an arm's encoders."""

STANDSTILL_TIME = 100_000_000
"""ns without motion, by the stamps of the measurements, after which the arm counts as standing still."""


class Standstill:
    """Watches an arm from the end of control until it stands still; later motion does not change the result."""

    def __init__(self) -> None:
        """Start with an arm that stands still."""
        self.reached = True
        self._position: np.ndarray = np.full(3, np.inf)
        self._since = 0

    def begin(self) -> None:
        """Start over: control has ended and the arm brakes."""
        self.reached, self._position = False, np.full(3, np.inf)

    def update(self, position: np.ndarray, stamp: int) -> bool:
        """Add a measured position (3,) m with its stamp, ns; return whether the arm has stood still since `begin`."""
        if float(np.linalg.norm(position - self._position)) > MOTION_TOLERANCE:
            self._position, self._since = np.array(position), stamp
        self.reached = self.reached or stamp - self._since >= STANDSTILL_TIME
        return self.reached
