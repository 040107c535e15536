"""The workspace box by hand-guiding: the arm may reach what a person has shown, and no more."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moto_ros.config import read_parameters
from moto_ros.errors import MotoError
from moto_ros.robot.workspace import HIGH, LOW, GuidedBox, write_box

PLACES = st.lists(st.tuples(*[st.floats(-1.0, 1.0)] * 3), min_size=1, max_size=20)
ROBOT = f"""# An arm.
franka:
  ros__parameters:
    host: 10.0.0.1   # its address
    {LOW}: [0.0, 0.0, 0.0]  # m
    {HIGH}: [0.1, 0.1, 0.1]
"""


@given(PLACES)
def test_no_corner_lies_outside_of_what_was_shown(places: list[tuple[float, float, float]]) -> None:
    """Breaks robots: the arm could move where no person has checked."""
    box = GuidedBox()
    for place in places:
        box.add(place)
    try:
        low, high = box.corners(0.01)
    except MotoError:
        assert (np.ptp(places, axis=0) < 0.05).any()
        return
    assert (low >= np.min(places, axis=0) + 0.009).all()
    assert (high <= np.max(places, axis=0) - 0.009).all()


def test_a_box_that_was_not_guided_along_an_axis_is_refused() -> None:
    box = GuidedBox()
    with pytest.raises(MotoError, match="no position at all"):
        box.corners(0.01)
    box.add((0.3, 0.0, 0.1))
    box.add((0.6, 0.3, 0.11))
    box.add((float("nan"), 0.0, 9.0))
    with pytest.raises(MotoError, match=r"z 0\.100 to 0\.110 m, expected at least 0\.04 m along each axis"):
        box.corners(0.01)


CORNERS = (np.array([0.3, -0.2, 0.05]), np.array([0.6, 0.25, 0.5]))


def test_a_copy_of_the_robot_file_keeps_every_other_line_and_comment(tmp_path: Path) -> None:
    source, target = tmp_path / "arm.yaml", tmp_path / "mine.yaml"
    source.write_text(ROBOT)
    write_box(source, target, CORNERS)
    assert read_parameters(target, "franka") == {
        "host": "10.0.0.1",
        LOW: [0.3, -0.2, 0.05],
        HIGH: [0.6, 0.25, 0.5],
    }
    assert target.read_text().startswith("# An arm.\n")
    assert f"{LOW}: [0.3, -0.2, 0.05]  # m\n" in target.read_text()


def test_a_robot_file_without_a_box_gets_one(tmp_path: Path) -> None:
    source, target = tmp_path / "arm.yaml", tmp_path / "mine.yaml"
    source.write_text("\n".join(line for line in ROBOT.splitlines() if LOW not in line and HIGH not in line) + "\n")
    write_box(source, target, CORNERS)
    assert read_parameters(target, "franka")[HIGH] == [0.6, 0.25, 0.5]


def test_a_file_that_exists_is_kept_unless_forced(tmp_path: Path) -> None:
    source, target = tmp_path / "arm.yaml", tmp_path / "mine.yaml"
    source.write_text(ROBOT)
    target.write_text("precious")
    with pytest.raises(MotoError, match="exists and is kept"):
        write_box(source, target, CORNERS)
    assert target.read_text() == "precious"
    write_box(source, target, CORNERS, force=True)
    assert read_parameters(target, "franka")[LOW] == [0.3, -0.2, 0.05]


@pytest.fixture
def guided(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Start `moto workspace`, which subscribes."""
    robot = tmp_path / "arm.yaml"
    robot.write_text(ROBOT)
    words = ["workspace", "--listen", "--robot", str(robot), "--output", str(tmp_path / "mine.yaml")]
    command = [sys.executable, "-m", "moto_ros.cli.main", *words, "--namespace", "arm"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    yield process
    process.kill()
    process.wait()


@pytest.mark.ros
@pytest.mark.realtime
def test_guiding_an_arm_until_ctrl_c_writes_the_box(guided: subprocess.Popen[str], tmp_path: Path) -> None:
    pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")
    from support.graph import ros_graph

    from moto_msgs.msg import RobotState
    from moto_ros.contract import topics
    from moto_ros.ros import qos

    with ros_graph(["--ros-args", "-r", "__ns:=/arm"]) as graph:
        say = graph.peer("franka").advertise(RobotState, topics.ROBOT_STATE, qos.stream_out())
        for x, y, z in ((0.3, -0.2, 0.1), (0.6, 0.2, 0.5)) * 20:
            state = RobotState()
            state.ee_pose.position.x, state.ee_pose.position.y, state.ee_pose.position.z = x, y, z
            say(state)
            graph.spin(0.05)
    guided.send_signal(signal.SIGINT)
    output, _ = guided.communicate(timeout=30)
    assert guided.returncode == 0, output
    found = read_parameters(tmp_path / "mine.yaml", "franka")
    assert (found[LOW], found[HIGH]) == ([0.31, -0.19, 0.11], [0.59, 0.19, 0.49])


@pytest.mark.ros
@pytest.mark.realtime
def test_nothing_is_written_when_nobody_guides(guided: subprocess.Popen[str], tmp_path: Path) -> None:
    pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")
    time.sleep(3.0)
    guided.send_signal(signal.SIGINT)
    output, _ = guided.communicate(timeout=30)
    assert guided.returncode != 0
    assert not (tmp_path / "mine.yaml").exists(), output


@pytest.mark.ros
@pytest.mark.realtime
@pytest.mark.slow
def test_the_arms_node_is_started_idle_and_an_arm_that_nobody_guides_gives_no_box(tmp_path: Path) -> None:
    """Breaks the first calibration: the arm's node would not start before there is a box."""
    for package in ("rclpy", "franky", "franky_sim"):
        pytest.importorskip(package, reason=f"{package} is not installed")
    from support.franky_server import free_address

    address, target = free_address(), tmp_path / "mine.yaml"
    words = ["workspace", "--backend", "franka_sim", "--output", str(target), "--duration", "5"]
    words += ["-p", f"franka_server.address:={address}", "-p", f"franka.host:={address}"]
    command = [sys.executable, "-m", "moto_ros.cli.main", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1, done.stdout
    assert "the end effector was guided through x 0.3" in done.stderr
    assert not target.exists()


@pytest.mark.ros
@pytest.mark.realtime
@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)])
def test_the_arms_node_ends_with_the_command_that_started_it(tmp_path: Path, number: int, status: int) -> None:
    """Breaks an arm: its driver would keep running, connected, without a terminal."""
    for package in ("rclpy", "franky", "franky_sim"):
        pytest.importorskip(package, reason=f"{package} is not installed")
    from support.franky_server import free_address

    address, target = free_address(), tmp_path / "mine.yaml"
    words = ["workspace", "--backend", "franka_sim", "--output", str(target)]
    words += ["-p", f"franka_server.address:={address}", "-p", f"franka.host:={address}"]
    command = [sys.executable, "-u", "-m", "moto_ros.cli.main", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        while "connected" not in (line := process.stdout.readline()):
            assert line, "the arm's node did not connect"
        process.send_signal(number)
        output = process.stdout.read()  # to the end of the last process that holds the other end
        assert process.wait(60) == status, output
    assert "Traceback" not in output
    assert not target.exists()
    with socket.socket() as probe:
        assert probe.connect_ex((address, 1337)) != 0
