"""Bad bags get one clear sentence each, the rest of their data is used, and nothing wrong is learned from."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rosbags.rosbag2 import StoragePlugin, Writer
from support.bags import Recipe, Sent, action, image, lockstep_episode, make, phase, reward, robot_state, write_bag

from moto_ros.contract.stamps import NSEC_PER_SEC
from moto_ros.data.assembler import EpisodeAssembler
from moto_ros.data.bag_files import find_bags
from moto_ros.data.bag_reader import BagReading, read_episodes
from moto_ros.data.bag_writer import BagWriter
from moto_ros.data.definitions import contract_types
from moto_ros.data.episode import Episode
from moto_ros.data.frame_spool import FrameSpool
from moto_ros.data.layout import StepLayout, TopicMap
from moto_ros.errors import MotoError

LAYOUT = StepLayout(cameras=("agent", "wrist"), image_size=16, proprio=("ee_position", "joint_position"))
RECIPE = Recipe(steps=12)
MESSAGES = lockstep_episode(RECIPE)


def assembled(messages: list[Sent], layout: StepLayout = LAYOUT) -> Episode:
    assembler = EpisodeAssembler(layout)
    for sent in messages:
        assembler.add(sent.role, sent.message)
    return assembler.assemble()


WHOLE = assembled(MESSAGES)


def equal(first: Episode, second: Episode) -> bool:
    rows, others = first.arrays(), second.arrays()
    same = all(rows[name].dtype == others[name].dtype and np.array_equal(rows[name], others[name]) for name in rows)
    return rows.keys() == others.keys() and same and first.info == second.info


def without(*roles: str) -> list[Sent]:
    return [sent for sent in MESSAGES if sent.role not in roles]


def replaced(role: str, place: int, message: object) -> list[Sent]:
    chosen = [sent for sent in MESSAGES if sent.role == role][place]
    return [replace(sent, message=message) if sent is chosen else sent for sent in MESSAGES]


def read(tmp_path: Path, messages: list[Sent], **layout: object) -> BagReading:
    write_bag(tmp_path / "bag", messages)
    return read_episodes(tmp_path / "bag", replace(LAYOUT, **layout))


def write_sqlite(folder: Path, messages: list[Sent]) -> None:
    """Write a bag as ROS 2 Humble does by default: sqlite3."""
    with Writer(folder, version=8, storage_plugin=StoragePlugin.SQLITE3) as writer:
        connections = {}
        for sent in messages:
            if sent.topic not in connections:
                store = contract_types()
                connections[sent.topic] = writer.add_connection(sent.topic, sent.type_name, typestore=store)
            writer.write(connections[sent.topic], sent.log_time, sent.cdr())


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_bag_gives_the_episode_that_its_messages_give_live(tmp_path: Path, storage: str) -> None:
    """The policy would be trained on other data than it saw."""
    if storage == "mcap":
        write_bag(tmp_path / "bag", MESSAGES)
    else:
        write_sqlite(tmp_path / "bag", MESSAGES)
    reading = read_episodes(tmp_path / "bag", LAYOUT)
    assert reading.problems == []
    assert equal(reading.episodes[0], WHOLE)
    assert reading.report.counts["used"] == len(MESSAGES) - 2


def test_two_episodes_in_one_bag_are_told_apart(tmp_path: Path) -> None:
    """A whole session recorded in one bag would be one long episode with jumps."""
    other = lockstep_episode(replace(RECIPE, episode=4, start=200 * NSEC_PER_SEC))
    reading = read(tmp_path, [*MESSAGES, *other])
    assert [episode.info["id"] for episode in reading.episodes] == [3, 4]
    assert equal(reading.episodes[0], WHOLE)
    assert equal(reading.episodes[1], assembled(other))


@pytest.mark.parametrize("named", [True, False])
def test_the_end_of_the_episode_before_is_not_learned_from_twice(tmp_path: Path, named: bool) -> None:
    """The recorder's pre-roll would add the last steps of each episode once more, as one of their own."""
    before = lockstep_episode(Recipe(episode=2, start=RECIPE.start - 2 * NSEC_PER_SEC))[-14:]
    writer = BagWriter(tmp_path / "bag", {"episode": "3"} if named else None)
    for sent in [*before, *MESSAGES]:
        writer.add_topic(sent.topic, sent.type_name)
        writer.write(sent.topic, sent.cdr(), sent.log_time)
    writer.close()
    (tmp_path / "bag" / "metadata.yaml").unlink()
    reading = read_episodes(tmp_path / "bag", LAYOUT)
    assert len(reading.episodes) == 1
    assert equal(reading.episodes[0], WHOLE)
    assert any("episode 2: only its end is in bag" in text for text in reading.problems) != named
    assert reading.report.counts["foreign"] > 0


def test_the_latched_state_of_the_episode_before_is_no_episode(tmp_path: Path) -> None:
    latched = lockstep_episode(Recipe(episode=2, start=RECIPE.start - 20 * NSEC_PER_SEC))[-1]
    reading = read(tmp_path, [latched, *MESSAGES])
    assert reading.problems == []
    assert equal(reading.episodes[0], WHOLE)


def test_namespace_is_found(tmp_path: Path) -> None:
    """A bag of a robot in a namespace would seem empty."""
    spaced = [replace(sent, topic=f"/left{sent.topic}") for sent in MESSAGES]
    right = [replace(sent, topic=f"/right{sent.topic}") for sent in MESSAGES]
    reading = read(tmp_path, [*spaced, *right])
    assert equal(reading.episodes[0], WHOLE)
    assert any("is in another namespace than /left/" in text for text in reading.problems)
    chosen = read_episodes(tmp_path / "bag", LAYOUT, TopicMap(namespace="right"))
    assert chosen.problems == []
    assert equal(chosen.episodes[0], WHOLE)


def test_compressed_cameras_are_taken_without_being_told(tmp_path: Path) -> None:
    """A bag with JPEG topics would give nothing until a parameter is found."""
    messages = lockstep_episode(replace(RECIPE, jpeg=True))
    reading = read(tmp_path, messages)
    assert reading.problems == []
    assert equal(reading.episodes[0], assembled(messages))


def test_missing_metadata(tmp_path: Path) -> None:
    write_bag(tmp_path / "bag", MESSAGES)
    (tmp_path / "bag" / "metadata.yaml").unlink()
    reading = read_episodes(tmp_path / "bag", LAYOUT)
    assert equal(reading.episodes[0], WHOLE)
    assert len(reading.problems) == 1
    assert reading.problems[0].startswith("bag: metadata.yaml is missing")


def test_metadata_that_is_no_yaml(tmp_path: Path) -> None:
    write_bag(tmp_path / "bag", MESSAGES)
    (tmp_path / "bag" / "metadata.yaml").write_text("{[")
    reading = read_episodes(tmp_path / "bag", LAYOUT)
    assert equal(reading.episodes[0], WHOLE)
    assert "metadata.yaml cannot be read" in reading.problems[0]


def test_zero_messages(tmp_path: Path) -> None:
    writer = BagWriter(tmp_path / "bag")
    writer.add_topic("/robot/state", "moto_msgs/msg/RobotState")
    writer.close()
    reading = read_episodes(tmp_path / "bag", LAYOUT)
    assert reading.episodes == []
    assert reading.problems == ["bag: holds no message that can be read; record it again"]


def test_empty_file_and_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "bag").mkdir()
    (tmp_path / "bag" / "bag_0.mcap").touch()
    reading = read_episodes(tmp_path / "bag", LAYOUT)
    assert any("bag_0.mcap: is empty (0 bytes)" in text for text in reading.problems)
    (tmp_path / "empty").mkdir()
    assert "has no .mcap or .db3 file" in " ".join(read_episodes(tmp_path / "empty", LAYOUT).problems)


def test_unknown_type(tmp_path: Path) -> None:
    """A topic of an unknown type must not stop the others."""
    writer = BagWriter(tmp_path / "bag")
    for sent in MESSAGES:
        strange = sent.role == "camera/wrist"
        writer.add_topic(sent.topic, "acme_msgs/msg/Frame" if strange else sent.type_name, "" if strange else None)
        writer.write(sent.topic, sent.cdr(), sent.log_time)
    writer.close()
    reading = read_episodes(tmp_path / "bag", LAYOUT)
    assert any("/camera/wrist/image_raw: message type 'acme_msgs/msg/Frame' is unknown" in t for t in reading.problems)
    alone = read_episodes(tmp_path / "bag", replace(LAYOUT, cameras=("agent",)))
    assert alone.problems == []
    assert len(alone.episodes[0]) == 12


def test_wrong_type_for_a_camera(tmp_path: Path) -> None:
    state = robot_state(5, np.random.default_rng(0))
    messages = [*without("camera/wrist"), Sent("/camera/wrist/image_raw", "", "moto_msgs/msg/RobotState", state, 5)]
    reading = read(tmp_path, messages)
    assert any("has type moto_msgs/msg/RobotState, expected sensor_msgs/msg/Image" in t for t in reading.problems)


def test_frame_whose_bytes_do_not_fit_its_size(tmp_path: Path) -> None:
    stamp = RECIPE.start + 5 * RECIPE.period
    wrong = image(np.zeros((16, 16, 3), np.uint8), stamp)
    wrong.height = 4000
    reading = read(tmp_path, replaced("camera/agent", 5, wrong))
    assert (
        "camera agent: image says 16x4000 with 48 bytes a row and holds 768 bytes, expected at least 192000; "
        in str(reading.problems)
    )
    assert [len(episode) for episode in reading.episodes] == [4, 6]


def test_other_frame_size_is_refused_when_asked(tmp_path: Path) -> None:
    reading = read(tmp_path, MESSAGES, image_size=32, image_policy="reject")
    sentence = (
        "camera agent: image is 16x16 px, expected 32x32; set image_size or image_policy (/camera/agent/image_raw)"
    )
    assert f"{sentence} (13 such cases)" in reading.problems
    assert reading.episodes == []


def test_nan_action(tmp_path: Path) -> None:
    stamp = RECIPE.start + 5 * RECIPE.period
    stamps = {"agent": stamp, "wrist": stamp}
    bad = action(3, 5, stamps, stamp, np.full(4, np.nan, np.float32))
    reading = read(tmp_path, replaced("action", 5, bad))
    assert any("action of episode 3, step 5: holds NaN" in text for text in reading.problems)
    assert any("1 of 12 steps are incomplete (step 5: action); 2 parts are kept" in text for text in reading.problems)
    assert [len(episode) for episode in reading.episodes] == [5, 6]


def test_no_reward_topic(tmp_path: Path) -> None:
    """Demonstrations without rewards are still worth learning a model from."""
    reading = read(tmp_path, without("reward"))
    assert any("no reward topic '/episode/reward'" in text for text in reading.problems)
    assert any("episode 3: has no rewards; zeros are used" in text for text in reading.problems)
    assert len(reading.episodes[0]) == 11
    assert not reading.episodes[0].reward.any()
    labelled = read_episodes(tmp_path / "bag", LAYOUT, TopicMap(reward_source="success_at_end"))
    assert labelled.episodes[0].reward.tolist() == [0.0] * 12  # it ended by the time limit


def test_missing_topic_is_named_with_its_closest(tmp_path: Path) -> None:
    renamed = [replace(sent, topic=sent.topic.replace("wrist", "wirst")) for sent in MESSAGES]
    reading = read(tmp_path, renamed)
    assert any(
        "no camera topic '/camera/wrist/image_raw'; did you mean /camera/wirst/image_raw" in t for t in reading.problems
    )
    mapped = TopicMap(camera_topics=("/camera/agent/image_raw", "/camera/wirst/image_raw"))
    assert equal(read_episodes(tmp_path / "bag", LAYOUT, mapped).episodes[0], WHOLE)


def test_discarded_episode_is_left_out_and_said(tmp_path: Path) -> None:
    reading = read(tmp_path, lockstep_episode(replace(RECIPE, outcome="discarded")))
    assert reading.episodes == []
    assert any("episode 3: was discarded by its operator" in text for text in reading.problems)


def test_frames_of_a_long_bag_lie_on_disk_and_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two hours of one camera would take some gigabytes of memory while they are read."""
    write_bag(tmp_path / "bag", MESSAGES)
    usual = read_episodes(tmp_path / "bag", LAYOUT)
    monkeypatch.setattr("moto_ros.data.bag_reader.FrameSpool", lambda: FrameSpool(in_memory=2000, block=5000))
    spooled = read_episodes(tmp_path / "bag", LAYOUT)
    assert usual.problems == spooled.problems == []
    assert equal(usual.episodes[0], spooled.episodes[0])


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(1, 6)), max_size=20), st.integers(0, 200), st.integers(1, 300))
def test_frames_on_disk_are_those_given_and_outlive_the_reading(
    sizes: list[tuple[int, int]], in_memory: int, block: int
) -> None:
    """A frame would be overwritten by a later one, or be gone when the episode is made."""
    frames = [np.full((height, width, 3), k, np.uint8) for k, (height, width) in enumerate(sizes)]
    spool = FrameSpool(in_memory, block)
    kept = [spool.keep(frame[:, ::-1]) for frame in frames]
    spool.close()
    assert all(np.array_equal(a, b) for a, b in zip(frames, kept, strict=True))


def test_frames_stay_in_memory_where_the_disk_has_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Writing to a map of a full disk ends the process without a word."""
    frames = [np.full((4, 4, 3), k, np.uint8) for k in range(4)]
    spool = FrameSpool(0, 100)
    kept = [spool.keep(frame) for frame in frames[:2]]
    monkeypatch.setattr("moto_ros.data.frame_spool.MIN_FREE_BYTES", 2**62)
    kept += [spool.keep(frame) for frame in frames[2:]]
    assert [frame.flags.owndata for frame in kept] == [False, False, True, True]
    assert all(np.array_equal(a, b) for a, b in zip(frames, kept, strict=True))


def test_no_such_bag() -> None:
    with pytest.raises(MotoError, match="does not exist"):
        read_episodes(Path("/nowhere/bag"), LAYOUT)


def test_bags_are_found_in_a_tree(tmp_path: Path) -> None:
    for name in ("b/episode_1", "a/episode_0"):
        write_bag(tmp_path / name, MESSAGES[:2])
    assert find_bags(tmp_path) == [tmp_path / "a/episode_0", tmp_path / "b/episode_1"]
    assert find_bags(tmp_path / "a/episode_0") == [tmp_path / "a/episode_0"]
    with pytest.raises(MotoError, match="does not exist"):
        find_bags(tmp_path / "c")


@pytest.fixture(scope="module")
def chunked(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A real bag with several chunks, as bytes."""
    folder = tmp_path_factory.mktemp("chunked") / "bag"
    write_bag(folder, MESSAGES, flush_every=9)
    return (folder / "bag_0.mcap").read_bytes()


def damaged(tmp_path: Path, data: bytes) -> BagReading:
    shutil.rmtree(tmp_path / "bag", ignore_errors=True)
    (tmp_path / "bag").mkdir()
    (tmp_path / "bag" / "bag_0.mcap").write_bytes(data)
    return read_episodes(tmp_path / "bag", LAYOUT)


def belongs(part: Episode) -> bool:
    """Whether each row of a part is a row of the whole episode; its first action is nobody's by convention."""
    first = int(part.info["first_step"])
    rows, whole = part.arrays(), WHOLE.arrays()
    led = ("action", "reward", "success", "source", "guard")
    kept = {name: values[1:] if name in led else values for name, values in rows.items()}
    offset = dict.fromkeys(led, first + 1)
    spans = {name: whole[name][offset.get(name, first) :][: len(values)] for name, values in kept.items()}
    return all(np.array_equal(kept[name], spans[name]) for name in kept)


quick = settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])


@quick
@given(cut=st.floats(0.0, 1.0))
def test_file_cut_at_any_byte(tmp_path: Path, chunked: bytes, cut: float) -> None:
    """A power failure would cost what was already recorded, or invent steps."""
    kept = int(cut * (len(chunked) - 1))
    reading = damaged(tmp_path, chunked[:kept])
    assert any("cut or damaged" in text or "is empty" in text for text in reading.problems)
    assert all(belongs(part) for part in reading.episodes)
    if kept > 0.75 * len(chunked):
        assert sum(len(part) for part in reading.episodes) >= 6


@quick
@given(data=st.data())
def test_flipped_bytes_are_noticed(tmp_path: Path, chunked: bytes, data: st.DataObject) -> None:
    """A damaged disk would teach the robot wrong numbers."""
    raw = bytearray(chunked)
    for place in data.draw(st.lists(st.integers(0, len(raw) - 1), min_size=1, max_size=3)):
        raw[place] ^= data.draw(st.integers(1, 255))
    reading = damaged(tmp_path, bytes(raw))
    assert all(belongs(part) for part in reading.episodes)
    assert sum(len(part) for part in reading.episodes) == 12 or reading.problems


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.floats(0.0, 1.0), flips=st.lists(st.tuples(st.floats(0, 1), st.integers(1, 255)), max_size=3))
def test_damaged_sqlite_file_gives_no_exception(tmp_path: Path, cut: float, flips: list[tuple[float, int]]) -> None:
    """One bad file in a folder of demonstrations would end the training of all."""
    if not (tmp_path / "good").exists():
        write_sqlite(tmp_path / "good", MESSAGES)
    raw = bytearray((tmp_path / "good" / "good.db3").read_bytes())
    for place, change in flips:
        raw[int(place * (len(raw) - 1))] ^= change
    bad = tmp_path / "bad.db3"
    bad.write_bytes(bytes(raw[: int(cut * len(raw))]))
    read_episodes(bad, LAYOUT)


@settings(max_examples=40)
@given(st.data())
def test_random_fields_never_raise(data: st.DataObject) -> None:
    """A hostile or broken message would kill the trainer."""
    numbers = st.integers(0, 2**32 - 1)
    assembler = EpisodeAssembler(LAYOUT, 3)
    frame = image(np.zeros((16, 16, 3), np.uint8), 5)
    frame.height, frame.width, frame.step = data.draw(numbers), data.draw(numbers), data.draw(numbers)
    frame.encoding = data.draw(st.sampled_from(["rgb8", "mono8", "16UC1", ""]))
    assembler.add("camera/agent", frame)
    junk = np.frombuffer(data.draw(st.binary(max_size=80)), np.uint8)
    for form in ("jpeg", "png", ""):
        assembler.add("camera/wrist", make("sensor_msgs/msg/CompressedImage", 5, format=form, data=junk))
    assembler.add("episode", phase(3, 5, data.draw(numbers), "time_limit"))
    assembler.add("reward", reward(3, data.draw(numbers), 5, data.draw(st.floats(width=32))))
    assembler.add("action", action(3, data.draw(numbers), {}, 5, np.zeros(4, np.float32)))
    assembler.missing()
    assembler.parts()
