"""One clock in a simulated system that waits for each action: `/clock`, in every stamp, on the wire and in the bags."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")
pytest.importorskip("moto_msgs", reason="moto_msgs is not built")
pytest.importorskip("metaworld", reason="Meta-World is not installed")

from diagnostic_msgs.msg import DiagnosticArray
from mcap.reader import make_reader
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image
from support.domain import reserved_domain
from support.graph import ros_graph

from moto_msgs.msg import Action, EpisodeBag, EpisodeState, PolicyWeights, Reward, RobotState, TrainingStatus
from moto_ros.contract import topics
from moto_ros.contract.episodes import Phase
from moto_ros.ros import qos
from moto_ros.ros.convert import to_nanoseconds
from moto_ros.systems.transport import environment

pytestmark = [pytest.mark.ros, pytest.mark.sim, pytest.mark.slow]

STEPS = 12
SHORT = ("--preset", "ci", "-p", f"max_steps:={STEPS}", "-p", "evaluation_episodes:=1", "-p", "threads:=1")
LIMIT = 280
"""Seconds that a system may take; on an idle machine each takes less than thirty."""

TOPICS = {
    topics.camera_image("agent"): (Image, qos.every()),
    topics.camera_info("agent"): (CameraInfo, qos.every()),
    topics.ROBOT_STATE: (RobotState, qos.every()),
    topics.REWARD: (Reward, qos.event()),
    topics.ACTION: (Action, qos.event()),
    topics.EPISODE_STATE: (EpisodeState, qos.latched(10)),
    topics.EPISODE_BAG: (EpisodeBag, qos.latched(10)),
    topics.POLICY_WEIGHTS: (PolicyWeights, qos.latched(10)),
    topics.TRAINING_STATUS: (TrainingStatus, qos.latched(10)),
    topics.DIAGNOSTICS: (DiagnosticArray, qos.event()),
}


class Recorded:
    """What a system said until its good end: the times of `/clock`, and messages by topic."""

    def __init__(self, folder: Path, system: str, *more: str) -> None:
        self.clock: list[int] = []
        self.messages: dict[str, list[Any]] = {}
        words = ["up", system, "--run", str(folder / "run"), *SHORT, *more]
        output = folder / f"{system}.out"
        with ros_graph(["--ros-args", "-r", "__ns:=/moto"]) as graph, output.open("w") as log:
            node = graph.peer("watcher").node
            node.create_subscription(Clock, topics.CLOCK, lambda m: self.clock.append(to_nanoseconds(m.clock)), 1000)
            for topic, (kind, profile) in TOPICS.items():
                received: list[Any] = self.messages.setdefault(topic, [])
                node.create_subscription(kind, topic, received.append, profile)
            command = [sys.executable, "-m", "moto_ros.cli.main", *words]
            running = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
            try:
                end = time.monotonic() + LIMIT
                while running.poll() is None and time.monotonic() < end:
                    graph.spin(0.2)
                graph.spin(0.2)
            finally:
                if running.poll() is None:
                    os.killpg(running.pid, signal.SIGKILL)
        assert running.wait() == 0, output.read_text()

    def stamps(self, topic: str) -> list[int]:
        """Return the stamps of a topic's messages, ns."""
        return [to_nanoseconds(message.header.stamp) for message in self.messages[topic]]


class Runs:
    """A demonstration and a fine-tuning in lockstep, as a user starts them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.record = Recorded(folder, "record", "--episodes", "2")
        self.finetune = Recorded(folder, "finetune", "--episodes", "1")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    with reserved_domain() as domain, pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROS_DOMAIN_ID", str(domain))
        patch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
        for name, value in environment().items():
            patch.setenv(name, value)
        yield Runs(tmp_path_factory.mktemp("clock"))


@pytest.fixture(params=["record", "finetune"])
def recorded(request: pytest.FixtureRequest, runs: Runs) -> Recorded:
    found: Recorded = getattr(runs, request.param)
    return found


def test_the_clock_runs_from_the_first_moment_on_and_never_back(recorded: Recorded) -> None:
    """Breaks tf2 and every filter by time, which forget everything when time jumps back."""
    assert recorded.clock[0] > 0
    assert recorded.clock == sorted(recorded.clock)
    assert len(set(recorded.clock)) > STEPS


@pytest.mark.parametrize("topic", TOPICS)
def test_every_stamp_is_one_of_the_clocks_and_none_goes_back(recorded: Recorded, topic: str) -> None:
    """Breaks RViz, tf2 and message_filters: an action of today beside an image of 1970."""
    stamps = recorded.stamps(topic)
    times = set(recorded.clock)
    senders: dict[str, list[int]] = defaultdict(list)
    for message, stamp in zip(recorded.messages[topic], stamps, strict=True):
        senders[message.status[0].name if topic == topics.DIAGNOSTICS else ""].append(stamp)
    for sent in senders.values():
        assert sent == sorted(sent)
        # A node that starts before the simulator has no time yet; ROS says so by 0.
        assert set(sent) - {0} <= times
    if topic not in (topics.DIAGNOSTICS, topics.TRAINING_STATUS, topics.POLICY_WEIGHTS, topics.EPISODE_STATE):
        assert 0 not in stamps


def test_all_that_an_action_says_is_of_one_time(recorded: Recorded) -> None:
    """Breaks latencies and ages, taken between a stamp of the wall and one of the simulation."""
    actions = recorded.messages[topics.ACTION]
    assert len(actions) >= STEPS
    for action in actions:
        sent, state = to_nanoseconds(action.header.stamp), to_nanoseconds(action.state_stamp)
        assert [to_nanoseconds(stamp) for stamp in action.camera_stamps] == [state]
        assert sent == state  # the world stands until it is answered


def test_episodes_are_stamped_within_themselves(recorded: Recorded) -> None:
    """Breaks every reader that cuts an episode out by the times of its beginning and its end."""
    states = recorded.messages[topics.EPISODE_STATE]
    begun = [state for state in states if state.phase == Phase.RUNNING]
    ended = {state.episode: state for state in states if state.phase == Phase.ENDED}
    assert begun
    for state in begun:
        start, end = to_nanoseconds(state.start), ended[state.episode]
        assert to_nanoseconds(state.header.stamp) >= start
        taken = [reward for reward in recorded.messages[topics.REWARD] if reward.episode == state.episode]
        assert to_nanoseconds(end.header.stamp) >= max(
            to_nanoseconds(reward.header.stamp) for reward in taken if reward.step <= end.step
        )


def test_messages_pair_by_their_stamps(recorded: Recorded) -> None:
    """What message_filters' TimeSynchronizer does: image, calibration, state and action of one stamp are one set."""
    paired_topics = (topics.camera_image("agent"), topics.camera_info("agent"), topics.ROBOT_STATE, topics.ACTION)
    pairs = paired(*(set(recorded.stamps(topic)) for topic in paired_topics))
    assert len(pairs) == len(set(recorded.stamps(topics.ACTION)))


def paired(*stamps: set[int]) -> Sequence[int]:
    """Return the stamps that all have."""
    return sorted(set.intersection(*stamps))


def test_a_policys_age_is_of_seconds_that_have_passed(runs: Runs) -> None:
    """Breaks the judgement of a stale policy: simulated time stands still while it is learned, and jumps at resets."""
    ages = [action.policy_age for action in runs.finetune.messages[topics.ACTION]]
    assert all(0.0 <= age < LIMIT for age in ages)
    assert max(ages) > 0.0


def test_bags_are_logged_by_the_same_clock(runs: Runs) -> None:
    """Breaks `ros2 bag play --clock`, and every tool that lays the log's times beside the stamps."""
    bags = sorted((runs.folder / "run" / "bags" / "offline").glob("*/*.mcap"))
    assert len(bags) == 2
    times = set(runs.record.clock)
    for bag in bags:
        with bag.open("rb") as stream:
            logged = [record.log_time for _, _, record in make_reader(stream).iter_messages()]
        assert logged == sorted(logged)
        assert set(logged) <= times
        assert logged[-1] - logged[0] < 30_000_000_000, "a hole in which a player waits"
