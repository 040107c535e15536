"""Whether an arm stands, by what is measured: the end of control is not yet the end of motion. No ROS."""

from __future__ import annotations

import numpy as np

MOVED = 0.0002
"""m from the place where it seemed to stand that count as motion: above the noise of an arm's encoders."""

STANDS = 100_000_000
"""ns without motion after which it stands, by the stamps of the measurements: without new ones nothing is known."""


class Standstill:
    """Follows an arm from the end of its control until it stands; who moves it afterwards is no concern of ours."""

    def __init__(self) -> None:
        """Start with an arm that stands."""
        self.reached = True
        self._position: np.ndarray = np.full(3, np.inf)
        self._since = 0

    def begin(self) -> None:
        """Control has just ended: it brakes."""
        self.reached, self._position = False, np.full(3, np.inf)

    def look(self, position: np.ndarray, stamp: int) -> bool:
        """Take a measured position (3,) m and its stamp, ns; return whether it stands, or has stood, since `begin`."""
        if float(np.linalg.norm(position - self._position)) > MOVED:
            self._position, self._since = np.array(position), stamp
        self.reached = self.reached or stamp - self._since >= STANDS
        return self.reached
