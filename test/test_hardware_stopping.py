"""The death of `moto` on an arm: the driver brakes, and neither motion nor a process is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")
pytest.importorskip("moto_msgs", reason="moto_msgs is not built")
pytest.importorskip("franky", reason="the arm's driver is not installed")
pytest.importorskip("franky_sim", reason="franky-sim is not installed")
pytest.importorskip("pyrealsense2", reason="the cameras' driver is not installed")

from support.franka import franka_arm, pause
from support.franka_run import Demonstrator, small_run
from support.franky_server import franky_server
from support.graph import ros_graph

from moto_msgs.msg import RobotState
from moto_ros.contract import topics
from moto_ros.ros import qos
from moto_ros.stopping import STOP_TIME

pytestmark = [pytest.mark.ros, pytest.mark.slow, pytest.mark.realtime]

FAR = (0.45, 0.28, 0.44)
"""m: a goal that the hand is still on its way to when the test acts."""

NODES = {"franka", "camera", "reward", "operator", "recorder", "episode"}


def nodes(run: Path) -> dict[str, int]:
    """Return the running nodes of a run folder by name, with their process ids."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            ended = (entry / "stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
        except OSError:
            continue
        names_ = [word.removeprefix(b"__node:=") for word in words if word.startswith(b"__node:=")]
        if names_ and not ended and any(word.startswith(bytes(run / "config")) for word in words):
            found[names_[0].decode()] = int(entry.name)
    return found


def test_when_moto_is_killed_a_moving_arm_comes_to_rest_and_no_node_is_left(tmp_path: Path) -> None:
    """Breaks people: nobody could stop an arm whose program has lost its terminal."""
    run, output = tmp_path / "run", tmp_path / "out"
    words = ["up", "record", "--backend", "franka", "--robot", "franky_sim", "--cameras", "synthetic"]
    with franky_server() as server, ros_graph(["--ros-args", "-r", "__ns:=/moto"]) as graph, output.open("w") as log:
        # The arm is no process of this system: it must not vanish together with its driver.
        options = ["--run", str(run), *small_run(500, server.address)]
        command = [sys.executable, "-m", "moto_ros.cli.main", *words, *options]
        moto = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            Demonstrator(graph, FAR)
            states: list[RobotState] = graph.peer("watcher").hear(RobotState, topics.ROBOT_STATE, qos.every())

            def moving() -> bool:
                assert moto.poll() is None, output.read_text()
                tracks = bool(states) and states[-1].mode == RobotState.MODE_TRACK
                return tracks and abs(states[-1].ee_twist.linear.y) > 0.05

            graph.until(moving, "motion", 120.0)
            started = nodes(run)
            assert started.keys() == NODES
            moto.kill()
            end = time.monotonic() + STOP_TIME + 10.0
            while nodes(run):
                assert time.monotonic() < end, f"still running: {sorted(nodes(run))}"
                graph.spin(0.1)
        finally:
            moto.kill()
            for pid in nodes(run).values():
                os.kill(pid, signal.SIGKILL)
        with franka_arm(server) as arm:
            # An arm that lost its driver in the middle of a motion has stopped by itself, and says so until recovered.
            arm.recover()
            before = arm.state()
            assert np.abs(before.joint_velocity).max() < 0.005
            assert before.position[1] < FAR[1] - 0.1, "it went on to where the last action led"
            assert np.linalg.norm(pause(arm, 0.5).position - before.position) < 1e-3
