"""The whole program on an arm: demonstrations by a person, then learning, through the real driver on franky-sim."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")
pytest.importorskip("moto_msgs", reason="moto_msgs is not built")
pytest.importorskip("franky", reason="the arm's driver is not installed")
pytest.importorskip("franky_sim", reason="franky-sim is not installed")
pytest.importorskip("pyrealsense2", reason="the cameras' driver is not installed")

from support.domain import reserved_domain
from support.franka_run import Demonstrator, small_run
from support.graph import ros_graph

from moto_ros.config import read_parameters
from moto_ros.data.bag_reader import read_episodes
from moto_ros.data.episode import Episode
from moto_ros.data.layout import StepLayout
from moto_ros.systems.transport import environment

pytestmark = [pytest.mark.ros, pytest.mark.slow, pytest.mark.realtime]

STEPS = 40
GOAL = (0.36, 0.04, 0.44)
"""m: nearer to home than the shipped task's, so that a slow simulation reaches it in these steps."""

NEAR = ("-p", f"goal:=[{', '.join(map(str, GOAL))}]", "-p", "radius:=0.04")

LIMIT = 280
"""Seconds that a system may take; on an idle machine each takes less than ninety."""


class Run:
    """A run folder, and the systems that work on it, in one ROS domain with a person."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._settings = folder, small_run(STEPS)
        self._system: subprocess.Popen[str] | None = None

    def up(self, system: str, *more: str) -> None:
        """Run a system to its good end, while a person guides the arm."""
        words = ["up", system, "--backend", "franka_sim", "--preset", "ci", "--run", str(self.folder)]
        command = [sys.executable, "-m", "moto_ros.cli.main", *words, *self._settings, *NEAR, *more]
        output = (self.folder.parent / f"{system}.out").open("w")
        # A session of its own, so that nothing survives the test.
        self._system = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
        with ros_graph(["--ros-args", "-r", "__ns:=/moto"]) as graph:
            Demonstrator(graph, GOAL)
            end = time.monotonic() + LIMIT
            while self._system.poll() is None and time.monotonic() < end:
                graph.spin(0.5)
        said = Path(output.name).read_text()
        assert self._system.poll() == 0, said

    def stop(self) -> None:
        """Kill what is left."""
        if self._system is not None and self._system.poll() is None:
            os.killpg(self._system.pid, signal.SIGKILL)

    def rows(self, kind: str) -> list[dict[str, Any]]:
        """Return the rows of metrics of one kind."""
        rows = [json.loads(line) for line in (self.folder / "metrics.jsonl").read_text().splitlines()]
        return [row for row in rows if row["kind"] == kind]

    def episodes(self, purpose: str) -> list[Episode]:
        """Return the episodes in the bags of one purpose, as the trainer reads them."""
        given = read_parameters(self.folder / "config" / "record" / "recorder.yaml", "recorder")
        sizes = {"action_size": 4, "control_rate": 10.0, "pairing_tolerance": 0.04}
        layout = StepLayout(cameras=tuple(given["cameras"]), proprio=("ee_position", "gripper_width"), **sizes)
        bags = sorted((self.folder / "bags" / purpose).iterdir())
        return [episode for bag in bags for episode in read_episodes(bag, layout).episodes]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Give all tests one run in a domain of its own."""
    made = Run(tmp_path_factory.mktemp("hardware") / "run")
    with reserved_domain() as domain, pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROS_DOMAIN_ID", str(domain))
        patch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
        for name, value in environment().items():
            patch.setenv(name, value)
        yield made
        made.stop()


@pytest.fixture(autouse=True)
def ros_domain(run: Run) -> None:
    """Keep the run's domain instead of one for each test."""


def test_a_person_records_three_demonstrations_on_the_arm(run: Run) -> None:
    run.up("record", "--episodes", "3")
    bags = sorted((run.folder / "bags" / "offline").iterdir())
    assert [bag.name for bag in bags] == ["episode_2000000", "episode_2000001", "episode_2000002"]
    assert all((bag / "metadata.yaml").exists() for bag in bags)


def test_what_was_recorded_is_what_the_person_did(run: Run) -> None:
    """Breaks learning: actions of nobody, steps without rewards, or a hand that moved another way."""
    episodes = run.episodes("offline")
    assert len(episodes) == 3
    for episode in episodes:
        assert 3 <= len(episode) <= STEPS
        assert episode.human_share == 1.0
        assert np.isfinite(episode.action).all()
        assert np.abs(episode.action).max() <= 1.0
        first, last = episode.proprio[0, :3], episode.proprio[-1, :3]
        assert np.linalg.norm(last - GOAL) < np.linalg.norm(first - GOAL) - 0.02
        assert (np.diff(episode.stamps) > 0).all()
        assert episode.images["front"].shape == (len(episode) + 1, 64, 64, 3)
        assert len({frame.tobytes() for frame in episode.images["front"]}) > len(episode) // 2


def test_at_least_one_demonstration_reached_the_goal_and_was_rewarded(run: Run) -> None:
    assert any(episode.succeeded and episode.reward.sum() > 0 for episode in run.episodes("offline"))


def test_the_program_learns_on_the_arm_from_these_demonstrations(run: Run) -> None:
    run.up("finetune", "--episodes", "1", "-p", "evaluation_episodes:=1", "-p", "trainer.checkpoint_every:=5")
    assert sorted((run.folder / "checkpoints").glob("checkpoint_*"))
    episodes = [row for row in run.rows("episode") if row["purpose"] != "demonstration"]
    assert [row["purpose"] for row in episodes] == ["evaluation", "training", "evaluation"]
    assert all(0 < row["steps"] <= STEPS for row in episodes)


def test_every_online_episode_is_in_a_bag_with_who_decided_each_step(run: Run) -> None:
    (episode,) = run.episodes("online")
    assert len(episode) == next(row["steps"] for row in run.rows("episode") if row["purpose"] == "training")
    assert episode.human_share > 0, "the person who kept commanding was not let in"
