"""Registry of camera sources: the driver class of each, by name."""

from __future__ import annotations

from moto_ros.camera.interface import Camera, CameraDriver, CameraSetup
from moto_ros.registry import Registry

CAMERAS: Registry[CameraDriver] = Registry(
    "camera source",
    "moto_ros.cameras",
    CameraDriver,
    {
        "realsense": "moto_ros.camera.realsense_driver:RealSenseDriver",
        "opencv": "moto_ros.camera.opencv:OpenCvCamera",
        "topic": "moto_ros.camera.topic:TopicCamera",
    },
)


def make_camera(setup: CameraSetup) -> Camera:
    """Return the camera of a setup, not opened yet.

    Raises MotoError where the package of its source is not installed or cannot be imported.
    """
    with CAMERAS.using(setup.source) as driver:
        if driver.requires is not None:
            driver.requires.require(f"camera '{setup.name}' (source {setup.source})")
        return driver.make(setup)
