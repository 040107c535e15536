"""Any MCAP file is read: compressed, split, without chunks; and hostile ones cost neither memory nor safety."""

from __future__ import annotations

import struct
import tracemalloc
from pathlib import Path

import pytest
from mcap.writer import CompressionType, Writer
from support.bags import Recipe, Sent, lockstep_episode, write_bag

from moto_ros.data.bag_files import read_messages
from moto_ros.data.bag_reader import read_episodes
from moto_ros.data.definitions import definition, embedded_type
from moto_ros.data.layout import Problems, StepLayout
from moto_ros.errors import MotoError

MESSAGES = lockstep_episode(Recipe(steps=5))
LAYOUT = StepLayout(cameras=("agent", "wrist"), image_size=16)


def write_mcap(path: Path, messages: list[Sent], **options: object) -> Path:
    """Write an MCAP file by the library itself, as other recorders do."""
    with path.open("wb") as file:
        writer = Writer(file, **options)
        writer.start("ros2")
        channels: dict[str, int] = {}
        for sent in messages:
            if sent.topic not in channels:
                schema = writer.register_schema(sent.type_name, "ros2msg", definition(sent.type_name).encode())
                channels[sent.topic] = writer.register_channel(sent.topic, "cdr", schema)
            writer.add_message(channels[sent.topic], sent.log_time, sent.cdr(), sent.log_time)
        writer.finish()
    return path


@pytest.mark.parametrize("compression", list(CompressionType))
@pytest.mark.parametrize("chunks", [True, False])
def test_every_form_of_mcap_is_read(tmp_path: Path, compression: CompressionType, chunks: bool) -> None:
    """ros2 bag's default presets compress; such a bag would seem empty."""
    path = write_mcap(tmp_path / "a.mcap", MESSAGES, compression=compression, use_chunking=chunks)
    reading = read_episodes(path, LAYOUT)
    assert reading.problems == []
    assert [len(episode) for episode in reading.episodes] == [5]


def test_split_bags_are_one(tmp_path: Path) -> None:
    """`ros2 bag record --max-bag-size` cuts an episode in the middle."""
    (tmp_path / "bag").mkdir()
    write_mcap(tmp_path / "bag" / "bag_0.mcap", MESSAGES[:15])
    write_mcap(tmp_path / "bag" / "bag_1.mcap", MESSAGES[15:])
    reading = read_episodes(tmp_path / "bag", LAYOUT)
    assert [len(episode) for episode in reading.episodes] == [5]


def test_missing_split_file_is_named(tmp_path: Path) -> None:
    write_bag(tmp_path / "bag", MESSAGES)
    text = (tmp_path / "bag" / "metadata.yaml").read_text()
    (tmp_path / "bag" / "metadata.yaml").write_text(text.replace("bag_0.mcap", "bag_1.mcap"))
    assert "metadata.yaml lists bag_1.mcap, which is not there" in " ".join(
        read_episodes(tmp_path / "bag", LAYOUT).problems
    )


def test_a_length_that_no_file_has_allocates_nothing(tmp_path: Path) -> None:
    """One flipped bit in a length would ask for exabytes."""
    path = write_mcap(tmp_path / "a.mcap", MESSAGES, compression=CompressionType.NONE)
    raw = bytearray(path.read_bytes())
    chunk = raw.index(b"\x06", 8)
    for length in (2**62, 2**33, 400 * 2**20):
        raw[chunk + 1 : chunk + 9] = struct.pack("<Q", length)
        path.write_bytes(bytes(raw))
        tracemalloc.start()
        reading = read_episodes(path, LAYOUT)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 30 * 2**20
        assert "cut or damaged" in " ".join(reading.problems)


def test_a_chunk_that_unpacks_to_too_much_is_left_out(tmp_path: Path) -> None:
    """A few kilobytes could unpack to all memory there is."""
    path = write_mcap(tmp_path / "a.mcap", MESSAGES, compression=CompressionType.ZSTD)
    raw = bytearray(path.read_bytes())
    chunk = raw.index(b"\x06", 8)
    raw[chunk + 25 : chunk + 33] = struct.pack("<Q", 2**40)
    path.write_bytes(bytes(raw))
    problems = Problems()
    assert list(read_messages(path, problems)) == []
    assert "a chunk is damaged" in " ".join(problems.sentences())


HOSTILE_NAMES = [
    "x/msg/Y:\n    pass\nraise SystemExit(7)\nclass Z",
    "x/msg/Y(__import__('os'))",
    "",
    "x/msg/" + "Y" * 3 + "\n",
]


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_type_names_from_a_bag_are_never_code(name: str) -> None:
    """Reading somebody's bag would run their program."""
    with pytest.raises(MotoError, match="is no name of a type"):
        embedded_type(name, "float32 x\n")


HOSTILE_TEXTS = [
    "float32 x\n" + "=" * 80 + "\nMSG: a/B\nfloat32 y\n" + "=" * 80 + "\nMSG: a/B(object):\n  pass\nfloat32 z\n",
    "string X='''\nraise SystemExit(7)\n'''\n",
    "float32 __class__\n",
    "a/B[99999999999999999999] x\n",
    "\x00\x01\x02",
    "[" * 5000,
]


@pytest.mark.parametrize("text", HOSTILE_TEXTS)
def test_definitions_from_a_bag_are_never_code(text: str) -> None:
    """At worst a definition is refused, in one sentence."""
    said = ""
    try:
        embedded_type("acme/msg/Thing", text)
    except MotoError as error:
        said = str(error)
    assert "\n" not in said


def test_another_encoding_is_left_out_and_said(tmp_path: Path) -> None:
    with (tmp_path / "a.mcap").open("wb") as file:
        writer = Writer(file)
        writer.start()
        schema = writer.register_schema("thing", "jsonschema", b"{}")
        channel = writer.register_channel("/robot/state", "json", schema)
        writer.add_message(channel, 1, b"{}", 1)
        writer.finish()
    problems = read_episodes(tmp_path / "a.mcap", LAYOUT).problems
    assert any("/robot/state has encoding 'json', expected ROS 2 messages (cdr)" in text for text in problems)
