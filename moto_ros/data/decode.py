"""Image messages to square RGB frames. One function for live topics and for bags, so that both give the same bits."""

from __future__ import annotations

import struct
from typing import Any

import cv2
import numpy as np

from moto_ros.data.layout import StepLayout
from moto_ros.errors import MotoError

MAX_PIXELS = 64_000_000
"""Frames that claim to be larger are refused before anything is allocated for them."""

CHANNELS = {"rgb8": 3, "bgr8": 3, "8UC3": 3, "rgba8": 4, "bgra8": 4, "mono8": 1, "8UC1": 1}
"""Raw encodings that are understood, with their channels; 8UC3 is OpenCV's BGR."""

TO_RGB = {
    "bgr8": cv2.COLOR_BGR2RGB,
    "8UC3": cv2.COLOR_BGR2RGB,
    "rgba8": cv2.COLOR_RGBA2RGB,
    "bgra8": cv2.COLOR_BGRA2RGB,
    "mono8": cv2.COLOR_GRAY2RGB,
    "8UC1": cv2.COLOR_GRAY2RGB,
}

REDUCED = {
    8: cv2.IMREAD_REDUCED_COLOR_8,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    1: cv2.IMREAD_COLOR,
}
"""Decoder flags by scale: a JPEG can be decoded at a fraction of its size, which is faster and averages its pixels."""

FRAME_HEADERS = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""JPEG markers that carry the frame's size (start of frame), ISO/IEC 10918-1 table B.1."""


def decode_image(message: Any, layout: StepLayout) -> np.ndarray:
    """Return a camera's frame as contiguous RGB uint8 (S, S, 3), S = `layout.image_size`.

    Takes sensor_msgs/Image and sensor_msgs/CompressedImage, from rclpy or from a bag. Raises MotoError with one
    sentence on an unknown encoding, data that do not fit the stated size, an undecodable file, or a refused size.
    """
    data = np.frombuffer(memoryview(message.data), np.uint8)
    if hasattr(message, "format"):
        return _decode_compressed(data, str(message.format), layout)
    return _fit(_to_rgb(*_raw_view(message, data)), layout)


def _raw_view(message: Any, data: np.ndarray) -> tuple[np.ndarray, str]:
    """Return the pixels as a view (H, W, channels) on the message's bytes, and their encoding."""
    height, width, step, encoding = message.height, message.width, message.step, message.encoding
    channels = CHANNELS.get(encoding)
    if channels is None:
        raise MotoError(f"image encoding is '{encoding}', expected one of {', '.join(CHANNELS)}; convert it")
    _check_size(height, width)
    if step < width * channels or len(data) < step * height:
        raise MotoError(
            f"image says {width}x{height} with {step} bytes a row and holds {len(data)} bytes, expected at least "
            f"{max(step, width * channels) * height}; the frame is damaged"
        )
    rows = data[: step * height].reshape(height, step)[:, : width * channels]
    return rows.reshape(height, width, channels), encoding


def _to_rgb(pixels: np.ndarray, encoding: str) -> np.ndarray:
    return cv2.cvtColor(np.ascontiguousarray(pixels), TO_RGB[encoding]) if encoding in TO_RGB else pixels


def _check_size(height: int, width: int) -> None:
    if height < 1 or width < 1 or height * width > MAX_PIXELS:
        raise MotoError(f"image says it is {width}x{height} px, expected 1..{MAX_PIXELS} pixels; the frame is damaged")


def decode_rgb(message: Any) -> np.ndarray:
    """Return a camera's whole frame as RGB uint8 (H, W, 3) of its own; raises MotoError as `decode_image` does."""
    data = np.frombuffer(memoryview(message.data), np.uint8)
    if not hasattr(message, "format"):
        return np.array(_to_rgb(*_raw_view(message, data)))
    _encoded_image_size(data, str(message.format))
    return _to_rgb(_decoded(data, str(message.format), cv2.IMREAD_COLOR), "bgr8")


def _decode_compressed(data: np.ndarray, form: str, layout: StepLayout) -> np.ndarray:
    height, width = _encoded_image_size(data, form)
    if layout.image_policy == "reject":
        _refuse_other_size(height, width, layout.image_size)
    scale = next(scale for scale in REDUCED if scale == 1 or min(height, width) // scale >= layout.image_size)
    return _to_rgb(_resize(_decoded(data, form, REDUCED[scale]), layout.image_size), "bgr8")


def _encoded_image_size(data: np.ndarray, form: str) -> tuple[int, int]:
    if "compressedDepth" in form:
        raise MotoError(f"compressed image has format '{form}', expected a colour JPEG or PNG; choose a colour topic")
    height, width = encoded_size(data, form)
    _check_size(height, width)
    return height, width


def _decoded(data: np.ndarray, form: str, flags: int) -> np.ndarray:
    pixels = cv2.imdecode(data, flags | cv2.IMREAD_IGNORE_ORIENTATION)
    if pixels is None:
        raise MotoError(f"compressed image ({form}, {len(data)} bytes) cannot be decoded; the frame is damaged")
    return pixels


def encoded_size(data: np.ndarray, form: str) -> tuple[int, int]:
    """Return (height, width) that a JPEG or PNG file states, without decoding it; MotoError where it states none."""
    raw = data.data
    if bytes(raw[:8]) == b"\x89PNG\r\n\x1a\n" and len(raw) >= 24:
        width, height = struct.unpack(">II", raw[16:24])
        return height, width
    size = _jpeg_size(raw) if bytes(raw[:2]) == b"\xff\xd8" else None
    if size is None:
        raise MotoError(f"compressed image ({form}, {len(data)} bytes) is neither JPEG nor PNG; the frame is damaged")
    return size


def _jpeg_size(raw: bytes | memoryview) -> tuple[int, int] | None:
    """Walk the markers of a JPEG file up to its frame header."""
    place = 2
    while place + 9 <= len(raw) and raw[place] == 0xFF:
        marker = raw[place + 1]
        if marker in FRAME_HEADERS:
            height, width = struct.unpack(">HH", raw[place + 5 : place + 9])
            return height, width
        place += _marker_length(marker, raw[place + 2 : place + 4])
    return None


def _marker_length(marker: int, size: bytes | memoryview) -> int:
    if marker == 0xFF:
        return 1
    bare = 0xD0 <= marker <= 0xD8 or marker == 0x01
    return 2 if bare else 2 + int.from_bytes(size, "big")


def _refuse_other_size(height: int, width: int, size: int) -> None:
    if (height, width) != (size, size):
        raise MotoError(f"image is {width}x{height} px, expected {size}x{size}; set image_size or image_policy")


def _fit(pixels: np.ndarray, layout: StepLayout) -> np.ndarray:
    if layout.image_policy == "reject":
        _refuse_other_size(pixels.shape[0], pixels.shape[1], layout.image_size)
    return _resize(pixels, layout.image_size)


def _resize(pixels: np.ndarray, size: int) -> np.ndarray:
    """Return the central square, resized: by area averaging when it shrinks, bilinear when it grows; always a copy."""
    height, width = pixels.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = pixels[top : top + side, left : left + side]
    if side == size:
        return np.array(square)
    return cv2.resize(square, (size, size), interpolation=cv2.INTER_AREA if side > size else cv2.INTER_LINEAR)
