"""Reading a rosbag2 sqlite3 file as far as it goes: whole, cut or damaged."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from moto_ros.data.layout import Problems
from moto_ros.data.mcap_stream import MAX_RECORD, Stored, Topic


def read_sqlite(path: Path, problems: Problems) -> Iterator[Stored]:
    """Yield every readable message in stored order; what cannot be read goes to `problems`.

    Reads row by row without the index, so that a cut file gives what precedes the cut.
    """
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
            connection.text_factory = lambda raw: raw.decode(errors="replace")
            yield from _rows(connection, _topics(connection, path, problems))
    except (sqlite3.Error, OverflowError, ValueError) as error:
        problems.add("damage", f"{path.name}: cut or damaged ({error}); what precedes is used")


def _topics(connection: sqlite3.Connection, path: Path, problems: Problems) -> dict[int, Topic]:
    texts = _definitions(connection)
    found: dict[int, Topic] = {}
    for number, name, type_name, form in connection.execute("SELECT id, name, type, serialization_format FROM topics"):
        if form == "cdr":
            found[number] = Topic(str(name), str(type_name), texts.get(type_name, ""))
        else:
            text = f"{path.name}: {name} has encoding '{form}', expected ROS 2 messages (cdr); it is left out"
            problems.add(f"channel {number}", text)
    return found


def _definitions(connection: sqlite3.Connection) -> dict[str, str]:
    """Return embedded definitions by type; bags before ROS 2 Iron have none."""
    query = "SELECT topic_type, encoded_message_definition FROM message_definitions WHERE encoding = 'ros2msg'"
    try:
        return dict(connection.execute(query))
    except sqlite3.OperationalError:
        return {}


def _rows(connection: sqlite3.Connection, topics: dict[int, Topic]) -> Iterator[Stored]:
    query = "SELECT topic_id, timestamp, data FROM messages NOT INDEXED WHERE length(data) <= ?"
    for number, stamp, data in connection.execute(query, (MAX_RECORD,)):
        if number in topics and isinstance(data, bytes):
            yield topics[number], int(stamp), data
