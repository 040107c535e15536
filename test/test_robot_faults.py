"""Faults of an arm, on the real driver: the robot node must hold, stop, recover, and report what happened.

Distances are printed; their bounds are wide, for a busy machine simulates the arm slower than the guard's clock runs.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")
pytest.importorskip("moto_msgs", reason="moto_msgs is not built")
pytest.importorskip("franky", reason="the arm's driver is not installed")
pytest.importorskip("franky_sim", reason="franky-sim is not installed")

from std_srvs.srv import Trigger
from support.franky_server import FrankyServer, franky_server
from support.graph import Graph, ros_graph
from support.process import NodeProcess, Start, processes

from moto_msgs.msg import CameraHealth, EpisodeState, OperatorEvent, RobotState
from moto_msgs.srv import ResetRobot
from moto_ros.config import read_parameters, shipped
from moto_ros.contract import topics
from moto_ros.ros import qos

pytestmark = [pytest.mark.ros, pytest.mark.slow, pytest.mark.realtime]

FAR = 0.12
"""m that the hand may move after anything that must stop it: it acts at 0.2 m/s, and control ends after 0.5 s."""

LONG = 50.0
"""Seconds that a reset gets, on a machine that is busy."""

WELL = (RobotState.MODE_IDLE, RobotState.MODE_HOLD, RobotState.MODE_TRACK)


class Rig:
    """A robot node on a simulated arm, a policy process that acts, and a peer that looks on."""

    def __init__(self, graph: Graph, start: Start, server: FrankyServer) -> None:
        self.graph, self._start, self.server = graph, start, server
        self.peer = graph.peer("peer")
        self.states: list[RobotState] = self.peer.hear(RobotState, topics.ROBOT_STATE, qos.every())
        self._episodes = self.peer.node.create_publisher(EpisodeState, topics.EPISODE_STATE, qos.latched())
        self.number = 0

    def node(self, **parameters: Any) -> NodeProcess:
        """Start the robot node and wait until it says how the arm is."""
        given = read_parameters(shipped("robots", "franky_sim"), "franka") | {"host": self.server.address}
        process = self._start("moto_ros.nodes.robot_node", given | parameters)
        self.states.clear()
        self.until(lambda: self.states, "the first state", 60.0)
        return process

    @property
    def state(self) -> RobotState:
        """Return the newest state."""
        return self.states[-1]

    @property
    def position(self) -> np.ndarray:
        """Return the newest hand position (3,) m."""
        place: Any = self.state.ee_pose.position
        return np.array([place.x, place.y, place.z])

    @property
    def speed(self) -> float:
        """Return the newest speed of the hand, m/s."""
        linear: Any = self.state.ee_twist.linear
        return float(np.linalg.norm([linear.x, linear.y, linear.z]))

    def until(self, condition: Callable[[], Any], what: str, timeout: float = 20.0) -> float:
        """Spin until a condition holds; return how long that took, s."""
        begun = time.monotonic()
        self.graph.until(condition, what, timeout)
        return time.monotonic() - begun

    def begin(self) -> None:
        """Reset and begin an episode."""
        self.number += 1
        answer = self.reset()
        assert answer.success, answer.message
        self._episodes.publish(EpisodeState(episode=self.number, phase=EpisodeState.PHASE_RUNNING))
        self.until(lambda: self.state.episode == self.number and self.state.mode in WELL, "the episode")

    def end(self) -> None:
        """End the episode, as the episode node says it."""
        self._episodes.publish(EpisodeState(episode=self.number, phase=EpisodeState.PHASE_ENDED))

    def reset(self) -> ResetRobot.Response:
        """Ask for a reset."""
        answer = self.ask(seed=1)
        self.until(answer.done, "the answer of the reset", LONG)
        return answer.result()

    def ask(self, seed: int, timeout: float = LONG) -> Any:
        """Ask for a reset and return the future of its answer."""
        client = self.peer.node.create_client(ResetRobot, topics.ROBOT_RESET)
        self.until(client.service_is_ready, "the service")
        return client.call_async(ResetRobot.Request(episode=self.number, seed=seed, timeout=timeout))

    def act(self) -> NodeProcess:
        """Have a policy act, and wait until the arm moves."""
        policy = self._start("support.acting", {})
        self.until(lambda: self.state.step >= 4 and self.state.ee_twist.linear.y > 0.05, "motion")
        return policy

    def mode(self, mode: int, timeout: float = 20.0) -> float:
        """Wait for a mode; return how long that took, s."""
        return self.until(lambda: self.state.mode == mode, f"mode {mode}", timeout)

    def come_to_rest(self) -> None:
        """Wait until the hand stands still."""
        self.graph.spin(1.0)
        self.until(lambda: self.speed < 0.005, "rest")

    def moved(self, begun: np.ndarray, what: str) -> float:
        """Return and print how far the hand has moved since, m."""
        distance = float(np.linalg.norm(self.position - begun))
        print(f"moved {1000 * distance:.1f} mm after {what}")
        return distance


@pytest.fixture(scope="module")
def server() -> Iterator[FrankyServer]:
    """One simulated arm for all tests here."""
    with franky_server() as running:
        yield running


@pytest.fixture
def rig(server: FrankyServer, ros_domain: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    """A robot node that is connected, in a domain of its own."""
    paths = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    with processes(tmp_path) as start, ros_graph() as graph:
        yield Rig(graph, start, server)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "frozen"])
def test_a_policy_that_dies_or_freezes_leaves_an_arm_that_stands(rig: Rig, number: int) -> None:
    """Breaks arms: the driver alone would continue towards the last target indefinitely."""
    rig.node()
    rig.begin()
    policy = rig.act()
    begun, step = rig.position, rig.state.step
    os.kill(policy.pid, number)
    print(f"held after {rig.mode(RobotState.MODE_HOLD):.2f} s")
    rig.come_to_rest()
    assert rig.moved(begun, f"signal {number} to the policy") < FAR
    assert rig.state.step <= step + 2
    stood = rig.position
    if number == signal.SIGSTOP:
        os.kill(policy.pid, signal.SIGCONT)
        rig.until(lambda: rig.state.step > step + 3, "the policy to go on")
        behind = stood - np.array([state.ee_pose.position.y for state in rig.states[-30:]]).min()
        assert behind[1] < 0.02  # went on from where it stood, not back


@pytest.mark.parametrize("policy", ["frozen", "acting"])
def test_an_arm_that_says_it_is_idle_does_not_move(rig: Rig, policy: str) -> None:
    """Breaks whoever walks up to it, and every measurement of how far it went: 14 mm more, four seconds later."""
    rig.node()
    rig.begin()
    actor = rig.act()
    if policy == "frozen":
        os.kill(actor.pid, signal.SIGSTOP)
        rig.mode(RobotState.MODE_HOLD)
    rig.end()
    rig.mode(RobotState.MODE_IDLE)
    first = len(rig.states) - 1
    rig.graph.spin(4.0)
    idle = rig.states[first:]
    assert {state.mode for state in idle} == {RobotState.MODE_IDLE}
    assert len(idle) > 20
    places = np.array([[getattr(state.ee_pose.position, axis) for axis in "xyz"] for state in idle])
    assert np.abs(places - places[0]).max() < 1e-3, "it moved"


def test_a_stop_stops_while_acting_and_lasts_until_recover(rig: Rig) -> None:
    rig.node()
    rig.begin()
    rig.act()
    begun = rig.position
    assert rig.peer.call(Trigger, topics.ROBOT_STOP).success
    rig.mode(RobotState.MODE_STOPPED)
    rig.come_to_rest()
    assert rig.moved(begun, "robot/stop while a policy goes on acting") < FAR
    assert "recover" in rig.state.fault
    assert "recover" in rig.reset().message
    assert rig.peer.call(Trigger, topics.ROBOT_RECOVER).success
    rig.mode(RobotState.MODE_IDLE)
    rig.begin()


def test_the_operators_stop_interrupts_a_reset(rig: Rig) -> None:
    rig.node(reset_speed=0.05, reset_translation_speed=0.02, home_spread_position=[0.05, 0.05, 0.05])
    say = rig.peer.advertise(OperatorEvent, topics.OPERATOR_EVENT, qos.event())
    answer = rig.ask(seed=3)
    rig.until(lambda: rig.state.mode == RobotState.MODE_RESET and rig.speed > 0.01, "motion")
    begun = rig.position
    say(OperatorEvent(event=OperatorEvent.STOP, source="test"))
    rig.until(answer.done, "the answer of the reset")
    result = answer.result()
    assert result is not None
    assert not result.success
    assert "recover" in result.message
    rig.come_to_rest()
    assert rig.moved(begun, "a stop during a reset") < FAR


def test_a_reset_answers_by_its_time_out_in_any_case(rig: Rig) -> None:
    """Breaks nights: an episode node that waits indefinitely."""
    rig.node(scene_reset="operator", scene_timeout=100.0)
    begun = time.monotonic()
    asked = rig.ask(seed=1, timeout=4.0)
    rig.until(asked.done, "the answer of the reset")
    answer = asked.result()
    print(f"answered after {time.monotonic() - begun:.1f} s: {answer.message}")
    assert not answer.success
    assert "operator/ready" in answer.message or "robot/reset" in answer.message  # where a busy machine has come to
    rig.until(lambda: rig.state.mode != RobotState.MODE_RESET, "the end of the reset")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "frozen"])
def test_the_end_of_the_robot_node_leaves_an_arm_that_stands(rig: Rig, number: int) -> None:
    """The safety thread dies or freezes with its process: then arm and driver must stop by themselves."""
    node = rig.node()
    rig.begin()
    policy = rig.act()
    begun = rig.position
    os.kill(node.pid, number)
    rig.graph.spin(1.5)
    policy.kill()
    if number == signal.SIGKILL:
        node.wait()
        rig.node()
    else:
        os.kill(node.pid, signal.SIGCONT)
        rig.graph.spin(1.0)
    rig.until(lambda: rig.state.mode != RobotState.MODE_TRACK, "no control")
    rig.come_to_rest()
    assert rig.moved(begun, f"signal {number} to the robot node") < 2 * FAR


SITUATIONS = ["idle", "home", "reset", "acting"]


@pytest.mark.parametrize("situation", SITUATIONS)
def test_a_reflex_is_reported_and_recovered_from_with_a_retreat_in_every_situation(rig: Rig, situation: str) -> None:
    """Breaks runs: a reflex while homing that kills the driver, one while acting that is not reported."""
    slow = {"reset_translation_speed": 0.03, "home_spread_position": [0.05, 0.05, 0.01]}
    rig.node(**(slow if situation == "reset" else {}))
    answer = _bring_into(rig, situation)
    begun, first = rig.position, len(rig.states)
    rig.server.fault("cartesian_reflex")
    took = rig.until(lambda: any(state.mode == RobotState.MODE_FAULT for state in rig.states[first:]), "the fault")
    sentence = next(state.fault for state in rig.states[first:] if state.mode == RobotState.MODE_FAULT)
    print(f"{situation}: said after {took:.3f} s: {sentence}")
    assert "reflex" in sentence
    rig.until(lambda: rig.state.mode in WELL, "recovery", LONG)
    rise = rig.position[2] - begun[2]
    print(f"{situation}: {1000 * rise:.1f} mm higher after the retreat")
    assert 0.02 < rise < 0.09
    if answer is not None:
        rig.until(answer.done, "the answer of the reset")
        assert not answer.result().success
    rig.begin()


def _bring_into(rig: Rig, situation: str) -> Any:
    if situation in ("home", "acting"):
        rig.begin()
    if situation == "acting":
        policy = rig.act()
        policy.kill()
    if situation != "reset":
        return None
    answer = rig.ask(seed=4)
    rig.mode(RobotState.MODE_RESET)
    rig.until(lambda: rig.position[2] > 0.45, "the way home")
    return answer


@pytest.mark.parametrize(
    ("error", "word"),
    [
        ("self_collision_avoidance_violation", "self collision"),
        ("joint_position_limits_violation", "joint position"),
    ],
)
def test_a_fault_without_a_safe_motion_is_a_stop_that_says_what_to_do(rig: Rig, error: str, word: str) -> None:
    rig.node()
    rig.begin()
    rig.act()
    begun = rig.position
    rig.server.fault(error)
    rig.mode(RobotState.MODE_STOPPED)
    assert word in rig.state.fault
    assert "robot/recover" in rig.state.fault
    rig.come_to_rest()
    assert rig.moved(begun, error) < FAR
    rig.server.clear()
    rig.graph.spin(0.2)
    assert rig.peer.call(Trigger, topics.ROBOT_RECOVER).success
    rig.begin()


def test_an_arm_that_cannot_be_recovered_ends_in_a_stop_that_says_what_to_do(rig: Rig) -> None:
    """Breaks runs and arms: attempts without end."""
    rig.node(**{"recovery.back_off": 0.1})
    rig.begin()
    rig.server.fault("communication_constraints_violation", stubborn=True)
    rig.mode(RobotState.MODE_STOPPED, timeout=60.0)
    assert "attempts to recover failed" in rig.state.fault
    assert "robot/recover" in rig.state.fault
    rig.server.clear()
    rig.until(lambda: rig.peer.call(Trigger, topics.ROBOT_RECOVER).success, "recover")
    rig.begin()


def test_a_frozen_arm_is_a_fault_and_is_reconnected(rig: Rig) -> None:
    """Its connection stays open but no data arrives: a switch that dies, a paused control box."""
    rig.node(**{"recovery.retries": 10, "recovery.back_off": 0.2})
    rig.begin()
    rig.act().kill()
    begun = rig.position
    rig.server.freeze()
    try:
        print(f"said after {rig.mode(RobotState.MODE_FAULT):.2f} s: {rig.state.fault}")
        assert rig.state.fault
    finally:
        rig.server.thaw()
    rig.until(lambda: rig.state.mode in WELL, "recovery", 60.0)
    rig.come_to_rest()
    assert rig.moved(begun, "the arm was frozen") < FAR
    rig.begin()


def test_an_arm_that_loses_power_is_a_fault_and_is_reconnected(rig: Rig) -> None:
    rig.node(**{"recovery.retries": 10, "recovery.back_off": 0.5})
    rig.begin()
    rig.act().kill()
    rig.server.kill()
    try:
        print(f"said after {rig.mode(RobotState.MODE_FAULT):.2f} s: {rig.state.fault}")
        assert rig.server.address in rig.state.fault
    finally:
        rig.server.restart()
    rig.until(lambda: rig.state.mode in WELL, "recovery", 120.0)
    rig.begin()


def test_the_robot_holds_while_a_camera_is_unhealthy(rig: Rig) -> None:
    rig.node(cameras=["wrist"])
    say = rig.peer.advertise(CameraHealth, topics.camera_health("wrist"), qos.latched())
    timer = rig.peer.node.create_timer(0.5, lambda: say(CameraHealth(camera="wrist", healthy=well[0], reason="dark")))
    well = [True]
    say(CameraHealth(camera="wrist", healthy=True))
    rig.begin()
    rig.act()
    begun, well[0] = rig.position, False
    say(CameraHealth(camera="wrist", healthy=False, reason="dark"))
    print(f"held after {rig.mode(RobotState.MODE_HOLD):.3f} s")
    step = rig.state.step
    rig.come_to_rest()
    assert rig.moved(begun, "a camera was lost while a policy goes on acting") < FAR
    assert rig.state.step == step
    well[0] = True
    rig.until(lambda: rig.state.step > step, "it to go on")
    timer.cancel()
