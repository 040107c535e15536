"""A camera driver from outside the package: a bright line that moves down a dark image."""

from __future__ import annotations

import time

import numpy as np

from moto_ros.camera.interface import CameraDriver, CameraSetup, Frame, Intrinsics


class LineCamera(CameraDriver):
    """Returns frames at the requested rate."""

    def __init__(self, setup: CameraSetup) -> None:
        """Keep the setup."""
        self._setup, self._number, self._due = setup, 0, 0.0

    def open(self) -> None:
        """Start now."""
        self._due = time.monotonic()

    def intrinsics(self) -> Intrinsics:
        """Return an ideal pinhole camera."""
        width, height = self._setup.width, self._setup.height
        return Intrinsics(width, height, width, width, (width - 1) / 2, (height - 1) / 2)

    def read(self, timeout: float) -> Frame | None:
        """Return the frame of the next period, None if that is more than `timeout` seconds away."""
        wait = self._due - time.monotonic()
        if wait > timeout:
            time.sleep(timeout)
            return None
        time.sleep(max(0.0, wait))
        self._due += self._setup.period
        self._number += 1
        colour = np.zeros((self._setup.height, self._setup.width, 3), np.uint8)
        colour[self._number % self._setup.height] = 255
        now = time.time_ns()
        return Frame(colour, None, self._number, now, now, synchronised=True)

    def close(self) -> None:
        """Do nothing: nothing is open."""
