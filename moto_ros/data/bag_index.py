"""Counts the messages in a closed MCAP file, from its message indexes."""

from __future__ import annotations

import struct
from collections import Counter
from pathlib import Path
from typing import BinaryIO

from mcap.reader import SeekingReader
from mcap.records import ChunkIndex
from mcap.summary import Summary

ENTRY = 16
"""Bytes of one entry of a message index: log time and offset."""

INDEX_HEAD = struct.Struct("<BQHI")
"""Opcode, record length, channel and length of the entries of a message index."""

MESSAGE_INDEX = 0x07


def count_on_disk(path: Path) -> dict[str, int]:
    """Return messages by topic, read from the index of every chunk of a closed file.

    Raises ValueError or McapError when an index is not where the file says, or a chunk lies beyond the file's end.
    """
    counts: Counter[str] = Counter()
    with path.open("rb") as file:
        summary = SeekingReader(file).get_summary()
        if summary is None:
            raise ValueError("it has no index")
        for chunk in summary.chunk_indexes:
            counts.update(_count_chunk(file, chunk, summary, path.stat().st_size))
    return dict(counts)


def _count_chunk(file: BinaryIO, chunk: ChunkIndex, summary: Summary, size: int) -> Counter[str]:
    if chunk.chunk_start_offset + chunk.chunk_length > size:
        raise ValueError(f"a chunk at byte {chunk.chunk_start_offset} lies beyond the end")
    counts: Counter[str] = Counter()
    for channel, offset in chunk.message_index_offsets.items():
        file.seek(offset)
        opcode, _, found, length = INDEX_HEAD.unpack(file.read(INDEX_HEAD.size))
        if (opcode, found) != (MESSAGE_INDEX, channel):
            raise ValueError(f"no message index at byte {offset}")
        counts[summary.channels[channel].topic] += length // ENTRY
    return counts
