"""Driver class of RealSense cameras for the registry: its package, and the checks before that is imported."""

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
        """Raise MotoError for a setup without a size: one of the modes of a RealSense must be chosen."""
        if not (setup.width and setup.height):
            raise MotoError(
                f"camera '{setup.name}' is {setup.width}x{setup.height} px, expected a size of one of its modes; "
                "set width and height"
            )
