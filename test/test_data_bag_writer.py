"""What was recorded is on disk, readable by others, and a kill takes at most the last second."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import yaml
from mcap.reader import make_reader
from rosbags.highlevel import AnyReader
from rosbags.rosbag2 import Reader
from support.bags import Recipe, lockstep_episode, write_bag

from moto_ros.data.bag_files import find_bags, read_messages
from moto_ros.data.bag_writer import BagWriter, MessageCounts
from moto_ros.data.definitions import definition, type_hash
from moto_ros.data.layout import Problems
from moto_ros.data.recover import needs_recovery, recover_all
from moto_ros.errors import MotoError

MESSAGES = lockstep_episode(Recipe())
ROOT = Path(__file__).resolve().parents[1]


def test_another_reader_gets_every_message_type_and_definition(tmp_path: Path) -> None:
    """A bag that only this program can read would be no rosbag."""
    write_bag(tmp_path / "episode", MESSAGES)
    with AnyReader([tmp_path / "episode"]) as reader:
        found = [(c.topic, c.msgtype, bytes(data)) for c, _, data in reader.messages()]
        decoded = [reader.deserialize(data, kind) for _, kind, data in found]
    assert sorted(found) == sorted((sent.topic, sent.type_name, sent.cdr()) for sent in MESSAGES)
    assert any(getattr(message, "gripper_width", 0) for message in decoded)
    with Reader(tmp_path / "episode") as reader:
        assert {c.topic: c.digest for c in reader.connections}["/policy/action"] == type_hash("moto_msgs/msg/Action")
        assert all(c.ext.offered_qos_profiles for c in reader.connections)


def test_metadata_has_the_form_that_humble_to_kilted_read(tmp_path: Path) -> None:
    """`ros2 bag info` of Humble stops at a QoS profile in the form of version 9, and at YAML aliases."""
    write_bag(tmp_path / "episode", MESSAGES)
    text = (tmp_path / "episode" / "metadata.yaml").read_text()
    facts = yaml.safe_load(text)["rosbag2_bagfile_information"]
    assert "*id" not in text
    assert facts["version"] == 8
    assert facts["storage_identifier"] == "mcap"
    assert facts["message_count"] == len(MESSAGES)
    assert facts["relative_file_paths"] == ["episode_0.mcap"]
    qos = yaml.safe_load(facts["topics_with_message_count"][0]["topic_metadata"]["offered_qos_profiles"])
    assert qos[0]["reliability"] == 1
    assert qos[0]["deadline"] == {"sec": 9223372036, "nsec": 854775807}
    with (tmp_path / "episode" / "episode_0.mcap").open("rb") as file:
        records = {record.name: record.metadata for record in make_reader(file).iter_metadata()}
    assert yaml.safe_load(records["rosbag2"]["serialized_metadata"]) == facts


def test_definition_is_the_concatenation_that_rosbag2_embeds() -> None:
    """Foreign tools would not find nested types."""
    text = definition("moto_msgs/msg/Action")
    assert text.startswith("# One command")
    assert "\n" + "=" * 80 + "\nMSG: std_msgs/Header\n" in text
    assert text.count("MSG: builtin_interfaces/Time\n") == 1
    with pytest.raises(MotoError, match="moto_msgs/msg/Nothing' is unknown, expected moto_msgs/msg/Nothing"):
        definition("moto_msgs/msg/Nothing")


def test_counts_in_and_on_disk_are_compared(tmp_path: Path) -> None:
    """Twenty episodes recorded, one on disk, and no warning."""
    counts = write_bag(tmp_path / "episode", MESSAGES, flush_every=7)
    assert counts.complete
    assert counts.total == len(MESSAGES)
    assert counts.problem() == ""
    lost = MessageCounts({"/a": 3, "/b": 2}, {"/a": 3, "/b": 1})
    assert not lost.complete
    assert lost.problem().startswith("/b: 1 of 2 messages are on disk")


def test_a_topic_that_stayed_silent_is_announced(tmp_path: Path) -> None:
    """A camera that never sent a frame would not show up in the bag at all."""
    writer = BagWriter(tmp_path / "episode")
    writer.add_topic("/camera/agent/image_raw", "sensor_msgs/msg/Image")
    assert writer.close().written == {"/camera/agent/image_raw": 0}
    with Reader(tmp_path / "episode") as reader:
        assert [c.topic for c in reader.connections] == ["/camera/agent/image_raw"]


def test_a_used_folder_is_refused(tmp_path: Path) -> None:
    """A second recording would overwrite the first."""
    write_bag(tmp_path / "episode", MESSAGES[:3])
    with pytest.raises(MotoError, match="is not empty"):
        BagWriter(tmp_path / "episode")


KILLED = """
    import sys, time
    from pathlib import Path
    sys.path.insert(0, "test")
    from support.bags import Recipe, lockstep_episode
    from moto_ros.data.bag_writer import BagWriter
    writer = BagWriter(Path(sys.argv[1]), flush_period=3600.0)
    messages = lockstep_episode(Recipe(steps=30))
    for sent in messages:
        writer.add_topic(sent.topic, sent.type_name)
    for sent in messages[:100]:
        writer.write(sent.topic, sent.cdr(), sent.log_time)
    writer.flush()
    for sent in messages[100:]:
        writer.write(sent.topic, sent.cdr(), sent.log_time)
    print("written", flush=True)
    time.sleep(60)
"""


def killed_recording(folder: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", textwrap.dedent(KILLED), str(folder)]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "written\n"
        process.send_signal(signal.SIGKILL)


def test_kill_9_leaves_all_up_to_the_last_flush(tmp_path: Path) -> None:
    """A recorder that is killed would take the episode with it."""
    killed_recording(tmp_path / "bags" / "episode")
    problems = Problems()
    assert len(list(read_messages(tmp_path / "bags" / "episode", problems))) == 100
    assert any("metadata.yaml is missing" in text for text in problems.sentences())


def test_a_killed_recording_is_recovered(tmp_path: Path) -> None:
    """Other tools refuse a bag without index and metadata."""
    bag = tmp_path / "bags" / "episode"
    killed_recording(bag)
    assert needs_recovery(bag)
    losses = recover_all(tmp_path / "bags")
    assert list(losses) == [bag]
    assert "cut or damaged" in losses[bag]
    assert not needs_recovery(bag)
    assert recover_all(tmp_path / "bags") == {}
    with AnyReader([bag]) as reader:
        assert len(list(reader.messages())) == 100
    assert find_bags(tmp_path) == [bag]


def test_a_recovery_that_is_killed_is_done_again(tmp_path: Path) -> None:
    """Half a recovery would be taken for a bag, or hide the old data."""
    bag = tmp_path / "bags" / "episode"
    killed_recording(bag)
    half = tmp_path / "bags" / ".episode.recovering" / "episode"
    half.mkdir(parents=True)
    (half / "episode_0.mcap").write_bytes((bag / "episode_0.mcap").read_bytes()[:500])
    assert find_bags(tmp_path) == [bag]
    assert list(recover_all(tmp_path / "bags")) == [bag]
    assert not half.parent.exists()
    with AnyReader([bag]) as reader:
        assert len(list(reader.messages())) == 100


FULL = """
    import resource, sys
    from pathlib import Path
    sys.path.insert(0, "test")
    from support.bags import Recipe, lockstep_episode
    from moto_ros.data.bag_writer import BagWriter
    from moto_ros.errors import MotoError
    import signal
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    writer = BagWriter(Path(sys.argv[1]))
    messages = lockstep_episode(Recipe(steps=30))
    for sent in messages:
        writer.add_topic(sent.topic, sent.type_name)
    for sent in messages[:100]:
        writer.write(sent.topic, sent.cdr(), sent.log_time)
    writer.flush()
    limit = writer.path.stat().st_size + 5000
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        for sent in messages[100:]:
            writer.write(sent.topic, sent.cdr(), sent.log_time)
            writer.flush()
    except MotoError as error:
        print(error)
"""


def test_a_full_disk_is_said_and_leaves_what_was_flushed(tmp_path: Path) -> None:
    """Recording would go on into nothing."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", textwrap.dedent(FULL), str(tmp_path / "episode")]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert "so the bag cannot be written; free space on the disk, or check it" in done.stdout
    problems = Problems()
    assert len(list(read_messages(tmp_path / "episode", problems))) >= 100
