"""Any MCAP file is read: compressed, split, without chunks; and hostile ones cost neither memory nor safety."""

from __future__ import annotations

import os
import re
import shutil
import struct
import tempfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from mcap.writer import CompressionType, Writer
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin
from rosbags.rosbag2 import Writer as RosbagWriter
from support.bags import Recipe, Sent, lockstep_episode, write_bag

from moto_ros.data import private_copy
from moto_ros.data.bag_files import find_bags, read_messages, storage_files
from moto_ros.data.bag_reader import read_episodes
from moto_ros.data.cache import DecodedCache
from moto_ros.data.definitions import contract_types, definition, definition_note, embedded_type
from moto_ros.data.layout import Problems, StepLayout, TopicMap
from moto_ros.data.mcap_stream import MAGIC
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
    """Reading a bag would run code in it."""
    with pytest.raises(MotoError, match="is not a type name"):
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


def test_a_bag_compressed_as_a_whole_is_read_whatever_its_storage(tmp_path: Path) -> None:
    """`ros2 bag record --compression-mode file`: the bag would be called damaged, and recorded again in vain."""
    for storage in StoragePlugin:
        for metadata in (True, False):
            bag = write_rosbag2(tmp_path / f"{storage.name}_{metadata}", storage, CompressionMode.FILE)
            (file,) = bag.glob("*.zstd")
            if not metadata:
                (bag / "metadata.yaml").unlink()
                file.rename(file.with_name(f"another.{file.name.split('.', 1)[1]}"))
            (found,) = find_bags(bag)
            assert found == (bag if metadata else next(bag.glob("*.zstd")))
            reading = read_episodes(found, LAYOUT)
            assert reading.problems == []
            assert [len(episode) for episode in reading.episodes] == [5]
            assert len(list(bag.iterdir())) == 1 + metadata


@pytest.mark.parametrize("storage", list(StoragePlugin))
def test_a_bag_compressed_message_by_message_is_read(tmp_path: Path, storage: StoragePlugin) -> None:
    """`--compression-mode message`."""
    bag = write_rosbag2(tmp_path / "bag", storage, CompressionMode.MESSAGE)
    for metadata in (True, False):
        if not metadata:
            (bag / "metadata.yaml").unlink()
        reading = read_episodes(bag, LAYOUT)
        assert [len(episode) for episode in reading.episodes] == [5]
        assert len(reading.problems) == (0 if metadata else 1)


def test_a_file_that_is_there_packed_and_unpacked_is_read_once(tmp_path: Path) -> None:
    """A recorder killed while it compressed leaves both."""
    bag = write_rosbag2(tmp_path / "bag", StoragePlugin.SQLITE3, CompressionMode.NONE)
    (path,) = bag.glob("*.db3")
    (bag / f"{path.name}.zstd").write_bytes(zstandard.compress(path.read_bytes())[:500])
    assert storage_files(bag) == [path]
    assert find_bags(tmp_path) == [bag]


def test_a_cut_compressed_file_gives_what_precedes_the_cut(tmp_path: Path) -> None:
    path = write_mcap(tmp_path / "a.mcap", MESSAGES, chunk_size=1, compression=CompressionType.NONE)
    packed = tmp_path / "a.mcap.zstd"
    packer, whole, raw = zstandard.ZstdCompressor().compressobj(), path.read_bytes(), b""
    for place in range(0, len(whole), 1000):  # blocks, as a file of gigabytes has
        raw += packer.compress(whole[place : place + 1000]) + packer.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
    packed.write_bytes(raw[: len(raw) // 2])
    problems = Problems()
    found = len(list(read_messages(packed, problems)))
    assert 0 < found < len(MESSAGES)
    assert "cut or damaged" in " ".join(problems.sentences())


def test_a_file_that_unpacks_to_more_than_there_is_room_for_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few megabytes could fill the disk that the system needs; and the next attempt, with room, must read it."""
    packed = tmp_path / "a.mcap.zstd"
    packed.write_bytes(zstandard.compress(write_mcap(tmp_path / "a.mcap", MESSAGES).read_bytes()))
    cache = DecodedCache(tmp_path / "cache")
    with monkeypatch.context() as patch:
        patch.setattr(private_copy, "MIN_FREE_BYTES", 2**62)
        episodes, problems = cache.read(packed, LAYOUT, TopicMap())
    assert episodes == []
    assert "set TMPDIR to a folder with more room" in " ".join(problems)
    assert "record it again" not in " ".join(problems)
    assert len(cache.read(packed, LAYOUT, TopicMap())[0]) == 1


def test_data_are_recorded_again_only_where_they_are_lost(tmp_path: Path) -> None:
    lost, form = tmp_path / "lost.mcap", tmp_path / "other.mcap"
    lost.write_bytes(b"")
    write_channels(form, [("/a", "json", ("thing", "jsonschema", b"{}"), b"{}")])
    assert "record it again" in " ".join(read_episodes(lost, LAYOUT).problems)
    assert "record it again" not in " ".join(read_episodes(form, LAYOUT).problems)


def write_rosbag2(folder: Path, storage: StoragePlugin, mode: CompressionMode) -> Path:
    """Write a bag with the rosbags library, compressed as ros2 bag does."""
    bag = RosbagWriter(folder, version=9, storage_plugin=storage)
    if mode != CompressionMode.NONE:
        bag.set_compression(mode, CompressionFormat.ZSTD)
    with bag:
        known = {}
        for sent in MESSAGES:
            if sent.topic not in known:
                known[sent.topic] = bag.add_connection(sent.topic, sent.type_name, typestore=contract_types())
            bag.write(known[sent.topic], sent.log_time, sent.cdr())
    return folder


Description = tuple[str, str, bytes]
"""Name, encoding and data of a schema."""


def write_channels(path: Path, rows: list[tuple[str, str, Description | None, bytes]], **options: Any) -> Path:
    """Write an MCAP file of one message a row: topic, message encoding, schema (None: number 0), data."""
    with path.open("wb") as file:
        writer = Writer(file, **options)
        writer.start("", "somebody")
        for time, (topic, encoding, schema, data) in enumerate(rows, 1):
            number = 0 if schema is None else writer.register_schema(*schema)
            writer.add_message(writer.register_channel(topic, encoding, number), time, data, time)
        writer.finish()
    return path


def read_all(path: Path) -> tuple[list[tuple[str, str]], str]:
    """Return topic and type of every message, and the problems as one text."""
    problems = Problems()
    found = [(topic.name, topic.type_name) for topic, _, _ in read_messages(path, problems)]
    return found, " ".join(problems.sentences())


WRITTEN_NAMES = ["{0}/{1}", "{0}::msg::{1}", "{0}::msg::dds_::{1}_", "{0}.msg.{1}", "{0}/msg/{1}"]


@pytest.mark.parametrize("form", WRITTEN_NAMES)
def test_type_names_of_other_writers_are_those_of_ros_2(tmp_path: Path, form: str) -> None:
    path = rewritten(tmp_path, name=lambda name: form.format(name.split("/")[0], name.split("/")[-1]))
    assert_read(path)


def rewritten(
    folder: Path, name: Callable[[str], str] = str, text: Callable[[str], str] = str, encoding: str = "ros2msg"
) -> Path:
    """Write MESSAGES with other names, definitions or encodings in the schemas."""
    path = folder / "a.mcap"
    with path.open("wb") as file:
        writer = Writer(file)
        writer.start()
        for sent in MESSAGES:
            whole = definition(sent.type_name)
            schema = writer.register_schema(name(sent.type_name), encoding, text(whole).encode())
            writer.add_message(writer.register_channel(sent.topic, "cdr", schema), sent.log_time, sent.cdr(), 1)
        writer.finish()
    return path


def assert_read(path: Path, *said: str) -> None:
    """Hold that a file gives its episode whole, and that its problems are these."""
    reading = read_episodes(path, LAYOUT)
    assert [len(episode) for episode in reading.episodes] == [5]
    assert len(reading.problems) == len(said), reading.problems
    for text, found in zip(said, reading.problems, strict=True):
        assert text in found


HARMLESS_TEXTS: dict[str, Callable[[str], str]] = {
    "line ends": lambda text: text.replace("\n", "\r\n"),
    "separators": lambda text: text.replace("=" * 80, "=" * 40),
    "a zero at the end": lambda text: text + "\0",
    "names with msg": lambda text: re.sub(r"^MSG: (\w+)/(\w+)$", r"MSG: \1/msg/\2", text, flags=re.MULTILINE),
}


@pytest.mark.parametrize("kind", HARMLESS_TEXTS)
def test_definitions_of_other_writers_are_understood(tmp_path: Path, kind: str) -> None:
    assert_read(rewritten(tmp_path, text=HARMLESS_TEXTS[kind]))


TAKEN_FROM_HERE = {
    "alone": (lambda text: text.split("=" * 80)[0], "ros2msg", "has a definition without that of"),
    "empty": (lambda text: "", "", "has no definition of its type"),
    "idl": (lambda text: "module m {};", "ros2idl", "has a definition that cannot be used"),
    "nonsense": (lambda text: "[[[", "ros2msg", "has a definition that cannot be used"),
}


@pytest.mark.parametrize("kind", TAKEN_FROM_HERE)
def test_a_definition_that_cannot_be_used_is_taken_from_here_and_said(tmp_path: Path, kind: str) -> None:
    text, encoding, said = TAKEN_FROM_HERE[kind]
    assert_read(rewritten(tmp_path, text=text, encoding=encoding), said)


IDL = """
#include "std_msgs/msg/Header.idl"
module acme {
  module msg {
    struct Pose {
      @verbatim (language="comment", text="metres")
      double x;
      sequence<double> more;
      std_msgs::msg::Header header;
    };
  };
};
"""


@pytest.mark.parametrize("text", [IDL, f"{'=' * 80}\nIDL: acme/msg/Pose\n{IDL}"], ids=["omgidl", "ros2idl"])
def test_a_type_that_only_the_bag_knows_is_read_by_its_idl(text: str) -> None:
    text = text.replace('#include "std_msgs/msg/Header.idl"\n', "")
    store = embedded_type("acme/msg/Pose", text)
    header = store.types["std_msgs/msg/Header"](store.types["builtin_interfaces/msg/Time"](1, 2), "base")
    pose = store.types["acme/msg/Pose"](2.5, np.array([1.0]), header)
    read = store.deserialize_cdr(store.serialize_cdr(pose, "acme/msg/Pose"), "acme/msg/Pose")
    assert (read.x, read.header.frame_id) == (2.5, "base")
    assert "builtin_interfaces/msg/Time, std_msgs/msg/Header" in definition_note("acme/msg/Pose", text)


def test_what_idl_computes_costs_no_memory() -> None:
    with pytest.raises(MotoError, match="computes with shifts"):
        embedded_type("acme/msg/Thing", "module acme { const long A = 1 << 99999999999; };")


STRING = ("std_msgs/msg/String", "ros2msg", b"string data\n")
TEXT = b"\x00\x01\x00\x00\x02\x00\x00\x00a\x00"
BIG_ENDIAN = b"\x00\x00\x00\x00\x00\x00\x00\x02a\x00"


def test_both_orders_of_bytes_and_names_of_cdr_are_read(tmp_path: Path) -> None:
    rows = [(f"/{n}", name, STRING, data) for n, (name, data) in enumerate({"cdr": TEXT, "CDR": BIG_ENDIAN}.items())]
    path = write_channels(tmp_path / "a.mcap", rows)
    messages = [data for _, _, data in read_messages(path, Problems())]
    store = embedded_type(STRING[0], STRING[2].decode())
    assert [store.deserialize_cdr(data, STRING[0]).data for data in messages] == ["a", "a"]


@pytest.mark.parametrize("encoding", ["ros1", "json", "protobuf", "cbor", ""])
def test_messages_of_another_encoding_are_named_and_counted_as_there(tmp_path: Path, encoding: str) -> None:
    """`the rest is lost` would be reported for messages that are complete."""
    rows = [("/a", encoding, ("thing", "x", b""), b"{}"), ("/b", "cdr", STRING, TEXT)]
    found, said = read_all(write_channels(tmp_path / "a.mcap", rows))
    assert found == [("/b", STRING[0])]
    assert f"/a has encoding '{encoding}'" in said
    assert "lost" not in said


def test_a_channel_without_schema_has_the_type_of_metadata_or_is_named(tmp_path: Path) -> None:
    """Schema number 0 is allowed, and does not state the type."""
    path = write_channels(tmp_path / "a.mcap", [("/a", "cdr", None, TEXT), ("/b", "cdr", None, TEXT)])
    assert read_all(path)[0] == []
    assert "/a has no schema" in read_all(path)[1]
    (tmp_path / "bag").mkdir()
    shutil.copy(path, tmp_path / "bag" / "bag_0.mcap")
    topics = [{"topic_metadata": {"name": "/a", "type": "std_msgs/String"}, "message_count": 1}]
    facts = {"relative_file_paths": ["bag_0.mcap"], "topics_with_message_count": topics}
    (tmp_path / "bag" / "metadata.yaml").write_text(yaml.safe_dump({"rosbag2_bagfile_information": facts}))
    found, said = read_all(tmp_path / "bag")
    assert found == [("/a", "std_msgs/msg/String")]
    assert "/b has no schema" in said


def record(kind: int, body: bytes) -> bytes:
    """Return an MCAP record by hand, for what the library does not write."""
    return struct.pack("<BQ", kind, len(body)) + body


def string(text: str) -> bytes:
    """Return a string as MCAP has it."""
    return struct.pack("<I", len(text)) + text.encode()


HEADER = record(0x01, string("") + string("by hand"))
SCHEMA = record(0x03, struct.pack("<H", 1) + string(STRING[0]) + string("ros2msg") + struct.pack("<I", 12) + STRING[2])
CHANNEL = record(0x04, struct.pack("<HH", 7, 1) + string("/a") + string("cdr") + struct.pack("<I", 0))
OTHER = record(0x04, struct.pack("<HH", 8, 1) + string("/a") + string("cdr") + struct.pack("<I", 0))
MESSAGE = record(0x05, struct.pack("<HIQQ", 7, 0, 5, 5) + TEXT)
AGAIN = record(0x05, struct.pack("<HIQQ", 8, 0, 6, 6) + TEXT)
FOOTER = record(0x02, bytes(20))
ATTACHMENT = record(
    0x09, struct.pack("<QQ", 1, 1) + string("x") + string("y") + struct.pack("<Q", 3) + b"abc" + bytes(4)
)


def chunk(inside: bytes, compression: str = "") -> bytes:
    """Return a chunk without checksum (0 means that there is none)."""
    head = struct.pack("<QQQI", 5, 5, len(inside), 0) + string(compression)
    return record(0x06, head + struct.pack("<Q", len(inside)) + inside)


def longer(whole: bytes) -> bytes:
    """Return a record with fields at its end that a later version of the format could add."""
    return record(whole[0], whole[9:] + b"later")


ALLOWED = {
    "plain": SCHEMA + CHANNEL + MESSAGE,
    "no checksum": chunk(SCHEMA + CHANNEL + MESSAGE),
    "described outside of its chunk": SCHEMA + CHANNEL + chunk(MESSAGE),
    "described after its message": MESSAGE + chunk(SCHEMA + CHANNEL),
    "attachments": SCHEMA + ATTACHMENT + CHANNEL + ATTACHMENT + MESSAGE,
    "private and unknown records": SCHEMA + record(0x90, b"ours") + chunk(CHANNEL + record(0x42, b"?") + MESSAGE),
    "longer records": longer(SCHEMA) + chunk(longer(CHANNEL) + MESSAGE),
    "two channels of a topic": SCHEMA + CHANNEL + OTHER + MESSAGE + AGAIN,
    "described twice": SCHEMA + CHANNEL + MESSAGE + SCHEMA + CHANNEL,
}


@pytest.mark.parametrize("kind", ALLOWED)
def test_what_the_specification_lets_differ_is_read(tmp_path: Path, kind: str) -> None:
    """No index, no statistics: the file is whole all the same."""
    (tmp_path / "a.mcap").write_bytes(MAGIC + HEADER + ALLOWED[kind] + FOOTER + MAGIC)
    found, said = read_all(tmp_path / "a.mcap")
    assert found == [("/a", STRING[0])] * (2 if kind == "two channels of a topic" else 1)
    assert said == ""


NAMED = {
    "another compression": (chunk(SCHEMA + CHANNEL + MESSAGE, "brotli") + FOOTER + MAGIC, "compressed by 'brotli'"),
    "no channel": (MESSAGE + FOOTER + MAGIC, "channel 7 has no description"),
    "no schema": (CHANNEL + MESSAGE + FOOTER + MAGIC, "/a has no schema (number 1)"),
    "two files joined": (SCHEMA + CHANNEL + MESSAGE + FOOTER + MAGIC + MAGIC + HEADER, "bytes follow its end"),
    "no end": (SCHEMA + CHANNEL + MESSAGE, "cut or damaged"),
}


@pytest.mark.parametrize("kind", NAMED)
def test_what_cannot_be_read_is_named(tmp_path: Path, kind: str) -> None:
    rest, expected = NAMED[kind]
    (tmp_path / "a.mcap").write_bytes(MAGIC + HEADER + rest)
    assert expected in read_all(tmp_path / "a.mcap")[1]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.sampled_from([SCHEMA, CHANNEL, MESSAGE, ATTACHMENT, AGAIN, OTHER, b"\x05\x00"]), max_size=8), st.data()
)
def test_any_order_and_any_cut_of_records_is_read_or_said(parts: list[bytes], data: st.DataObject) -> None:
    """Whatever a writer leaves: no exception, and nothing left out without a word."""
    raw = MAGIC + HEADER + b"".join(parts) + FOOTER + MAGIC
    raw = raw[: data.draw(st.integers(1, len(raw)))]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.mcap"
        path.write_bytes(raw)
        found, said = read_all(path)
    assert said or len(found) == parts.count(MESSAGE) + parts.count(AGAIN)


def test_a_hole_of_many_gigabytes_costs_neither_time_nor_memory(tmp_path: Path) -> None:
    """A recorder that reserved its file and was killed leaves zeros to the end; an attachment may be as large."""
    path = tmp_path / "hole.mcap"
    path.write_bytes(MAGIC + HEADER + SCHEMA + CHANNEL + MESSAGE)
    os.truncate(path, 50 * 2**30)
    found, said = read_all(path)
    assert found == [("/a", STRING[0])]
    assert "cut or damaged" in said
    large = tmp_path / "attachment.mcap"
    size = 50 * 2**30
    head = MAGIC + HEADER + SCHEMA + CHANNEL + struct.pack("<BQ", 0x09, size)
    with large.open("wb") as file:
        file.write(head)
        file.seek(size, 1)
        file.write(MESSAGE + FOOTER + MAGIC)
    tracemalloc.start()
    found, said = read_all(large)
    assert tracemalloc.get_traced_memory()[1] < 30 * 2**20
    tracemalloc.stop()
    assert (found, said) == ([("/a", STRING[0])], "")
