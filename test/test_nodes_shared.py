"""What every node relies on: big samples pass, nobody is called ready too early, threads report their failures."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.graph import Graph, ros_graph

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")
pytest.importorskip("moto_msgs", reason="moto_msgs is not built")

from diagnostic_msgs.msg import DiagnosticArray
from sensor_msgs.msg import Image
from std_msgs.msg import String
from support.cameras import CAMERAS

from moto_msgs.msg import EpisodeState
from moto_ros.config import config_folder, parameter, read_parameters, specs
from moto_ros.contract import topics
from moto_ros.data.recorder_settings import RecorderSettings
from moto_ros.episode.settings import EpisodeSettings
from moto_ros.errors import MotoError
from moto_ros.nodes.episode_node import EpisodeNode
from moto_ros.nodes.learning_settings import policy_settings, trainer_settings
from moto_ros.nodes.recorder_node import RecorderNode
from moto_ros.ros import discovery, qos
from moto_ros.ros.convert import to_nanoseconds
from moto_ros.ros.diagnostics import NodeReport
from moto_ros.ros.discovery import Readiness
from moto_ros.ros.node import MotoNode
from moto_ros.ros.worker import Mailbox, Worker
from moto_ros.systems.transport import environment

pytestmark = [pytest.mark.ros, pytest.mark.realtime]

HERE = Path(__file__).parent
FRAMES = 60


@pytest.fixture
def graph() -> Iterator[Graph]:
    with ros_graph() as made:
        yield made


def test_two_vga_cameras_at_30_hz_reach_another_process_without_a_lost_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    command = [sys.executable, "-m", "support.cameras", str(FRAMES), "480", "640"]
    paths = {"PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH", "")])}
    with ros_graph() as graph, subprocess.Popen(command, env={**os.environ, **paths}) as cameras:
        peer = graph.peer()
        heard = {camera: peer.hear(Image, topics.camera_image(camera), qos.every()) for camera in CAMERAS}
        graph.until(lambda: all(len(frames) == FRAMES for frames in heard.values()), "every frame", 60)
        cameras.wait(30)
    for frames in heard.values():
        assert [to_nanoseconds(frame.header.stamp) for frame in frames] == list(range(FRAMES))
        assert len(frames[0].data) == 480 * 640 * 3


def test_a_node_is_ready_only_when_its_peers_are_there_and_connected(graph: Graph) -> None:
    node = graph.peer("first").node
    node.create_publisher(String, "talk", qos.event())
    ready = Readiness(node, ["second"])
    graph.spin(0.6)
    assert not ready.announced
    assert "second" in ready.waits_for
    other = graph.peer("second").node
    other.create_subscription(String, "talk", print, qos.event())
    partner = Readiness(other, ["first"])
    graph.until(lambda: ready.announced and partner.announced, "both to be ready")
    both = {"first", "second"}
    graph.until(lambda: ready.ready_nodes() == partner.ready_nodes() == both, "each to hear of the other")


def test_incompatible_qos_keeps_a_node_from_being_ready_and_names_the_topic(graph: Graph) -> None:
    node = graph.peer("first").node
    node.create_publisher(String, "talk", qos.newest())
    ready = Readiness(node, ["second"])
    other = graph.peer("second").node
    other.create_subscription(String, "talk", print, qos.event())
    Readiness(other, ["first"])
    graph.until(lambda: "/talk" in ready.waits_for, "the topic to be named")
    assert not ready.announced


def test_what_a_start_waits_for_too_long_is_told_once(
    graph: Graph, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start that never gets ready would end after minutes with no word of which topic or node was missing."""
    monkeypatch.setattr(discovery, "CHECKS_BEFORE_WARNING", 3)
    node = graph.peer("first").node
    ready = Readiness(node, ["second"])
    graph.spin(1.0)
    assert not ready.announced
    assert capfd.readouterr().err.count("not ready: waits for second to start\n") == 1


def test_a_node_that_still_looks_for_other_systems_says_so(graph: Graph) -> None:
    """Breaks the answer to an early episode/start: topics would be named as missing that are all connected."""
    ready = Readiness(graph.add(OddlyNamed()), [])
    graph.until(lambda: ready.waits_for == "still looking for other systems in this ROS domain", "the sentence")
    assert not ready.announced
    graph.until(lambda: ready.announced, "the node to be ready")
    assert ready.waits_for == ""


def test_a_node_that_leaves_is_no_longer_counted_as_ready(graph: Graph) -> None:
    first, second = graph.peer("first").node, graph.peer("second").node
    ready = Readiness(first, ["second"])
    Readiness(second, ["first"])
    graph.until(lambda: ready.ready_nodes() == {"first", "second"}, "both")
    graph.drop(second)
    graph.until(lambda: ready.ready_nodes() == {"first"}, "the second to be missed")


def test_incompatible_qos_is_in_the_diagnostics(graph: Graph, tmp_path: Path) -> None:
    graph.add(RecorderNode({"bags": str(tmp_path)}))
    peer = graph.peer()
    peer.node.create_publisher(EpisodeState, topics.EPISODE_STATE, qos.newest())
    heard = peer.hear(DiagnosticArray, topics.DIAGNOSTICS, qos.event())
    graph.until(
        lambda: any("QoS is incompatible" in status.message for message in heard for status in message.status),
        "a diagnostic about QoS",
    )


@dataclass(frozen=True)
class NoSettings:
    """Settings of a node that has none of its own."""

    number: int = parameter(0, "a number")


class OddlyNamed(MotoNode[NoSettings]):
    """A node whose file has a name that is not UTF-8."""

    def __init__(self) -> None:
        super().__init__("oddly_named", NoSettings)

    def report(self) -> NodeReport:
        return NodeReport({"file": Path(ODD_NAME)}, warning=f"{ODD_NAME}: is damaged")


ODD_NAME = os.fsdecode(b"bag_\xff.mcap")


def test_the_name_of_a_file_that_is_not_utf_8_is_logged_and_published(
    graph: Graph, capfd: pytest.CaptureFixture[str]
) -> None:
    """Breaks a run whose bags come from an older system: the line or message about one would end the node."""
    node = graph.add(OddlyNamed())
    log = node.get_logger()
    for number, say in enumerate((log.info, log.warning, log.error, log.fatal, log.warning)):
        say(f"{number} {ODD_NAME}")
    heard = graph.peer().hear(DiagnosticArray, topics.DIAGNOSTICS, qos.event())
    graph.until(lambda: heard, "a diagnostic message")
    (status,) = heard[0].status
    assert (status.message, status.values[0].value) == ("bag_?.mcap: is damaged", "bag_?.mcap")
    output = "".join(capfd.readouterr())
    assert all(f"{number} bag_?.mcap" in output for number in range(5))


def test_a_failing_job_of_a_worker_reaches_the_executor(graph: Graph) -> None:
    """A thread that dies in silence would leave a node that looks alive and does nothing."""
    mailbox = Mailbox(graph.peer().node)
    worker = Worker(mailbox, "test")
    done: list[int] = []
    worker.do(lambda: 7, done.append)
    graph.until(lambda: done, "the result")
    assert done == [7]

    def fail() -> None:
        raise MotoError("the disk is full")

    worker.do(fail)
    with pytest.raises(MotoError, match="disk is full"):
        graph.until(lambda: False, "the failure")
    assert worker.close()


def test_what_a_worker_reports_runs_in_the_executors_thread(graph: Graph) -> None:
    worker = Worker(Mailbox(graph.peer().node), "test")
    threads: list[str] = []
    worker.do(lambda: threads.append(threading.current_thread().name), lambda _: threads.append("executor"))
    graph.until(lambda: len(threads) == 2, "both")
    assert threads == ["test", "executor"]
    worker.close()


def test_parameters_are_declared_with_their_unit_and_range(graph: Graph) -> None:
    node = graph.add(EpisodeNode({"max_steps": 7}))
    found = node.describe_parameter("reset_timeout")
    assert "s, 0.1..inf" in found.description
    assert found.read_only
    assert node.get_parameter("max_steps").value == 7


@pytest.mark.parametrize(
    ("node", "settings"),
    [
        ("episode", EpisodeSettings),
        ("recorder", RecorderSettings),
        ("policy", policy_settings({})),
        ("trainer", trainer_settings({})),
    ],
)
def test_shipped_node_parameters_are_known_to_their_node(node: str, settings: type) -> None:
    given = read_parameters(config_folder() / "nodes" / f"{node}.yaml", node)
    assert given
    assert set(given) <= set(specs(settings))
