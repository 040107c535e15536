"""Bags from before messages had all of today's fields are read as they always were; new ones may hold any session."""

from __future__ import annotations

import contextlib
import re
import sqlite3
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mcap.writer import Writer as McapWriter
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore
from support.bags import Recipe, Sent, lockstep_episode, write_bag

from moto_ros.data.bag_reader import read_episodes
from moto_ros.data.definitions import definition
from moto_ros.data.episode import Episode
from moto_ros.data.layout import StepLayout

LAYOUT = StepLayout(cameras=("agent", "wrist"), image_size=16, proprio=("ee_position", "joint_position"))
MESSAGES = lockstep_episode(Recipe(steps=12, outcome="success"))


LACKING = (
    "uint64 session|float32 success_probability|string arm|string arm_reason|float32 edited",
    "float32 success_probability|string arm|string arm_reason|float32 edited",
    "float32 edited",
)
"""Fields that the messages of earlier versions did not have."""


def old_definition(type_name: str, lacking: str) -> str:
    """Return a definition as it was before there were some fields."""
    return re.sub(rf"^({lacking})\b.*\n", "", definition(type_name), flags=re.MULTILINE)


def old_types(lacking: str) -> Typestore:
    """Return the types of the messages as they were."""
    store = get_typestore(Stores.ROS2_JAZZY)
    for type_name in {sent.type_name for sent in MESSAGES if sent.type_name.startswith("moto_msgs/")}:
        store.register(get_types_from_msg(old_definition(type_name, lacking), type_name))
    return store


def old_bytes(store: Typestore, sent: Sent) -> bytes:
    """Return a message serialized as it was."""
    kind: Any = store.types[sent.type_name]
    values = {field.name: getattr(sent.message, field.name) for field in fields(kind) if field.init}
    return bytes(store.serialize_cdr(kind(**values), sent.type_name))


def write_old_mcap(folder: Path, lacking: str) -> None:
    """Write a bag as the recorder did: with the definitions of its day."""
    store, channels = old_types(lacking), {}
    with folder.open("wb") as file:
        writer = McapWriter(file)
        writer.start("ros2")
        for sent in MESSAGES:
            if sent.topic not in channels:
                schema = writer.register_schema(
                    sent.type_name, "ros2msg", old_definition(sent.type_name, lacking).encode()
                )
                channels[sent.topic] = writer.register_channel(sent.topic, "cdr", schema)
            writer.add_message(channels[sent.topic], sent.log_time, old_bytes(store, sent), sent.log_time)
        writer.finish()


def write_old_sqlite(folder: Path, lacking: str) -> None:
    """Write a bag as `ros2 bag record` of Humble did: without any definition."""
    store, connections = old_types(lacking), {}
    with Writer(folder, version=8, storage_plugin=StoragePlugin.SQLITE3) as writer:
        for sent in MESSAGES:
            if sent.topic not in connections:
                connections[sent.topic] = writer.add_connection(sent.topic, sent.type_name, typestore=store)
            writer.write(connections[sent.topic], sent.log_time, old_bytes(store, sent))
    (file,) = folder.glob("*.db3")
    with contextlib.closing(sqlite3.connect(file)) as database, database:
        database.execute("DELETE FROM message_definitions")


def episode(bag: Path) -> Episode:
    """Return the only episode of a bag without a problem."""
    reading = read_episodes(bag, LAYOUT)
    assert reading.problems == []
    (found,) = reading.episodes
    return found


def equal(one: Episode, other: Episode) -> bool:
    """Tell whether two episodes are the same to the bit."""
    rows, others = one.arrays(), other.arrays()
    return one.info == other.info and all(np.array_equal(rows[name], others[name]) for name in rows)


@pytest.mark.parametrize("lacking", LACKING)
@pytest.mark.parametrize(("write", "name"), [(write_old_mcap, "old.mcap"), (write_old_sqlite, "old")])
def test_a_bag_from_before_there_were_all_fields_gives_the_same_steps(
    tmp_path: Path, write: Any, name: str, lacking: str
) -> None:
    """Breaks everybody's demonstrations: an update of the messages would make them unreadable."""
    write_bag(tmp_path / "new", MESSAGES)
    write(tmp_path / name, lacking)
    assert equal(episode(tmp_path / name), episode(tmp_path / "new"))


def test_a_bag_without_definitions_of_today_is_read_by_todays(tmp_path: Path) -> None:
    write_bag(tmp_path / "mcap", MESSAGES)
    folder, connections = tmp_path / "sqlite", {}
    with Writer(folder, version=8, storage_plugin=StoragePlugin.SQLITE3) as writer:
        for sent in MESSAGES:
            if sent.topic not in connections:
                definitions = get_typestore(Stores.ROS2_JAZZY)
                definitions.register(get_types_from_msg(definition(sent.type_name), sent.type_name))
                connections[sent.topic] = writer.add_connection(sent.topic, sent.type_name, typestore=definitions)
            writer.write(connections[sent.topic], sent.log_time, sent.cdr())
    (file,) = folder.glob("*.db3")
    with contextlib.closing(sqlite3.connect(file)) as database, database:
        database.execute("DELETE FROM message_definitions")
    assert equal(episode(folder), episode(tmp_path / "mcap"))


def test_the_session_that_a_bag_was_recorded_in_does_not_change_its_steps(tmp_path: Path) -> None:
    """Breaks repeatability: two runs with one seed would learn from different steps."""
    write_bag(tmp_path / "first", MESSAGES)
    for sent in MESSAGES:
        if hasattr(sent.message, "session"):
            sent.message.session = 1_883_227_948_270_010_657
    write_bag(tmp_path / "second", MESSAGES)
    for sent in MESSAGES:
        if hasattr(sent.message, "session"):
            sent.message.session = 0
    assert equal(episode(tmp_path / "first"), episode(tmp_path / "second"))
