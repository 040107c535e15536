"""Reads a camera's calibration from the file that ROS's camera_calibration writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from moto_ros.camera.interface import Intrinsics
from moto_ros.errors import MotoError


def read_calibration(path: Path) -> Intrinsics:
    """Return a camera's calibration; MotoError when the file is missing or has another format."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        return _intrinsics(content)
    except OSError as error:
        raise MotoError(
            f"{path}: {error.strerror}, expected a file of ROS's camera_calibration; give its path"
        ) from error
    except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        found = " ".join(f"{type(error).__name__} {error}".split())
        raise MotoError(
            f"{path}: {found}, expected image_width, image_height, camera_matrix, distortion_model and "
            "distortion_coefficients as ROS's camera_calibration writes them; calibrate again"
        ) from error


def _intrinsics(content: Any) -> Intrinsics:
    fx, _, cx, _, fy, cy, *_ = (float(value) for value in content["camera_matrix"]["data"])
    distortion = tuple(float(value) for value in content["distortion_coefficients"]["data"])
    width, height = int(content["image_width"]), int(content["image_height"])
    return Intrinsics(width, height, fx, fy, cx, cy, str(content["distortion_model"]), distortion)


def uncalibrated(width: int, height: int) -> Intrinsics:
    """Return the intrinsics of a camera that is not calibrated: its image size alone."""
    return Intrinsics(width, height, 0.0, 0.0, 0.0, 0.0)
