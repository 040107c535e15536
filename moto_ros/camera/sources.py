"""Which class drives which source. A new kind of camera implements `interface.Camera` and gets its line here."""

from __future__ import annotations

import importlib

from moto_ros.camera.interface import Camera
from moto_ros.camera.settings import Setup
from moto_ros.errors import MotoError

DRIVERS = {
    "realsense": "moto_ros.camera.realsense:RealSenseCamera",
    "synthetic": "moto_ros.camera.realsense_synthetic:SyntheticRealSense",
    "opencv": "moto_ros.camera.opencv:OpenCvCamera",
    "topic": "moto_ros.camera.topic:TopicCamera",
}
"""Source -> module:class; a module is imported where it is used only, since its SDK is installed there only."""


def make_camera(setup: Setup) -> Camera:
    """Return the closed camera that a setup names; MotoError when its SDK is not installed."""
    synthetic = setup.source == "realsense" and setup.device.startswith("synthetic")
    module, name = DRIVERS["synthetic" if synthetic else setup.source].split(":")
    try:
        driver = getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise MotoError(
            f"camera '{setup.name}': {error.name} is not installed, expected for source {setup.source}; "
            "pip install 'moto_ros[realsense]'"
        ) from error
    camera: Camera = driver(setup)
    return camera
