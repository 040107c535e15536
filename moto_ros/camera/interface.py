"""What the camera node asks of a camera: the one file to implement for another kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np


class CameraLost(Exception):  # noqa: N818 - the field's word
    """The camera does not answer; the text is one sentence: what happened and what to do."""


@dataclass(frozen=True)
class Intrinsics:
    """A pinhole camera: focal lengths and principal point in pixels, and a distortion model as ROS names it.

    Zero focal lengths say that the camera is not calibrated, as in sensor_msgs/CameraInfo.
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    distortion_model: str = "plumb_bob"
    distortion: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Frame:
    """One exposure as the device gave it."""

    colour: np.ndarray  # uint8 (H, W, 3) RGB, not shared with the driver
    depth: np.ndarray | None  # uint16 (H, W) millimetres
    number: int  # the device's own frame number
    device_time: int  # ns of the device's clock at exposure; 0 where the device has none
    arrival: int  # ns of the system clock when the driver handed it over
    synchronised: bool = False  # whether device_time is already this computer's system clock


class Camera(Protocol):
    """One camera. All calls are made by one thread."""

    def open(self) -> None:
        """Start streaming as configured. Raises CameraLost, saying what to check."""

    def intrinsics(self) -> Intrinsics:
        """Return the calibration of the colour image."""

    def read(self, timeout: float) -> Frame | None:
        """Return the next frame, None when none came within `timeout` seconds. Raises CameraLost."""

    def close(self) -> None:
        """Stop streaming; may be called at any time, also twice."""
