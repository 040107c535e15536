"""Camera sources by name: what drives a camera."""

from __future__ import annotations

from moto_ros.camera.interface import Camera, CameraDriver, CameraSetup
from moto_ros.errors import MotoError
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
    """Return the camera that a setup names, closed; MotoError where the package of its source is not installed."""
    driver = CAMERAS.load(setup.source)
    package = driver.requires
    if package is not None and not package.is_installed():
        raise MotoError(
            f"camera '{setup.name}': {package.module} is not installed, expected for source {setup.source}; "
            f"{package.install}"
        )
    return driver.make(setup)
