"""Reading an MCAP file from its first byte on, as far as it goes: whole, cut or damaged."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any, BinaryIO

import lz4.frame
import zstandard
from mcap.exceptions import McapError
from mcap.reader import SeekingReader
from mcap.records import Channel, Chunk, Header, McapRecord, Message, Metadata, Schema, Statistics
from mcap.stream_reader import StreamReader, breakup_chunk
from mcap.summary import Summary

from moto_ros.data.layout import Problems

MAX_RECORD = 512 * 2**20
"""Longest record, in bytes, packed or unpacked, that is read; larger ones are taken for damage."""

UNREADABLE = (
    McapError,
    struct.error,
    ValueError,
    KeyError,
    EOFError,
    OSError,
    RuntimeError,
    MemoryError,
    zstandard.ZstdError,
)
"""What the library raises on a damaged file (a failed checksum is a ValueError, bad lz4 data a RuntimeError)."""


@dataclass(frozen=True)
class Topic:
    """A topic as a bag describes it: name, type, and its definition's text ("" where the bag has none)."""

    name: str
    type_name: str
    definition: str = ""


Stored = tuple[Topic, int, bytes]
"""A message as stored: its topic, the time it was logged (ns), and its CDR bytes."""


class _Capped:
    """A file that never allocates more than it holds, whatever length a damaged record asks for."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file, self.size = file, size

    def read(self, length: int) -> bytes:
        """Return at most `length` bytes."""
        return self.file.read(max(0, min(length, self.size - self.file.tell())))

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move as `io.IOBase.seek` does."""
        return self.file.seek(offset, whence)

    def tell(self) -> int:
        """Return the position in bytes."""
        return self.file.tell()


def read_mcap(path: Path, problems: Problems) -> Iterator[Stored]:
    """Yield every readable message in file order; what cannot be read goes to `problems`, one sentence a kind."""
    size = path.stat().st_size
    if size == 0:
        problems.add("empty", f"{path.name}: is empty (0 bytes), expected an MCAP file; nothing was written to it")
        return
    seen = _Seen(path, problems)
    with path.open("rb") as file:
        for record in _records(file, size, path, problems):
            if isinstance(record, Chunk):
                yield from seen.messages(_unpacked(record, path, problems))
            else:
                yield from seen.messages([record])


class _Seen:
    """Schemas and channels read so far, and how many messages."""

    def __init__(self, path: Path, problems: Problems) -> None:
        self.path, self.problems = path, problems
        self.schemas: dict[int, Schema] = {}
        self.channels: dict[int, Channel] = {}
        self.topics: dict[int, Topic] = {}
        self.count = 0
        self.indexed = False

    def messages(self, records: list[McapRecord]) -> Iterator[Stored]:
        """Yield the messages among records, and remember what describes them."""
        for record in records:
            if isinstance(record, Message):
                topic = self._topic(record.channel_id)
                if topic is not None:
                    self.count += 1
                    yield topic, record.log_time, record.data
            elif isinstance(record, Schema):
                self.schemas[record.id] = record
            elif isinstance(record, Channel):
                self.channels[record.id] = record
            elif isinstance(record, Statistics):
                self._check_count(record.message_count)

    def _topic(self, channel_id: int) -> Topic | None:
        if channel_id not in self.topics:
            if channel_id not in self.channels:
                self._take_index()
            channel = self.channels.get(channel_id)
            schema = self.schemas.get(channel.schema_id) if channel else None
            if channel is None or schema is None or channel.message_encoding != "cdr":
                self._note_unknown(channel_id, channel)
                return None
            text = schema.data.decode(errors="replace") if schema.encoding == "ros2msg" else ""
            self.topics[channel_id] = Topic(channel.topic, schema.name, text)
        return self.topics[channel_id]

    def _note_unknown(self, channel_id: int, channel: Channel | None) -> None:
        found = f"encoding '{channel.message_encoding}'" if channel else "no description"
        name = channel.topic if channel else f"channel {channel_id}"
        text = f"{self.path.name}: {name} has {found}, expected ROS 2 messages (cdr); it is left out"
        self.problems.add(f"channel {channel_id}", text)

    def _take_index(self) -> None:
        """Take descriptions from the index at the end, for chunks whose own were lost."""
        summary = None if self.indexed else read_summary(self.path)
        self.indexed = True
        if summary is not None:
            self.schemas = {**summary.schemas, **self.schemas}
            self.channels = {**summary.channels, **self.channels}

    def _check_count(self, stated: int) -> None:
        if stated != self.count:
            text = f"{self.path.name}: its index counts {stated} messages, {self.count} are readable; the rest is lost"
            self.problems.add("count", text)


def _records(file: BinaryIO, size: int, path: Path, problems: Problems) -> Iterator[McapRecord]:
    """Yield records up to the footer; after damage go on at the next chunk that the index knows."""
    capped: Any = _Capped(file, size)
    place = 0
    while place >= 0:
        file.seek(place)
        reader = StreamReader(capped, place > 0, emit_chunks=True, record_size_limit=MAX_RECORD)
        try:
            for record in reader.records:
                place = file.tell()
                yield record
            return
        except UNREADABLE as error:
            text = f"{path.name}: cut or damaged at byte {place} of {size} ({_reason(error)}); the rest is used"
            problems.add("damage", text)
        place = next((start for start in _chunk_starts(path) if start > place), -1)


def _reason(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__} {error}".split())[:80]


def _chunk_starts(path: Path) -> list[int]:
    summary = read_summary(path)
    return sorted(index.chunk_start_offset for index in summary.chunk_indexes) if summary else []


def _unpacked(chunk: Chunk, path: Path, problems: Problems) -> list[McapRecord]:
    """Return the records of a chunk whose checksum holds; none, and a problem, otherwise."""
    try:
        if max(chunk.uncompressed_size, _stated_size(chunk)) > MAX_RECORD:
            raise ValueError(f"{chunk.uncompressed_size} bytes unpacked")
        return breakup_chunk(chunk, validate_crc=True)
    except UNREADABLE as error:
        problems.add("chunk", f"{path.name}: a chunk is damaged ({_reason(error)}); its messages are left out")
        return []


def _stated_size(chunk: Chunk) -> int:
    """Return the unpacked size that compressed data themselves state, in bytes."""
    if chunk.compression == "zstd":
        return max(0, int(zstandard.frame_content_size(chunk.data)))
    if chunk.compression == "lz4":
        return int(lz4.frame.get_frame_info(chunk.data)["content_size"])
    return len(chunk.data)


def first_metadata(path: Path, name: str) -> dict[str, str]:
    """Return the metadata record `name` if it stands before the first data of an MCAP file, else an empty dict."""
    if path.suffix != ".mcap":
        return {}
    try:
        with path.open("rb") as file:
            capped: Any = _Capped(file, path.stat().st_size)
            reader = StreamReader(capped, emit_chunks=True, record_size_limit=MAX_RECORD)
            head = takewhile(lambda record: isinstance(record, (Header, Metadata)), reader.records)
            found = (record for record in head if isinstance(record, Metadata) and record.name == name)
            return dict(next(found).metadata)
    except (*UNREADABLE, StopIteration):
        return {}


def read_summary(path: Path) -> Summary | None:
    """Return the index at the end of an MCAP file, or None where it cannot be read."""
    try:
        with path.open("rb") as file:
            capped: Any = _Capped(file, path.stat().st_size)
            return SeekingReader(capped, record_size_limit=MAX_RECORD).get_summary()
    except UNREADABLE:
        return None
