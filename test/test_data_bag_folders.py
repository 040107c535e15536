"""Which files are a bag: one rule for every command, whatever way people keep their recordings."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from support.bags import Recipe, lockstep_episode, write_bag

from moto_ros.cli.main import main
from moto_ros.data.bag_files import check_bags, find_bags, read_messages, storage_files
from moto_ros.data.bag_library import BagLibrary
from moto_ros.data.bag_reader import read_episodes
from moto_ros.data.layout import Problems, StepLayout, TopicMap
from moto_ros.data.reading_progress import ReadingProgress
from moto_ros.data.replay import ReplayStore
from moto_ros.errors import MotoError
from moto_ros.systems.bringup import resolve

LAYOUT = StepLayout(cameras=("agent",), image_size=16, proprio=("ee_position",))


def write(folder: Path, episode: int, steps: int = 4) -> Path:
    """Write a bag folder with one episode and return its storage file."""
    write_bag(folder, lockstep_episode(Recipe(episode, steps, ("agent",), (16, 16), outcome="success")))
    return next(folder.glob("*.mcap"))


def loose(folder: Path, work: Path, count: int = 3) -> Path:
    """Copy `count` recordings into a folder as files without metadata.yaml."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        shutil.copy(write(work / f"part_{number}", number), folder / f"demo_{number}.mcap")
    return folder


def test_loose_files_are_a_demonstration_each(tmp_path: Path) -> None:
    """Read as one recording, all but the last would lose their success."""
    folder = loose(tmp_path / "loose", tmp_path)
    assert find_bags(folder) == [folder / f"demo_{number}.mcap" for number in range(3)]
    library = BagLibrary(tmp_path, LAYOUT)
    found = list(library.demonstrations(folder, TopicMap(), ReplayStore(tmp_path / "cache")))
    assert [(bag.name, episode.succeeded) for bag, episode in found] == [(f"demo_{n}.mcap", True) for n in range(3)]


def test_a_stray_file_hides_no_bag_folder(tmp_path: Path) -> None:
    """One stray file would hide every demonstration."""
    for number in range(2):
        write(tmp_path / "bags" / f"demo_{number}", number)
    shutil.copy(write(tmp_path / "other", 5), tmp_path / "bags" / "test.mcap")
    assert [bag.name for bag in find_bags(tmp_path / "bags")] == ["demo_0", "demo_1", "test.mcap"]


def test_a_file_that_metadata_does_not_list_is_a_bag_of_its_own(tmp_path: Path) -> None:
    bag = tmp_path / "bag"
    write(bag, 1)
    shutil.copy(write(tmp_path / "other", 2), bag / "another.mcap")
    assert find_bags(bag) == [bag, bag / "another.mcap"]
    assert [episode.info["id"] for episode in read_episodes(bag, LAYOUT).episodes] == [1]
    assert [episode.info["id"] for episode in read_episodes(bag / "another.mcap", LAYOUT).episodes] == [2]


def test_one_file_is_taken_as_a_path_and_a_folder_of_one_bag_too(tmp_path: Path) -> None:
    path = write(tmp_path / "bag", 1)
    assert find_bags(path) == [path]
    assert find_bags(path.parent) == [path.parent]
    assert find_bags(path.parent.parent) == [path.parent]


def test_a_split_recording_without_metadata_is_one_bag_in_the_order_of_its_numbers(tmp_path: Path) -> None:
    """A killed recorder leaves no metadata.yaml; `_10` must not come before `_2`."""
    bag = tmp_path / "run"
    path = write(bag, 1)
    (bag / "metadata.yaml").unlink()
    for number in (10, 2, 1):
        shutil.copy(path, bag / f"run_{number}.mcap")
    assert find_bags(tmp_path) == [bag]
    assert [file.name for file in storage_files(bag)] == [f"run_{number}.mcap" for number in (0, 1, 2, 10)]
    problems = Problems()
    assert list(read_messages(bag, problems))
    assert "read as one recording (run_0.mcap to run_10.mcap)" in " ".join(problems.sentences())


def test_the_files_of_a_split_bag_are_read_in_the_order_of_metadata(tmp_path: Path) -> None:
    bag = tmp_path / "bag"
    path = write(bag, 1)
    shutil.copy(path, bag / "first.mcap")
    text = (bag / "metadata.yaml").read_text()
    (bag / "metadata.yaml").write_text(text.replace("- bag_0.mcap", "- first.mcap\n  - old_folder/bag_0.mcap"))
    assert [file.name for file in storage_files(bag)] == ["first.mcap", "bag_0.mcap"]


def test_a_file_renamed_by_hand_is_still_its_folders(tmp_path: Path) -> None:
    path = write(tmp_path / "bag", 1)
    path.rename(path.with_name("pick_the_cup.mcap"))
    assert find_bags(tmp_path) == [tmp_path / "bag"]
    assert len(read_episodes(tmp_path / "bag", LAYOUT).episodes) == 1


def test_bag_folders_behind_links_are_found_and_loops_end(tmp_path: Path) -> None:
    write(tmp_path / "disk" / "day" / "demo", 1)
    (tmp_path / "bags").mkdir()
    os.symlink(tmp_path / "disk" / "day", tmp_path / "bags" / "day")
    os.symlink(tmp_path / "bags", tmp_path / "bags" / "loop")
    assert find_bags(tmp_path / "bags") == [tmp_path / "bags" / "day" / "demo"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("gone", "does not exist"),
        ("empty", "holds no bag"),
        ("notes.txt", "is not a bag"),
        ("ros1", "has only day.bag, which is not read"),
    ],
)
def test_a_path_without_bags_is_refused_before_anything_starts(tmp_path: Path, name: str, said: str) -> None:
    """The error must come before half a minute of starting nodes."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "ros1").mkdir()
    (tmp_path / "ros1" / "day.bag").write_bytes(b"#ROSBAG V2.0")
    (tmp_path / "notes.txt").write_text("pick the cup")
    for refuse in (check_bags, find_bags):
        with pytest.raises(MotoError, match=said):
            refuse(tmp_path / name)
    for system in ("pretrain", "finetune"):
        with pytest.raises(MotoError, match=said):
            resolve(system, {"run": str(tmp_path / "run"), "bags": str(tmp_path / name)})


def test_bag_info_shows_the_rest_beside_a_path_that_is_not_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "bag", 1)
    assert main(["bag", "info", str(tmp_path / "gone"), str(tmp_path / "bag"), "--json"]) == 1
    shown = capsys.readouterr()
    assert [facts["bag"] for facts in json.loads(shown.out)] == [str(tmp_path / "bag")]
    assert f"error: {tmp_path / 'gone'}: does not exist" in shown.err


def test_long_readings_say_how_far_they_are(tmp_path: Path) -> None:
    """Thousands of bags, or one of many gigabytes, would look like a program that hangs."""
    said: list[str] = []
    progress = ReadingProgress(said.append, 7, interval=0.0)
    progress.begin(tmp_path / "demo_0")
    progress.message(3 * 2**20)
    assert said[-1] == "reads bag 1 of 7, demo_0: 3 MiB of messages"
    silent: list[str] = []
    ReadingProgress(silent.append, 7, interval=3600.0).begin(tmp_path)
    assert silent == []
