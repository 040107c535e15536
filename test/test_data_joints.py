"""Joints are taken by their names: in a bag, across bags, live, in a resumed run and by the policy that acts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from support.bags import Recipe, Sent, blank, image, lockstep_episode, make, robot_state, write_bag

from moto_ros.contract.stamps import NSEC_PER_SEC
from moto_ros.data.bag_reader import read_episodes
from moto_ros.data.cache import DecodedCache
from moto_ros.data.commands import KNOWN_COMMANDS, command
from moto_ros.data.fields import select
from moto_ros.data.joints import STATE, JointOrder, positions
from moto_ros.data.layout import StepLayout, TopicMap
from moto_ros.data.live_episodes import LiveEpisodes
from moto_ros.data.observer import Observer
from moto_ros.data.pool import MessagePool
from moto_ros.data.replay import ReplayStore
from moto_ros.errors import MotoError

MS = NSEC_PER_SEC // 1000
NAMES = ("a", "b", "c")
ANGLES = {"a": 0.1, "b": 0.2, "c": 0.3, "finger": 9.0}
LAYOUT = StepLayout(
    cameras=("agent",), image_size=16, proprio=("joint_position", "joint_velocity"), joint_count=3, action_size=3
)
TOPICS = TopicMap(
    camera_topics=("/rgb",),
    state_topics=("/joints",),
    action_topic="/goal",
    episode_source="whole_bag",
    reward_source="zero",
)
ROW = pytest.approx([0.1, 0.2, 0.3, 1.1, 1.2, 1.3])


def joints(names: tuple[str, ...], stamp: int = 1) -> Any:
    message = make("sensor_msgs/msg/JointState", stamp, name=list(names))
    message.position = np.array([ANGLES[name] for name in names])
    message.velocity = message.position + 1
    return message


def trajectory(names: tuple[str, ...], stamp: int = 1) -> Any:
    point = blank("trajectory_msgs/msg/JointTrajectoryPoint")
    point.positions = np.array([ANGLES[name] for name in names])
    message = make("trajectory_msgs/msg/JointTrajectory", stamp, joint_names=list(names))
    message.points = [point]
    return message


def bag(folder: Path, states: list[tuple[str, ...]], goals: list[tuple[str, ...]]) -> Path:
    """Write a bag at 10 Hz whose messages name joints in the given orders, one after the other."""
    sent = []
    for k in range(10):
        stamp = 50 * NSEC_PER_SEC + k * 100 * MS
        found = {
            "/rgb": image(np.zeros((16, 16, 3), np.uint8), stamp),
            "/joints": joints(states[k % len(states)], stamp),
            "/goal": trajectory(goals[k % len(goals)], stamp),
        }
        sent += [Sent(topic, "", message.__msgtype__, message, stamp) for topic, message in found.items()]
    write_bag(folder, sent)
    return folder


def test_an_order_that_changes_within_a_bag_changes_no_row(tmp_path: Path) -> None:
    """Half of the rows would hold shoulder and wrist exchanged."""
    mixed = [("a", "b", "c"), ("c", "finger", "a", "b"), ("b", "c", "a")]
    reading = read_episodes(bag(tmp_path / "bag", mixed, mixed), LAYOUT, TOPICS)
    (episode,) = reading.episodes
    assert all(row == ROW for row in episode.proprio)
    assert np.allclose(episode.action[1:], [0.1, 0.2, 0.3])
    assert reading.problems == []


def test_the_first_bag_of_a_run_says_the_order_for_those_after_it(tmp_path: Path) -> None:
    """Bags of two drivers would be one set of joints in name only; also when the cache has read them before."""
    first = bag(tmp_path / "first", [("a", "b", "c")], [("c", "b", "a")])
    second = bag(tmp_path / "second", [("c", "b", "a")], [("b", "a", "c")])
    cache = DecodedCache(tmp_path / "cache")
    for _ in range(2):
        order = JointOrder()
        (one,), _ = cache.read(first, LAYOUT, TOPICS, order)
        (other,), _ = cache.read(second, LAYOUT, TOPICS, order)
        assert order.state() == {"action": ["c", "b", "a"], "state": ["a", "b", "c"]}
        assert one.proprio[0] == ROW
        assert other.proprio[0] == ROW
        assert np.allclose(other.action[1], [0.3, 0.2, 0.1])
    (alone,) = read_episodes(second, LAYOUT, TOPICS).episodes
    assert np.allclose(alone.action[1], [0.2, 0.1, 0.3])


def test_a_name_that_no_message_has_is_said_with_those_that_are_there(tmp_path: Path) -> None:
    wrong = StepLayout(**{**LAYOUT.__dict__, "joint_names": ("a", "b", "wrist")})
    topics = TopicMap(**{**TOPICS.__dict__, "action_names": ("a", "b", "hand")})
    said = str(read_episodes(bag(tmp_path / "bag", [NAMES], [NAMES]), wrong, topics).problems)
    assert "has no joint 'wrist': it names a, b, c, expected a, b, wrist; set joint_names" in said
    assert "action: has no joint 'hand': it names a, b, c, expected a, b, hand; set action_names" in said


def test_a_message_without_one_of_the_joints_is_not_used_and_said(tmp_path: Path) -> None:
    reading = read_episodes(bag(tmp_path / "bag", [NAMES, NAMES, ("a", "c")], [NAMES]), LAYOUT, TOPICS)
    assert "has no joint 'b': it names a, c, expected a, b, c; set joint_names; it is left out (3 such" in str(
        reading.problems
    )
    assert all(row == ROW for episode in reading.episodes for row in episode.proprio)


def test_live_topics_have_the_order_of_the_bags() -> None:
    """The policy would be asked about another arm than the one it learned of."""
    live = LiveEpisodes(LAYOUT, JointOrder({STATE: NAMES}))
    live.begin(3)
    live.add("state", joints(("c", "b", "a"), 5))
    found = live.fetch(3)
    assert found is not None
    assert found.assembler.pool.states[5] == ROW
    seen = Observer(StepLayout(**{**LAYOUT.__dict__, "cameras": ()}), JointOrder({STATE: NAMES}))
    seen.add("state", joints(("c", "b", "a"), 5))
    observed = seen.newest()
    assert observed is not None
    assert observed.proprio == ROW
    seen.add("state", joints(("finger", "b", "a"), 6))
    assert seen.newest() is None
    assert "has no joint 'c': it names finger, b, a" in str(seen.problems.sentences())


def test_one_joint_may_have_two_names() -> None:
    """Bags of a Panda and a live FR3 name the same seven joints differently."""
    either = StepLayout(**{**LAYOUT.__dict__, "joint_names": ("a|x", "b|y", "c")})
    pool = MessagePool(either, joints=JointOrder({STATE: NAMES}))
    message = joints(("c", "b", "a"), 5)
    message.name = ["c", "y", "x"]
    pool.add("state", message)
    assert pool.states[5] == ROW


def test_a_resumed_run_keeps_its_order_and_refuses_another(tmp_path: Path) -> None:
    episode = read_episodes(bag(tmp_path / "bag", [NAMES], [NAMES]), LAYOUT, TOPICS).episodes[0]
    store = ReplayStore(tmp_path / "cache", joints=JointOrder({STATE: NAMES}))
    store.add(episode, tmp_path / "bag", "offline")
    again = ReplayStore(tmp_path / "cache")
    again.restore(store.state(), LAYOUT, TOPICS)
    assert again.joints.known == {STATE: NAMES}
    other = StepLayout(**{**LAYOUT.__dict__, "joint_names": ("c", "b", "a")})
    with pytest.raises(MotoError, match="'joint_names' is c, b, a, but this run has learned with a, b, c"):
        ReplayStore(tmp_path / "cache").restore(store.state(), other, TOPICS)


def test_a_run_of_an_older_version_takes_the_order_of_its_bags(tmp_path: Path) -> None:
    episode = read_episodes(bag(tmp_path / "bag", [("b", "a", "c")], [NAMES]), LAYOUT, TOPICS).episodes[0]
    store = ReplayStore(tmp_path / "cache")
    store.add(episode, tmp_path / "bag", "offline")
    saved = store.state()
    assert "joints" not in saved
    again = ReplayStore(tmp_path / "cache")
    again.restore(saved, LAYOUT, TOPICS)
    assert again.joints.known[STATE] == ("b", "a", "c")


def test_bags_of_the_contract_are_read_in_the_order_of_the_run(tmp_path: Path) -> None:
    messages = lockstep_episode(Recipe(steps=4, cameras=("agent",)))
    layout = StepLayout(cameras=("agent",), image_size=16, proprio=("joint_effort",))
    (plain,) = write_and_read(tmp_path / "plain", messages, layout, JointOrder())
    names = [f"joint{k}" for k in (3, 1, 2, 0, 6, 5, 4)]
    (ordered,) = write_and_read(tmp_path / "ordered", messages, layout, JointOrder({STATE: names}))
    assert np.array_equal(ordered.proprio, plain.proprio[:, [3, 1, 2, 0, 6, 5, 4]])


def write_and_read(folder: Path, messages: list[Sent], layout: StepLayout, order: JointOrder) -> list[Any]:
    write_bag(folder, messages)
    return read_episodes(folder, layout, joints=order).episodes


@given(st.permutations(range(7)), st.lists(st.text("xyz", min_size=1, max_size=3), max_size=4))
def test_names_find_their_numbers_in_any_order_and_among_others(order: list[int], others: list[str]) -> None:
    state = robot_state(5, np.random.default_rng(0))
    wanted = tuple(state.joint_names)
    names = (*others, *(wanted[k] for k in order), *others)
    assert [names[k] for k in positions(names, wanted, STATE)] == list(wanted)


def test_an_index_into_named_numbers_counts_in_the_order_of_the_run() -> None:
    """`points.0.positions.1` would be another joint's in each bag."""
    topics = TopicMap(action_fields=("points.0.positions.2", "points.-1.positions.0"))
    order, layout = JointOrder({"action": NAMES}), StepLayout(action_size=2)
    found = command(trajectory(("c", "a", "finger", "b")), topics, layout, order)
    assert np.allclose(found, [0.3, 0.1])


def test_more_numbers_than_names_are_refused() -> None:
    message = joints(NAMES)
    message.name = ["a", "b"]
    with pytest.raises(MotoError, match="position has 3 numbers for 2 names, expected one each"):
        command(message, TopicMap(), LAYOUT)


# Commands of every type that is said to be known.

CONTROL = {
    "control_msgs/msg/JointJog": "std_msgs/Header header\nstring[] joint_names\nfloat64[] displacements\n"
    "float64[] velocities\nfloat64 duration",
    "control_msgs/msg/GripperCommand": "float64 position\nfloat64 max_effort",
    "control_msgs/msg/MultiDOFCommand": "string[] dof_names\nfloat64[] values\nfloat64[] values_dot",
}
SIZES = {
    "Point": 3,
    "Vector3": 3,
    "Quaternion": 4,
    "Pose": 7,
    "Transform": 7,
    "Twist": 6,
    "Wrench": 6,
    "Accel": 6,
    "Pose2D": 3,
    "Velocity": 6,
    "Float64": 1,
    "Float32": 1,
    "GripperCommand": 1,
}


def filled(type_name: str) -> tuple[Any, int]:
    """Return a message of a type with three joints, or one vector, and how many numbers it commands."""
    store = get_typestore(Stores.ROS2_JAZZY)
    if type_name in CONTROL:
        store.register(get_types_from_msg(CONTROL[type_name], type_name))
    message = blank(type_name, store)
    name = type_name.split("/")[-1].replace("Stamped", "").replace("WithCovariance", "")
    for field in ("name", "joint_names", "dof_names"):
        if hasattr(message, field):
            setattr(message, field, list(NAMES))
    if hasattr(message, "points"):
        message.points = [blank(f"{type_name}Point", store)]
    for owner in (message, *getattr(message, "points", ())):
        for field in ("data", "values", "axes", "position", "positions", "displacements"):
            if isinstance(getattr(owner, field, None), np.ndarray):
                setattr(owner, field, np.arange(3.0))
        if hasattr(owner, "transforms"):
            owner.transforms = [blank("geometry_msgs/msg/Transform", store) for _ in NAMES]
            return message, 21
    return message, SIZES.get(name, 3)


@pytest.mark.parametrize("known", KNOWN_COMMANDS)
def test_every_command_type_that_is_known_is_understood(known: str) -> None:
    """A type that is listed would be refused, and its bags be of no use."""
    message, size = filled(known.replace("/", "/msg/"))
    assert command(message, TopicMap(), StepLayout(action_size=size)).shape == (size,)


def test_a_pose_is_position_and_quaternion() -> None:
    message = blank("geometry_msgs/msg/PoseStamped")
    message.pose.position.y, message.pose.orientation.w = 0.5, 1.0
    assert command(message, TopicMap(), StepLayout(action_size=7)).tolist() == [0, 0.5, 0, 0, 0, 0, 1]


def test_of_a_trajectory_the_first_point_that_lies_ahead_is_the_command() -> None:
    """Planners begin with where the arm is: a policy that learns from it stands still."""
    message = trajectory(NAMES)
    start, goal = message.points[0], blank("trajectory_msgs/msg/JointTrajectoryPoint")
    goal.positions, goal.time_from_start.nanosec = np.array([1.0, 2.0, 3.0]), 100
    message.points = [start, goal]
    pool = MessagePool(LAYOUT, TopicMap(action_low=(-10.0,), action_high=(10.0,)))
    pool.add("action", message)
    assert np.allclose(pool.commands[1], [0.1, 0.2, 0.3])
    assert "a trajectory has 2 points, of which number 1 (from 0), the first that lies ahead" in str(
        pool.problems.sentences()
    )


@given(st.lists(st.sampled_from(["points", "0", "-1", "7", "positions", "joint_names", "x", "header", ""]), max_size=5))
def test_any_path_gives_numbers_or_nothing(parts: list[str]) -> None:
    """A mistyped action_fields would end in a traceback."""
    found = select(trajectory(NAMES), ".".join(parts), lambda owner, names: positions(names, names, "action"))
    assert found is None or found.dtype == np.float64
