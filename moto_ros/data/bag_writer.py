"""Writes a bag: one MCAP file in rosbag2 layout, from serialized messages, synced to disk at least once a second."""

from __future__ import annotations

import errno
import os
import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from mcap.exceptions import McapError
from mcap.writer import CompressionType, Writer

from moto_ros import __version__
from moto_ros.data.bag_files import META_RECORD, METADATA
from moto_ros.data.bag_index import count_on_disk
from moto_ros.data.bag_metadata import Qos, TopicEntry, file_text, metadata_text, write_temporary
from moto_ros.data.definitions import definition, type_hash
from moto_ros.errors import MotoError, remedy
from moto_ros.files import sync_folder

LIBRARY = "moto_ros"
"""Name of the writer in the header of each file, before the version."""

CHUNK_SIZE = 4 * 2**20
"""Bytes after which a chunk is closed even within the flush period."""


@dataclass(frozen=True)
class MessageCounts:
    """Messages by topic: written, and found on disk when the bag was closed."""

    written: dict[str, int]
    on_disk: dict[str, int]

    @property
    def complete(self) -> bool:
        """Whether every written message is on disk."""
        return self.written == self.on_disk

    @property
    def total(self) -> int:
        """Return the number of messages on disk."""
        return sum(self.on_disk.values())

    def problem(self) -> str:
        """Return which topic lost messages, as one sentence; empty when complete."""
        for topic, count in self.written.items():
            if self.on_disk.get(topic, 0) != count:
                return f"{topic}: {self.on_disk.get(topic, 0)} of {count} messages are on disk; check the disk"
        return "" if self.complete else "the bag holds topics that were not written; check the disk"


class BagWriter:
    """Writes one bag. A process killed at any time leaves everything up to the last flush readable.

    Nothing is compressed: images are compressed at the camera. Not thread-safe: one thread writes.
    """

    def __init__(self, folder: Path, meta: Mapping[str, str] | None = None, flush_period: float = 1.0) -> None:
        """Create the bag's folder, which must be new or empty.

        `meta` describes the bag, e.g. `episode`; it is at the start of the file, where it survives a kill, and in
        metadata.yaml's custom_data.
        `flush_period` (s): a kill or a power failure loses at most this much.
        """
        self.folder, self.flush_period = folder, flush_period
        self.path = folder / f"{folder.name}_0.mcap"
        self._meta = dict(meta or {})
        self._topics: dict[str, TopicEntry] = {}
        self._channels: dict[str, int] = {}
        self._schemas: dict[str, int] = {}
        self._counts: Counter[str] = Counter()
        self._log_times = (2**63 - 1, 0)
        self._open()
        self._flushed = time.monotonic()

    def _open(self) -> None:
        if self.folder.exists() and any(self.folder.iterdir()):
            raise MotoError(f"{self.folder}: is not empty, expected a new folder for the bag; choose another name")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            # The file gets its name only once it has the metadata record that identifies it as this recorder's.
            part = self.path.with_name(f".{self.path.name}.part")
            self._file = part.open("wb")
            self._mcap = Writer(self._file, chunk_size=CHUNK_SIZE, compression=CompressionType.NONE)
            self._mcap.start("ros2", f"{LIBRARY} {__version__}")
            self._mcap.add_metadata(META_RECORD, self._meta)
            self._file.flush()
            os.fsync(self._file.fileno())
            part.rename(self.path)
            sync_folder(self.folder)
            sync_folder(self.folder.parent)
        except OSError as error:
            raise self._disk_error(error) from error

    def _disk_error(self, error: OSError) -> MotoError:
        refused = error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR)
        advice = remedy(error) if refused else "free space on the disk, or check it"
        return MotoError(f"{self.path}: {error.strerror}, so the bag cannot be written; {advice}")

    def add_topic(self, topic: str, type_name: str, text: str | None = None, qos: Qos | None = None) -> None:
        """Add a topic (absolute name); `text` is the concatenated definition, None looks it up.

        Raises MotoError for an unknown type or a topic added before with another type.
        """
        known = self._topics.get(topic)
        if known is not None:
            if known.type_name != type_name:
                raise MotoError(f"{self.path}: {topic} has type {known.type_name}, not {type_name}; use one type")
            return
        entry = TopicEntry(topic, type_name, (qos or Qos()).text(), type_hash(type_name) if text is None else "", 0)
        schema = self._schema(type_name, definition(type_name) if text is None else text)
        facts = {"offered_qos_profiles": entry.qos, "topic_type_hash": entry.type_hash}
        self._channels[topic] = self._mcap.register_channel(topic, "cdr", schema, facts)
        self._topics[topic] = entry

    def _schema(self, type_name: str, text: str) -> int:
        if type_name not in self._schemas:
            self._schemas[type_name] = self._mcap.register_schema(type_name, "ros2msg", text.encode())
        return self._schemas[type_name]

    def write(self, topic: str, data: bytes, log_time_ns: int, publish_time_ns: int | None = None) -> None:
        """Write one serialized message (CDR); MotoError for a topic that was not added or a full disk."""
        if topic not in self._channels:
            raise MotoError(f"{self.path}: {topic} was not added; call add_topic first")
        published = log_time_ns if publish_time_ns is None else publish_time_ns
        self._counts[topic] += 1
        self._log_times = (min(self._log_times[0], log_time_ns), max(self._log_times[1], log_time_ns))
        try:
            self._mcap.add_message(self._channels[topic], log_time_ns, data, published, self._counts[topic])
        except OSError as error:
            raise self._disk_error(error) from error
        if time.monotonic() - self._flushed >= self.flush_period:
            self.flush()

    def flush(self) -> None:
        """Make everything written so far durable; call it from a timer when messages may pause."""
        try:
            self._mcap.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise self._disk_error(error) from error
        self._flushed = time.monotonic()

    def close(self) -> MessageCounts:
        """Finish file and metadata.yaml, make them durable, and compare the messages on disk with those written.

        Raises MotoError where writing fails; what was flushed before stays readable.
        """
        metadata = self._metadata()
        try:
            # From Jazzy on, rosbag2 reads from this record the version in which QoS profiles are written.
            self._mcap.add_metadata("rosbag2", {"serialized_metadata": metadata})
            self._mcap.finish()
            self._file.flush()
            with ThreadPoolExecutor(1) as other:  # two syncs at once take the time of one
                synced = other.submit(os.fsync, self._file.fileno())
                temporary = write_temporary(self.folder / METADATA, file_text(metadata))
            synced.result()
            self._file.close()
            temporary.replace(self.folder / METADATA)
            sync_folder(self.folder)
        except OSError as error:
            raise self._disk_error(error) from error
        return MessageCounts({topic: self._counts[topic] for topic in self._topics}, self._on_disk())

    def _metadata(self) -> str:
        entries = [
            TopicEntry(e.name, e.type_name, e.qos, e.type_hash, self._counts[n]) for n, e in self._topics.items()
        ]
        first, last = self._log_times if self._counts else (0, 0)
        return metadata_text(self.path.name, entries, first, last, self._meta)

    def _on_disk(self) -> dict[str, int]:
        try:
            return dict.fromkeys(self._topics, 0) | count_on_disk(self.path)
        except (McapError, OSError, ValueError) as error:
            raise MotoError(f"{self.path}: cannot be read back ({error}) after closing; check the disk") from error
