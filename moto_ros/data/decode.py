"""Decodes image messages to square RGB frames: one function for live topics and bags, so that both are equal."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from moto_ros.data.layout import StepLayout
from moto_ros.errors import MotoError

MAX_PIXELS = 64_000_000
"""Larger frames are refused before memory is allocated for them."""


@dataclass(frozen=True)
class Form:
    """Memory layout of a raw encoding, and OpenCV's conversion to RGB (None: it is RGB), after 16 bit became 8."""

    channels: int
    to_rgb: int | None
    bits: int = 8


def _forms() -> Iterator[tuple[str, Form]]:
    for bits in (8, 16):
        yield f"rgb{bits}", Form(3, None, bits)
        yield f"bgr{bits}", Form(3, cv2.COLOR_BGR2RGB, bits)
        yield f"rgba{bits}", Form(4, cv2.COLOR_RGBA2RGB, bits)
        yield f"bgra{bits}", Form(4, cv2.COLOR_BGRA2RGB, bits)
        yield f"mono{bits}", Form(1, cv2.COLOR_GRAY2RGB, bits)
        yield f"bayer_rggb{bits}", Form(1, cv2.COLOR_BayerRGGB2RGB, bits)
        yield f"bayer_bggr{bits}", Form(1, cv2.COLOR_BayerBGGR2RGB, bits)
        yield f"bayer_gbrg{bits}", Form(1, cv2.COLOR_BayerGBRG2RGB, bits)
        yield f"bayer_grbg{bits}", Form(1, cv2.COLOR_BayerGRBG2RGB, bits)
    yield "8UC1", Form(1, cv2.COLOR_GRAY2RGB)
    yield "8UC3", Form(3, cv2.COLOR_BGR2RGB)
    yield "8UC4", Form(4, cv2.COLOR_BGRA2RGB)
    for name in ("yuv422", "uyvy"):
        yield name, Form(2, cv2.COLOR_YUV2RGB_UYVY)
    for name in ("yuv422_yuy2", "yuyv"):
        yield name, Form(2, cv2.COLOR_YUV2RGB_YUY2)


FORMS = dict(_forms())
"""Supported raw encodings of sensor_msgs/image_encodings.hpp; 8UC3 and 8UC4 are OpenCV's BGR and BGRA."""

DEPTH = ("16UC1", "16SC1", "32FC1", "64FC1")
"""Raw encodings of depth images (REP-118)."""

MIN_PEAK_16_BIT = 4096
"""A 16-bit image with a lower maximum is refused, since with 65535 as white it would be black: it is from a 12-bit
camera, or depth in mm."""

OTHER_FILES = (
    *((b"RIFF", 0, "WebP"), (b"II*\0", 0, "TIFF"), (b"MM\0*", 0, "TIFF"), (b"GIF8", 0, "GIF"), (b"BM", 0, "BMP")),
    *((b"ftyp", 4, "AVIF or HEIF"), (b"jP  ", 4, "JPEG 2000"), (b"\xff\x4f\xff\x51", 0, "JPEG 2000")),
    *((b"\xff\x0a", 0, "JPEG XL"), (b"JXL ", 4, "JPEG XL"), (b"\0\0\0\x01", 0, "H.264 or H.265")),
)
"""Signatures, with their offsets, of file formats that are not supported."""

REDUCED = {
    8: cv2.IMREAD_REDUCED_COLOR_8,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    1: cv2.IMREAD_COLOR,
}
"""Decoder flags by scale: a JPEG can be decoded at a fraction of its size, which is faster and averages pixels."""

FRAME_HEADERS = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""JPEG markers that carry the frame's size (start of frame), ISO/IEC 10918-1 table B.1."""


def decode_image(message: Any, layout: StepLayout) -> np.ndarray:
    """Return a camera's frame as contiguous RGB uint8 (S, S, 3), S = `layout.image_size`.

    Takes sensor_msgs/Image and sensor_msgs/CompressedImage, from rclpy or from a bag. Raises MotoError with one
    sentence on an unknown encoding, data that do not fit the stated size, an undecodable file, or a refused size.
    """
    data = np.frombuffer(memoryview(message.data), np.uint8)
    with _opencv_errors():
        if hasattr(message, "format"):
            return _decode_compressed(data, str(message.format), layout)
        return _fit(_raw_rgb(message, data), layout)


@contextmanager
def _opencv_errors() -> Iterator[None]:
    """Raise OpenCV's errors as MotoError."""
    try:
        yield
    except cv2.error as error:
        raise MotoError(f"image cannot be converted to RGB (OpenCV: {error.err}); the frame is left out") from error


def _raw_rgb(message: Any, data: np.ndarray) -> np.ndarray:
    """Return the RGB pixels of a raw image, uint8 (H, W, 3); a view of the message's bytes where they are RGB."""
    encoding = str(message.encoding)
    form = FORMS.get(encoding)
    if form is None:
        raise MotoError(_unknown_encoding(encoding))
    pixels = _pixels(message, data, form)
    if form.bits == 16:
        pixels = _eight_bits(pixels.view(">u2" if message.is_bigendian else "<u2"), f"encoding '{encoding}'")
    return pixels if form.to_rgb is None else cv2.cvtColor(np.ascontiguousarray(pixels), form.to_rgb)


def _unknown_encoding(encoding: str) -> str:
    if encoding in DEPTH:
        return f"image encoding is '{encoding}', which holds depths, expected a colour image; choose a colour topic"
    return (
        f"image encoding is '{encoding}', which is not supported, expected one of {', '.join(FORMS)}; have its driver "
        "publish rgb8"
    )


def _pixels(message: Any, data: np.ndarray, form: Form) -> np.ndarray:
    """Return the bytes of an image's pixels as (H, W, bytes a pixel), without the padding of its rows."""
    height, width = int(message.height), int(message.width)
    _check_size(height, width)
    row = width * form.channels * form.bits // 8
    # Some drivers send a step of 0; where the size of the data allows only the unpadded row length, that is used.
    step = row if not message.step and len(data) == row * height else int(message.step)
    if step < row or len(data) < step * height - (step - row):
        raise MotoError(
            f"image says {width}x{height} with {step} bytes a row and holds {len(data)} bytes, "
            f"expected at least {max(step, row) * height}; the frame is damaged"
        )
    rows = np.lib.stride_tricks.as_strided(data, (height, row), (step, 1), writeable=False)
    return rows.reshape(height, width, row // width)


def _eight_bits(pixels: np.ndarray, what: str) -> np.ndarray:
    """Return 16-bit brightness as 8 bit, 65535 as 255, as cv_bridge does."""
    brightest = int(pixels.max())
    if brightest < MIN_PEAK_16_BIT:
        raise MotoError(
            f"image of 16 bit ({what}) has values up to {brightest}, expected 65535 for white, so it would be black: "
            "it holds depths, or is a camera's of fewer bits; choose a colour topic, or have its driver publish 8 bit"
        )
    return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _check_size(height: int, width: int) -> None:
    if height < 1 or width < 1 or height * width > MAX_PIXELS:
        raise MotoError(f"image says it is {width}x{height} px, expected 1..{MAX_PIXELS} pixels; the frame is damaged")


def decode_rgb(message: Any) -> np.ndarray:
    """Return a camera's whole frame as RGB uint8 (H, W, 3) of its own; raises MotoError as `decode_image` does."""
    data = np.frombuffer(memoryview(message.data), np.uint8)
    with _opencv_errors():
        if not hasattr(message, "format"):
            return np.array(_raw_rgb(message, data))
        form = str(message.format)
        return _decoded(data, form, _encoded(data, form), cv2.IMREAD_COLOR)


def _decode_compressed(data: np.ndarray, form: str, layout: StepLayout) -> np.ndarray:
    found = _encoded(data, form)
    if layout.image_policy == "reject":
        _refuse_other_size(found.height, found.width, layout.image_size)
    shortest = min(found.height, found.width)
    scale = next(scale for scale in REDUCED if scale == 1 or shortest // scale >= layout.image_size)
    return np.ascontiguousarray(_resize(_decoded(data, form, found, REDUCED[scale]), layout.image_size))


@dataclass(frozen=True)
class Encoded:
    """Header of a JPEG or PNG file: size in pixels, bits a channel."""

    height: int
    width: int
    bits: int = 8
    grey: bool = False
    jpeg: bool = False


def _encoded(data: np.ndarray, form: str) -> Encoded:
    if "compressedDepth" in form:
        raise MotoError(f"compressed image has format '{form}', expected a colour JPEG or PNG; choose a colour topic")
    original = form.split(";")[0].strip()
    if original in DEPTH:
        raise MotoError(f"compressed image has format '{form}', which holds depths; choose a colour topic")
    found = encoded(data, form)
    _check_size(found.height, found.width)
    if found.bits == 16 and found.grey and original != "mono16":
        raise MotoError(
            f"compressed image ({form}) is a grey PNG of 16 bit, of depths or of brightness, expected 8 bit or format "
            "mono16; choose a colour topic"
        )
    return found


def _decoded(data: np.ndarray, form: str, found: Encoded, flags: int) -> np.ndarray:
    """Return the RGB pixels of a file, uint8 (H, W, 3); alpha is dropped, a palette looked up, one channel repeated."""
    if found.bits == 16:
        flags = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH
    pixels = cv2.imdecode(data, flags | cv2.IMREAD_IGNORE_ORIENTATION)
    if pixels is None and found.jpeg and found.bits != 8:
        raise MotoError(f"compressed image ({form}) is a JPEG of {found.bits} bit, which is not supported; send 8 bit")
    if pixels is None:
        raise MotoError(f"compressed image ({form}, {len(data)} bytes) cannot be decoded; the frame is damaged")
    if pixels.dtype == np.uint16:
        pixels = _eight_bits(pixels, f"format '{form}'")
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)


def encoded(data: np.ndarray, form: str) -> Encoded:
    """Return the header of a JPEG or PNG file, without decoding it; MotoError where it is neither."""
    raw = data.data
    if bytes(raw[:8]) == b"\x89PNG\r\n\x1a\n" and len(raw) >= 26:
        width, height, bits, colour = struct.unpack(">IIBB", raw[16:26])
        return Encoded(height, width, 16 if bits == 16 else 8, colour in (0, 4))
    found = _jpeg_size(raw) if bytes(raw[:2]) == b"\xff\xd8" else None
    if found is None:
        raise MotoError(_other_file(bytes(raw[:12]), f"compressed image ({form}, {len(data)} bytes)"))
    return found


def _other_file(head: bytes, what: str) -> str:
    """Return the error for a file that is neither JPEG nor PNG: another format, or damaged."""
    kind = next((kind for mark, offset, kind in OTHER_FILES if head[offset : offset + len(mark)] == mark), "")
    if kind:
        return f"{what} is {kind}, which is not supported, expected JPEG or PNG; have its publisher send these"
    return f"{what} is neither JPEG nor PNG; the frame is damaged"


def _jpeg_size(raw: bytes | memoryview) -> Encoded | None:
    """Walk the markers of a JPEG file up to its frame header."""
    offset = 2
    while offset + 9 <= len(raw) and raw[offset] == 0xFF:
        marker = raw[offset + 1]
        if marker in FRAME_HEADERS:
            bits, height, width = struct.unpack(">BHH", raw[offset + 4 : offset + 9])
            return Encoded(height, width, bits, jpeg=True)
        offset += _marker_length(marker, raw[offset + 2 : offset + 4])
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
