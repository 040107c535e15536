"""Another system in the same namespace: the arm does not move for it, and a run's data are as they are without it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")
pytest.importorskip("moto_msgs", reason="moto_msgs is not built")

from support.graph import Graph, ros_graph
from support.process import processes

from moto_msgs.msg import Action, EpisodeState, OperatorEvent, RobotState
from moto_msgs.srv import ResetRobot
from moto_ros.config import read_parameters, shipped
from moto_ros.contract import topics
from moto_ros.data.bag_library import USABLE
from moto_ros.data.bag_reader import read_episodes
from moto_ros.data.cache import content_key, rows_of
from moto_ros.data.layout import StepLayout
from moto_ros.ros import qos

pytestmark = [pytest.mark.ros, pytest.mark.slow, pytest.mark.realtime]

OURS, THEIRS = 2**40, 2**41
"""Sessions of the arm's system and of the intruder."""

STILL = 0.001
"""m that the measured hand of an arm without commands may differ."""


class Arm:
    """The arm's own system, of which only the driver is a process: the test is the rest of it, and the intruder."""

    def __init__(self, graph: Graph) -> None:
        self.graph, self.peer = graph, graph.peer("somebody")
        self.start: Any = None
        self.given: dict[str, Any] = {}
        self.states: list[RobotState] = self.peer.hear(RobotState, topics.ROBOT_STATE, qos.every())
        self.act = self.peer.node.create_publisher(Action, topics.ACTION, qos.event())
        self.say = self.peer.node.create_publisher(EpisodeState, topics.EPISODE_STATE, qos.latched())
        self.press = self.peer.node.create_publisher(OperatorEvent, topics.OPERATOR_EVENT, qos.event())
        self.resetter = self.peer.node.create_client(ResetRobot, topics.ROBOT_RESET)

    @property
    def state(self) -> RobotState:
        """Return the newest state."""
        return self.states[-1]

    def reset(self, session: int, episode: int) -> Any:
        """Ask for a reset and return the future of its answer."""
        return self.resetter.call_async(ResetRobot.Request(session=session, episode=episode, seed=1, timeout=60.0))

    def drive(self, session: int, seconds: float) -> None:
        """Send fresh actions of the running episode, each of the step that is due."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            action = Action(session=session, episode=1, step=self.state.step, values=[0.0, 1.0, 0.0, 0.0])
            action.header.stamp = self.peer.node.get_clock().now().to_msg()
            self.act.publish(action)
            self.graph.spin(0.1)

    def place(self) -> np.ndarray:
        """Return where the hand is (3,) m."""
        self.graph.spin(0.1)
        found: Any = self.state.ee_pose.position
        return np.array([found.x, found.y, found.z])


@pytest.fixture
def arm(tmp_path: Path) -> Iterator[Arm]:
    """The driver of a system on a simulated arm, whose episode 1 runs."""
    pytest.importorskip("franky", reason="the arm's driver is not installed")
    pytest.importorskip("franky_sim", reason="franky-sim is not installed")
    from support.franky_server import franky_server

    with franky_server() as server, processes(tmp_path) as start, ros_graph() as graph:
        given = read_parameters(shipped("robots", "franky_sim"), "franka") | {"host": server.address}
        driver = start("moto_ros.nodes.robot_node", given | {"session": OURS})
        made = Arm(graph)
        made.start, made.given = start, given
        graph.until(lambda: made.states, driver.output())
        answer = made.reset(OURS, 1)
        graph.until(answer.done, "the reset")
        assert answer.result().success, answer.result().message
        made.say.publish(EpisodeState(session=OURS, episode=1, phase=EpisodeState.PHASE_RUNNING))
        graph.until(lambda: made.state.episode == 1, "the episode")
        yield made


def test_the_arm_moves_for_its_own_system_and_for_no_other(arm: Arm) -> None:
    """Breaks people and arms: a colleague's simulated run, in everyone's default namespace, would drive a real arm."""
    before = arm.place()
    arm.drive(THEIRS, 1.5)
    arm.drive(0, 1.0)
    silence = arm.reset(THEIRS, 2)
    arm.graph.spin(1.5)
    assert not silence.done()
    refusal = arm.reset(0, 2)
    arm.graph.until(refusal.done, "the refusal")
    assert f"expected {OURS}" in refusal.result().message
    assert np.linalg.norm(arm.place() - before) < STILL
    assert (arm.state.episode, arm.state.step) == (1, 0)
    # Neither does it end this system's episode.
    arm.say.publish(EpisodeState(session=THEIRS, episode=1, phase=EpisodeState.PHASE_ENDED))
    arm.graph.spin(0.5)
    arm.drive(OURS, 2.0)
    assert arm.state.step > 2
    assert np.linalg.norm(arm.place() - before) > 0.01


def test_anybody_stops_the_arm(arm: Arm) -> None:
    """Breaks people: the stop of the person nearest to the arm must work."""
    arm.press.publish(OperatorEvent(session=THEIRS, event=OperatorEvent.STOP))
    arm.graph.until(lambda: arm.state.mode == RobotState.MODE_STOPPED, "the stop")
    before = arm.place()
    arm.drive(OURS, 1.0)
    assert np.linalg.norm(arm.place() - before) < STILL


def test_a_second_driver_in_a_namespace_ends_before_it_touches_the_arm(arm: Arm) -> None:
    """Breaks arms: to connect may clear a fault and home the gripper, of an arm that another system holds."""
    second = arm.start("moto_ros.nodes.robot_node", arm.given | {"session": THEIRS})
    end = time.monotonic() + 60.0
    while second.running:
        assert time.monotonic() < end, second.output()
        arm.graph.spin(0.1)
    assert second.wait() == 1
    assert "/franka: a node of this name runs already, of the system started at" in second.output()
    assert "connected with" not in second.output()
    arm.drive(OURS, 1.0)
    assert arm.state.step > 2


def record(folder: Path, *more: str) -> subprocess.Popen[bytes]:
    """Start a recording as a user does."""
    short = ("-p", "max_steps:=20", "-p", "threads:=1")
    command = [sys.executable, "-m", "moto_ros.cli.main", "record", "--run", str(folder), *short, *more]
    with folder.with_suffix(".out").open("w") as output:
        return subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)


LAYOUT = StepLayout(cameras=("agent",), image_size=64, proprio=("ee_position",), action_size=4)


def finished(folder: Path) -> list[Path]:
    """Return the bags below `folder` that hold an episode that came to its end, as a later run learns from."""
    bags = {file.parent for file in folder.rglob("*.mcap")}
    return [bag for bag in bags if any(one.info["outcome"] in USABLE for one in read_episodes(bag, LAYOUT).episodes)]


def keys(folder: Path, bags: list[str]) -> dict[str, str]:
    """Return the content of the episode in each of these bags."""
    read = {bag: read_episodes(folder / "bags" / "offline" / bag, LAYOUT).episodes for bag in bags}
    return {name: content_key(rows_of(found)) for name, (found,) in read.items()}


@pytest.mark.sim
def test_a_second_recording_in_a_namespace_is_refused_and_the_first_is_what_it_is_without_it(tmp_path: Path) -> None:
    """Breaks data: the first folder held two of the second's episodes, one of them marked as a success."""
    pytest.importorskip("metaworld", reason="Meta-World is not installed")
    first, started = tmp_path / "first", []
    try:
        started.append(record(first, "--episodes", "4000"))
        output = first.with_suffix(".out")
        until(lambda: "demonstration episode 2000001" in output.read_text(), output)
        second = record(tmp_path / "second", "--episodes", "2", "--seed", "7")
        started.append(second)
        assert second.wait(120) == 1, (tmp_path / "second.out").read_text()
        # In lockstep a namespace is not enough, and that must not come out only later.
        third = record(tmp_path / "third", "--episodes", "2", "--namespace", "lab")
        started.append(third)
        assert third.wait(120) == 1, (tmp_path / "third.out").read_text()
        known = output.read_text().count("demonstration episode")
        until(lambda: output.read_text().count("demonstration episode") > known + 2, output)
        assert started[0].poll() is None
        started[0].send_signal(signal.SIGINT)
        started[0].wait(60)
    finally:
        for process in started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    said = (tmp_path / "second.out").read_text()
    assert "runs already, of the system started at" in said or "publishes it already, of the system started at" in said
    assert "/clock: /moto/sim publishes it already, of the system started at" in (tmp_path / "third.out").read_text()
    assert "another ROS domain (argument domain)" in said
    assert finished(tmp_path / "second") == finished(tmp_path / "third") == []
    alone = record(tmp_path / "alone", "--episodes", "3")
    assert alone.wait(120) == 0, (tmp_path / "alone.out").read_text()
    bags = [f"episode_{2_000_000 + at}" for at in range(3)]
    assert keys(first, bags) == keys(tmp_path / "alone", bags)
    assert len(list((first / "bags" / "offline").iterdir())) > 3
    assert len(finished(first)) >= 3


def until(condition: Any, output: Path, timeout: float = 120.0) -> None:
    """Wait for a condition of a process."""
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, output.read_text()
        time.sleep(0.1)
