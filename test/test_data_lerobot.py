"""LeRobot datasets: what is exported comes back, lerobot's own reader agrees, and an agent learns from an import."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")
pytest.importorskip("moto_msgs", reason="moto_msgs is not built")
pytest.importorskip("pyarrow", reason="the extra lerobot is not installed")
pytest.importorskip("av", reason="the extra lerobot is not installed")

import cv2
import pyarrow as pa
import pyarrow.parquet as pq

from moto_ros.cli.main import main
from moto_ros.config import build, part
from moto_ros.data.bag_files import find_bags
from moto_ros.data.bag_library import BagLibrary
from moto_ros.data.bag_reader import read_episodes
from moto_ros.data.episode import Episode
from moto_ros.data.episode_bag import EpisodeRows, write_bag
from moto_ros.data.layout import StepLayout
from moto_ros.data.lerobot_dataset import LeRobotFolder
from moto_ros.data.lerobot_stats import Totals, of_column
from moto_ros.data.records import HUMAN, SOURCES, UNKNOWN_SOURCE
from moto_ros.data.replay import ReplayStore
from moto_ros.nodes.learning_settings import agent_part, data_part, spaces_of, trainer_settings
from moto_ros.systems.bringup import resolve
from moto_ros.training.offline_runner import pretrain
from moto_ros.training.run_folder import RunFolder
from moto_ros.training.session import TrainingRun
from moto_ros.training.settings import TrainerSettings

pytestmark = pytest.mark.ros

ORACLE = os.environ.get("MOTO_LEROBOT_PYTHON", "")
"""Interpreter of an environment with lerobot[dataset], which is large; without it, its reader is not asked."""

needs_lerobot = pytest.mark.skipif(not ORACLE, reason="MOTO_LEROBOT_PYTHON names no interpreter that has lerobot")

SIDE, LENGTHS, JOINTS = 64, (12, 9), ("shoulder", "elbow")
FIELDS = ("ee_position", "joint_position", "wrench", "gripper_width", "object_position")
LAYOUT = StepLayout(("agent", "wrist"), SIDE, proprio=FIELDS, joint_count=2, action_size=4, control_rate=10.0)
TASK = f"""
/**:
  ros__parameters:
    cameras: [agent, wrist]
    image_size: {SIDE}
    proprio: [{", ".join(FIELDS)}]
    joint_count: 2
    action_size: 4
    control_rate: 10.0
"""


def smooth(step: int, blue: int) -> np.ndarray:
    """Return an image that a video codec can keep, other at each step."""
    across, down = np.meshgrid(np.arange(SIDE), np.arange(SIDE))
    return np.stack([across * 2 + step * 5, down * 3, np.full_like(down, blue)], -1).astype(np.uint8)


def recorded(number: int, steps: int) -> EpisodeRows:
    """Return an episode in which a person takes over half-way and succeeds at the end, with uneven stamps."""
    rng = np.random.default_rng(number)
    rows = steps + 1
    sizes = {"ee_position": 3, "joint_position": 2, "wrench": 6, "gripper_width": 1, "object_position": 3}
    source = np.where(np.arange(rows) > steps // 2, HUMAN, SOURCES.index("policy")).astype(np.uint8)
    late = np.arange(rows) == steps
    return EpisodeRows(
        number=number,
        stamps=5_000_000_000 + np.arange(rows) * 100_000_000 + rng.integers(0, 999_999, rows),
        states={name: rng.normal(size=(rows, size)).astype(np.float32) for name, size in sizes.items()},
        frames={"agent": (smooth(k, 90) for k in range(rows)), "wrist": (smooth(k, 200) for k in range(rows))},
        action=rng.uniform(-1, 1, (rows, 4)).astype(np.float32),
        reward=rng.uniform(0, 1, rows).astype(np.float32),
        success=late,
        is_terminal=late,
        source=source,
        guard=(np.arange(rows) == 3).astype(np.uint8),
        joints=JOINTS,
        purpose="training",
        outcome="success",
        reason="the operator said so",
        policy_version=7,
        arm="base",
    )


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with bags, a task, the dataset exported from them, and bags imported from that."""
    folder = tmp_path_factory.mktemp("lerobot")
    for index, steps in enumerate(LENGTHS):
        write_bag(folder / "bags" / f"episode_{index + 5}", recorded(index + 5, steps))
    (folder / "two_cameras.yaml").write_text(TASK)
    task, bags = str(folder / "two_cameras.yaml"), str(folder / "bags")
    assert main(["export", "lerobot", "--bags", bags, "--task", task, "--output", str(folder / "dataset")]) == 0
    back = ["import", "lerobot", str(folder / "dataset"), "--task", task, "--output", str(folder / "back")]
    assert main(back) == 0
    return folder


def episodes(folder: Path, layout: StepLayout = LAYOUT) -> list[Episode]:
    readings = [read_episodes(bag, layout) for bag in find_bags(folder)]
    assert not [problem for reading in readings for problem in reading.problems]
    return [episode for reading in readings for episode in reading.episodes]


def psnr(first: np.ndarray, second: np.ndarray) -> float:
    error = np.square(first.astype(np.float64) - second).mean()
    return float(10 * np.log10(255.0**2 / max(error, 1e-9)))


def test_a_round_trip_keeps_every_number_to_the_bit(work: Path) -> None:
    """An agent would learn other actions, rewards or successes than were recorded."""
    for before, after in zip(episodes(work / "bags"), episodes(work / "back"), strict=True):
        rows, others = before.arrays(), after.arrays()
        for name in ("proprio", "action", "reward", "success", "is_terminal", "stamps", "source", "guard"):
            assert rows[name].dtype == others[name].dtype
            np.testing.assert_array_equal(rows[name], others[name], err_msg=name)
        assert before.human_share == after.human_share > 0.4
        assert before.info == after.info


def test_a_round_trip_keeps_images_within_the_error_of_the_codec(work: Path) -> None:
    """A frame too early or too late would show another step: neighbours differ by 5 in red, 34 dB from each other."""
    for before, after in zip(episodes(work / "bags"), episodes(work / "back"), strict=True):
        for camera in LAYOUT.cameras:
            for own, other in zip(before.images[camera], after.images[camera], strict=True):
                assert psnr(own, other) > 38.0


@pytest.mark.parametrize(("codec", "least"), [("av1", 35.0), ("h264_444", 42.0)])
def test_the_printed_error_of_a_codec_is_that_of_its_images(
    work: Path, tmp_path: Path, codec: str, least: float, capsys: pytest.CaptureFixture[str]
) -> None:
    """A person chooses the codec by that number."""
    words = ["--bags", str(work / "bags"), "--task", str(work / "two_cameras.yaml"), "--codec", codec]
    assert main(["export", "lerobot", *words, "--output", str(tmp_path / "dataset")]) == 0
    said = float(capsys.readouterr().out.split("PSNR ")[1].split()[0])
    dataset = LeRobotFolder(tmp_path / "dataset")
    seen = [np.stack(list(dataset.frames(row, "observation.images.agent"))) for row in dataset.episodes]
    before = [episode.images["agent"] for episode in episodes(work / "bags")]
    assert said > least
    assert said == pytest.approx(psnr(np.concatenate(before), np.concatenate(seen)), abs=0.1)


def test_statistics_of_all_episodes_are_those_of_all_frames() -> None:
    """Programs normalise by them."""
    values = np.random.default_rng(0).normal(size=(50, 3)) * [1, 10, 100] + [0, 5, -50]
    totals = Totals()
    for rows in np.split(values, [7, 20]):
        totals.add({"action": of_column(rows)})
    found = totals.as_json()["action"]
    for name in ("min", "max", "mean", "std"):
        np.testing.assert_allclose(found[name], getattr(values, name)(axis=0), rtol=1e-12)
    assert found["count"] == [50]


# Datasets of other programs.


def rewritten(work: Path, target: Path, dtype: str = "video", **columns: Any) -> Path:
    """Write the dataset as another program has it: without this program's features, one camera, other names.

    `columns` replaces features by functions of their values.
    """
    source = LeRobotFolder(work / "dataset")
    info = json.loads((work / "dataset/meta/info.json").read_text())
    kept = {key: entry for key, entry in info["features"].items() if not key.startswith(("moto.", "compl", "observ"))}
    top = info["features"]["observation.images.agent"] | {"dtype": dtype}
    state = info["features"]["observation.state"] | {"names": None}
    info["features"] = kept | {"observation.state": state, "observation.images.top": top}
    for name, change in columns.items():
        if change is None:
            del info["features"][f"next.{name}"]
    rows = source.episodes
    for path in (work / "dataset").glob("data/*/*.parquet"):
        table = pq.read_table(path)
        drop = [name for name in table.column_names if name not in info["features"]]
        table = table.drop_columns(drop)
        if (change := columns.get("action")) is not None:
            values = [change(np.array(row, np.float32)).tolist() for row in table["action"].to_pylist()]
            place = table.column_names.index("action")
            table = table.set_column(place, "action", pa.array(values, pa.list_(pa.float32())))
        if dtype == "image":
            seen = [pixels for row in rows for pixels in source.frames(row, "observation.images.agent")]
            stored = [{"bytes": cv2.imencode(".png", pixels[:, :, ::-1])[1].tobytes(), "path": ""} for pixels in seen]
            table = table.append_column("observation.images.top", pa.array(stored))
        (target / path.relative_to(work / "dataset")).parent.mkdir(parents=True)
        pq.write_table(table, target / path.relative_to(work / "dataset"))
    for path in (work / "dataset").glob("meta/episodes/*/*.parquet"):
        table = pq.read_table(path)
        table = table.drop_columns([name for name in table.column_names if name.startswith(("moto/", "stats/"))])
        names = [name.replace("images.agent", "images.top") for name in table.column_names]
        (target / path.relative_to(work / "dataset")).parent.mkdir(parents=True)
        pq.write_table(table.rename_columns(names), target / path.relative_to(work / "dataset"))
    (target / "meta/info.json").write_text(json.dumps(info))
    (target / "meta/stats.json").write_text((work / "dataset/meta/stats.json").read_text())
    (target / "videos").mkdir()
    (target / "videos/observation.images.top").symlink_to(work / "dataset/videos/observation.images.agent")
    return target


def imported(dataset: Path, output: Path, *words: str) -> int:
    return main(["import", "lerobot", str(dataset), "--output", str(output), *words])


FOREIGN = StepLayout(("top",), SIDE, proprio=("joint_position",), joint_count=15, action_size=4)


@pytest.mark.parametrize("dtype", ["video", "image"])
def test_every_action_of_another_programs_dataset_is_kept(work: Path, tmp_path: Path, dtype: str) -> None:
    """Its last action has no observation after it; without the repeated one the final success would be lost."""
    dataset = rewritten(work, tmp_path / "theirs", dtype, reward=None, success=None)
    assert imported(dataset, tmp_path / "back") == 0
    source = LeRobotFolder(dataset)
    for row, episode in zip(source.episodes, episodes(tmp_path / "back", FOREIGN), strict=True):
        columns = source.columns(row)
        np.testing.assert_array_equal(episode.action[1:], columns["action"])
        np.testing.assert_array_equal(episode.proprio[:-1], columns["observation.state"])
        np.testing.assert_array_equal(episode.proprio[-1], episode.proprio[-2])
        seen = np.stack(list(source.frames(row, "observation.images.top")))
        np.testing.assert_array_equal(episode.images["top"][:-1], seen)
        assert episode.success.tolist() == [False] * row["length"] + [True]
        assert episode.is_terminal.tolist() == episode.success.tolist()
        assert set(episode.source.tolist()) == {UNKNOWN_SOURCE}


def test_actions_outside_the_range_are_refused_and_scaled_where_the_range_is_given(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A clipped joint angle would be another command than the one recorded."""
    dataset = rewritten(work, tmp_path / "theirs", action=lambda values: values * 3 + 1)
    assert imported(dataset, tmp_path / "back") == 1
    assert "expected [-1, 1]" in capsys.readouterr().err
    assert not (tmp_path / "back").exists()
    assert imported(dataset, tmp_path / "back", "--action-low=-2", "--action-high=4") == 0
    for own, other in zip(episodes(work / "bags"), episodes(tmp_path / "back", FOREIGN), strict=True):
        np.testing.assert_allclose(other.action[1:-1], own.action[1:], atol=1e-6)


def test_parts_of_the_state_are_mapped_to_the_fields_of_a_task(work: Path, tmp_path: Path) -> None:
    dataset = rewritten(work, tmp_path / "theirs")
    words = ["--task", str(work / "two_cameras.yaml"), "-p", "cameras:=[agent]", "-p", "proprio:=[wrench, ee_position]"]
    maps = ["observation.images.top=agent", "observation.state[5:11]=wrench", "observation.state[0:3]=ee_position"]
    assert imported(dataset, tmp_path / "back", *words, *(word for one in maps for word in ("--map", one))) == 0
    layout = StepLayout(("agent",), SIDE, proprio=("wrench", "ee_position"), action_size=4)
    for own, other in zip(episodes(work / "bags"), episodes(tmp_path / "back", layout), strict=True):
        np.testing.assert_array_equal(other.proprio[:-1, :6], own.proprio[:, 5:11])
        np.testing.assert_array_equal(other.proprio[:-1, 6:], own.proprio[:, :3])


# What is wrong is said in one sentence, and nothing is left behind.


def _changed(work: Path, target: Path, **entries: Any) -> Path:
    (target / "meta").mkdir(parents=True)
    for name in ("data", "videos"):
        (target / name).symlink_to(work / "dataset" / name)
    (target / "meta/episodes").symlink_to(work / "dataset/meta/episodes")
    info = json.loads((work / "dataset/meta/info.json").read_text())
    (target / "meta/info.json").write_text(json.dumps(info | entries))
    return target


@pytest.mark.parametrize(
    ("entries", "words", "sentence"),
    [
        ({"codebase_version": "v2.1"}, (), "codebase_version is v2.1, expected v3.0; convert it: python -m lerobot"),
        ({"codebase_version": "v4.0"}, (), "codebase_version is v4.0, expected v3.0; get it in that version"),
        ({}, ("-p", "cameras:=[front]"), "has no image of camera front, expected one of its images (observation."),
        ({}, ("-p", "action_size:=6"), "its action has 4 entries, expected the task's action_size 6"),
        ({}, ("-p", "proprio:=[goal_position]"), "nothing in it is known to be goal_position"),
        ({}, ("--map", "observation.state[0:99]=wrench"), "is no part of observation.state, which has 15 entries"),
        ({}, ("--map", "observation.state=wrist_camera"), "'wrist_camera' is no proprio field"),
        ({}, ("--map", "nothing"), "expected FEATURE=NAME"),
        ({"features": {}}, (), "has no features"),
        ({"video_path": "videos/none.mp4"}, (), "is not a video that can be decoded"),
        (
            {"data_path": "../{chunk_index}.parquet"},
            (),
            "names the file '../0.parquet', expected one inside the dataset",
        ),
        ({"video_path": "/etc/{video_key}"}, (), "expected one inside the dataset"),
        ({"data_path": "{nowhere}.parquet"}, (), "path '{nowhere}.parquet' cannot be filled in"),
    ],
)
def test_a_dataset_that_cannot_be_imported_gives_one_sentence(
    work: Path,
    tmp_path: Path,
    entries: Mapping[str, Any],
    words: tuple[str, ...],
    sentence: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    dataset = _changed(work, tmp_path / "wrong", **entries)
    assert imported(dataset, tmp_path / "back", "--task", str(work / "two_cameras.yaml"), *words) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("error: ")
    assert sentence in said
    assert [path.name for path in tmp_path.iterdir()] == ["wrong"]


def test_a_dataset_of_another_rate_than_the_task_is_refused(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A policy that learned at 30 Hz would act at 10 Hz."""
    dataset = rewritten(work, tmp_path / "theirs")
    info = json.loads((dataset / "meta/info.json").read_text())
    (dataset / "meta/info.json").write_text(json.dumps(info | {"fps": 30}))
    assert imported(dataset, tmp_path / "back", "--task", str(work / "two_cameras.yaml")) == 1
    sentence = "has 30 frames a second, expected the task's control_rate of 10 Hz; set -p control_rate:=30"
    assert sentence in capsys.readouterr().err


def test_bags_of_two_rates_are_refused(work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A dataset has one rate: half of the videos would play at twice their speed."""
    fast = recorded(9, 8)
    fast.stamps = 5_000_000_000 + np.arange(9) * 50_000_000
    write_bag(tmp_path / "bags" / "b", fast)
    (tmp_path / "bags" / "a").symlink_to(work / "bags" / "episode_5")
    words = ["--bags", str(tmp_path / "bags"), "--task", str(work / "two_cameras.yaml")]
    assert main(["export", "lerobot", *words, "--output", str(tmp_path / "dataset")]) == 1
    assert "expected 10 Hz, one whole number for all episodes; give --fps" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["bags"]


def test_a_folder_that_is_no_dataset_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert imported(tmp_path, tmp_path / "back") == 1
    assert "has no meta/info.json, expected the folder of a LeRobot dataset, version 3" in capsys.readouterr().err


def test_nothing_that_exists_is_overwritten(work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    words = ["--bags", str(work / "bags"), "--task", str(work / "two_cameras.yaml"), "--output", str(tmp_path / "mine")]
    assert main(["export", "lerobot", *words]) == 1
    assert "exists, expected the name of a new folder" in capsys.readouterr().err
    assert imported(work / "dataset", tmp_path / "mine") == 1
    assert [path.name for path in tmp_path.rglob("*")] == ["mine", "thesis.txt"]


@pytest.mark.parametrize(
    ("parameter", "sentence"),
    [
        ("image_size:=33", "images have 33x33 px, expected even sides"),
    ],
)
def test_bags_that_cannot_be_exported_give_one_sentence(
    work: Path, tmp_path: Path, parameter: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--bags", str(work / "bags"), "--task", str(work / "two_cameras.yaml"), "-p", parameter]
    assert main(["export", "lerobot", *words, "--output", str(tmp_path / "dataset")]) == 1
    assert sentence in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_without_its_libraries_the_command_says_what_to_install(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    assert imported(work / "dataset", tmp_path / "back") == 1
    assert "pip install 'moto_ros[lerobot]'" in capsys.readouterr().err


# Learning.


def test_an_agent_learns_from_an_imported_dataset(work: Path, tmp_path: Path) -> None:
    given = {"task": str(work / "two_cameras.yaml"), "preset": "ci", "bags": str(work / "back"), "run": str(tmp_path)}
    (trainer,) = resolve("pretrain", given).processes
    settings = build(trainer_settings({"agent_name": "moto"}), trainer.parameters, "trainer")
    run, layout = RunFolder(tmp_path / "run"), part(settings, StepLayout)
    library = BagLibrary(work / "back", layout)

    def store(state: Mapping[str, Any] | None) -> ReplayStore:
        assert state is None
        return ReplayStore(run.cache, 2**28)

    session = TrainingRun.open(
        run,
        "moto",
        agent_part(settings),
        part(settings, TrainerSettings),
        spaces_of(layout),
        store,
        data_part(settings),
    )
    for bag, episode in library.demonstrations(work / "back", settings.topics, session.store):
        session.add_demonstration(episode, bag)
    before = {name: values.clone() for name, values in session.agent.weights().items()}
    assert pretrain(session)
    after = session.agent.weights()
    assert any(not np.array_equal(before[name].numpy(), after[name].numpy()) for name in before)
    assert all(np.isfinite(values.float().numpy()).all() for values in after.values())
    session.close()


# lerobot itself.


def asked(tmp_path: Path, command: str, dataset: Path, *more: str) -> dict[str, np.ndarray]:
    """Run lerobot's own reader or writer, and return every feature of every frame."""
    script, result = Path(__file__).parent / "support" / "lerobot_oracle.py", tmp_path / "result.npz"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment |= {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "cache"), "CUDA_VISIBLE_DEVICES": ""}
    words = [ORACLE, str(script), command, str(dataset), str(result), *more]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    with np.load(result) as rows:
        return {key.replace("|", "/"): rows[key] for key in rows.files}


@needs_lerobot
@pytest.mark.slow
def test_lerobot_reads_an_exported_dataset(work: Path, tmp_path: Path) -> None:
    found, own = asked(tmp_path, "read", work / "dataset"), episodes(work / "bags")
    assert len(found["index"]) == sum(LENGTHS) + len(LENGTHS)
    np.testing.assert_array_equal(found["observation.state"], np.concatenate([one.proprio for one in own]))
    actions = [np.concatenate([one.action[1:], one.action[-1:]]) for one in own]
    np.testing.assert_array_equal(found["action"], np.concatenate(actions))
    np.testing.assert_array_equal(found["window"], actions[1][:2])
    np.testing.assert_allclose(found["stats/action/mean"], np.concatenate(actions).mean(0), rtol=1e-5)
    rewards = [np.append(one.reward[1:], np.float32(0)) for one in own]
    np.testing.assert_array_equal(found["next.reward"], np.concatenate(rewards))
    np.testing.assert_array_equal(found["next.success"].sum(), len(own))
    np.testing.assert_array_equal(found["moto.stamp"], np.concatenate([one.stamps for one in own]))
    assert set(found["task"].tolist()) == {"two cameras"}
    for camera in LAYOUT.cameras:
        seen = np.concatenate([one.images[camera] for one in own])
        for expected, frame in zip(seen, found[f"observation.images.{camera}"], strict=True):
            assert psnr(expected, frame) > 38.0


@needs_lerobot
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["video", "image"])
def test_a_dataset_that_lerobot_wrote_is_imported(tmp_path: Path, kind: str) -> None:
    written = asked(tmp_path, "write", tmp_path / "theirs", kind)
    read = asked(tmp_path, "read", tmp_path / "theirs")
    assert imported(tmp_path / "theirs", tmp_path / "back") == 0
    layout = StepLayout(("top",), 64, proprio=("joint_position",), joint_count=3, action_size=3)
    own = episodes(tmp_path / "back", layout)
    assert [len(one) for one in own] == [9, 7]
    np.testing.assert_array_equal(np.concatenate([one.action[1:] for one in own]), written["action"])
    np.testing.assert_array_equal(np.concatenate([one.proprio[:-1] for one in own]), written["observation.state"])
    np.testing.assert_array_equal(np.concatenate([one.reward[1:] for one in own]), written["next.reward"][:, 0])
    np.testing.assert_array_equal(np.concatenate([one.success[1:] for one in own]), written["next.success"][:, 0])
    seen = np.concatenate([one.images["top"][:-1] for one in own])
    if kind == "image":
        np.testing.assert_array_equal(seen, written["observation.images.top"])
    # Both decode the same stream; their conversions to RGB may round differently.
    difference = seen.astype(int) - read["observation.images.top"]
    assert np.abs(difference).max() <= 2
