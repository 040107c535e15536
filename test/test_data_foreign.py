"""Bags that other programs recorded are mapped by configuration: other topics, types, rates and storage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rosbags.rosbag2 import StoragePlugin, Writer
from support.bags import Sent, blank, compressed, image, make

from moto_ros.contract.stamps import NSEC_PER_SEC
from moto_ros.data.bag_reader import BagReading, read_episodes
from moto_ros.data.definitions import contract_types
from moto_ros.data.layout import StepLayout, TopicMap
from moto_ros.errors import MotoError

MS = NSEC_PER_SEC // 1000
START = 50 * NSEC_PER_SEC
LAYOUT = StepLayout(
    cameras=("agent",),
    image_size=16,
    proprio=("joint_position",),
    joint_count=2,
    action_size=6,
    control_rate=10.0,
    pairing_tolerance=0.12,
)
MAP = TopicMap(
    camera_topics=("/front/rgb",),
    state_topics=("/joint_states",),
    action_topic="/cmd_vel",
    action_low=(-0.5,),
    action_high=(0.5,),
    episode_source="whole_bag",
    reward_source="success_at_end",
)


def joints(stamp: int, values: tuple[float, ...] = (1.0, 2.0), names: tuple[str, ...] = ("a", "b")) -> Any:
    message = make("sensor_msgs/msg/JointState", stamp, name=list(names))
    message.position = np.array(values)
    return message


def twist(x: float) -> Any:
    message = blank("geometry_msgs/msg/Twist")
    message.linear.x = x
    return message


def sent(topic: str, message: Any, time: int) -> Sent:
    return Sent(topic, "", message.__msgtype__, message, time)


def recording(jpeg: bool = False, seconds: float = 2.0) -> list[Sent]:
    """Return camera and joints at 20 Hz, commands at 10 Hz half a period after each tick; camera frames count up."""
    found = []
    for k in range(int(20 * seconds)):
        stamp = START + k * 50 * MS
        pixels = np.full((32, 32, 3), 5 * k % 256, np.uint8)
        found.append(sent("/front/rgb", compressed(pixels, stamp, "png") if jpeg else image(pixels, stamp), stamp))
        found.append(sent("/joint_states", joints(stamp, (float(k), -float(k))), stamp))
        if k % 2 == 0:
            found.append(sent("/cmd_vel", twist(0.01 * k), stamp + 20 * MS))
    return found


def read(folder: Path, messages: list[Sent], topics: TopicMap = MAP, layout: StepLayout = LAYOUT) -> BagReading:
    """Write a sqlite3 bag, as Humble does, and read it."""
    with Writer(folder / "bag", version=8, storage_plugin=StoragePlugin.SQLITE3) as writer:
        connections: dict[str, Any] = {}
        for item in messages:
            if item.topic not in connections:
                store = contract_types()
                connections[item.topic] = writer.add_connection(item.topic, item.type_name, typestore=store)
            writer.write(connections[item.topic], item.log_time, item.cdr())
    return read_episodes(folder / "bag", layout, topics)


@pytest.mark.parametrize("jpeg", [False, True])
def test_images_joints_and_twist_become_steps(tmp_path: Path, jpeg: bool) -> None:
    """Years of recorded teleoperation would be of no use."""
    reading = read(tmp_path, recording(jpeg))
    assert reading.problems == []
    (episode,) = reading.episodes
    assert len(episode) == 20
    assert episode.stamps[:2].tolist() == [START, START + 100 * MS]
    assert episode.images["agent"][:3, 0, 0, 0].tolist() == [0, 10, 20]
    assert episode.proprio[3].tolist() == [6.0, -6.0]
    assert np.allclose(episode.action[:4, 0], [0.0, 0.0, 0.04, 0.08])
    assert episode.reward.tolist() == [0.0] * 20 + [1.0]
    assert episode.succeeded
    assert episode.is_terminal.tolist() == [False] * 20 + [True], "the success at its end has ended it"


def test_command_stamped_like_the_observation_belongs_to_it(tmp_path: Path) -> None:
    """Synchronous loggers stamp both alike; the dynamics would be learned one step off."""
    messages = [item for item in recording() if item.topic != "/cmd_vel"]
    for k in range(20):
        command = make("geometry_msgs/msg/TwistStamped", START + 100 * k * MS, twist=twist(0.02 * k))
        messages.append(sent("/cmd_vel", command, START + 100 * k * MS))
    (episode,) = read(tmp_path, messages).episodes
    assert np.allclose(episode.action[1:, 0], [0.04 * k for k in range(len(episode))])


def test_joints_are_taken_by_name(tmp_path: Path) -> None:
    """Two publishers on one topic, or another order, would mix up the arm."""
    messages = [item for item in recording() if item.topic != "/joint_states"]
    for k in range(40):
        stamp = START + 50 * k * MS
        messages.append(sent("/joint_states", joints(stamp, (1.0, 2.0, 3.0), ("c", "b", "a")), stamp))
        messages.append(sent("/joint_states", joints(stamp + 1, (9.0,), ("finger",)), stamp + 1))
    layout = StepLayout(**{**LAYOUT.__dict__, "joint_names": ("a", "b")})
    reading = read(tmp_path, messages, layout=layout)
    assert reading.episodes[0].proprio[5].tolist() == [3.0, 2.0]
    assert "field joint_position has no joint 'a': it names finger, expected a, b" in str(reading.problems)


def test_a_pause_of_the_commands_cuts_the_episode_and_is_said(tmp_path: Path) -> None:
    messages = [
        item for item in recording() if item.topic != "/cmd_vel" or not 0.75 < (item.log_time - START) / 1e9 < 0.9
    ]
    reading = read(tmp_path, messages)
    assert [len(part) for part in reading.episodes] == [8, 11]
    assert "1 of 20 steps are left out, at 1 of them action has no sample in time; lower control_rate" in str(
        reading.problems
    )


def test_resampling_is_never_silent(tmp_path: Path) -> None:
    """A control rate above the camera's would repeat frames as if the world stood still."""
    layout = StepLayout(**{**LAYOUT.__dict__, "control_rate": 40.0})
    reading = read(tmp_path, recording(), layout=layout)
    assert reading.episodes == [] or "repeat the frame before" in str(reading.problems)
    assert "lower control_rate" in str(reading.problems)


def test_lockstep_tolerance_on_a_foreign_bag_says_what_to_set(tmp_path: Path) -> None:
    messages = [item for item in recording() if item.topic != "/joint_states"]
    messages += [sent("/joint_states", joints(START + (50 * k + 3) * MS), START + 50 * k * MS) for k in range(40)]
    layout = StepLayout(**{**LAYOUT.__dict__, "pairing_tolerance": 0.0})
    reading = read(tmp_path, messages, layout=layout)
    assert reading.episodes == []
    assert "raise pairing_tolerance" in str(reading.problems)


def test_episodes_by_a_topic_of_ones_own(tmp_path: Path) -> None:
    """One long bag with a "recording" flag holds many demonstrations."""
    marks = []
    for at, value in ((0.0, True), (0.7, False), (1.0, True)):
        time = START + round(at * NSEC_PER_SEC)
        marks.append(sent("/recording", make("std_msgs/msg/Bool", data=value), time))
    topics = TopicMap(**{**MAP.__dict__, "episode_source": "topic", "episode_topic": "/recording"})
    reading = read(tmp_path, [*recording(), *marks], topics)
    assert [episode.info["id"] for episode in reading.episodes] == [0, 1]
    assert reading.episodes[0].stamps[-1] < START + 700 * MS
    assert reading.episodes[1].stamps[0] == START + NSEC_PER_SEC
    assert [episode.reward[-1] for episode in reading.episodes] == [1.0, 1.0]


def test_rewards_come_from_a_float_topic(tmp_path: Path) -> None:
    rewards = [sent("/r", make("std_msgs/msg/Float32", data=float(k)), START + 100 * k * MS) for k in range(21)]
    topics = TopicMap(**{**MAP.__dict__, "reward_source": "topic", "reward_topic": "/r"})
    (episode,) = read(tmp_path, [*recording(), *rewards], topics).episodes
    assert episode.reward[:4].tolist() == [0.0, 1.0, 2.0, 3.0]


def test_action_fields_and_scale(tmp_path: Path) -> None:
    topics = TopicMap(
        **{
            **MAP.__dict__,
            "action_fields": ("linear.x", "angular.z"),
            "action_low": (0.0, -1.0),
            "action_high": (1.0, 1.0),
        }
    )
    layout = StepLayout(**{**LAYOUT.__dict__, "action_size": 2})
    (episode,) = read(tmp_path, recording(), topics, layout).episodes
    assert np.allclose(episode.action[2], [2 * 0.02 - 1, 0.0])


def test_commands_outside_the_scale_are_clipped_and_said(tmp_path: Path) -> None:
    topics = TopicMap(**{**MAP.__dict__, "action_low": (-0.1,), "action_high": (0.1,)})
    reading = read(tmp_path, recording(), topics)
    assert reading.episodes[0].action.max() == 1.0
    assert "expected numbers in [-1, 1]; it is clipped" in str(reading.problems)


def test_wrong_settings_are_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(MotoError, match="is not below action_high"):
        read_episodes(tmp_path, LAYOUT, TopicMap(action_low=(1.0,), action_high=(0.0,)))
    with pytest.raises(MotoError, match="camera_topics' has 2 entries, expected 1"):
        read_episodes(tmp_path, LAYOUT, TopicMap(camera_topics=("/a", "/b")))
