"""Parameters of the cameras: the setup of each, and when it counts as unhealthy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from moto_ros.camera.interface import CameraSetup
from moto_ros.camera.sources import CAMERAS
from moto_ros.config import REQUIRED, parameter
from moto_ros.errors import MotoError
from moto_ros.registry import Requirement


@dataclass(frozen=True)
class Health:
    """Limits beyond which a camera is late, frozen, stopped or lost."""

    late_after: float = parameter(0.2, "a frame older than this at its arrival is late", unit="s", low=0.001, high=10.0)
    frozen_after: int = parameter(
        10, "unhealthy after this many frames in a row with the pixels of the one before; 0: never", low=0
    )
    stopped_after: float = parameter(
        2.0, "unhealthy this many frame periods after the newest frame", unit="periods", low=1.1, high=100.0
    )
    lost_after: float = parameter(
        1.5, "reopen the camera after this long without a frame", unit="s", low=0.1, high=60.0
    )
    reconnect_backoff_min: float = parameter(
        0.5,
        "pause before the camera is opened again, doubled after each attempt",
        unit="s",
        low=0.05,
        high=60.0,
        formerly="retry_least",
    )
    reconnect_backoff_max: float = parameter(
        10.0, "maximum pause before the camera is opened again", unit="s", low=0.05, high=600.0, formerly="retry_most"
    )
    rate_tolerance: float = parameter(0.1, "relative error of the measured rate that is accepted", low=0.01, high=0.5)
    rate_window: float = parameter(
        2.0, "length of the windows over which the rate is measured", unit="s", low=0.2, high=60.0
    )


@dataclass(frozen=True, kw_only=True)
class CameraSettings(Health):
    """The cameras: lists with one entry for each of `cameras`, or one entry for all of them."""

    cameras: tuple[str, ...] = parameter(("agent",), "names of the cameras, as in their topics")
    source: tuple[str, ...] = parameter(
        ("realsense",), "driver of each camera; module:class for your own", choices=CAMERAS
    )
    devices: tuple[str, ...] = parameter(
        REQUIRED,
        "one per camera; realsense: serial number or synthetic-<n>; opencv: index, path or URL; topic: image topic",
    )
    width: tuple[int, ...] = parameter(
        (640,), "width; 0: the camera's own (not realsense)", unit="px", low=0, high=8192
    )
    height: tuple[int, ...] = parameter(
        (480,), "height; 0: the camera's own (not realsense)", unit="px", low=0, high=8192
    )
    rate: tuple[float, ...] = parameter((30.0,), "frames per second", unit="Hz", low=0.5, high=1000.0)
    exposure: tuple[float, ...] = parameter((0.0,), "exposure time; 0: automatic", unit="s", low=0.0, high=1.0)
    white_balance: tuple[float, ...] = parameter(
        (0.0,), "colour temperature; 0: automatic", unit="K", low=0.0, high=20000.0
    )
    depth: tuple[bool, ...] = parameter((False,), "also publish depth, aligned to colour (realsense)")
    calibrations: tuple[str, ...] = parameter(
        (), "opencv, topic: files written by ROS's camera_calibration; empty or '-': none"
    )
    compressed: bool = parameter(False, "publish JPEG (sensor_msgs/CompressedImage) instead of raw images")
    jpeg_quality: int = parameter(90, "quality of the JPEG", low=1, high=100)

    def __post_init__(self) -> None:
        """Refuse settings that contradict one another, before any camera is opened."""
        if not self.cameras or len(set(self.cameras)) != len(self.cameras):
            raise MotoError(f"parameter 'cameras' is {list(self.cameras)}, expected at least one name, each once")
        if len(set(self.devices)) != len(self.devices):
            raise MotoError(f"parameter 'devices' is {list(self.devices)}, expected each device once; remove repeats")
        if self.reconnect_backoff_min > self.reconnect_backoff_max:
            raise MotoError(
                f"parameter 'reconnect_backoff_min' is {self.reconnect_backoff_min}, expected at most "
                "reconnect_backoff_max; lower it"
            )
        for setup in self.setups():
            with CAMERAS.using(setup.source) as driver:
                driver.check(setup)

    @property
    def requirements(self) -> tuple[Requirement, ...]:
        """Return the packages that the cameras' drivers import."""
        found = (CAMERAS.load(setup.source).requires for setup in self.setups())
        return tuple({package: None for package in found if package is not None})

    def setups(self) -> list[CameraSetup]:
        """Return one setup for each camera; MotoError for a list of another length."""
        return [self._setup(index, name) for index, name in enumerate(self.cameras)]

    def _setup(self, index: int, name: str) -> CameraSetup:
        def own(key: str, values: tuple[Any, ...], shared: bool = True) -> Any:
            if len(values) == len(self.cameras):
                return values[index]
            if shared and len(values) == 1:
                return values[0]
            raise MotoError(
                f"parameter '{key}' has {len(values)} entries, expected {len(self.cameras)}, one for each of cameras "
                f"{list(self.cameras)}; give both lists the same length"
            )

        keys = ("source", "width", "height", "rate", "exposure", "white_balance", "depth")
        calibration = own("calibrations", self.calibrations, shared=False) if self.calibrations else "-"
        return CameraSetup(
            name=name,
            device=own("devices", self.devices, shared=False),
            calibration="" if calibration == "-" else calibration,
            **{key: own(key, getattr(self, key)) for key in keys},
        )
