"""Between ROS messages and arrays, without a Python list in between."""

from __future__ import annotations

import array
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from sensor_msgs.msg import Image

SECOND = 1_000_000_000


def to_time(nanoseconds: int) -> Time:
    """Return a ROS time from nanoseconds."""
    return Time(sec=nanoseconds // SECOND, nanosec=nanoseconds % SECOND)


def to_nanoseconds(stamp: Any) -> int:
    """Return nanoseconds from a ROS time."""
    return int(stamp.sec) * SECOND + int(stamp.nanosec)


def to_bytes(data: bytes | np.ndarray) -> array.array:
    """Return bytes as the `array` that rclpy's uint8[] fields take without a check per element."""
    found = array.array("B")
    found.frombytes(data if isinstance(data, bytes) else np.ascontiguousarray(data).tobytes())
    return found


def image_message(pixels: np.ndarray, stamp: Time, frame: str) -> Image:
    """Return uint8 (H, W, 3) RGB pixels as an `rgb8` image message."""
    height, width, _ = pixels.shape
    message = Image(height=height, width=width, encoding="rgb8", is_bigendian=0, step=3 * width)
    message.header.stamp, message.header.frame_id = stamp, frame
    message.data = to_bytes(pixels)
    return message
