"""Recording of one episode: messages queued by the node, written by a thread, counted at both ends. No ROS."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from moto_ros.data.bag_metadata import Qos
from moto_ros.data.bag_writer import BagWriter


@dataclass(frozen=True)
class RecordedTopic:
    """A topic to record: absolute name, type as package/msg/Type, offered QoS."""

    name: str
    type_name: str
    qos: Qos


@dataclass(frozen=True)
class Sample:
    """One serialized message (CDR) and when it was received, in ns of the ROS clock; 0: before that clock ran."""

    topic: str
    data: bytes
    received: int


@dataclass(frozen=True)
class Saved:
    """A closed bag: messages on disk, and one sentence when messages are missing."""

    folder: Path
    messages: int
    problem: str


class PreRoll:
    """The newest samples, kept for the start of the next episode."""

    def __init__(self, seconds: float) -> None:
        """Keep samples for `seconds`."""
        self._seconds = seconds
        self._samples: deque[tuple[float, Sample]] = deque()

    def add(self, sample: Sample, now: float) -> None:
        """Add a sample and remove those that are too old; `now` (s) is of a monotonic clock."""
        self._samples.append((now, sample))
        while self._samples[0][0] < now - self._seconds:
            self._samples.popleft()

    def since(self, now: float) -> list[Sample]:
        """Return the samples of the last `seconds` at `now` (s), in order of arrival."""
        return [sample for arrived, sample in self._samples if arrived >= now - self._seconds]


class Backlog:
    """Bytes that wait for the disk, shared by the thread that queues and the one that writes."""

    def __init__(self, limit: int) -> None:
        """Allow `limit` bytes."""
        self._limit, self._bytes, self._lock = limit, 0, threading.Lock()

    def reserve(self, size: int) -> bool:
        """Reserve `size` bytes; return False when that is more than allowed."""
        with self._lock:
            if self._bytes + size > self._limit:
                return False
            self._bytes += size
            return True

    def release(self, size: int) -> None:
        """Release bytes that are written."""
        with self._lock:
            self._bytes -= size


@dataclass
class Recording:
    """One bag. `received` and `dropped` belong to the queueing thread, all else to the writing one.

    Everything received is either written or counted as dropped.
    """

    folder: Path
    topics: Sequence[RecordedTopic]
    backlog: Backlog
    meta: dict[str, str]
    flush_period: float
    received: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    _writer: BagWriter | None = None

    def accepts(self, sample: Sample) -> bool:
        """Count a sample; return whether there is room to queue it."""
        self.received[sample.topic] += 1
        if self.backlog.reserve(len(sample.data)):
            return True
        self.dropped[sample.topic] += 1
        return False

    def open(self) -> None:
        """Create the bag and add its topics."""
        self._writer = BagWriter(self.folder, self.meta, self.flush_period)
        for topic in self.topics:
            self._writer.add_topic(topic.name, topic.type_name, qos=topic.qos)

    @property
    def writer(self) -> BagWriter:
        """The open bag."""
        if self._writer is None:
            raise RuntimeError(f"{self.folder}: written to before it was opened")
        return self._writer

    def write(self, sample: Sample) -> None:
        """Write one accepted sample."""
        self.writer.write(sample.topic, sample.data, sample.received)
        self.backlog.release(len(sample.data))

    def flush(self) -> None:
        """Make what was written durable."""
        self.writer.flush()

    def close(self) -> Saved:
        """Close the bag durably and compare what is on disk with what was received."""
        counts = self.writer.close()
        return Saved(self.folder, counts.total, self._problem(counts.problem(), counts.on_disk))

    def _problem(self, on_disk_problem: str, on_disk: dict[str, int]) -> str:
        if self.dropped:
            found = ", ".join(f"{topic} ({count})" for topic, count in sorted(self.dropped.items()))
            return f"messages dropped because the disk is too slow: {found}; record less or raise `backlog`"
        if on_disk_problem:
            return on_disk_problem
        short = [topic for topic, count in self.received.items() if on_disk.get(topic, 0) != count]
        if short:
            return f"{short[0]}: {on_disk.get(short[0], 0)} of {self.received[short[0]]} messages are on disk"
        return "; ".join(self.notes)
