"""Cameras of other drivers: users of realsense-ros, or of any camera driver, keep it."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")

from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from moto_ros.camera.interface import CameraLost, CameraSetup
from moto_ros.camera.pattern import Pattern
from moto_ros.camera.topic import TopicCamera, info_topic
from moto_ros.ros.convert import image_message, jpeg_message, to_time

PIXELS = Pattern(64, 48).colour(7)
STAMP = 1_700_000_000_123_456_789


def camera(width: int = 0, height: int = 0) -> TopicCamera:
    """Return the camera of a topic, opened."""
    made = TopicCamera(CameraSetup("wrist", "topic", "/cam/image_raw", width, height, 30.0, 0.0, 0.0, False, ""))
    made.open()
    return made


def bgr(pixels: np.ndarray) -> Image:
    """Return pixels as OpenCV's users publish them."""
    message = image_message(np.ascontiguousarray(pixels[..., ::-1]), to_time(STAMP), "their_frame")
    message.encoding = "bgr8"
    return message


@pytest.mark.parametrize("message", [image_message(PIXELS, to_time(STAMP), "f"), bgr(PIXELS)])
def test_raw_images_of_any_common_encoding_become_rgb_with_the_stamp_of_their_exposure(message: Image) -> None:
    made = camera()
    made.image(message)
    frame = made.read(0.0)
    assert frame is not None
    np.testing.assert_array_equal(frame.colour, PIXELS)
    assert frame.colour.flags.owndata
    assert (frame.device_time, frame.synchronised) == (STAMP, True)


def test_jpeg_images_are_decoded_whole() -> None:
    made = camera()
    made.image(jpeg_message(PIXELS, to_time(STAMP), "f", 95))
    frame = made.read(0.0)
    assert frame is not None
    assert frame.colour.shape == PIXELS.shape
    assert np.abs(frame.colour.astype(int) - PIXELS).mean() < 8


def test_the_calibration_of_the_neighbour_topic_is_handed_on() -> None:
    made = camera()
    assert made.intrinsics().fx == 0.0
    info = CameraInfo(width=64, height=48, distortion_model="rational_polynomial", d=[0.1] * 8)
    info.k = [51.0, 0.0, 31.0, 0.0, 52.0, 23.0, 0.0, 0.0, 1.0]
    made.camera_info(info)
    found = made.intrinsics()
    assert (found.fx, found.fy, found.cx, found.cy) == (51.0, 52.0, 31.0, 23.0)
    assert (found.distortion_model, found.distortion) == ("rational_polynomial", (0.1,) * 8)


@pytest.mark.parametrize(
    ("image", "info"),
    [
        ("/cam/color/image_raw", "/cam/color/camera_info"),
        ("/cam/color/image_raw/compressed", "/cam/color/camera_info"),
        ("image", "camera_info"),
    ],
)
def test_the_calibration_is_looked_for_beside_the_images(image: str, info: str) -> None:
    assert info_topic(image) == info


def test_a_topic_that_nobody_publishes_is_said_to_be_so() -> None:
    made = camera()
    made.publishers = lambda: 0
    with pytest.raises(CameraLost, match="topic /cam/image_raw has no publisher"):
        made.open()


def test_images_of_another_size_or_that_cannot_be_read_are_refused_by_name() -> None:
    made = camera(width=32, height=32)
    made.image(image_message(PIXELS, to_time(STAMP), "f"))
    with pytest.raises(CameraLost, match="sends 64x48 px, expected 32x32"):
        made.read(0.0)
    made.image(CompressedImage(format="jpeg", data=b"no picture"))
    with pytest.raises(CameraLost, match="cannot be decoded"):
        made.read(0.0)
