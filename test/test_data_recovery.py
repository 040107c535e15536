"""The recorder's start recovers its own unclosed bags and leaves every other file as it is."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from mcap.writer import Writer
from rosbags.highlevel import AnyReader
from support.bags import Recipe, lockstep_episode, write_bag

from moto_ros.data.bag_files import METADATA, find_bags, read_messages
from moto_ros.data.bag_writer import BagWriter
from moto_ros.data.layout import Problems
from moto_ros.data.recover import BACKUP_SUFFIX, is_recorder_file, recover_all, remove_bag
from moto_ros.errors import MotoError

ROOT = Path(__file__).resolve().parents[1]
MESSAGES = lockstep_episode(Recipe(steps=10))


def content(folder: Path) -> dict[str, bytes]:
    """Return every file of a tree, whatever its name."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def whole(bag: Path) -> Path:
    """Write a closed bag and return its file."""
    write_bag(bag, MESSAGES)
    return bag / f"{bag.name}_0.mcap"


def unclosed(bag: Path) -> Path:
    """Write a bag as a killed recorder leaves it, what came after the last flush missing, and return its file."""
    writer = BagWriter(bag, {"episode": "1"}, flush_period=3600.0)
    for place, sent in enumerate(MESSAGES):
        writer.add_topic(sent.topic, sent.type_name)
        writer.write(sent.topic, sent.cdr(), sent.log_time)
        if place in (len(MESSAGES) // 3, len(MESSAGES) // 2):
            writer.flush()
    return writer.path


def count(path: Path) -> int:
    return len(list(read_messages(path, Problems())))


def foreign(path: Path, *, finished: bool = False) -> Path:
    """Write an MCAP file of another program, without an index unless `finished`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        writer = Writer(file)
        writer.start("ros2", "somebody else 1.0")
        schema = writer.register_schema("std_msgs/msg/String", "ros2msg", b"string data")
        channel = writer.register_channel("/said", "cdr", schema)
        for number in range(5):
            writer.add_message(channel, number, b"\x00\x01\x00\x00\x02\x00\x00\x00a\x00", number)
        if finished:
            writer.finish()
        else:
            writer.flush()
    return path


def test_loose_files_of_a_person_stay_as_they_are(tmp_path: Path) -> None:
    """Breaks a person's demonstrations: they would be merged into one file, and the originals removed."""
    for number in range(3):
        source = whole(tmp_path / f"demo_{number}")
        (tmp_path / "bags" / "offline").mkdir(parents=True, exist_ok=True)
        shutil.copy(source, tmp_path / "bags" / "offline" / source.name)
    before = content(tmp_path / "bags")
    assert recover_all(tmp_path / "bags") == {}
    assert content(tmp_path / "bags") == before


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize("place", ["offline/offline_0.mcap", "offline/demo/demo_0.mcap", "offline/demo/any.mcap"])
def test_a_file_of_another_program_stays_as_it_is_even_where_ours_would_lie(
    tmp_path: Path, place: str, finished: bool
) -> None:
    foreign(tmp_path / place, finished=finished)
    before = content(tmp_path)
    assert recover_all(tmp_path) == {}
    assert content(tmp_path) == before


def test_an_unclosed_file_of_ours_that_a_person_has_put_elsewhere_stays_as_it_is(tmp_path: Path) -> None:
    """It may lie beside the person's own: a metadata.yaml there would hide these."""
    path = unclosed(tmp_path / "parts" / "episode_000001")
    (tmp_path / "bags" / "offline").mkdir(parents=True)
    shutil.copy(path, tmp_path / "bags" / "offline")
    before = content(tmp_path / "bags")
    assert recover_all(tmp_path / "bags") == {}
    assert content(tmp_path / "bags") == before


def test_a_closed_bag_that_was_damaged_later_stays_as_it_is(tmp_path: Path) -> None:
    """No recorder was killed: whatever happened, a rewritten file would hide it."""
    path = whole(tmp_path / "offline" / "episode_000001")
    path.write_bytes(path.read_bytes()[:-500])
    before = content(tmp_path)
    assert recover_all(tmp_path) == {}
    assert content(tmp_path) == before


def test_a_whole_file_only_gets_the_metadata_that_it_had(tmp_path: Path) -> None:
    """A kill between the end of the file and metadata.yaml: there is nothing to rewrite."""
    bag = tmp_path / "online" / "episode_000001"
    whole(bag)
    before = content(bag)
    (bag / METADATA).unlink()
    assert "only metadata.yaml was missing" in recover_all(tmp_path)[bag]
    assert content(bag) == before


def test_the_file_that_was_recovered_is_kept_and_is_no_bag(tmp_path: Path) -> None:
    """What the reader cannot parse today would be lost with the original."""
    bag = tmp_path / "online" / "episode_000001"
    path = unclosed(bag)
    readable, before = count(path), path.read_bytes()
    assert 0 < readable < len(MESSAGES)
    said = recover_all(tmp_path)[bag]
    assert "cut or damaged" in said
    kept = bag / f"{path.name}{BACKUP_SUFFIX}"
    assert kept.name in said
    assert kept.read_bytes() == before
    assert find_bags(tmp_path) == [bag]
    with AnyReader([bag]) as reader:
        assert len(list(reader.messages())) == readable
    assert recover_all(tmp_path) == {}


@pytest.mark.parametrize("state", ["copied", "old file renamed", "new file in place"])
def test_a_recovery_that_is_killed_at_any_point_is_done_again(tmp_path: Path, state: str) -> None:
    """The recording would be hidden: in no place where anybody looks."""
    bag, work = tmp_path / "online" / "episode_000001", tmp_path / "online" / ".episode_000001.recovering"
    path = unclosed(bag)
    readable, before = count(path), path.read_bytes()
    shutil.copytree(bag, tmp_path / "copy" / bag.name)
    recover_all(tmp_path / "copy")
    shutil.copytree(tmp_path / "copy" / bag.name, work / bag.name)
    (work / bag.name / f"{path.name}{BACKUP_SUFFIX}").unlink()
    if state != "copied":
        path.rename(bag / f"{path.name}{BACKUP_SUFFIX}")
    if state == "new file in place":
        (work / bag.name / path.name).rename(path)
    assert "recovered" in recover_all(tmp_path / "online")[bag]
    assert count(bag) == readable
    assert (bag / METADATA).is_file()
    assert (bag / f"{path.name}{BACKUP_SUFFIX}").read_bytes() == before
    assert not work.exists()


def python(code: str, *arguments: str) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'test'}"}
    command = [sys.executable, "-c", textwrap.dedent(code), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


BEGUN = """
    import sys, time
    from pathlib import Path
    from moto_ros.data.bag_writer import BagWriter
    writer = BagWriter(Path(sys.argv[1]), {"episode": "1"})
    print("begun", flush=True)
    time.sleep(60)
"""


def test_a_recorder_killed_before_its_first_message_leaves_its_mark(tmp_path: Path) -> None:
    """A bag without the mark would never be closed."""
    bag = tmp_path / "online" / "episode_000001"
    with python(BEGUN, str(bag)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        process.send_signal(signal.SIGKILL)
    assert is_recorder_file(bag / "episode_000001_0.mcap")
    assert list(recover_all(tmp_path)) == [bag]
    assert (bag / METADATA).is_file()


FULL = """
    import resource, signal, sys
    from pathlib import Path
    from moto_ros.data.recover import recover_all
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
    print(*recover_all(Path(sys.argv[1])).values())
"""


def test_a_disk_that_is_full_during_recovery_costs_nothing(tmp_path: Path) -> None:
    """RLIMIT_FSIZE makes writes fail as a full disk does: the original must stay, and no half copy beside it."""
    bag = tmp_path / "online" / "episode_000001"
    path = unclosed(bag)
    assert path.stat().st_size > 20_000
    before = content(tmp_path)
    with python(FULL, str(tmp_path)) as process:
        said = process.communicate()[0]
    assert process.returncode == 0
    assert "not recovered" in said
    assert "free" in said
    assert content(tmp_path) == before
    assert "not recovered" not in recover_all(tmp_path)[bag]


def test_a_bag_is_only_removed_where_nothing_else_is_in_it(tmp_path: Path) -> None:
    """A benchmark makes its demonstrations again; a person's file in between would go with the old ones."""
    for name in ("noted", "plain"):
        whole(tmp_path / name)
    (tmp_path / "noted" / "notes.txt").write_text("mine")
    foreign(tmp_path / "other" / "other_0.mcap")
    before = content(tmp_path)
    for name in ("noted", "other"):
        with pytest.raises(MotoError, match="move it away"):
            remove_bag(tmp_path / name)
    assert content(tmp_path) == before
    remove_bag(tmp_path / "plain")
    assert not (tmp_path / "plain").exists()
    BagWriter(tmp_path / "begun")
    remove_bag(tmp_path / "begun")
    assert not (tmp_path / "begun").exists()
