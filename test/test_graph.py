"""The whole program through `moto up`: record, pre-train, fine-tune, evaluate; killed in the middle, it goes on."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")
pytest.importorskip("moto_msgs", reason="moto_msgs is not built")
pytest.importorskip("metaworld", reason="Meta-World is not installed")

from moto_ros.config import read_parameters
from moto_ros.data.bag_reader import read_episodes
from moto_ros.data.cache import content_key, rows_of
from moto_ros.data.layout import StepLayout
from moto_ros.report import animation

pytestmark = [pytest.mark.ros, pytest.mark.sim, pytest.mark.slow]

STEPS = 25
SHORT = ("--preset", "ci", "-p", f"max_steps:={STEPS}", "-p", "evaluation_episodes:=1", "-p", "threads:=1")
LIMIT = 300
"""Seconds that any of the systems may take; on an idle machine each takes less than thirty."""


class Run:
    """A run folder, and the systems that work on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._systems: list[subprocess.Popen[str]] = []

    def start(self, system: str, *more: str) -> subprocess.Popen[str]:
        """Start a system as a user does; its output goes to the run's log."""
        command = [sys.executable, "-m", "moto_ros.cli.main", "up", system, "--run", str(self.folder), *SHORT, *more]
        output = (self.folder.parent / f"{system}_{len(self._systems)}.out").open("w")
        # A session of its own, so that nothing survives the test.
        found = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, text=True, start_new_session=True)
        self._systems.append(found)
        return found

    def up(self, system: str, *more: str) -> None:
        """Run a system to its end, which must be a good one."""
        found = self.start(system, *more)
        assert found.wait(LIMIT) == 0, self.log(system)

    def log(self, system: str) -> str:
        """Return everything a system has printed, over all its starts."""
        path = self.folder / "logs" / f"{system}.log"
        return path.read_text() if path.exists() else ""

    def until(self, system: str, pattern: str, known: str = "") -> re.Match[str]:
        """Wait until a system prints something new that matches."""
        end = time.monotonic() + LIMIT
        while time.monotonic() < end:
            found = re.search(pattern, self.log(system)[len(known) :])
            if found:
                return found
            time.sleep(0.05)
        raise AssertionError(f"nothing like '{pattern}' in:\n{self.log(system)}")

    def kill_9(self, node: str, bag: str, known: str) -> None:
        """Kill a node of the system `finetune` as soon as the bag of an episode is being written."""
        pid = int(self.until("finetune", rf"{node} started \(pid=(\d+)\)", known)[1])
        end = time.monotonic() + LIMIT
        while not list(self.folder.glob(f"bags/{bag}/*.mcap")):
            assert time.monotonic() < end, self.log("finetune")
            time.sleep(0.01)
        os.kill(pid, signal.SIGKILL)

    def rows(self, kind: str) -> list[dict[str, Any]]:
        """Return the rows of metrics of one kind."""
        rows = [json.loads(line) for line in (self.folder / "metrics.jsonl").read_text().splitlines()]
        return [row for row in rows if row["kind"] == kind]

    def replay(self) -> dict[str, str]:
        """Return content key by bag, of all that the newest checkpoint has learned from."""
        newest = sorted((self.folder / "checkpoints").glob("checkpoint_*"))[-1]
        index = json.loads((newest / "state.json").read_text())["replay"]["episodes"]
        return {Path(row["bag"]).name: row["key"] for row in index}

    def from_bag(self, bag: str, folder: Path | None = None) -> str:
        """Return the content key of an episode as its bag gives it; of another run if `folder` names that."""
        given = read_parameters(self.folder / "config" / "finetune" / "trainer.yaml", "trainer")
        layout = StepLayout(
            cameras=tuple(given["cameras"]), proprio=tuple(given["proprio"]), action_size=given["action_size"]
        )
        return content_key(
            rows_of(read_episodes(next((folder or self.folder).glob(f"bags/*/{bag}")), layout).episodes[0])
        )

    def stop(self) -> None:
        """Kill what is left."""
        for system in self._systems:
            if system.poll() is None:
                os.killpg(system.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    made = Run(tmp_path_factory.mktemp("graph") / "run")
    yield made
    made.stop()


def test_demonstrations_are_recorded_through_the_real_graph(run: Run) -> None:
    run.up("record", "--episodes", "2")
    bags = sorted((run.folder / "bags" / "offline").iterdir())
    assert [bag.name for bag in bags] == ["episode_2000000", "episode_2000001"]
    assert "2 episodes done" in run.log("record")


def test_pre_training_needs_the_bags_alone(run: Run) -> None:
    alone = Run(run.folder.parent / "pretrain")
    try:
        alone.up("pretrain", "--bags", str(run.folder / "bags" / "offline"))
    finally:
        alone.stop()
    assert sorted((alone.folder / "checkpoints").glob("checkpoint_*"))
    assert "holds 2 recorded episodes" in alone.log("pretrain")


def test_a_recorder_killed_in_the_middle_of_an_episode_ends_the_system_and_loses_no_bag(run: Run) -> None:
    system = run.start("finetune", "--episodes", "2")
    run.kill_9("recorder", "online/episode_000000", "")
    assert system.wait(LIMIT) == 128 + signal.SIGKILL
    assert not list(run.folder.glob("bags/online/episode_000000/metadata.yaml"))


def test_the_same_command_goes_on_and_mends_the_bag_and_survives_the_death_of_the_trainer(run: Run) -> None:
    known = run.log("finetune")
    system = run.start("finetune", "--episodes", "2")
    run.kill_9("trainer", "online/episode_000001", known)
    assert system.wait(LIMIT) == 128 + signal.SIGKILL
    said = run.log("finetune")[len(known) :]
    assert "recovered" in said
    assert "resumes" in said
    assert (run.folder / "bags" / "online" / "episode_000000" / "metadata.yaml").exists()


def test_after_both_deaths_the_run_ends_with_nothing_lost(run: Run) -> None:
    run.up("finetune", "--episodes", "2")
    episodes = [row for row in run.rows("episode") if row["purpose"] != "demonstration"]
    assert [row["purpose"] for row in episodes] == ["evaluation", "training", "training", "evaluation"]
    assert [row["steps"] for row in episodes] == [STEPS] * 4
    learned = run.replay()
    assert len(learned) == 4
    assert learned == {bag: run.from_bag(bag) for bag in learned}


def test_running_the_finished_command_again_ends_at_once_and_changes_nothing(run: Run) -> None:
    before = run.replay()
    run.up("finetune", "--episodes", "2")
    assert run.replay() == before


def test_the_checkpoint_is_evaluated_without_a_trainer(run: Run) -> None:
    run.up("evaluate", "--episodes", "2")
    assert run.log("evaluate").count("evaluation episode") == 2
    assert len(list((run.folder / "bags" / "evaluation").iterdir())) >= 2


def test_an_animation_of_the_run_shows_the_bags_that_were_recorded(run: Run, tmp_path: Path) -> None:
    """The picture of a README could be made of test data only, not of what the recorder writes."""
    played = [clip.title.split(":")[0] for clip in animation.clips(animation.History(run.folder))]
    assert played == ["evaluation before", "online episode 1 of 2", "online episode 2 of 2", "evaluation after"]
    made = animation.write_animation(run.folder, tmp_path / "run.webp")
    assert 10_000 < made.stat().st_size < animation.MAX_BYTES


def test_an_operator_who_does_nothing_changes_nothing_to_the_bit(run: Run) -> None:
    """Else a person's mere presence would make another experiment of it."""
    watched = Run(run.folder.parent / "watched")
    try:
        more = ("--operator", "on", "--clock", "lockstep", "--checkpoint", str(run.folder))
        watched.up("evaluate", "--episodes", "1", *more)
    finally:
        watched.stop()
    assert run.from_bag("episode_3000000", watched.folder) == run.from_bag("episode_3000000")
