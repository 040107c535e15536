"""Frames are the same bits live and from a bag, the right colours, and never larger than memory."""

from __future__ import annotations

import array
import struct
from typing import Any

import cv2
import numpy as np
import pytest
from support.bags import compressed, image, make

from moto_ros.data.decode import MAX_PIXELS, decode_image
from moto_ros.data.layout import StepLayout
from moto_ros.errors import MotoError

LAYOUT = StepLayout(image_size=16)
RNG = np.random.default_rng(0)


def smooth(height: int, width: int) -> np.ndarray:
    small = RNG.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


@pytest.mark.parametrize(
    ("encoding", "order"), [("rgb8", [0, 1, 2]), ("bgr8", [2, 1, 0]), ("8UC3", [2, 1, 0]), ("rgba8", [0, 1, 2, 0])]
)
def test_colours_come_out_as_rgb(encoding: str, order: list[int]) -> None:
    """Red and blue swapped between bag and camera would go unnoticed until the policy fails."""
    pixels = smooth(16, 16)
    assert np.array_equal(decode_image(image(pixels[:, :, order], 1, encoding), LAYOUT), pixels)


def test_grey_frames_get_three_channels() -> None:
    pixels = smooth(16, 16)[:, :, :1]
    assert np.array_equal(decode_image(image(pixels, 1, "mono8"), LAYOUT), np.repeat(pixels, 3, axis=2))


def test_png_is_lossless_and_jpeg_has_the_right_colours() -> None:
    pixels = smooth(16, 16)
    assert np.array_equal(decode_image(compressed(pixels, 1, "png"), LAYOUT), pixels)
    assert np.abs(decode_image(compressed(pixels, 1), LAYOUT).astype(int) - pixels).mean() < 12


def test_arrays_of_rclpy_and_of_a_bag_give_the_same_bits() -> None:
    """Live and recorded episodes would differ."""
    message = image(smooth(48, 64), 1)
    live = make("sensor_msgs/msg/Image", 1, **{n: getattr(message, n) for n in ("height", "width", "step", "encoding")})
    live.data = array.array("B", message.data.tobytes())
    assert np.array_equal(decode_image(message, LAYOUT), decode_image(live, LAYOUT))


def test_padded_rows_are_cut() -> None:
    """Cameras that align rows would give a sheared picture."""
    pixels = smooth(16, 16)
    padded = np.concatenate([pixels.reshape(16, 48), np.full((16, 16), 7, np.uint8)], axis=1)
    message = image(pixels, 1)
    message.step, message.data = 64, padded.reshape(-1)
    assert np.array_equal(decode_image(message, LAYOUT), pixels)


@pytest.mark.parametrize("size", [(48, 64), (64, 48), (33, 70), (8, 8)])
def test_other_sizes_are_cropped_to_the_centre_and_resized(size: tuple[int, int]) -> None:
    pixels = np.zeros((*size, 3), np.uint8)
    side = min(size)
    top, left = (size[0] - side) // 2, (size[1] - side) // 2
    pixels[top : top + side, left : left + side] = (200, 100, 50)
    found = decode_image(image(pixels, 1), LAYOUT)
    assert found.shape == (16, 16, 3)
    assert (found == (200, 100, 50)).all()


def test_large_jpeg_looks_like_its_full_decoding() -> None:
    """Decoding at reduced scale is for speed, not for another picture."""
    pixels = smooth(480, 640)
    full = decode_image(image(pixels, 1), StepLayout(image_size=64))
    assert np.abs(decode_image(compressed(pixels, 1), StepLayout(image_size=64)).astype(int) - full).mean() < 3


def test_a_frame_is_a_copy() -> None:
    """A message buffer that is used again would change stored frames."""
    message = image(smooth(16, 16), 1)
    found = decode_image(message, LAYOUT)
    before = found.copy()
    message.data[:] = 0
    assert np.array_equal(found, before)


def huge_png() -> np.ndarray:
    head = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sIIBBBBB", 13, b"IHDR", 60000, 60000, 8, 2, 0, 0, 0)
    return np.frombuffer(head + bytes(100), np.uint8)


def bad_frames() -> list[tuple[Any, str]]:
    short = compressed(smooth(16, 16), 1)
    short.data = short.data[:300]
    empty = make("sensor_msgs/msg/Image", 1, encoding="rgb8")
    large = make("sensor_msgs/msg/Image", 1, encoding="rgb8", height=2**31, width=2**31, step=3 * 2**31)
    return [
        (image(np.zeros((16, 16, 2), np.uint8), 1, "16UC1"), "encoding is '16UC1', expected one of rgb8"),
        (empty, "says it is 0x0 px"),
        (large, f"expected 1..{MAX_PIXELS} pixels"),
        (make("sensor_msgs/msg/CompressedImage", 1, format="png", data=huge_png()), "60000x60000 px"),
        (make("sensor_msgs/msg/CompressedImage", 1, format="jpeg"), "0 bytes. is neither JPEG nor PNG"),
        (make("sensor_msgs/msg/CompressedImage", 1, format="16UC1; compressedDepth png"), "choose a colour topic"),
        (short, "(neither|cannot be decoded|damaged)"),
    ]


@pytest.mark.parametrize(("message", "sentence"), bad_frames())
def test_bad_frames_are_refused_with_one_sentence(message: Any, sentence: str) -> None:
    """A frame that claims 3.6 gigapixels would take the trainer down."""
    with pytest.raises(MotoError, match=sentence) as caught:
        decode_image(message, LAYOUT)
    assert "\n" not in str(caught.value)
