"""Contents and problems of a bag: for `moto bag info` and for checks of a recording."""

from __future__ import annotations

import dataclasses
import re
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from moto_ros.contract.stamps import NSEC_PER_SEC
from moto_ros.data.bag_files import content_files, read_messages, storage_files, storage_kind
from moto_ros.data.bag_reader import DECODE_ERRORS, BagReading, TopicFacts, read_episodes
from moto_ros.data.definitions import decoded
from moto_ros.data.episode import Episode
from moto_ros.data.incidents import Incident
from moto_ros.data.joints import JointOrder
from moto_ros.data.layout import Problems, StepLayout, TopicMap
from moto_ros.data.mcap_stream import BagTopic
from moto_ros.data.reading_progress import ReadingProgress
from moto_ros.errors import MotoError

CAMERA = re.compile(r"(?:^|/)camera/([^/]+)/(?:image_raw|compressed)$")
GAP_FACTOR = 3.0
"""A pause longer than this many median intervals is reported as a gap."""

MIN_GAP = 0.05
"""Seconds below which a pause is never called a gap."""


@dataclass(frozen=True)
class TopicRow:
    """A topic: its role in a step ("" for none), messages, mean rate (Hz), longest pause (s) and stored bytes."""

    name: str
    type_name: str
    role: str
    count: int
    rate: float
    longest_pause: float
    bytes: int


@dataclass(frozen=True)
class EpisodeRow:
    """An episode, or a part of one that has gaps: steps, seconds, sum of rewards, outcome, who chose the actions."""

    id: int
    part: int
    steps: int
    duration: float
    total_reward: float
    success: bool
    outcome: str
    purpose: str
    source: str
    lost_steps: int
    human_share: float
    guarded_steps: int


@dataclass(frozen=True)
class BagFacts:
    """Contents of a bag; `duration` in s between the first and last message, `bytes` on disk."""

    bag: str
    storage: str
    bytes: int
    duration: float
    messages: int
    topics: list[TopicRow]
    episodes: list[EpisodeRow]
    counts: dict[str, int]
    problems: list[str]
    incidents: list[Incident]

    def as_json(self) -> dict[str, Any]:
        """Return the facts as plain JSON values."""
        return dataclasses.asdict(self)


def bag_facts(
    bag: Path,
    layout: StepLayout | None = None,
    topics: TopicMap | None = None,
    joints: JointOrder | None = None,
    progress: ReadingProgress | None = None,
) -> BagFacts:
    """Return the facts of a bag; without a layout, one is made from the contract's topics in the bag.

    `joints` is the order of joints of the bags before it. Raises MotoError only for a bag that does not exist.
    """
    reading = read_episodes(bag, layout or guess_layout(bag), topics, joints, progress)
    files = _files(bag)
    first = min((min(entry.times) for entry in reading.topics), default=0)
    last = max((max(entry.times) for entry in reading.topics), default=0)
    return BagFacts(
        bag=str(bag),
        storage="+".join(sorted({_storage(path) for path in files})),
        bytes=_size(bag),
        duration=(last - first) / NSEC_PER_SEC,
        messages=sum(len(entry.times) for entry in reading.topics),
        topics=[_topic_row(entry) for entry in sorted(reading.topics, key=lambda entry: entry.name)],
        episodes=[_episode_row(episode) for episode in reading.episodes],
        counts=reading.report.counts,
        problems=reading.problems + _gaps(reading),
        incidents=reading.incidents,
    )


def _files(bag: Path) -> list[Path]:
    """Return the storage files; empty for a folder that cannot be listed, which its reading has reported."""
    try:
        return storage_files(bag)
    except OSError:
        return []


def _storage(path: Path) -> str:
    """Return `mcap` or `db3`, with the ending of a compression of the whole file."""
    kind, packing = storage_kind(path).lstrip("."), path.suffix.lstrip(".").lower()
    return kind if packing == kind else f"{kind}.{packing}"


def _size(bag: Path) -> int:
    try:
        return sum(path.stat().st_size for path in content_files(bag))
    except OSError:
        return 0


def _topic_row(facts: TopicFacts) -> TopicRow:
    times = np.sort(np.array(facts.times, np.int64))
    duration = (times[-1] - times[0]) / NSEC_PER_SEC
    rate = (len(times) - 1) / duration if duration > 0 else 0.0
    pause = np.diff(times).max() / NSEC_PER_SEC if len(times) > 1 else 0.0
    return TopicRow(facts.name, facts.type_name, facts.role, len(times), float(rate), float(pause), facts.bytes)


def _episode_row(episode: Episode) -> EpisodeRow:
    info = episode.info
    return EpisodeRow(
        id=int(info["id"]),
        part=int(info["part"]),
        steps=len(episode),
        duration=float(episode.stamps[-1] - episode.stamps[0]) / NSEC_PER_SEC,
        total_reward=float(episode.reward.sum()),
        success=episode.succeeded,
        outcome=str(info["outcome"]),
        purpose=str(info["purpose"]),
        source=str(info["source"]),
        lost_steps=int(info.get("lost_steps", 0)),
        human_share=episode.human_share,
        guarded_steps=int((episode.guard > 0).sum()),
    )


def _gaps(reading: BagReading) -> list[str]:
    """Return a sentence for each stream with a pause far above its usual interval.

    A pause counts only if it shows both in the stamps and in the log times: in lockstep the world waits for the
    learner, and between episodes simulation time jumps; neither is a lost message.
    """
    found = []
    for facts in reading.topics:
        if not facts.role.startswith(("camera/", "state")) or len(facts.times) < 3:
            continue
        pauses = [_pause(clock) for clock in (facts.times, facts.stamps) if len(clock) > 2]
        longest, usual = min(pauses, key=lambda pause: pause[0])
        if all(pause > max(GAP_FACTOR * often, MIN_GAP) for pause, often in pauses):
            text = f"{facts.name}: was silent for {longest:.3f} s, its messages are usually {usual:.3f} s apart"
            found.append(f"{text}; check its driver and the network")
    return found


def _pause(clock: array[int]) -> tuple[float, float]:
    """Return the longest and the median interval of a clock's times, in seconds."""
    steps = np.diff(np.sort(np.array(clock, np.int64))) / NSEC_PER_SEC
    return float(steps.max()), float(np.median(steps))


def guess_layout(bag: Path) -> StepLayout:
    """Return a layout with the cameras, joints and action size that a bag in the contract's form holds."""
    first: dict[str, tuple[BagTopic, bytes]] = {}
    for topic, _, data in read_messages(bag, Problems()):
        first.setdefault(topic.name, (topic, data))
    cameras = sorted({match[1] for name in first if (match := CAMERA.search(name))})
    sizes = {name: size for name, size in map(_size_of, first.values()) if size}
    joints = sizes.get("joint_position", 0)
    fields = ("joint_position",) if joints or not cameras else ()
    return StepLayout(tuple(cameras), proprio=fields, joint_count=min(joints, 64), action_size=_capped(sizes))


def _capped(sizes: dict[str, int]) -> int:
    return max(1, min(64, sizes.get("values", 1)))


def _size_of(stored: tuple[BagTopic, bytes]) -> tuple[str, int]:
    """Return the length of the action or joint vector of a message, and the field's name."""
    topic, data = stored
    field = {"moto_msgs/msg/Action": "values", "moto_msgs/msg/RobotState": "joint_position"}.get(topic.type_name)
    if field is None:
        return "", 0
    try:
        message = decoded(topic.type_name, topic.definition, data)
        return field, len(getattr(message, field))
    except (MotoError, *DECODE_ERRORS):
        return "", 0
