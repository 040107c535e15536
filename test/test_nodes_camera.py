"""The camera node over real DDS, on synthetic cameras read through the real SDK: what everybody above it relies on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")
pytest.importorskip("moto_msgs", reason="moto_msgs is not built")
pytest.importorskip("pyrealsense2", reason="pyrealsense2 is not installed")

from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import String
from support.graph import Graph, ros_graph
from support.process import NodeProcess, processes

from moto_msgs.msg import CameraHealth
from moto_ros.camera.pattern import Pattern, read_number
from moto_ros.config import config_folder, read_parameters
from moto_ros.contract import topics
from moto_ros.errors import MotoError
from moto_ros.nodes.camera_node import CameraNode
from moto_ros.ros import qos
from moto_ros.ros.convert import image_message, to_nanoseconds, to_time
from moto_ros.systems.transport import environment

pytestmark = [pytest.mark.ros, pytest.mark.realtime]

QUICK = {
    "rate_window": 0.5,
    "rate_tolerance": 0.3,
    "lost_after": 0.5,
    "reconnect_backoff_min": 0.1,
    "reconnect_backoff_max": 0.4,
}
ONE = {"cameras": ["wrist"], "devices": ["synthetic-1"], "width": [160], "height": [120], **QUICK}
BUSY = 0.3
"""Seconds that a busy machine may add to what the camera node says at once."""


@pytest.fixture
def graph(monkeypatch: pytest.MonkeyPatch) -> Iterator[Graph]:
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    with ros_graph() as made:
        yield made


class Watcher:
    """Hears one camera: images, calibration and health; `when` holds the time of arrival of each health."""

    def __init__(self, graph: Graph, camera: str = "wrist", compressed: bool = False) -> None:
        self.graph, self.peer, self.camera = graph, graph.peer(f"watcher_of_{camera}"), camera
        kind = CompressedImage if compressed else Image
        self.images: list[Any] = self.peer.hear(kind, topics.camera_image(camera, compressed), qos.every())
        self.infos: list[CameraInfo] = self.peer.hear(CameraInfo, topics.camera_info(camera), qos.every())
        self.health: list[CameraHealth] = []
        self.when: list[float] = []
        self.peer.node.create_subscription(CameraHealth, topics.camera_health(camera), self._said, qos.latched(10))

    def _said(self, message: CameraHealth) -> None:
        self.health.append(message)
        self.when.append(time.monotonic())

    @property
    def healthy(self) -> bool:
        """What was said last."""
        return bool(self.health) and self.health[-1].healthy

    def disturbs(self) -> Any:
        """Return the function that disturbs the camera."""
        say = self.peer.advertise(String, topics.camera_disturb(self.camera), qos.event())
        return lambda text: say(String(data=text))

    def until_healthy(self) -> None:
        """Wait until frames come and the camera is said to be healthy."""
        self.graph.until(lambda: self.healthy and self.images, "a healthy camera")

    def until_unhealthy(self, word: str = "") -> CameraHealth:
        """Wait until the camera is said to be unhealthy for a reason with `word`, and return what was said."""
        self.graph.until(lambda: self.health and word in (self.health[-1].reason or "well"), f"the problem: {word}")
        return self.health[-1]


@pytest.mark.slow
def test_two_vga_cameras_keep_the_contract_types_frames_calibration_rates_and_stamps(graph: Graph) -> None:
    cameras = {"wrist": "synthetic-1", "front": "synthetic-2"}
    given = {"cameras": [*cameras], "devices": [*cameras.values()], "depth": [True, False], **QUICK}
    watchers = {camera: Watcher(graph, camera) for camera in cameras}
    depths: list[Image] = watchers["wrist"].peer.hear(Image, topics.camera_depth("wrist"), qos.every())
    graph.add(CameraNode(given))
    for watcher in watchers.values():
        watcher.until_healthy()
    graph.until(lambda: all(len(watcher.images) > 60 for watcher in watchers.values()), "two seconds of frames")
    for camera, watcher in watchers.items():
        check_contract(camera, watcher)
    assert depths[-1].encoding == "16UC1"
    assert (depths[-1].width, depths[-1].height, depths[-1].step) == (640, 480, 1280)
    shared = {to_nanoseconds(depth.header.stamp) for depth in depths}
    assert len(shared & {to_nanoseconds(image.header.stamp) for image in watchers["wrist"].images}) > 10


def check_contract(camera: str, watcher: Watcher) -> None:
    """Compare what a camera has published with the contract."""
    image, info = watcher.images[-1], watcher.infos[-1]
    assert (image.encoding, image.width, image.height, image.step) == ("rgb8", 640, 480, 1920)
    assert image.header.frame_id == info.header.frame_id == f"{camera}_optical_frame"
    pixels = np.frombuffer(image.data, np.uint8).reshape(480, 640, 3)
    np.testing.assert_array_equal(pixels, Pattern(640, 480).colour(read_number(pixels)))
    assert (info.width, info.height, info.distortion_model) == (640, 480, "plumb_bob")
    assert list(info.k) == pytest.approx([576.0, 0.0, 319.5, 0.0, 576.0, 239.5, 0.0, 0.0, 1.0])
    stamps = [to_nanoseconds(image.header.stamp) for image in watcher.images]
    assert stamps == sorted(set(stamps))
    assert set(stamps[:-1]) <= {to_nanoseconds(info.header.stamp) for info in watcher.infos}
    rate = (len(stamps) - 1) / (stamps[-1] - stamps[0]) * 1e9
    print(f"{camera}: {rate:.2f} Hz, health says {watcher.health[-1].rate:.2f} Hz")
    # A machine that is busy with other tests may lose frames, but never make any up.
    assert 5 < rate < 33


def test_jpeg_is_published_under_its_own_topic_and_shows_the_same_picture(graph: Graph) -> None:
    watcher = Watcher(graph, compressed=True)
    graph.add(CameraNode(ONE | {"compressed": True}))
    watcher.until_healthy()
    message = watcher.images[-1]
    assert "jpeg" in message.format
    assert message.header.frame_id == "wrist_optical_frame"
    pixels = cv2.cvtColor(cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    wanted = Pattern(160, 120).colour(read_number(pixels))
    assert np.abs(pixels.astype(int) - wanted).mean() < 8


def test_a_camera_that_stops_is_said_to_be_unhealthy_within_a_frame_period_after_its_frame_was_due(
    graph: Graph,
) -> None:
    """Later, the robot would go on acting on a picture of the past."""
    watcher = Watcher(graph)
    graph.add(CameraNode(ONE))
    watcher.until_healthy()
    disturb = watcher.disturbs()
    graph.spin(0.5)
    disturb("pause")
    said = watcher.until_unhealthy("no new frame when one was due")
    last = to_nanoseconds(watcher.images[-1].header.stamp)
    silence = (to_nanoseconds(said.header.stamp) - last) * 1e-9
    print(f"said to be unhealthy {1000 * silence:.1f} ms after the newest frame; two periods are 66.7 ms")
    assert silence < 2 / 30.0 + BUSY
    disturb("resume")
    watcher.until_healthy()
    assert watcher.health[-1].reason == ""


def test_health_is_repeated_every_second_and_kept_for_late_joiners(graph: Graph) -> None:
    watcher = Watcher(graph)
    graph.add(CameraNode(ONE))
    watcher.until_healthy()
    before = len(watcher.health)
    graph.until(lambda: len(watcher.health) > before + 2, "health without a change")
    late = Watcher(graph)
    graph.until(lambda: late.health, "the latched health")
    assert late.health[0].camera == "wrist"
    assert late.health[0].frames > 0


def test_frozen_repeated_dropped_and_jumped_frames_are_counted_in_health_and_diagnostics(graph: Graph) -> None:
    watcher = Watcher(graph)
    node = graph.add(CameraNode(ONE | {"frozen_after": 5}))
    watcher.until_healthy()
    disturb = watcher.disturbs()
    disturb("freeze")
    assert watcher.until_unhealthy("the same pixels").frozen >= 5
    disturb("repeat")
    graph.until(lambda: watcher.health[-1].repeated, "the repetition in the health")
    disturb("resume")
    watcher.until_healthy()
    graph.spin(1.2)
    disturb("jump 60")
    disturb("drop 2")
    graph.until(lambda: watcher.health[-1].clock_jumps == 1 and watcher.health[-1].lost >= 2, "jump and loss")
    stamps = [to_nanoseconds(image.header.stamp) for image in watcher.images]
    assert stamps == sorted(set(stamps))
    assert abs(time.time_ns() - stamps[-1]) < 2_000_000_000
    values = node.report().values
    assert values["wrist_clock_jumps"] == 1
    assert values["wrist_clock"] == "hardware_clock"


def test_an_unplugged_camera_comes_back_by_itself(graph: Graph) -> None:
    watcher = Watcher(graph)
    graph.add(CameraNode(ONE))
    watcher.until_healthy()
    disturb = watcher.disturbs()
    disturb("unplug")
    said = watcher.until_unhealthy("has no RealSense with serial number synthetic-1")
    assert "next attempt in" in said.reason
    before = len(watcher.images)
    disturb("plug")
    graph.until(lambda: watcher.healthy and len(watcher.images) > before + 5, "frames again")
    graph.until(lambda: watcher.health[-1].reconnects >= 1, "the count")


def test_the_node_is_not_ready_before_the_measured_rate_is_the_asked_one_and_says_why(graph: Graph) -> None:
    """A policy that learned at 30 Hz would be run on a camera that only gives 15."""
    peer = graph.peer()
    ready: list[String] = peer.hear(String, topics.READY, qos.latched(10))
    watcher = Watcher(graph)
    node = graph.add(CameraNode(ONE))
    node._channels[0].camera.disturb("rate 15")
    said = watcher.until_unhealthy("expected 30 Hz")
    assert "Hz, expected 30 Hz" in said.reason
    assert not ready
    node._channels[0].camera.disturb("rate 30")
    graph.until(lambda: [said.data for said in ready] == ["camera"], "the node to be ready")


def test_a_best_effort_topic_of_another_driver_is_relayed_with_its_stamps_and_calibration(graph: Graph) -> None:
    watcher, driver = Watcher(graph), graph.peer("realsense_ros")
    given = {
        "cameras": ["wrist"],
        "source": ["topic"],
        "devices": ["/cam/color/image_raw"],
        "width": [0],
        "height": [0],
    }
    graph.add(CameraNode(QUICK | given))
    say = driver.advertise(Image, "/cam/color/image_raw", qos.newest())
    calibrate = driver.advertise(CameraInfo, "/cam/color/camera_info", qos.newest())
    info = CameraInfo(width=64, height=48, distortion_model="plumb_bob", d=[0.0] * 5)
    info.k = [51.0, 0.0, 31.0, 0.0, 52.0, 23.0, 0.0, 0.0, 1.0]
    sent: list[int] = []

    def expose() -> None:
        stamp = time.time_ns()
        calibrate(info)
        say(image_message(Pattern(64, 48).colour(len(sent)), to_time(stamp), "their_frame"))
        sent.append(stamp)

    driver.node.create_timer(1 / 30.0, expose)
    graph.until(lambda: watcher.healthy and watcher.infos and watcher.infos[-1].k[0], "a healthy relayed camera")
    image = watcher.images[-1]
    assert image.header.frame_id == "wrist_optical_frame"
    assert to_nanoseconds(image.header.stamp) in sent
    assert watcher.infos[-1].k[4] == 52.0


def test_a_topic_that_is_the_cameras_own_is_refused(graph: Graph) -> None:
    given = {"cameras": ["wrist"], "source": ["topic"], "devices": ["camera/wrist/image_raw"]}
    with pytest.raises(MotoError, match="is the topic it publishes"):
        CameraNode(given)


@pytest.mark.slow
def test_the_shipped_synthetic_cameras_run_as_a_process_and_end_when_asked(graph: Graph, tmp_path: Path) -> None:
    given = read_parameters(config_folder() / "cameras" / "synthetic.yaml", "camera") | {"rate_tolerance": 0.3}
    watchers = [Watcher(graph, camera) for camera in given["cameras"]]
    with processes(tmp_path) as start:
        process: NodeProcess = start("moto_ros.nodes.camera_node", given)
        for watcher in watchers:
            graph.until(lambda w=watcher: w.healthy, "a healthy camera", 40)
        process.says("runs at")
        assert process.stop() == 0, process.output()


def test_a_camera_that_is_not_there_is_named_on_the_terminal(graph: Graph, tmp_path: Path) -> None:
    given = {"cameras": ["wrist"], "devices": ["'123456789012'"], "source": ["realsense"]}
    with processes(tmp_path) as start:
        process = start("moto_ros.nodes.camera_node", given)
        process.says("has no RealSense with serial number 123456789012 on USB, found none at all")
        assert process.stop() == 0
