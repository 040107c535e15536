"""Conformance tests of robot sides: the same for the simulator and for an arm."""

from __future__ import annotations

import importlib.util
import itertools
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from support.domain import reserved_domain

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")
pytest.importorskip("moto_msgs", reason="moto_msgs is not built")

from conformance.robot import Robot, position_of, robot_side, stamp, velocity_of
from conformance.world import WORLDS, World
from moto_msgs.msg import RobotState
from moto_ros.contract import topics
from moto_ros.ros.convert import to_nanoseconds

pytestmark = [pytest.mark.ros, pytest.mark.slow, pytest.mark.realtime]

SECOND = 1e9
Reading = Callable[[RobotState], np.ndarray]
WATCHED = 2.5
"""Seconds over which rates are measured."""

WINDOWS, MUCH_SLOWER = 4, 1.5


@pytest.fixture(scope="module", params=WORLDS, ids=lambda world: world.name)
def robot(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Robot]:
    """Start one robot side for all tests, in a ROS domain of its own."""
    world: World = request.param
    absent = [package for package in world.needs if importlib.util.find_spec(package) is None]
    if absent:
        pytest.skip(f"not installed: {', '.join(absent)}")
    with reserved_domain() as domain, pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROS_DOMAIN_ID", str(domain))
        patch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
        if os.environ.get("ROS_DISTRO") == "humble":
            patch.setenv("ROS_LOCALHOST_ONLY", "1")
        with robot_side(world, tmp_path_factory.mktemp(world.name)) as made:
            yield made


@pytest.fixture(autouse=True)
def ros_domain(robot: Robot) -> None:
    """Keep the suite's domain, in place of one for each test."""


# What is published.


def test_every_topic_and_service_of_the_contract_is_there_with_its_type(robot: Robot) -> None:
    """Breaks every other node: they subscribe by these names and types."""
    world, node = robot.world, robot.peer.node
    image = "sensor_msgs/msg/CompressedImage" if world.compressed else "sensor_msgs/msg/Image"
    expected = {topics.ROBOT_STATE: "moto_msgs/msg/RobotState", topics.REWARD: "moto_msgs/msg/Reward"}
    for camera in world.cameras:
        expected |= {topics.camera_image(camera, world.compressed): image}
        expected |= {topics.camera_info(camera): "sensor_msgs/msg/CameraInfo"}
        expected |= {topics.camera_health(camera): "moto_msgs/msg/CameraHealth"} if world.health else {}
    found = {t: {i.topic_type for i in node.get_publishers_info_by_topic(_full(robot, t))} for t in expected}
    assert found == {topic: {kind} for topic, kind in expected.items()}
    services = dict(node.get_service_names_and_types())
    triggers = {topics.ROBOT_STOP, topics.ROBOT_RECOVER}
    assert services[_full(robot, topics.ROBOT_RESET)] == ["moto_msgs/srv/ResetRobot"]
    assert [services[_full(robot, name)] for name in triggers] == [["std_srvs/srv/Trigger"]] * 2


def _full(robot: Robot, topic: str) -> str:
    return f"{robot.peer.node.get_namespace()}/{topic}"


def test_the_state_is_in_si_units_and_whole(robot: Robot) -> None:
    world, state = robot.world, robot.fresh()
    vectors = (state.joint_position, state.joint_velocity, state.joint_effort)
    assert [len(vector) for vector in vectors] == [world.joints] * 3
    assert len(set(state.joint_names)) == world.joints
    assert all(np.isfinite(vector).all() for vector in vectors)
    assert max(map(abs, state.joint_position)) < 2 * math.pi
    low, high = world.gripper
    assert low <= state.gripper_width <= high
    assert 0.05 < np.linalg.norm(position_of(state)) < 2.0
    turn = state.ee_pose.orientation
    assert np.linalg.norm([turn.x, turn.y, turn.z, turn.w]) == pytest.approx(1.0, abs=1e-3)
    assert state.fault == ""


def test_frames_are_named_as_rep_105_says(robot: Robot) -> None:
    assert robot.fresh().header.frame_id == "base"
    for camera, frames in robot.images.items():
        assert frames[-1].header.frame_id == f"{camera}_optical_frame"
        assert robot.infos[camera][-1].header.frame_id == f"{camera}_optical_frame"


def test_images_fit_their_calibration(robot: Robot) -> None:
    """Breaks every projection of points: a calibration of another size, or none."""
    height, width = robot.world.image
    for camera, infos in robot.infos.items():
        info, frame = infos[-1], robot.images[camera][-1]
        assert (info.height, info.width) == (height, width)
        assert info.k[0] > 0
        assert info.k[4] > 0
        assert (0 < info.k[2] < width, 0 < info.k[5] < height) == (True, True)
        if not robot.world.compressed:
            assert (frame.height, frame.width, frame.encoding) == (height, width, "rgb8")
            assert len(frame.data) == frame.step * height == 3 * width * height


def test_each_image_has_the_stamp_of_its_calibration(robot: Robot) -> None:
    robot.graph.spin(0.5)
    for camera, infos in robot.infos.items():
        known = {stamp(info) for info in infos}
        assert {stamp(frame) for frame in robot.images[camera][-4:-1]} <= known


# When it is published.


def test_rates_are_those_of_the_configuration_within_a_tenth(robot: Robot) -> None:
    """Measured by the stamps, in the best of several windows: a busy machine can only lower a rate.

    Skipped where the arm is simulated much slower than the clock, since it then measures less often than a robot.
    """
    world = robot.world
    wanted = {"state": world.state_rate} | dict.fromkeys(world.cameras, world.camera_rate)
    expected = {name: pytest.approx(rate, rel=0.1) for name, rate in wanted.items()}
    found: dict[str, float] = {}
    for _ in range(WINDOWS):
        found = {name: max(rate, found.get(name, 0.0)) for name, rate in _rates(robot).items()}
        if found == expected:
            break
    print(f"{world.name}: rates by stamps, Hz: {found}")
    if found != expected and (slower := _Motion(robot).slower) > MUCH_SLOWER:
        pytest.skip(f"this machine simulates the arm {slower:.1f} times slower than the clock; found {found}")
    assert found == expected


def _rates(robot: Robot) -> dict[str, float]:
    """Return each stream's rate over one window."""
    streams: dict[str, list[Any]] = {"state": robot.states} | {c: robot.images[c] for c in robot.world.cameras}
    for messages in streams.values():
        messages.clear()
    robot.graph.spin(WATCHED)
    return {name: _rate(messages) for name, messages in streams.items()}


def _rate(messages: Sequence[Any]) -> float:
    first, last = stamp(messages[0]), stamp(messages[-1])
    return (len(messages) - 1) * SECOND / (last - first)


def test_stamps_rise_strictly_and_are_of_now(robot: Robot) -> None:
    robot.graph.spin(1.0)
    for messages in (robot.states, *robot.images.values(), *robot.infos.values()):
        stamps = [stamp(message) for message in messages]
        assert all(later > earlier for earlier, later in itertools.pairwise(stamps))
        assert abs(time.time_ns() - stamps[-1]) < 2 * SECOND


# Resets.


def test_observations_after_the_stamp_in_the_answer_of_a_reset_belong_to_the_episode(robot: Robot) -> None:
    before = time.time_ns()
    robot.begin()
    assert stamp(robot.state) > before
    assert (robot.fresh().episode, robot.state.step) == (robot.number, 0)
    assert robot.state.mode in (RobotState.MODE_IDLE, RobotState.MODE_HOLD, RobotState.MODE_TRACK)


def test_a_reset_ends_at_rest_near_the_same_place(robot: Robot) -> None:
    """Within the configured random spread, which no shipped configuration makes larger than 10 cm."""
    ends = []
    for _ in range(2):
        robot.begin()
        robot.graph.spin(0.3)
        ends.append(robot.position())
        assert np.linalg.norm(velocity_of(robot.state)) < 0.02
    assert np.linalg.norm(ends[0] - ends[1]) < 0.1


# Actions.


def test_the_first_command_of_an_episode_is_the_measured_pose(robot: Robot) -> None:
    """Breaks robots: a jump at the first command, towards where the arm was when it was last commanded."""
    robot.begin()
    before = robot.position()
    robot.drive(robot.still(), 5)
    moved = float(np.linalg.norm(robot.position() - before))
    print(f"{robot.world.name}: moved {1000 * moved:.2f} mm by five still actions after a reset")
    assert moved < robot.world.still


@pytest.mark.parametrize("axis", [0, 1, 2], ids=["x", "y", "z"])
def test_an_action_moves_along_its_axis_by_the_configured_distance(robot: Robot, axis: int) -> None:
    """Within a tenth, there and back, with the sign of REP-103."""
    expected = np.array(robot.world.axes[axis])
    sign = -1.0 if axis == 2 else 1.0  # down first: homes are high
    robot.begin()
    for direction in (sign, -sign):
        moved = robot.moved(robot.along(axis, direction), steps=4)
        print(f"{robot.world.name}: axis {axis}, 4 steps of {direction:+g}: {np.round(1000 * moved, 1)} mm")
        assert np.linalg.norm(moved - 4 * direction * expected) < 0.1 * np.linalg.norm(4 * expected)


class _Motion:
    """A motion downwards: how far joints and hand have moved, as measured and by their velocities."""

    def __init__(self, robot: Robot) -> None:
        robot.begin()
        robot.drive(robot.still(), 2)
        first = len(robot.states)
        robot.drive(robot.along(2, -1.0), 6)
        robot.settle()
        states = robot.states[first:]
        self.joints, self.joints_moved = _integrated(states, _joint_velocity, _joint_position)
        self.hand, self.hand_moved = _integrated(states, velocity_of, position_of)

    @property
    def slower(self) -> float:
        """Return how many times slower than the clock the robot's time runs, by its joints."""
        return float(self.joints @ self.joints_moved / (self.joints_moved @ self.joints_moved))


def test_velocities_are_derivatives_with_their_sign(robot: Robot) -> None:
    """Breaks learning from velocities: another frame, another sign, another unit.

    A simulation that cannot keep up with the clock shows the same factor in all its velocities; it is taken out.
    """
    motion = _Motion(robot)
    print(f"{robot.world.name}: moved {np.round(motion.hand_moved, 4)} m, velocity says {np.round(motion.hand, 4)} m")
    print(f"{robot.world.name}: the robot's time is {motion.slower:.2f} times slower than the clock")
    assert np.linalg.norm(motion.hand_moved) > 0.02
    assert 0.7 < motion.slower < 30.0
    for says, moved in ((motion.joints, motion.joints_moved), (motion.hand, motion.hand_moved)):
        assert np.linalg.norm(says / motion.slower - moved) < 0.3 * np.linalg.norm(moved)


def _joint_velocity(state: RobotState) -> np.ndarray:
    return np.array(state.joint_velocity)


def _joint_position(state: RobotState) -> np.ndarray:
    return np.array(state.joint_position)


def _integrated(states: Sequence[RobotState], velocity: Reading, position: Reading) -> tuple[np.ndarray, np.ndarray]:
    """Return how far something has moved, by its velocities and by its positions."""
    times = np.array([stamp(state) for state in states]) / SECOND
    found = np.array([velocity(state) for state in states])
    integrated = ((found[1:] + found[:-1]) / 2 * np.diff(times)[:, None]).sum(axis=0)
    return integrated, position(states[-1]) - position(states[0])


def test_an_action_beyond_one_moves_as_one_does(robot: Robot) -> None:
    robot.begin()
    moved = robot.moved(robot.along(2, -50.0), steps=2)
    expected = -2 * np.array(robot.world.axes[2])
    assert np.linalg.norm(moved - expected) < 0.15 * np.linalg.norm(expected) + robot.world.still


@pytest.mark.parametrize("values", [[math.nan], [1.0, math.inf], []], ids=["NaN", "infinite and short", "empty"])
def test_an_invalid_action_is_not_executed(robot: Robot, values: list[float]) -> None:
    robot.begin()
    robot.drive(robot.still(), 2)
    before, taken = robot.position(), robot.taken()
    whole = values if len(values) != 1 else values * robot.world.action_size
    robot.send(whole)
    robot.graph.spin(3 * robot.world.period)
    assert robot.taken() == taken
    assert np.linalg.norm(robot.position() - before) < robot.world.still


def test_an_action_is_executed_once_and_in_order(robot: Robot) -> None:
    """Breaks lag-free control and the data: a repeated or early action would move the robot again."""
    robot.begin()
    robot.drive(robot.still(), 3)
    down = robot.along(2, -1.0)
    for step in (robot.step - 1, robot.step + 5):
        robot.send(down, step=step)
        robot.graph.spin(2 * robot.world.period)
        assert robot.taken() == 3
    robot.act(down)
    assert robot.taken() == 4


def test_an_action_of_another_episode_is_not_executed(robot: Robot) -> None:
    robot.begin()
    robot.drive(robot.still(), 2)
    before = robot.position()
    robot.send(robot.along(2, -1.0), number=robot.number + 7)
    robot.graph.spin(3 * robot.world.period)
    assert (robot.fresh().episode, robot.taken()) == (robot.number, 2)
    assert np.linalg.norm(robot.position() - before) < robot.world.still


def test_an_action_of_another_session_is_not_executed(robot: Robot) -> None:
    """Breaks arms: another system in the same namespace would move this one's arm."""
    robot.begin()
    robot.drive(robot.still(), 2)
    before = robot.position()
    robot.send(robot.along(2, -1.0), session=7)
    robot.graph.spin(3 * robot.world.period)
    assert robot.taken() == 2
    assert np.linalg.norm(robot.position() - before) < robot.world.still


def test_an_action_older_than_its_lifespan_is_not_executed(robot: Robot) -> None:
    """Breaks robots: what a stalled network delivers in a burst would be executed."""
    robot.begin()
    robot.drive(robot.still(), 2)
    robot.send(robot.along(2, -1.0), age=robot.world.lifespan + 0.3)
    robot.graph.spin(3 * robot.world.period)
    assert robot.taken() == 2


def test_every_executed_step_is_paid_once_and_in_order(robot: Robot) -> None:
    """Breaks the data: a step without a reward, or with two, is no step."""
    robot.begin()
    robot.drive(robot.still(), 6)
    robot.until(lambda: [r for r in robot.rewards if (r.episode, r.step) == (robot.number, 5)], "reward 5")
    paid = [reward for reward in robot.rewards if reward.episode == robot.number]
    assert [reward.step for reward in paid][:5] == [1, 2, 3, 4, 5]
    assert all(reward.source for reward in paid)
    known = {to_nanoseconds(state.header.stamp) for state in robot.states}
    assert {stamp(reward) for reward in paid[:5]} <= known


# Holding and stopping.


def test_without_fresh_actions_it_holds_and_then_stands_still(robot: Robot) -> None:
    """Breaks robots: a policy that dies in the middle of a motion must leave the robot standing still."""
    robot.begin()
    robot.drive(robot.along(2, -1.0), 4)
    last, before = time.time_ns(), robot.position()
    robot.until(lambda: robot.state.mode != RobotState.MODE_TRACK, "hold", timeout=10.0)
    held = (stamp(robot.state) - last) / SECOND
    robot.graph.spin(robot.world.stop_after + 0.5)
    moved = float(np.linalg.norm(robot.position() - before))
    print(f"{robot.world.name}: held {1000 * held:.0f} ms after the last action, moved {1000 * moved:.1f} mm more")
    assert held < robot.world.hold_after + robot.world.period + 0.2
    assert moved < robot.world.stop_distance
    assert np.linalg.norm(velocity_of(robot.fresh())) < 0.01


def test_it_goes_on_from_the_measured_pose_after_it_has_held(robot: Robot) -> None:
    """Breaks robots: the motion that was missing before the pause would be made up for in one jump."""
    robot.begin()
    robot.drive(robot.along(2, -1.0), 3)
    robot.graph.spin(robot.world.stop_after + 0.7)
    before = robot.position()
    robot.drive(robot.still(), 5)
    assert np.linalg.norm(robot.position() - before) < robot.world.still


def test_a_stop_stops_and_stays_until_recover(robot: Robot) -> None:
    """Endangers people: a stop that the next action or the next reset ends."""
    robot.begin()
    robot.drive(robot.along(2, -1.0), 4)
    before = robot.position()
    assert robot.call(topics.ROBOT_STOP).success
    robot.until(lambda: robot.state.mode == RobotState.MODE_STOPPED, "mode stopped", timeout=5.0)
    assert robot.state.fault
    for _ in range(4):
        robot.send(robot.along(2, -1.0))
        robot.graph.spin(robot.world.period)
    moved = float(np.linalg.norm(robot.position() - before))
    print(f"{robot.world.name}: moved {1000 * moved:.1f} mm after robot/stop")
    assert moved < robot.world.stop_distance
    refused = robot.reset()
    assert not refused.success
    assert "recover" in refused.message
    assert robot.fresh().mode == RobotState.MODE_STOPPED
    assert robot.call(topics.ROBOT_RECOVER).success
    robot.until(lambda: robot.state.mode != RobotState.MODE_STOPPED, "the end of the stop", timeout=10.0)


def test_after_recover_nothing_moves_before_the_next_episode(robot: Robot) -> None:
    robot.begin()
    robot.drive(robot.still(), 2)
    robot.call(topics.ROBOT_STOP)
    robot.call(topics.ROBOT_RECOVER)
    before = robot.position()
    robot.send(robot.along(2, -1.0))
    robot.graph.spin(3 * robot.world.period)
    assert np.linalg.norm(robot.position() - before) < robot.world.still
    robot.begin()
    robot.drive(robot.still(), 2)


def test_after_the_episode_has_ended_actions_do_not_move_it(robot: Robot) -> None:
    robot.begin()
    robot.drive(robot.still(), 2)
    robot.end()
    robot.graph.spin(2 * robot.world.period)
    before = robot.position()
    robot.send(robot.along(2, -1.0))
    robot.graph.spin(3 * robot.world.period)
    assert np.linalg.norm(robot.position() - before) < robot.world.still
