"""Stamps of others' bags: none at all, clocks that are set while recording, topics stamped by different clocks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.bags import Recipe, Sent, blank, image, lockstep_episode, make, set_time, write_bag

from moto_ros.contract.stamps import NSEC_PER_SEC
from moto_ros.data.assembler import EpisodeAssembler
from moto_ros.data.bag_reader import BagReading, read_episodes
from moto_ros.data.clocks import segments
from moto_ros.data.layout import Problems, StepLayout, TopicMap
from moto_ros.data.observer import Observer
from moto_ros.data.track import Track

MS = NSEC_PER_SEC // 1000
START = 1_760_000_000 * NSEC_PER_SEC
SIMULATED = 12 * NSEC_PER_SEC
LAYOUT = StepLayout(
    cameras=("front",),
    image_size=8,
    proprio=("joint_position",),
    joint_count=2,
    action_size=2,
    control_rate=10.0,
    pairing_tolerance=0.06,
)
TOPICS = TopicMap(
    camera_topics=("/rgb",),
    state_topics=("/joints",),
    action_topic="/goal",
    action_low=(-1000.0,),
    action_high=(1000.0,),
    episode_source="whole_bag",
    reward_source="success_at_end",
)
Clock = Callable[[int], int]


def true(ns: int) -> int:
    return ns


def none(_: int) -> int:
    return 0


def recording(camera: Clock = true, state: Clock = true, goal: Clock | None = None, seconds: float = 4.0) -> list[Sent]:
    """Return frames and joints at 20 Hz and goals at 10 Hz, numbered, logged by a true clock and stamped by the given.

    Without a clock for them, goals have no header.
    """
    sent = []
    for k in range(round(20 * seconds)):
        log = START + k * 50 * MS
        joints = make("sensor_msgs/msg/JointState", state(log), name=["a", "b"])
        joints.position = np.array([k, k], float)
        found = {"/rgb": image(np.full((8, 8, 3), k % 250, np.uint8), camera(log)), "/joints": joints}
        if k % 2 == 0:
            found["/goal"] = _goal(k, log, goal)
        sent += [Sent(topic, "", message.__msgtype__, message, log) for topic, message in found.items()]
    return sent


def _goal(k: int, log: int, clock: Clock | None) -> Any:
    if clock is None:
        return make("std_msgs/msg/Float64MultiArray", data=np.array([k, k], float))
    point = blank("trajectory_msgs/msg/JointTrajectoryPoint")
    point.positions = np.array([k, k], float)
    message = make("trajectory_msgs/msg/JointTrajectory", clock(log), joint_names=["a", "b"])
    message.points = [point]
    return message


def read(folder: Path, messages: list[Sent], topics: TopicMap = TOPICS) -> BagReading:
    write_bag(folder / "bag", messages)
    return read_episodes(folder / "bag", LAYOUT, topics)


def together(reading: BagReading, apart: int = 0) -> None:
    """Check that frame, joints and goal of each step are of the same moment, or `apart` messages from it."""
    for episode in reading.episodes:
        frames = episode.images["front"][:, 0, 0, 0].astype(int)
        assert np.abs(frames - episode.proprio[:, 0] % 250).max() <= apart
        assert np.abs(frames[:-1] - np.round(episode.action[1:, 0] * 1000) % 250).max() <= apart


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({"camera": none}, ["camera/front"]),
        ({"camera": none, "state": none, "goal": none}, ["camera/front", "state", "action"]),
        ({"goal": none}, ["action"]),
        ({"camera": lambda ns: 0 if ns < START + 100 * MS else ns}, ["camera/front"]),
    ],
)
def test_stamp_0_is_no_time_and_the_log_has_one(tmp_path: Path, given: dict[str, Clock], names: list[str]) -> None:
    """Whole bags would be lost to a driver that leaves stamps empty, and to trajectories that begin at once."""
    reading = read(tmp_path, recording(**given))
    assert [len(episode) for episode in reading.episodes] == [40]
    together(reading)
    assert [text.split(":")[0] for text in reading.problems] == names
    assert all("have stamp 0, which is not a valid time; their log time is used" in text for text in reading.problems)


@pytest.mark.parametrize("jump", [3600 * NSEC_PER_SEC, -3600 * NSEC_PER_SEC, -NSEC_PER_SEC])
def test_a_clock_that_is_set_while_recording_cuts_the_bag_and_mixes_nothing(tmp_path: Path, jump: int) -> None:
    """Set back by a second, the stamps of two seconds would be one."""

    def clock(ns: int) -> int:
        return ns + jump * (ns >= START + 2 * NSEC_PER_SEC)

    reading = read(tmp_path, recording(clock, clock, clock))
    assert [len(episode) for episode in reading.episodes] == [20, 20]
    assert [int(episode.info["part"]) for episode in reading.episodes] == [0, 1]
    together(reading)
    assert [episode.succeeded for episode in reading.episodes] == [False, True]
    (said,) = reading.problems
    assert f"jump by {jump / NSEC_PER_SEC:+.3f} s, 2.000 s into the bag; steps are cut there" in said


@pytest.mark.parametrize("at", [0, 20, 79])
@pytest.mark.parametrize("far", [0x7FFFFFFF * NSEC_PER_SEC, 5 * NSEC_PER_SEC])
def test_one_far_stamp_costs_one_message(tmp_path: Path, at: int, far: int) -> None:
    """One wrong stamp would make the episode years long, and all of it a gap."""
    messages = recording()
    states = [sent for sent in messages if sent.topic == "/joints"]
    set_time(states[at].message.header.stamp, far)
    reading = read(tmp_path, messages)
    assert sum(len(episode) for episode in reading.episodes) >= 36
    together(reading, apart=1)
    assert "state: 1 of 80 messages have other stamps than those around them" in reading.problems[0]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"camera": lambda ns: ns - 30 * NSEC_PER_SEC}, "camera/front is stamped 30.0 s behind state"),
        ({"camera": lambda ns: ns - START + SIMULATED}, "camera/front is stamped 20370 days behind state"),
        (
            {"camera": lambda ns: ns - START + SIMULATED, "state": lambda ns: ns - START + SIMULATED},
            "action is stamped 20370 days ahead of state",
        ),
    ],
)
@pytest.mark.parametrize("seconds", [4.0, 40.0])
def test_clocks_that_do_not_fit_are_named_with_their_spans(
    tmp_path: Path, given: dict[str, Clock], said: str, seconds: float
) -> None:
    """In a long bag frames would be paired with joints of half a minute later."""
    messages = recording(**given, seconds=seconds)
    reading = read(tmp_path, messages)
    assert reading.episodes == []
    assert said in reading.problems[0]
    assert "state from " in reading.problems[0]
    assert "set topics.stamp_source to log" in reading.problems[0]
    by_log = read_episodes(tmp_path / "bag", LAYOUT, TopicMap(**{**TOPICS.__dict__, "stamp_source": "log"}))
    assert sum(len(episode) for episode in by_log.episodes) == 10 * seconds
    together(by_log)


def test_a_camera_two_seconds_late_is_used_and_said(tmp_path: Path) -> None:
    reading = read(tmp_path, recording(camera=lambda ns: ns - 2 * NSEC_PER_SEC))
    assert len(reading.episodes) == 1
    assert "camera/front is stamped 2.0 s behind state" in reading.problems[0]
    assert "they are used as stamped" in reading.problems[0]


def test_a_simulation_of_another_pace_is_no_jump(tmp_path: Path) -> None:
    """Simulated stamps run at any speed against the log."""

    def ten_times(ns: int) -> int:
        return SIMULATED + 10 * (ns - START)

    layout = StepLayout(**{**LAYOUT.__dict__, "control_rate": 1.0, "pairing_tolerance": 0.6})
    write_bag(tmp_path / "bag", recording(ten_times, ten_times, ten_times))
    reading = read_episodes(tmp_path / "bag", layout, TOPICS)
    assert reading.problems == []
    assert [len(episode) for episode in reading.episodes] == [40]


def test_success_is_not_put_where_the_stamps_jump(tmp_path: Path) -> None:
    """What follows the jump holds the end of the task; the middle would be taught as its success."""

    def clock(ns: int) -> int:
        return ns + 3600 * NSEC_PER_SEC * (ns >= START + 2 * NSEC_PER_SEC)

    reading = read(tmp_path, recording(clock, clock))  # goals have no header: they do not jump
    assert [len(episode) for episode in reading.episodes] == [20]
    assert not reading.episodes[0].succeeded
    assert "no complete step follows the last jump of its stamps, so that it ends without success" in str(
        reading.problems
    )


def test_an_episode_of_ones_own_topic_goes_on_over_a_jump(tmp_path: Path) -> None:
    """One demonstration would become two, or lose its second half."""

    def clock(ns: int) -> int:
        return ns + 3600 * NSEC_PER_SEC * (ns >= START + 2 * NSEC_PER_SEC)

    messages = recording(clock, clock, clock)
    for at, text in ((0.0, "a"), (3.0, ""), (3.3, "b")):
        log = START + round(at * NSEC_PER_SEC)
        mark = make("std_msgs/msg/String", data=text)
        messages.append(Sent("/task", "", mark.__msgtype__, mark, log))
    topics = TopicMap(**{**TOPICS.__dict__, "episode_source": "topic", "episode_topic": "/task"})
    reading = read(tmp_path, sorted(messages, key=lambda sent: sent.log_time), topics)
    assert {int(episode.info["id"]) for episode in reading.episodes} <= {0, 1}
    together(reading)


def test_a_bag_that_gives_nothing_always_says_why(tmp_path: Path) -> None:
    """Advice to fix "the problems above" needs problems above."""
    reading = read(tmp_path, recording(seconds=0.05))
    assert reading.episodes == []
    assert len(reading.problems) == 2
    assert "share less than a control period" in reading.problems[0]


def test_a_pause_is_no_matter_of_the_tolerance(tmp_path: Path) -> None:
    messages = [m for m in recording() if m.topic != "/rgb" or not NSEC_PER_SEC < m.log_time - START < 3 * NSEC_PER_SEC]
    reading = read(tmp_path, messages)
    assert "camera/front has no sample in time; it pauses for up to 2.0 s" in str(reading.problems)
    assert "pairing_tolerance" not in str(reading.problems)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 20 * NSEC_PER_SEC), st.integers(1, 2**33 * NSEC_PER_SEC)), max_size=40))
def test_whatever_the_stamps_are_each_sample_is_used_once_or_left_out(times: list[tuple[int, int]]) -> None:
    """A clock gone wild would end the reading, or put a sample into two parts."""
    track = Track()
    for number, (logged, stamp) in enumerate(times):
        track.receive(stamp, np.array([number]), logged)
    found = segments({"state": track, "action": Track()}, Problems())
    numbers = [int(entry.sample[0]) for segment in found for entry in segment["state"].received]
    assert len(numbers) == len(set(numbers))
    assert not times or numbers


def test_frames_without_stamps_are_named_by_the_policy() -> None:
    """It would wait for a new frame indefinitely, without any message."""
    seen = Observer(LAYOUT)
    for k in range(3):
        seen.add("camera/front", image(np.zeros((8, 8, 3), np.uint8), 0))
        seen.add("state", recording(seconds=0.05 * (k + 1))[-1].message)
    assert "camera/front: stamps are 0, which is not a valid time" in str(seen.problems.sentences())


def test_a_camera_of_another_clock_is_named_by_the_policy() -> None:
    seen = Observer(LAYOUT)
    for sent in recording(camera=lambda ns: ns - 30 * NSEC_PER_SEC):
        if sent.topic != "/goal":
            seen.add("camera/front" if sent.topic == "/rgb" else "state", sent.message)
            assert seen.newest() is None
    assert "camera/front is stamped 29.950 s before state" in str(seen.problems.sentences())


def test_an_episode_of_the_contract_that_begins_at_stamp_0_is_the_same_live_and_from_its_bag(tmp_path: Path) -> None:
    """A simulation begins at 0; there stamps name what belongs together, and the log's time has no part in it."""
    messages = lockstep_episode(Recipe(start=0))
    layout = StepLayout(cameras=("agent", "wrist"), image_size=16, proprio=("joint_position",))
    live = EpisodeAssembler(layout, 3)
    for sent in messages:
        live.add(sent.role, sent.message)
    write_bag(tmp_path / "bag", [replace(sent, log_time=START + sent.log_time) for sent in messages])
    (recorded,) = read_episodes(tmp_path / "bag", layout).episodes
    seen = live.assemble()
    assert seen.stamps[0] == 0
    assert all(np.array_equal(rows, recorded.arrays()[name]) for name, rows in seen.arrays().items())
