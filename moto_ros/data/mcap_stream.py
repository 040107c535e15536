"""Reads an MCAP file in file order, as far as possible: whole, truncated or damaged."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from itertools import takewhile
from pathlib import Path
from typing import Any, BinaryIO

import lz4.frame
import zstandard
from mcap.data_stream import ReadDataStream
from mcap.exceptions import EndOfFile, InvalidMagic, McapError
from mcap.opcode import Opcode
from mcap.reader import SeekingReader
from mcap.records import Channel, Chunk, Footer, Header, McapRecord, Message, Metadata, Schema, Statistics
from mcap.stream_reader import StreamReader
from mcap.summary import Summary

from moto_ros.data.definitions import ros_type_name
from moto_ros.data.layout import Problems

MAX_RECORD = 512 * 2**20
"""Longest record, in bytes, compressed or not, that is read; a longer one means damage."""

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
"""Exceptions of the library on a damaged file (a failed checksum is a ValueError, bad lz4 data a RuntimeError)."""


MAGIC = b"\x89MCAP0\r\n"
RECORD_HEAD = struct.Struct("<BQ")
"""Kind and length of a record."""
MESSAGE_HEAD = struct.Struct("<HIQQ")
"""Channel, sequence number, log time and publish time of a message."""
PARSED: dict[int, Callable[[ReadDataStream], McapRecord]] = {
    Opcode.SCHEMA: Schema.read,
    Opcode.CHANNEL: Channel.read,
    Opcode.CHUNK: Chunk.read,
    Opcode.STATISTICS: Statistics.read,
    Opcode.FOOTER: Footer.read,
}
"""Kinds of records that are read, beside messages; all others (attachments, indexes, private ones) are skipped."""
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
"""First bytes of zstd data, and never of CDR."""
CDR = ("cdr", "cdr_le", "cdr_be", "cdr-le", "cdr-be", "ros2")


@dataclass(frozen=True)
class BagTopic:
    """A topic as a bag describes it: name, type, and its definition's text ("" where the bag has none).

    `note` says what is missing in its description, "" for nothing.
    """

    name: str
    type_name: str
    definition: str = ""
    note: str = ""


Stored = tuple[BagTopic, int, bytes]
"""A message as stored: its topic, the time it was logged (ns), and its CDR bytes."""


class _Capped:
    """A file that never allocates more than its size, whatever length a damaged record states."""

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


def is_cdr(encoding: str) -> bool:
    """Whether an encoding is that of ROS 2 messages, in any recorder's spelling."""
    return encoding.strip().lower() in CDR


def decompressed_message(data: bytes, topic: BagTopic, path: Path, problems: Problems) -> bytes | None:
    """Return a message's CDR bytes; those of `ros2 bag record --compression-mode message` are decompressed.

    None, and a problem, for one that cannot be decompressed.
    """
    if data[:4] != ZSTD_MAGIC:
        return data
    try:
        return _zstd(data, MAX_RECORD)
    except UNREADABLE as error:
        text = f"{path.name}: a compressed message of {topic.name} is damaged ({_reason(error)}); it is left out"
        problems.add(f"compression {topic.name}", text)
        return None


def read_mcap(path: Path, problems: Problems, types: Mapping[str, str] | None = None) -> Iterator[Stored]:
    """Yield every readable message in file order; what cannot be read is reported in `problems`, one sentence a kind.

    `types` of topics, from metadata.yaml, are used where the file has none. Raises OSError for a file that cannot be
    read.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        if size == 0:
            text = f"{path.name}: is empty (0 bytes), expected an MCAP file; nothing was written to it"
            problems.add("empty", text)
            return
        channels = _Channels(path, problems, types or {})
        for record in _records(file, size, path, problems):
            if isinstance(record, Chunk):
                yield from channels.messages(_chunk_records(record, path, problems))
            else:
                yield from channels.messages([record])


class _Channels:
    """Schemas and channels read so far, and how many messages."""

    def __init__(self, path: Path, problems: Problems, types: Mapping[str, str]) -> None:
        self.path, self.problems, self.types = path, problems, types
        self.schemas: dict[int, Schema] = {}
        self.channels: dict[int, Channel] = {}
        self.topics: dict[int, BagTopic | None] = {}
        self.count = 0
        self.searched = False

    def messages(self, records: Iterator[McapRecord] | list[McapRecord]) -> Iterator[Stored]:
        """Yield the messages among records, and keep their schemas and channels."""
        for record in records:
            if isinstance(record, Message):
                self.count += 1
                topic = self._topic(record.channel_id)
                data = None if topic is None else decompressed_message(record.data, topic, self.path, self.problems)
                if topic is not None and data is not None:
                    yield topic, record.log_time, data
            elif isinstance(record, Schema):
                self._take_schema(record)
            elif isinstance(record, Channel):
                if self.channels.get(record.id) != record:
                    self.topics.pop(record.id, None)
                self.channels[record.id] = record
            elif isinstance(record, Statistics):
                self._check_count(record.message_count)

    def _take_schema(self, schema: Schema) -> None:
        """Add a schema; another one with a known number holds for the messages after it."""
        if self.schemas.get(schema.id, schema) != schema:
            self.topics.clear()
        self.schemas[schema.id] = schema

    def _topic(self, channel_id: int) -> BagTopic | None:
        if channel_id not in self.topics:
            if not self._knows(channel_id):
                self._search(channel_id)
            channel = self.channels.get(channel_id)
            self.topics[channel_id] = self._described(channel)
            if self.topics[channel_id] is None:
                self._note_unknown(channel_id, channel)
        return self.topics[channel_id]

    def _described(self, channel: Channel | None) -> BagTopic | None:
        """Return a channel's topic; None where its messages are not ROS 2 messages or their type is unknown."""
        if channel is None or not is_cdr(channel.message_encoding):
            return None
        schema = self.schemas.get(channel.schema_id)
        if schema is None:
            stated = self.types.get(channel.topic, "")
            note = "has no schema, so that its type is the one in metadata.yaml"
            return BagTopic(channel.topic, stated, note=note) if stated else None
        text = schema.data.decode(errors="replace")
        note = "" if text.strip("\0 \t\r\n") else "has no definition of its type"
        return BagTopic(channel.topic, ros_type_name(schema.name), text, note)

    def _note_unknown(self, channel_id: int, channel: Channel | None) -> None:
        name, found = f"channel {channel_id}", "no description"
        if channel is not None and is_cdr(channel.message_encoding):
            name, found = channel.topic, f"no schema (number {channel.schema_id})"
        elif channel is not None:
            name, found = channel.topic, f"encoding '{channel.message_encoding}'"
        text = f"{self.path.name}: {name} has {found}, expected ROS 2 messages (cdr) with a type; it is left out"
        self.problems.add(f"channel {channel_id}", text)

    def _knows(self, channel_id: int) -> bool:
        channel = self.channels.get(channel_id)
        return channel is not None and (channel.schema_id == 0 or channel.schema_id in self.schemas)

    def _search(self, channel_id: int) -> None:
        """Get schemas and channels that come after their messages from the index, else from the whole file."""
        if self.searched:
            return
        self.searched = True
        for records in (_indexed(self.path), _descriptions(self.path)):
            for record in records if not self._knows(channel_id) else ():
                if isinstance(record, Schema):
                    self.schemas.setdefault(record.id, record)
                elif isinstance(record, Channel):
                    self.channels.setdefault(record.id, record)

    def _check_count(self, stated: int) -> None:
        if stated != self.count:
            text = f"{self.path.name}: its index counts {stated} messages, {self.count} are readable; the rest is lost"
            self.problems.add("count", text)


def _indexed(path: Path) -> list[McapRecord]:
    """Return the schemas and channels in the index at the end of a file, as far as it has them."""
    summary = read_summary(path)
    return [] if summary is None else [*summary.schemas.values(), *summary.channels.values()]


def _descriptions(path: Path) -> Iterator[McapRecord]:
    """Yield every record of a file, schemas and channels among them."""
    with path.open("rb") as file:
        for record in _records(file, path.stat().st_size, path, Problems()):
            yield from _chunk_records(record, path, Problems()) if isinstance(record, Chunk) else [record]


def _records(file: BinaryIO, size: int, path: Path, problems: Problems) -> Iterator[McapRecord]:
    """Yield records up to the footer; after damage continue at the next chunk that the index knows."""
    offset = 0
    while offset >= 0:
        try:
            for after, record in _walk(file, offset, size, path, problems):
                offset = after
                if record is not None:
                    yield record
            return
        except UNREADABLE as error:
            text = f"{path.name}: cut or damaged at byte {offset} of {size} ({_reason(error)}); the rest is used"
            problems.add("damage", text)
        offset = next((start for start in _chunk_starts(path) if start > offset), -1)


def _walk(
    file: BinaryIO, offset: int, size: int, path: Path, problems: Problems
) -> Iterator[tuple[int, McapRecord | None]]:
    """Yield the records from byte `offset` on, each with the offset after it (bytes); None for one that is skipped."""
    if offset == 0:
        file.seek(0)
        start = file.read(len(MAGIC))
        if start != MAGIC:
            raise InvalidMagic(tuple(start))
        offset = len(MAGIC)
    while True:
        file.seek(offset)
        kind, length = _record_head(file.read(RECORD_HEAD.size), size - offset)
        body = offset + RECORD_HEAD.size
        offset = body + length
        if kind not in PARSED and kind != Opcode.MESSAGE:
            yield offset, None
            continue
        if length > MAX_RECORD:
            found = f"a record at byte {body} has {length} bytes, expected at most {MAX_RECORD}"
            problems.add("large", f"{path.name}: {found}; it is left out, write the file with smaller chunks")
            yield offset, None
            continue
        record = _record(kind, file.read(length))
        yield offset, record
        if isinstance(record, Footer):
            _check_end(file, offset, size, path, problems)
            return


def _record_head(head: bytes, room: int) -> tuple[int, int]:
    """Return kind and length of a record; EndOfFile or ValueError for an impossible one."""
    if len(head) < RECORD_HEAD.size:
        raise EndOfFile("no whole record follows")
    kind, length = RECORD_HEAD.unpack(head)
    if kind == 0:
        raise ValueError("a record of kind 0, which does not exist")
    if length > room - RECORD_HEAD.size:
        raise EndOfFile(f"a record of {length} bytes, of which {room - RECORD_HEAD.size} are there")
    return kind, length


def _record(kind: int, body: bytes) -> McapRecord:
    """Return a record; fields that a later version of the format appends are ignored."""
    if kind == Opcode.MESSAGE:
        channel, sequence, logged, published = MESSAGE_HEAD.unpack_from(body)
        return Message(channel, logged, body[MESSAGE_HEAD.size :], published, sequence)
    return PARSED[kind](ReadDataStream(BytesIO(body)))


def _check_end(file: BinaryIO, offset: int, size: int, path: Path, problems: Problems) -> None:
    """Report bytes after the end of an MCAP file, e.g. of two joined files."""
    file.seek(offset)
    if file.read(len(MAGIC)) != MAGIC:
        problems.add("damage", f"{path.name}: cut or damaged at byte {offset} of {size} (no magic at its end)")
    elif offset + len(MAGIC) < size:
        rest = size - offset - len(MAGIC)
        text = f"{path.name}: {rest} bytes follow its end, expected none; they are left out, split the files again"
        problems.add("tail", text)


def _reason(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__} {error}".split())[:80]


def _chunk_starts(path: Path) -> list[int]:
    summary = read_summary(path)
    return sorted(index.chunk_start_offset for index in summary.chunk_indexes) if summary else []


def _chunk_records(chunk: Chunk, path: Path, problems: Problems) -> Iterator[McapRecord]:
    """Yield the records of a chunk with a valid checksum; none, and a problem, otherwise."""
    try:
        data = _chunk_data(chunk)
        if chunk.uncompressed_crc not in (0, zlib.crc32(data)):
            raise ValueError("its checksum is wrong")
        offset = 0
        while offset < len(data):
            kind, length = _record_head(data[offset : offset + RECORD_HEAD.size], len(data) - offset)
            body = offset + RECORD_HEAD.size
            offset = body + length
            if kind in PARSED or kind == Opcode.MESSAGE:
                yield _record(kind, data[body:offset])
    except UNREADABLE as error:
        problems.add("chunk", f"{path.name}: a chunk is damaged ({_reason(error)}); its messages are left out")


def _chunk_data(chunk: Chunk) -> bytes:
    """Return the records of a chunk as bytes, never more than MAX_RECORD of them."""
    if chunk.uncompressed_size > MAX_RECORD:
        raise ValueError(f"{chunk.uncompressed_size} bytes when decompressed")
    if chunk.compression == "zstd":
        return _zstd(chunk.data, chunk.uncompressed_size or MAX_RECORD)
    if chunk.compression == "lz4":
        limit = chunk.uncompressed_size or MAX_RECORD
        return bytes(lz4.frame.LZ4FrameDecompressor().decompress(chunk.data, limit + 1))
    if chunk.compression:
        raise ValueError(f"compressed by '{chunk.compression[:20]}', expected zstd, lz4 or nothing; convert the file")
    return chunk.data


def _zstd(data: bytes, limit: int) -> bytes:
    """Return decompressed data of at most `limit` bytes, of one frame or several."""
    size = zstandard.frame_content_size(data)
    if size > limit:
        raise ValueError(f"{size} bytes when decompressed")
    reader = zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True)
    block = max(2**16, min(size, limit)) + 1
    parts: list[bytes] = []
    room = limit + 1
    while room > 0 and (part := reader.read(min(block, room))):
        parts.append(part)
        room -= len(part)
    if room <= 0:
        raise ValueError(f"more than {limit} bytes when decompressed")
    return parts[0] if len(parts) == 1 else b"".join(parts)


def first_metadata(path: Path, name: str) -> dict[str, str]:
    """Return the metadata record `name` if it is before the first data of an MCAP file, else an empty dict."""
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
