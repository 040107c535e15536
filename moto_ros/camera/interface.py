"""Interface of a camera driver: implement it to support another kind of camera."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, cast, runtime_checkable

import numpy as np

from moto_ros.errors import MotoError
from moto_ros.registry import Requirement


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
class CameraSetup:
    """Requested settings of one camera."""

    name: str
    source: str
    device: str
    width: int  # px; 0: the camera's own
    height: int
    rate: float  # Hz
    exposure: float  # s; 0: automatic
    white_balance: float  # K; 0: automatic
    depth: bool
    calibration: str

    @property
    def period(self) -> float:
        """Seconds between two frames."""
        return 1.0 / self.rate


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


@runtime_checkable
class RelayedCamera(Protocol):
    """A camera whose images another node publishes; the camera node subscribes to them, on its executor's thread."""

    image_topic: str
    """Images: sensor_msgs/CompressedImage where the name ends in /compressed, else sensor_msgs/Image."""

    info_topic: str
    """The calibration, sensor_msgs/CameraInfo."""

    publishers: Callable[[], int]
    """Returns how many nodes publish the images; set by the camera node."""

    def image(self, message: Any) -> None:
        """Take an image message."""

    def camera_info(self, message: Any) -> None:
        """Take a sensor_msgs/CameraInfo."""


class CameraDriver:
    """Base class of a driver: add the methods of `Camera`, and an `__init__` that takes the setup.

    Where the maker's package is optional, derive a separate driver class that imports the camera's class in `make`:
    then setups are checked also where the package is not installed.
    """

    requires: ClassVar[Requirement | None] = None
    """The maker's package."""

    measures_depth: ClassVar[bool] = False

    @classmethod
    def make(cls, setup: CameraSetup) -> Camera:
        """Return the camera, closed."""
        return cast("Camera", cast("Any", cls)(setup))

    @classmethod
    def check(cls, setup: CameraSetup) -> None:
        """Raise MotoError where `setup` asks for something that such a camera cannot do."""
        if setup.depth and not cls.measures_depth:
            raise MotoError(
                f"camera '{setup.name}': parameter 'depth' is true, but source {setup.source} measures no depth; set "
                "it to false"
            )
