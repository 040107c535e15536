"""Whatever became of a bag's files, reading them ends in sentences, and changes nothing but the run's own cache."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rosbags.rosbag2 import StoragePlugin, Writer
from support.bags import Recipe, Sent, lockstep_episode, write_bag
from test_data_sqlite_log import Recorder

from moto_ros.data.bag_files import find_bags
from moto_ros.data.bag_info import bag_facts
from moto_ros.data.cache import DecodedCache
from moto_ros.data.definitions import contract_types
from moto_ros.data.layout import StepLayout, TopicMap
from moto_ros.data.recover import recover_all
from moto_ros.errors import MotoError

MESSAGES = lockstep_episode(Recipe(steps=4, side=(8, 8), outcome="success"))
LAYOUT = StepLayout(cameras=("agent", "wrist"), image_size=16, proprio=("ee_position", "joint_position"))
ODD = (
    *(b"", b"null", b"-1", b"1e999", b"[]", b"{}", b"{a: 1}", b"../../x", b"/etc", b"\xff\xfe", b"\x00", b"&a [*a]"),
    *(b"!!python/object/apply:os.system [id]", b"9" * 400, b"zstd", b"2024-01-01", b".mcap", b"\t", b"- ["),
)
"""What is put in the place of a value of metadata.yaml."""


def write_log(folder: Path, messages: list[Sent]) -> None:
    """Write a sqlite bag whose second half is in its log."""
    recorder = Recorder(folder.parent / "open" / f"{folder.name}_0.db3")
    with closing(recorder.connection):
        recorder.write(messages[: len(messages) // 2])
        recorder.checkpoint()
        recorder.write(messages[len(messages) // 2 :])
        folder.mkdir()
        for path in recorder.path.parent.glob("*.db3*"):
            shutil.copy(path, folder / path.name)


def write_sqlite(folder: Path, messages: list[Sent]) -> None:
    """Write a sqlite bag without its log."""
    with Writer(folder, version=9, storage_plugin=StoragePlugin.SQLITE3) as writer:
        known = {}
        for sent in messages:
            if sent.topic not in known:
                known[sent.topic] = writer.add_connection(sent.topic, sent.type_name, typestore=contract_types())
            writer.write(known[sent.topic], sent.log_time, sent.cdr())


@pytest.fixture(scope="module")
def bags(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return a bag of every form."""
    folder = tmp_path_factory.mktemp("bags")
    write_bag(folder / "mcap", MESSAGES)
    write_bag(folder / "killed", MESSAGES)
    (folder / "killed" / "metadata.yaml").unlink()
    write_sqlite(folder / "sqlite", MESSAGES)
    write_log(folder / "log", MESSAGES)
    shutil.copytree(folder / "mcap", folder / "packed")
    packed = folder / "packed" / "mcap_0.mcap"
    packed.with_name("packed_0.mcap.zstd").write_bytes(zstandard.compress(packed.read_bytes()))
    packed.unlink()
    shutil.rmtree(folder / "open")
    return sorted(folder.iterdir())


def damage(path: Path, data: st.DataObject, others: list[Path]) -> None:
    """Change a file as disks, tools and people do."""
    raw = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(raw)), "place")
    kind = data.draw(st.sampled_from(["flip", "cut", "join", "zeros", "insert", "swap", "twice", "remove"]), "kind")
    if kind == "flip":
        for _ in range(data.draw(st.integers(1, 12), "flips")):
            at = data.draw(st.integers(0, max(0, min(len(raw), data.draw(st.sampled_from([120, 10**9]))) - 1)), "at")
            if raw:
                raw[at] = data.draw(st.integers(0, 255), "byte")
    elif kind == "cut":
        del raw[place:]
    elif kind == "join":
        raw += data.draw(st.sampled_from(others), "other").read_bytes()
    elif kind == "zeros":
        raw[place : place + 4096] = bytes(len(raw[place : place + 4096]))
    elif kind == "insert":
        raw[place:place] = data.draw(st.binary(max_size=40), "inserted")
    elif kind == "swap":
        raw[:] = data.draw(st.sampled_from(others), "other").read_bytes()
    elif kind == "twice":
        raw[place:place] = raw[place : place + 5000]
    if kind == "remove":
        path.unlink()
    else:
        path.write_bytes(raw)


def edit(path: Path, data: st.DataObject) -> None:
    """Change values in metadata.yaml as editors and other programs do."""
    lines = path.read_bytes().split(b"\n")
    for _ in range(data.draw(st.integers(1, 4), "edits")):
        at = data.draw(st.integers(0, len(lines) - 1), "line")
        name, colon, _ = lines[at].partition(b":")
        lines[at] = (
            name + colon + b" " + data.draw(st.sampled_from(ODD), "value")
            if colon
            else data.draw(st.sampled_from(ODD), "text")
        )
    path.write_bytes(b"\n".join(lines))


def contents(folder: Path) -> dict[str, str]:
    """Return the digest of every file of a tree."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_bags_end_in_sentences_and_stay_as_they_are(
    tmp_path_factory: pytest.TempPathFactory, bags: list[Path], data: st.DataObject
) -> None:
    """A damaged bag would end the program with a traceback, or be changed by a look at it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "bags"
        bag = data.draw(st.sampled_from(bags), "bag")
        shutil.copytree(bag, folder / bag.name)
        everything = [path for found in bags for path in found.iterdir()]
        for _ in range(data.draw(st.integers(1, 3), "changes")):
            files = sorted((folder / bag.name).iterdir())
            if not files:
                break
            path = data.draw(st.sampled_from(files), "file")
            if path.name == "metadata.yaml" and data.draw(st.booleans(), "edit"):
                edit(path, data)
            else:
                damage(path, data, everything)
        assert_read(Path(name), folder)
        before = contents(folder)
        for said in recover_all(folder).values():
            assert "recovered" in said
        assert set(before.values()) <= set(contents(folder).values())


def assert_read(work: Path, folder: Path) -> None:
    before = contents(work)
    cache = DecodedCache(work / "cache")
    try:
        found = find_bags(folder)
    except MotoError:  # nothing in it has the name of a bag
        found = []
    for bag in found:
        facts = bag_facts(bag, LAYOUT)
        json.dumps(facts.as_json(), allow_nan=False)
        assert all(len(text) < 2000 and "\n" not in text for text in facts.problems)
        episodes, problems = cache.read(bag, LAYOUT, TopicMap())
        again, same = cache.read(bag, LAYOUT, TopicMap())
        assert (len(episodes), problems) == (len(again), same)
        bag_facts(bag)
    after = {path: digest for path, digest in contents(work).items() if not path.startswith("cache/")}
    assert after == before
