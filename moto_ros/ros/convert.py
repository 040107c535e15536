"""Conversion between ROS messages and NumPy arrays, without a Python list in between."""

from __future__ import annotations

import array

import cv2
import numpy as np
from builtin_interfaces.msg import Time
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from moto_ros.camera.interface import Intrinsics
from moto_ros.contract.stamps import NSEC_PER_SEC
from moto_ros.contract.stamps import to_nanoseconds as to_nanoseconds
from moto_ros.errors import MotoError


def to_time(nanoseconds: int) -> Time:
    """Return a ROS time from nanoseconds."""
    return Time(sec=nanoseconds // NSEC_PER_SEC, nanosec=nanoseconds % NSEC_PER_SEC)


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


def jpeg_message(pixels: np.ndarray, stamp: Time, frame: str, quality: int) -> CompressedImage:
    """Return uint8 (H, W, 3) RGB pixels as a JPEG message; raise MotoError when OpenCV cannot encode them."""
    bgr = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise MotoError(f"{frame}: OpenCV cannot encode a {pixels.shape} image as JPEG; publish raw images")
    message = CompressedImage(format="rgb8; jpeg compressed bgr8", data=to_bytes(data))
    message.header.stamp, message.header.frame_id = stamp, frame
    return message


def depth_message(depth: np.ndarray, stamp: Time, frame: str) -> Image:
    """Return uint16 (H, W) millimetres as a `16UC1` image message (REP-118)."""
    height, width = depth.shape
    message = Image(height=height, width=width, encoding="16UC1", is_bigendian=0, step=2 * width)
    message.header.stamp, message.header.frame_id = stamp, frame
    message.data = to_bytes(depth.astype("<u2", copy=False))
    return message


def camera_info(found: Intrinsics, frame: str) -> CameraInfo:
    """Return a calibration message of a camera that is not rectified; its stamp is set when it is sent."""
    message = CameraInfo(height=found.height, width=found.width, distortion_model=found.distortion_model)
    message.header.frame_id = frame
    message.d = list(found.distortion)
    message.k = [found.fx, 0.0, found.cx, 0.0, found.fy, found.cy, 0.0, 0.0, float(found.fx > 0)]
    message.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    message.p = [found.fx, 0.0, found.cx, 0.0, 0.0, found.fy, found.cy, 0.0, 0.0, 0.0, float(found.fx > 0), 0.0]
    return message


def optical_frame(camera: str) -> str:
    """Return the frame of a camera's images (REP-103: z forward, x right, y down)."""
    return f"{camera}_optical_frame"
