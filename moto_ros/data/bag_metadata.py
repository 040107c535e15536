"""Writes metadata.yaml of a bag, as rosbag2 of Humble to Kilted and the rosbags library read it."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
"""That of libyaml where it is installed: closing a bag must not take long."""

VERSION = 8
"""rosbag2 metadata version. From 9 on QoS is a list of maps, which Humble cannot read; unknown keys it skips."""

QOS_TEXT = """- history: 1
  depth: {depth}
  reliability: {reliability}
  durability: {durability}
  deadline:
    sec: 9223372036
    nsec: 854775807
  lifespan:
    sec: 9223372036
    nsec: 854775807
  liveliness: 1
  liveliness_lease_duration:
    sec: 9223372036
    nsec: 854775807
  avoid_ros_namespace_conventions: false"""
"""A profile as rosbag2 writes it up to version 8, with the numbers of rmw/types.h."""


@dataclass(frozen=True)
class Qos:
    """The QoS profile that a topic's publisher offers, and that a player of the bag offers again."""

    reliable: bool = True
    latched: bool = False
    depth: int = 10

    def text(self) -> str:
        """Return the profile as metadata.yaml holds it."""
        reliability, durability = 1 if self.reliable else 2, 1 if self.latched else 2
        return QOS_TEXT.format(depth=self.depth, reliability=reliability, durability=durability)


class NoAliasDumper(Dumper):
    """Writes shared maps in full: not every reader of bags resolves YAML aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        """Never write an alias."""
        return True


@dataclass(frozen=True)
class TopicEntry:
    """A topic of a bag: absolute name, type, QoS text, type hash (REP-2011) and number of messages."""

    name: str
    type_name: str
    qos: str
    type_hash: str
    count: int


def metadata_text(
    file_name: str, entries: list[TopicEntry], first_ns: int, last_ns: int, custom: Mapping[str, str]
) -> str:
    """Return what rosbag2 calls the serialized metadata of a bag of one MCAP file, as YAML."""
    total = sum(entry.count for entry in entries)
    times = {
        "starting_time": {"nanoseconds_since_epoch": first_ns},
        "duration": {"nanoseconds": max(0, last_ns - first_ns)},
        "message_count": total,
    }
    facts: dict[str, Any] = {
        "version": VERSION,
        "storage_identifier": "mcap",
        **times,
        "topics_with_message_count": [_topic(entry) for entry in entries],
        "compression_format": "",
        "compression_mode": "",
        "relative_file_paths": [file_name],
        "files": [{"path": file_name, **times}],
        "custom_data": dict(custom) or None,
        "ros_distro": os.environ.get("ROS_DISTRO", ""),
    }
    return yaml.dump(facts, Dumper=NoAliasDumper, sort_keys=False)


def file_text(metadata: str) -> str:
    """Return the content of metadata.yaml for serialized metadata."""
    return f"rosbag2_bagfile_information:\n{textwrap.indent(metadata, '  ')}"


def _topic(entry: TopicEntry) -> dict[str, Any]:
    described = {
        "name": entry.name,
        "type": entry.type_name,
        "serialization_format": "cdr",
        "offered_qos_profiles": entry.qos,
        "type_description_hash": entry.type_hash,
    }
    return {"topic_metadata": described, "message_count": entry.count}


def write_temporary(path: Path, text: str) -> Path:
    """Write a durable file beside `path`, to be renamed to it, so that either the old or the whole new file exists."""
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    return temporary
