"""The driver of RealSense cameras as the registry names it: what it needs, what is checked before it is imported."""

from __future__ import annotations

from typing import ClassVar

from moto_ros.camera.interface import Camera, CameraDriver, CameraSetup
from moto_ros.errors import MotoError
from moto_ros.registry import Requirement


class RealSenseDriver(CameraDriver):
    """RealSense cameras by serial number; `synthetic-<n>` is a software device of the same SDK."""

    requires: ClassVar[Requirement | None] = Requirement("pyrealsense2", "pip install 'moto_ros[realsense]'")
    measures_depth: ClassVar[bool] = True

    @classmethod
    def make(cls, setup: CameraSetup) -> Camera:
        """Return the camera, closed."""
        if setup.device.startswith("synthetic"):
            from moto_ros.camera.realsense_synthetic import SyntheticRealSense

            return SyntheticRealSense(setup)
        from moto_ros.camera.realsense import RealSenseCamera

        return RealSenseCamera(setup)

    @classmethod
    def check(cls, setup: CameraSetup) -> None:
        """Raise MotoError without a size: a RealSense has modes, of which one must be chosen."""
        if not (setup.width and setup.height):
            raise MotoError(
                f"camera '{setup.name}' is {setup.width}x{setup.height} px, expected a size of the RealSense; set "
                "width and height"
            )
