"""Reads the episodes of a bag, faster than real time; a damaged bag is read as far as possible."""

from __future__ import annotations

import os
import struct
from array import array
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rosbags.serde import SerdeError

from moto_ros.config import unknown_parameter
from moto_ros.data.assembler import EpisodeAssembler
from moto_ros.data.bag_files import UNREADABLE, bag_meta, read_messages
from moto_ros.data.decode import decode_image
from moto_ros.data.definitions import decoded, definition_note
from moto_ros.data.episode import Episode
from moto_ros.data.fields import message_stamp
from moto_ros.data.frame_spool import FrameSpool
from moto_ros.data.incidents import Incident
from moto_ros.data.joints import JointOrder
from moto_ros.data.layout import Problems, StepLayout, TopicMap
from moto_ros.data.mcap_stream import BagTopic, Stored
from moto_ros.data.pool import MessagePool
from moto_ros.data.reading_progress import ReadingProgress
from moto_ros.data.report import AssemblyReport, tally
from moto_ros.data.roles import RoleFinder
from moto_ros.data.tick_assembler import TickAssembler
from moto_ros.errors import MotoError

DECODE_ERRORS = (
    SerdeError,
    struct.error,
    AttributeError,
    TypeError,
    ValueError,
    IndexError,
    KeyError,
    OverflowError,
    cv2.error,
)
"""Exceptions of a message whose bytes or fields do not fit its type."""

DATA_LOSS = {"empty", "damage", "chunk", "count", "metadata"}
"""Kinds of storage problems that mean lost data; all others can be fixed without recording again."""

TRANSIENT = {"unreadable", "growing"}
"""Kinds of storage problems that may be gone at the next reading."""

THREADS = min(4, os.cpu_count() or 1)
MAX_PENDING_FRAMES = 64
"""Frames that may wait for a decoder thread: limits the memory for a bag."""

HEALTH_TYPE = "moto_msgs/msg/CameraHealth"
IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")


@dataclass
class TopicFacts:
    """A topic of a bag: its type, its role in a step ("" for none), when its messages were logged (ns).

    `stamps` are the header stamps, for the roles that learning needs.
    """

    name: str
    type_name: str
    role: str
    times: array[int] = field(default_factory=lambda: array("q"))
    stamps: array[int] = field(default_factory=lambda: array("q"))
    bytes: int = 0


@dataclass(frozen=True)
class BagReading:
    """Result of reading a bag: episodes (in parts where they have gaps), problems as sentences, counts, topics.

    `incidents` are the faults of the robot and the losses of cameras while it was recorded. `transient`: what
    was not read may be readable later (permissions, room for a copy, a recorder that still writes).
    """

    bag: Path
    episodes: list[Episode]
    problems: list[str]
    report: AssemblyReport
    topics: list[TopicFacts] = field(default_factory=list)
    incidents: list[Incident] = field(default_factory=list)
    transient: bool = False


def read_episodes(
    bag: Path,
    layout: StepLayout,
    topics: TopicMap | None = None,
    joints: JointOrder | None = None,
    progress: ReadingProgress | None = None,
) -> BagReading:
    """Read a bag, folder or storage file, by the same assembler as live topics.

    `joints` is the order of joints of a run; the bag adds joints that it is the first to name. What is wrong with the
    bag is in `problems`, and the rest of it is used. Raises MotoError only for a bag that does not exist or for
    contradictory settings.
    """
    topics = topics or TopicMap()
    feed = _Feed(bag, MessagePool(layout, topics, joints), RoleFinder(topics, layout), progress)
    with ThreadPoolExecutor(THREADS) as workers:
        feed.run(workers)
    feed.note_absent()
    return _assembled(feed, topics)


class _Feed:
    """Reads messages into the pool; threads decode images, as OpenCV releases the interpreter lock."""

    def __init__(self, bag: Path, pool: MessagePool, finder: RoleFinder, progress: ReadingProgress | None) -> None:
        self.bag, self.pool, self.finder, self.progress = bag, pool, finder, progress
        self.problems = Problems()
        self.facts: dict[str, TopicFacts] = {}
        self.waiting: deque[tuple[str, str, int | None, int, Future[np.ndarray]]] = deque()
        self.spool = FrameSpool()

    def run(self, workers: ThreadPoolExecutor) -> None:
        """Read the bag from end to end."""
        for stored in read_messages(self.bag, self.problems):
            topic, time, data = stored
            if self.progress is not None:
                self.progress.message(len(data))
            facts = self._noted(topic, time, len(data))
            if facts.role:
                self._take(facts, stored, workers)
        while self.waiting:
            self._collect()
        self.spool.close()

    def _noted(self, topic: BagTopic, time: int, size: int) -> TopicFacts:
        facts = self.facts.get(topic.name)
        if facts is None:
            role = "health" if topic.type_name == HEALTH_TYPE else self.finder.role(topic.name, self.problems)
            facts = TopicFacts(topic.name, topic.type_name, role)
            self.facts[topic.name] = facts
            if role:
                self._note_definition(topic)
        facts.times.append(min(time, 2**63 - 1))
        facts.bytes += size
        return facts

    def _note_definition(self, topic: BagTopic) -> None:
        """Report where the installed definition is used, since the bag's is missing or cannot be used."""
        for note in filter(None, (topic.note, definition_note(topic.type_name, topic.definition))):
            text = f"{topic.name} ({topic.type_name}) {note}; the installed definition is used"
            self.problems.add("definition", f"{self.bag.name}: {text}")

    def _take(self, facts: TopicFacts, stored: Stored, workers: ThreadPoolExecutor) -> None:
        role, (topic, time, data) = facts.role, stored
        try:
            message = decoded(topic.type_name, topic.definition, data)
            facts.stamps.append(min(message_stamp(message, time) or time, 2**63 - 1))
            if role.startswith("camera/"):
                self._submit(role, topic, message, time, workers)
            else:
                self.pool.add(role, message, time)
        except MotoError as error:
            self.problems.add(topic.name, f"{topic.name}: {error}")
        except DECODE_ERRORS as error:
            text = f"{topic.name}: a message is not of type {topic.type_name} ({_brief(error)}); it is left out"
            self.problems.add(topic.name, text)

    def _submit(self, role: str, topic: BagTopic, message: Any, time: int, workers: ThreadPoolExecutor) -> None:
        if topic.type_name not in IMAGE_TYPES:
            raise MotoError(f"has type {topic.type_name}, expected {' or '.join(IMAGE_TYPES)}; set camera_topics")
        stamp, frame = message_stamp(message, time), workers.submit(decode_image, message, self.pool.layout)
        self.waiting.append((role, topic.name, stamp, time, frame))
        if len(self.waiting) >= MAX_PENDING_FRAMES:
            self._collect()

    def _collect(self) -> None:
        role, topic, stamp, time, future = self.waiting.popleft()
        frame: np.ndarray | MotoError
        try:
            frame = self.spool.keep(future.result())
        except MotoError as error:
            frame = MotoError(f"{error} ({topic})")
        except DECODE_ERRORS as error:
            frame = MotoError(f"a frame cannot be decoded ({_brief(error)}); it is left out ({topic})")
        self.pool.add_frame(role.split("/", 1)[1], stamp, frame, time)

    def note_absent(self) -> None:
        """Report expected topics that the bag does not have, with the most similar it has."""
        if not self.facts and UNREADABLE in self.problems.first:
            return  # the bag may be good
        if not self.facts:
            kinds = set(self.problems.first)
            advice = "fix the problems above" if kinds - DATA_LOSS else "record it again"
            self.problems.add("messages", f"{self.bag.name}: holds no message that can be read; {advice}")
            return
        for topic, role in self.finder.absent():
            if role != "state" or self.pool.layout.proprio:
                text = unknown_parameter(topic, sorted(self.facts), self.bag.name)
                self.problems.add(topic, text.replace("unknown parameter", f"no {role.split('/')[0]} topic"))


def _brief(error: Exception) -> str:
    return " ".join(f"{type(error).__name__} {error}".split())[:100]


def _assembled(feed: _Feed, topics: TopicMap) -> BagReading:
    pool, problems = feed.pool, feed.problems.sentences()
    if len(pool.commands) and not pool.actions:
        episodes, counts = _from_ticks(pool, problems)
    else:
        episodes, counts = _from_steps(feed, topics, problems)
    problems += pool.problems.sentences()
    if not episodes and feed.facts:
        hint = "fix the problems above, or map its topics" if problems else "map its topics"
        problems.append(f"{feed.bag.name}: has no complete step; {hint}")
    report, facts = AssemblyReport(dict(counts), problems), list(feed.facts.values())
    transient = bool(TRANSIENT & set(feed.problems.first))
    return BagReading(feed.bag, episodes, problems, report, facts, pool.incidents.found(), transient)


def _from_ticks(pool: MessagePool, problems: list[str]) -> tuple[list[Episode], Counter[str]]:
    ticks = TickAssembler(pool)
    episodes = ticks.parts()
    problems += ticks.problems.sentences()
    return episodes, tally(pool, [ticks.used])


def _from_steps(feed: _Feed, topics: TopicMap, problems: list[str]) -> tuple[list[Episode], Counter[str]]:
    """Assemble every episode of a bag with the contract's topics; discarded ones are left out, and reported."""
    pool = feed.pool
    numbers = _own_episodes(feed.bag, pool, problems)
    assemblers = [EpisodeAssembler(pool.layout, number, pool) for number in numbers]
    episodes = [episode for assembler in assemblers for episode in _not_discarded(assembler, topics, problems)]
    counts = tally(pool, [assembler.used for assembler in assemblers])
    counts["late"] += sum(assembler.strays()["late"] for assembler in assemblers)
    counts["foreign"] = sum(len(pool.actions.get(n, ())) for n in pool.episodes() if n not in numbers)
    return episodes, counts


def _own_episodes(bag: Path, pool: MessagePool, problems: list[str]) -> list[int]:
    """Return the numbers of the episodes that a bag was recorded for.

    The recorder also writes a moment before an episode, which may hold the last steps of the episode before; these are
    in that episode's own bag.
    """
    found, named = pool.episodes(), bag_meta(bag).get("episode", "")
    if named.isdecimal() and int(named) in found:
        return [int(named)]
    tails = [number for number in found if len(found) > 1 and 0 not in pool.actions.get(number, {0: None})]
    for number in tails:
        problems.append(f"episode {number}: only its end is in {bag.name}, beside other episodes; it is left out")
    return [number for number in found if number not in tails]


def _not_discarded(assembler: EpisodeAssembler, topics: TopicMap, problems: list[str]) -> Iterator[Episode]:
    """Yield the parts of an episode, unless an operator discarded it."""
    phase = assembler.phase
    if phase is not None and phase.outcome == "discarded":
        problems.append(f"episode {assembler.episode}: was discarded by its operator ({phase.reason}); it is left out")
        return
    yield from assembler.parts(topics.reward_source)
    problems += assembler.problems.sentences()
