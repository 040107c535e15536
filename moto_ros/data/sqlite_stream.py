"""Reads a rosbag2 sqlite3 file as far as possible: whole, truncated or damaged."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

from moto_ros.data.definitions import ros_type_name
from moto_ros.data.layout import Problems
from moto_ros.data.mcap_stream import MAX_RECORD, BagTopic, Stored, decompressed_message, is_cdr

FIRST_BYTES = b"SQLite format 3\x00"


def read_sqlite(path: Path, problems: Problems, types: Mapping[str, str] | None = None) -> Iterator[Stored]:
    """Yield every readable message in stored order; what cannot be read is reported in `problems`.

    Reads row by row without the index, so that a truncated file is read up to its end. `types` of topics, from
    metadata.yaml, are used where the file has none. Raises OSError for a file that cannot be read.
    """
    with path.open("rb") as file:
        start = file.read(len(FIRST_BYTES))
    if not start:
        problems.add("empty", f"{path.name}: is empty (0 bytes), expected a sqlite3 file; nothing was written to it")
        return
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
            connection.text_factory = lambda raw: raw.decode(errors="replace")
            yield from _rows(connection, _topics(connection, path, problems, types or {}), path, problems)
    except (sqlite3.Error, OverflowError, ValueError) as error:
        problems.add("damage", f"{path.name}: cut or damaged ({error}); the messages before that are used")


def _topics(
    connection: sqlite3.Connection, path: Path, problems: Problems, types: Mapping[str, str]
) -> dict[int, BagTopic | None]:
    """Return the topics by number; None for those whose messages are left out, which is reported."""
    texts = _definitions(connection)
    found: dict[int, BagTopic | None] = {}
    for number, name, type_name, form in connection.execute("SELECT id, name, type, serialization_format FROM topics"):
        if is_cdr(str(form or "cdr")):
            stated = str(type_name or types.get(str(name), ""))
            found[number] = BagTopic(str(name), ros_type_name(stated), texts.get(type_name, ""))
        else:
            text = f"{path.name}: {name} has encoding '{form}', expected ROS 2 messages (cdr); it is left out"
            problems.add(f"channel {number}", text)
            found[number] = None
    return found


def _definitions(connection: sqlite3.Connection) -> dict[str, str]:
    """Return embedded definitions by type; bags before ROS 2 Iron have none."""
    query = "SELECT topic_type, encoded_message_definition FROM message_definitions"
    try:
        return {str(name): str(text or "") for name, text in connection.execute(query)}
    except sqlite3.OperationalError:
        return {}


def _rows(
    connection: sqlite3.Connection, topics: dict[int, BagTopic | None], path: Path, problems: Problems
) -> Iterator[Stored]:
    query = "SELECT topic_id, timestamp, CASE WHEN length(data) <= ? THEN data END FROM messages NOT INDEXED"
    for number, stamp, data in connection.execute(query, (MAX_RECORD,)):
        topic = topics.get(number)
        if topic is not None and isinstance(data, bytes):
            message = decompressed_message(data, topic, path, problems)
            if message is not None:
                yield topic, int(stamp), message
        elif topic is not None:
            text = f"{path.name}: {topic.name} has a message without data or over {MAX_RECORD} bytes; it is left out"
            problems.add(f"row {topic.name}", text)
        elif number not in topics:
            text = f"{path.name}: messages of topic number {number}, which the file does not describe, are left out"
            problems.add(f"topic {number}", text)
