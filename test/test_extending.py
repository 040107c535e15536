"""Extending from outside: an agent, an arm, a camera and a world of a folder on PYTHONPATH, each really used.

The folder is a copy of test/outside/, out of reach of the program's own packages; names are "module:class", or an entry
point where the package is installed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")
pytest.importorskip("moto_msgs", reason="moto_msgs is not built")

from sensor_msgs.msg import CameraInfo, Image
from support.domain import reserved_domain
from support.graph import Graph, ros_graph
from test_package_rules import strings, tree_of

from moto_msgs.msg import Action, CameraHealth, EpisodeState, RobotState
from moto_msgs.srv import ResetRobot
from moto_ros import registry
from moto_ros.agents.interface import Agent
from moto_ros.agents.registry import AGENTS
from moto_ros.camera.settings import CameraSettings
from moto_ros.camera.sources import CAMERAS
from moto_ros.config import build, read_parameters, specs
from moto_ros.contract import topics
from moto_ros.errors import MotoError
from moto_ros.nodes.camera_node import CameraNode
from moto_ros.nodes.robot_node import RobotNode
from moto_ros.robot.arms import ARMS
from moto_ros.robot.franka_settings import FrankaSettings
from moto_ros.robot.limits import RobotSettings
from moto_ros.robot.settings import with_arm
from moto_ros.ros import qos
from moto_ros.ros.convert import to_time
from moto_ros.systems.bringup import resolve
from moto_ros.training.metrics import read_metrics

pytestmark = pytest.mark.ros

ARM, CAMERA = "their_robot.arm:SixJointArm", "their_robot.camera:LineCamera"
LIMIT = 240
"""Seconds for a whole run; on an idle machine it takes less than forty."""


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Put the package `their_robot` into a folder on the path, of processes that are started here too."""
    folder = tmp_path / "elsewhere"
    shutil.copytree(Path(__file__).parent / "outside", folder / "their_robot")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]))
    registry._entry_points.cache_clear()
    yield folder / "their_robot"
    registry._entry_points.cache_clear()
    for name in [name for name in sys.modules if name.startswith("their_robot")]:
        del sys.modules[name]


@pytest.fixture
def graph() -> Iterator[Graph]:
    with ros_graph() as made:
        yield made


@pytest.mark.sim
@pytest.mark.slow
def test_an_agent_and_a_world_from_outside_record_learn_and_act(outside: Path, tmp_path: Path) -> None:
    """Breaks research with the program: a new algorithm or task would need a fork of it."""
    run = tmp_path / "run"
    words = ["finetune", "--task", str(outside / "sliders.yaml"), "--agent", "their_robot.agent:TheirAgent"]
    words += [
        "--preset",
        "defaults",
        "--run",
        str(run),
        "-p",
        "evaluation_episodes:=1",
        "-p",
        "threads:=1",
        "-p",
        "log_every:=5",
    ]
    with reserved_domain() as domain:
        command = [sys.executable, "-m", "moto_ros.cli.main", *words, "--domain", str(domain)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list(run.glob("bags/offline/episode_*"))) == 2
    assert len(list(run.glob("bags/online/episode_*"))) == 2
    losses = [row["imitation_loss"] for row in read_metrics(run / "metrics.jsonl") if "imitation_loss" in row]
    assert losses[-1] < losses[0]
    assert "their_robot.agent:TheirAgent" in (run / "config" / "finetune" / "policy.yaml").read_text()


def test_an_arm_of_six_joints_is_driven_over_ros_behind_the_guard(outside: Path, graph: Graph) -> None:
    """Breaks every arm that is no Franka arm: it would need that arm's parameters, or the driver's own file."""
    given = read_parameters(outside / "robot.yaml", "robot")
    peer = graph.peer()
    states: list[RobotState] = peer.hear(RobotState, topics.ROBOT_STATE, qos.every())
    node = graph.add(RobotNode(given))
    graph.until(lambda: states, "the first state")
    assert list(states[-1].joint_names)[:2] == ["shoulder_pan", "shoulder_lift"]
    episodes = peer.advertise(EpisodeState, topics.EPISODE_STATE, qos.latched())
    act = peer.advertise(Action, topics.ACTION, qos.event())
    answer = peer.call(ResetRobot, topics.ROBOT_RESET, episode=1, seed=0, timeout=20.0)
    assert answer.success, answer.message
    episodes(EpisodeState(episode=1, phase=EpisodeState.PHASE_RUNNING))
    graph.until(lambda: np.allclose(states[-1].joint_position, node.settings.home), "home")

    def step(number: int) -> None:
        message = Action(episode=1, step=number, values=[1.0, 0.0, 0.0, 0.0, 0.0, -1.0])
        message.header.stamp = message.state_stamp = to_time(time.time_ns())
        act(message)
        graph.until(lambda: states[-1].step == number + 1, f"action {number} to be taken")

    for number in range(3):
        step(number)
    graph.until(lambda: states[-1].joint_position[0] > 0.02, "the first joint to follow")
    assert states[-1].joint_position[5] < -0.02
    np.testing.assert_allclose(states[-1].joint_position[1:5], node.settings.home[1:5], atol=1e-6)
    graph.until(lambda: states[-1].mode in (RobotState.MODE_HOLD, RobotState.MODE_IDLE), "the guard to hold")


def test_an_arm_of_six_joints_has_no_parameter_of_a_franka_arm(outside: Path) -> None:
    """Breaks the parameter file of another arm: it would have to say things that it cannot know."""
    franka = set(specs(FrankaSettings)) - set(specs(RobotSettings))
    assert {"host", "contact_torque"} <= franka
    assert not franka & set(specs(with_arm(ARM)))
    settings = build(with_arm(ARM), read_parameters(outside / "robot.yaml", "robot"), "robot.yaml")
    assert settings.joints == 6


@pytest.mark.parametrize("section", ["robot", "franka"])
def test_the_file_of_an_arm_from_outside_makes_a_system(outside: Path, tmp_path: Path, section: str) -> None:
    """Breaks the start on another arm: its file would be refused, or the driver of a Franka arm asked for."""
    file = outside / "robot.yaml"
    file.write_text(file.read_text().replace("\nrobot:", f"\n{section}:"))
    cameras = tmp_path / "cameras.yaml"
    cameras.write_text(
        f"/**: {{ros__parameters: {{cameras: [wrist, front]}}}}\n"
        f"camera: {{ros__parameters: {{source: ['{CAMERA}'], devices: [a, b]}}}}\n"
    )
    given = {"backend": "franka", "robot": str(file), "cameras": str(cameras), "run": str(tmp_path / "run")}
    system = resolve("record", given)
    system.check()
    settings = system.settings()
    assert (settings["franka"].arm, settings["franka"].port) == (ARM, "/dev/ttyUSB0")
    assert settings["camera"].setups()[1].source == CAMERA
    over = resolve("record", given | {"parameters": "robot.port:=/dev/ttyUSB1"}).settings()["franka"]
    assert over.port == "/dev/ttyUSB1"


def test_a_camera_from_outside_publishes_frames(outside: Path, graph: Graph) -> None:
    """Breaks every camera that is neither a RealSense nor opened by OpenCV nor a topic."""
    peer = graph.peer()
    images: list[Image] = peer.hear(Image, topics.camera_image("wrist"), qos.every())
    infos: list[CameraInfo] = peer.hear(CameraInfo, topics.camera_info("wrist"), qos.every())
    health: list[CameraHealth] = peer.hear(CameraHealth, topics.camera_health("wrist"), qos.latched(10))
    given = {"cameras": ["wrist"], "source": [CAMERA], "devices": ["any"], "width": [32], "height": [24]}
    graph.add(CameraNode(given | {"rate": [20.0], "rate_window": 0.5, "rate_tolerance": 0.5}))
    graph.until(lambda: len(images) > 2 and infos and health and health[-1].healthy, "frames of a healthy camera")
    assert (images[-1].width, images[-1].height, infos[-1].k[0]) == (32, 24, 32.0)
    rows = [int(np.frombuffer(image.data, np.uint8).reshape(24, 32, 3)[:, 0, 0].argmax()) for image in images[-2:]]
    assert (rows[1] - rows[0]) % 24 >= 1


@pytest.mark.usefixtures("outside")
def test_a_camera_from_outside_that_is_asked_for_depth_says_that_it_has_none() -> None:
    given = {"source": [CAMERA], "devices": ["any"], "depth": [True]}
    with pytest.raises(MotoError, match=f"source {CAMERA} measures no depth; set it to false"):
        build(CameraSettings, given, "camera node")


def test_an_installed_package_adds_a_name_by_its_entry_point(outside: Path) -> None:
    """Breaks packages for an arm: their users would have to write "module:class" everywhere."""
    metadata = outside.parent / "their_robot-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: their-robot\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[moto_ros.arms]\nsix_joint = {ARM}\n")
    registry._entry_points.cache_clear()
    assert list(ARMS) == ["franka", "six_joint"]
    assert "six_joint" in specs(with_arm("six_joint"))["arm"].describe()
    given = read_parameters(outside / "robot.yaml", "robot") | {"arm": "six_joint"}
    assert build(with_arm("six_joint"), given, "test").port == "/dev/ttyUSB0"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("motto", "agent 'motto' is unknown, expected one of moto, fowm, bc, iql, or module:class; did you mean moto"),
        ("their_robot.agents:TheirAgent", r"importing their_robot.agents failed .* name its folder in PYTHONPATH"),
        ("their_robot.agent:Agents", "module their_robot.agent has no Agents"),
        ("their_robot.agent:TheirSettings", r"expected a class derived from moto_ros.agents.interface.Agent"),
    ],
)
@pytest.mark.usefixtures("outside")
def test_a_name_that_cannot_be_used_is_one_sentence(name: str, words: str) -> None:
    with pytest.raises(MotoError, match=words):
        AGENTS.load(name)


def test_every_own_name_is_a_class_that_is_there() -> None:
    """Breaks the one who chooses it: a line of a registry that names nothing is found at the start of a run only."""
    for name in AGENTS.lines:
        assert issubclass(AGENTS.load(name), Agent)
    for own in (ARMS, CAMERAS):
        for name in own.lines:
            assert own.load(name).__module__ == own.lines[name].split(":")[0]


@pytest.mark.parametrize("own", [AGENTS, ARMS, CAMERAS], ids=lambda own: own.what)
def test_the_name_of_an_arm_or_a_camera_stands_in_its_registry_alone(own: registry.Registry) -> None:
    """Breaks the one who adds a driver: a second list somewhere would have to be found."""
    root = Path(registry.__file__).parent
    lines = set(own.lines.values())
    found = [str(path.relative_to(root)) for path in root.rglob("*.py") if lines & set(strings(tree_of(path)))]
    assert len(found) == 1
