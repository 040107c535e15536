"""Frames are the same bits live and from a bag, the right colours, and never larger than memory."""

from __future__ import annotations

import array
import io
import struct
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from support.bags import compressed, image, make

from moto_ros.data.decode import FORMS, MAX_PIXELS, decode_image, decode_rgb
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
        (image(np.zeros((16, 16, 2), np.uint8), 1, "16UC1"), "encoding is '16UC1', which holds depths"),
        (image(np.zeros((16, 16, 4), np.uint8), 1, "32SC1"), "encoding is '32SC1', which is not supported"),
        (image(np.zeros((16, 16, 6), np.uint8), 1, "rgb16"), "rgb16'. has values up to 0, expected 65535"),
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


def raw16(values: np.ndarray, encoding: str, big: bool = False) -> Any:
    """Return 16-bit values (H, W, C) as an image message."""
    found = image(np.ascontiguousarray(values.astype(">u2" if big else "<u2")).view(np.uint8), 1, encoding)
    found.is_bigendian = int(big)
    return found


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize(("encoding", "order"), [("rgb16", [0, 1, 2]), ("bgr16", [2, 1, 0]), ("rgba16", [0, 1, 2, 0])])
def test_16_bit_colours_keep_their_upper_half_in_either_order_of_bytes(
    encoding: str, order: list[int], big: bool
) -> None:
    """The lower byte in place of the upper is noise; 8 bit of 16 taken as they are is black."""
    pixels = smooth(16, 16)
    pixels[0, 0] = 255
    found = decode_image(raw16(pixels[:, :, order].astype(np.uint16) * 257, encoding, big), LAYOUT)
    assert np.array_equal(found, pixels)


def test_16_bit_brightness_is_a_picture_and_depth_is_none() -> None:
    """A picture of the depth in mm is nearly black, and the user would not learn why the policy sees nothing."""
    bright = np.linspace(0, 65535, 256).reshape(16, 16, 1)
    found = decode_image(raw16(bright, "mono16"), LAYOUT)
    assert np.array_equal(found[:, :, 0], np.arange(256).reshape(16, 16))
    with pytest.raises(MotoError, match="values up to 2500, expected 65535 for white"):
        decode_image(raw16(np.minimum(bright, 2500), "mono16"), LAYOUT)


@pytest.mark.parametrize(
    ("form", "sentence"),
    [
        ("16UC1; png compressed ", "holds depths"),
        ("mono16; png compressed mono16", "values up to 2500"),
        ("png", "grey PNG of 16 bit"),
    ],
)
def test_the_bits_of_a_png_decide_not_its_name(form: str, sentence: str) -> None:
    depth = np.linspace(300, 2500, 256).astype(np.uint16).reshape(16, 16)
    data = cv2.imencode(".png", depth)[1].reshape(-1)
    with pytest.raises(MotoError, match=sentence):
        decode_image(make("sensor_msgs/msg/CompressedImage", 1, format=form, data=data), LAYOUT)
    with pytest.raises(MotoError, match=sentence):
        decode_rgb(make("sensor_msgs/msg/CompressedImage", 1, format=form, data=data))


def test_png_of_16_bit_colours_is_a_picture() -> None:
    pixels = smooth(16, 16)
    pixels[0, 0] = 255
    data = cv2.imencode(".png", pixels[:, :, ::-1].astype(np.uint16) * 257)[1].reshape(-1)
    assert np.array_equal(
        decode_image(make("sensor_msgs/msg/CompressedImage", 1, format="png", data=data), LAYOUT), pixels
    )


def of_file(picture: Image.Image, form: str, **options: Any) -> Any:
    """Return a file made by another library as a message."""
    stream = io.BytesIO()
    picture.save(stream, form, **options)
    data = np.frombuffer(stream.getvalue(), np.uint8)
    return make("sensor_msgs/msg/CompressedImage", 1, format=form.lower(), data=data)


def test_alpha_is_dropped_and_a_palette_looked_up() -> None:
    """A transparent picture is one all the same; a palette's numbers are no brightness."""
    pixels = np.repeat(np.array([[(200, 10, 60), (0, 120, 255)]], np.uint8), 8, axis=1).repeat(16, axis=0)
    clear = Image.fromarray(np.concatenate([pixels, np.zeros((16, 16, 1), np.uint8)], axis=2))
    assert np.array_equal(decode_image(of_file(clear, "PNG"), LAYOUT), pixels)
    few = Image.fromarray(pixels).quantize(4)
    assert np.array_equal(decode_image(of_file(few, "PNG"), LAYOUT), np.asarray(few.convert("RGB")))


@pytest.mark.parametrize("mode", ["CMYK", "L"])
def test_jpeg_of_four_or_one_channel_has_the_colours_of_its_picture(mode: str) -> None:
    """Cameras and scanners write these; inverted colours would be learned from."""
    picture = Image.fromarray(smooth(64, 64)).convert(mode)
    found = decode_image(of_file(picture, "JPEG", quality=95), StepLayout(image_size=64))
    wanted = np.asarray(picture.convert("RGB"))
    assert np.abs(found.astype(int) - wanted).mean() < 6


@pytest.mark.parametrize(
    ("encoding", "order"), [("yuv422", "uyvy"), ("uyvy", "uyvy"), ("yuv422_yuy2", "yuyv"), ("yuyv", "yuyv")]
)
def test_yuv_of_usb_cameras_has_the_right_colours(encoding: str, order: str) -> None:
    luma, blue, red = 81, 90, 240  # red in ITU-R BT.601
    found = {"y": luma, "u": blue, "v": red}
    pair = np.array([found[letter] for letter in order], np.uint8).reshape(2, 2)
    rows = np.tile(pair, (16, 8, 1))
    assert np.abs(decode_image(image(rows, 1, encoding), LAYOUT).astype(int) - (255, 0, 0)).max() <= 3


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_bayer_patterns_give_the_colour_that_was_filtered(pattern: str, bits: int) -> None:
    """Machine-vision cameras send these; OpenCV names them otherwise than ROS."""
    colour = {"r": 200, "g": 100, "b": 40}
    tile = np.array([colour[letter] for letter in pattern]).reshape(2, 2)
    mosaic = np.tile(tile, (16, 16))[:, :, None]
    encoding = f"bayer_{pattern}{bits}"
    sent = image(mosaic.astype(np.uint8), 1, encoding) if bits == 8 else raw16(mosaic * 257, encoding)
    assert (decode_image(sent, StepLayout(image_size=32))[4:-4, 4:-4] == (200, 100, 40)).all()


def test_row_length_0_is_the_natural_one_where_the_data_fit() -> None:
    """Drivers leave it out; the frame is whole."""
    pixels = smooth(16, 16)
    message = image(pixels, 1)
    message.step = 0
    assert np.array_equal(decode_image(message, LAYOUT), pixels)
    message.data = np.append(message.data, np.uint8(0))
    with pytest.raises(MotoError, match="with 0 bytes a row and holds 769 bytes"):
        decode_image(message, LAYOUT)


@pytest.mark.parametrize(("form", "name"), [("WEBP", "WebP"), ("TIFF", "TIFF"), ("GIF", "GIF"), ("BMP", "BMP")])
def test_a_whole_file_of_another_format_is_not_called_damaged(form: str, name: str) -> None:
    """A person would look for a broken disk."""
    with pytest.raises(MotoError, match=f"is {name}, which is not supported, expected JPEG or PNG") as caught:
        decode_image(of_file(Image.fromarray(smooth(16, 16)), form), LAYOUT)
    assert "damaged" not in str(caught.value)


@settings(max_examples=300, deadline=None)
@given(
    encoding=st.sampled_from([*FORMS, "16UC1", "32FC1", "nv21", ""]),
    size=st.tuples(st.integers(0, 9), st.integers(0, 9)),
    step=st.integers(0, 90),
    big=st.integers(0, 255),
    data=st.binary(max_size=700),
)
def test_whatever_an_image_says_it_gives_a_frame_or_one_sentence(
    encoding: str, size: tuple[int, int], step: int, big: int, data: bytes
) -> None:
    """A driver's nonsense would end the trainer."""
    message = make("sensor_msgs/msg/Image", 1, encoding=encoding, height=size[0], width=size[1], step=step)
    message.is_bigendian, message.data = big, np.frombuffer(data, np.uint8)
    try:
        assert decode_image(message, LAYOUT).shape == (16, 16, 3)
        assert decode_rgb(message).shape == (*size, 3)
    except MotoError as error:
        sentence = str(error)
    else:
        return
    assert "\n" not in sentence


@settings(max_examples=300, deadline=None)
@given(
    head=st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xc0\x00\x11", b"\xff\xd8", b"RIFF"]),
    rest=st.binary(max_size=80),
    form=st.sampled_from(["", "jpeg", "png", "mono16; png compressed mono16", "rgb8; jpeg compressed bgr8"]),
)
def test_whatever_a_file_holds_it_gives_a_frame_or_one_sentence(head: bytes, rest: bytes, form: str) -> None:
    data = np.frombuffer(head + rest, np.uint8)
    message = make("sensor_msgs/msg/CompressedImage", 1, format=form, data=data)
    try:
        assert decode_image(message, LAYOUT).shape == (16, 16, 3)
    except MotoError as error:
        sentence = str(error)
    else:
        return
    assert "\n" not in sentence
