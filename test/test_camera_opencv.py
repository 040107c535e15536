"""Cameras that OpenCV opens: for those who have no RealSense. A generated video file stands for the device."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from moto_ros.camera.calibration import read_calibration
from moto_ros.camera.interface import CameraLost, CameraSetup
from moto_ros.camera.opencv import OpenCvCamera
from moto_ros.camera.pattern import Pattern, read_number
from moto_ros.errors import MotoError

WIDTH, HEIGHT, FRAMES = 160, 120, 12
CALIBRATION = """
image_width: 160
image_height: 120
camera_name: wrist
camera_matrix: {rows: 3, cols: 3, data: [151.0, 0.0, 80.5, 0.0, 152.0, 60.5, 0.0, 0.0, 1.0]}
distortion_model: plumb_bob
distortion_coefficients: {rows: 1, cols: 5, data: [0.1, -0.2, 0.001, 0.002, 0.0]}
rectification_matrix: {rows: 3, cols: 3, data: [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]}
projection_matrix: {rows: 3, cols: 4, data: [1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0]}
"""


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a short film of the test pattern, its frames numbered from 0."""
    path = tmp_path_factory.mktemp("video") / "film.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 30.0, (WIDTH, HEIGHT))
    assert writer.isOpened()
    pattern = Pattern(WIDTH, HEIGHT)
    for number in range(FRAMES):
        writer.write(pattern.colour(number)[..., ::-1])
    writer.release()
    return path


def setup(device: str, width: int = WIDTH, calibration: str = "") -> CameraSetup:
    """Return the setup of one camera at 60 Hz."""
    return CameraSetup("wrist", "opencv", device, width, HEIGHT, 60.0, 0.0, 0.0, False, calibration)


@pytest.fixture
def camera(video: Path) -> Iterator[OpenCvCamera]:
    made = OpenCvCamera(setup(str(video)))
    made.open()
    yield made
    made.close()


def test_a_video_file_is_played_in_rgb_at_its_rate_and_begins_again_at_its_end(camera: OpenCvCamera) -> None:
    start = time.monotonic()
    found = [camera.read(5.0) for _ in range(2 * FRAMES)]
    assert time.monotonic() - start > 0.8 * (2 * FRAMES - 1) / 60.0
    frames = [frame for frame in found if frame is not None]
    assert len(frames) == 2 * FRAMES
    shown = [read_number(frame.colour) for frame in frames]
    assert 0 in shown[5:]
    assert max(shown) < FRAMES
    wanted = Pattern(WIDTH, HEIGHT).colour(shown[0])
    assert np.abs(frames[0].colour.astype(int) - wanted).mean() < 12


def test_frames_are_numbered_and_stamped_as_they_arrive(camera: OpenCvCamera) -> None:
    frames = [camera.read(5.0) for _ in range(4)]
    numbers = [frame.number for frame in frames if frame is not None]
    assert numbers == sorted(set(numbers))
    assert all(frame is not None and frame.device_time == 0 for frame in frames)


def test_a_reader_that_pauses_gets_the_newest_frames_not_a_backlog(camera: OpenCvCamera) -> None:
    first = camera.read(5.0)
    time.sleep(0.5)
    second = camera.read(5.0)
    assert first is not None
    assert second is not None
    assert second.number - first.number > 5


def test_a_camera_that_is_not_there_is_said_to_be_so() -> None:
    with pytest.raises(CameraLost, match="cannot be opened as '/dev/video97'"):
        OpenCvCamera(setup("/dev/video97")).open()


def test_a_size_that_the_camera_has_not_is_refused_with_the_one_it_has(video: Path) -> None:
    with pytest.raises(CameraLost, match="gives 160x120 px, expected 320x120"):
        OpenCvCamera(setup(str(video), width=320)).open()


def test_a_source_that_ends_is_lost_not_waited_for_without_end(video: Path) -> None:
    """Under a URL the file is a stream: it ends."""
    made = OpenCvCamera(setup(f"file:{video}"))
    made.open()
    with pytest.raises(CameraLost, match="has ended"):
        list(iter(lambda: made.read(0.5), "never"))
    made.close()


def test_a_file_of_camera_calibration_becomes_the_intrinsics(video: Path, tmp_path: Path) -> None:
    path = tmp_path / "wrist.yaml"
    path.write_text(CALIBRATION)
    found = OpenCvCamera(setup(str(video), calibration=str(path))).intrinsics()
    assert (found.width, found.height, found.fx, found.fy, found.cx, found.cy) == (160, 120, 151.0, 152.0, 80.5, 60.5)
    assert found.distortion_model == "plumb_bob"
    assert found.distortion == (0.1, -0.2, 0.001, 0.002, 0.0)


def test_without_a_calibration_the_focal_length_is_zero_as_ros_wants_it(camera: OpenCvCamera) -> None:
    assert camera.intrinsics().fx == 0.0
    assert camera.intrinsics().width == WIDTH


@pytest.mark.parametrize("text", ["", "image_width: 160\n", "camera_matrix: [1, 2]\n", "a: [\n"])
def test_a_calibration_of_another_form_is_refused_by_its_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(MotoError, match=r"broken\.yaml: .*expected image_width"):
        read_calibration(path)
    with pytest.raises(MotoError, match=r"absent\.yaml: No such file"):
        read_calibration(tmp_path / "absent.yaml")
