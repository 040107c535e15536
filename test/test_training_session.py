"""A whole run without ROS: learned, evaluated, killed, resumed, the same to the bit."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest
from training_support import (
    SPACES,
    CloneSettings,
    KilledError,
    PointWorld,
    play_with,
    run_until_killed,
    store_maker,
    trace,
)

from moto_ros.agents import registry
from moto_ros.data.replay import ReplayStore
from moto_ros.errors import MotoError
from moto_ros.files import sha256_of
from moto_ros.training import offline_runner
from moto_ros.training.checkpoint import AGENT
from moto_ros.training.metrics import read_metrics
from moto_ros.training.offline_runner import pretrain
from moto_ros.training.run_folder import RunFolder
from moto_ros.training.run_schedule import Offline, RunEpisode
from moto_ros.training.session import TrainingRun
from moto_ros.training.settings import TrainerSettings
from moto_ros.training.weights import unpack

SETTINGS = TrainerSettings(evaluation_episodes=3, log_every=5, checkpoint_every=0.0)


@pytest.fixture(autouse=True)
def _clone_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register the small agent, as a project with an own agent does."""
    monkeypatch.setitem(registry.AGENTS.lines, "clone", "training_support:CloneAgent")


def open_session(path: Path, settings: TrainerSettings = SETTINGS) -> TrainingRun:
    return TrainingRun.open(RunFolder(path), "clone", CloneSettings(), settings, SPACES, store_maker(path))


def run_in(path: Path, killed_at: int = 10**9) -> TrainingRun:
    """Run to the end, or be killed when it would start its `killed_at`-th episode or update."""
    return run_until_killed(open_session(path), killed_at)


@pytest.mark.parametrize("killed_at", [3, 8, 21, 25, 31])
def test_a_killed_run_ends_like_the_whole_one(tmp_path: Path, killed_at: int) -> None:
    """Kill -9 in the offline phase, an evaluation, an online episode or a round would change the result."""
    run_in(tmp_path / "whole")
    with pytest.raises(KilledError):
        run_in(tmp_path / "split", killed_at)
    run_in(tmp_path / "split")
    whole, split = (sorted((tmp_path / name / "checkpoints").iterdir())[-1] for name in ("whole", "split"))
    assert sha256_of(whole / AGENT) == sha256_of(split / AGENT)
    assert trace(tmp_path / "whole") == trace(tmp_path / "split")


def test_one_seed_gives_one_result_and_another_seed_another(tmp_path: Path) -> None:
    """Results could not be reproduced, or seeds would not differ."""
    hashes = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        session = open_session(tmp_path / name, TrainerSettings(evaluation_episodes=1, seed=seed))
        offline_runner.run(session, play_with(session))
        hashes.append(sha256_of(sorted((tmp_path / name / "checkpoints").iterdir())[-1] / AGENT))
        session.close()
    assert hashes[0] == hashes[1] != hashes[2]


def test_running_a_finished_run_again_does_nothing(tmp_path: Path) -> None:
    """The same command twice would learn or evaluate again."""
    run_in(tmp_path)
    before = trace(tmp_path)
    session = run_in(tmp_path)
    assert trace(tmp_path) == before
    assert session.resumed_from is not None


def test_evaluations_are_written_with_their_interval(tmp_path: Path) -> None:
    """The report would have no success rates."""
    run_in(tmp_path)
    rows = [row for row in trace(tmp_path) if row["kind"] == "evaluation"]
    assert [(row["after"], row["n"]) for row in rows] == [(0, 3), (2, 3)]
    assert all(row["low"] <= row["success_rate"] <= row["high"] for row in rows)


def test_the_estimated_probability_of_success_is_kept_with_each_episode(tmp_path: Path) -> None:
    """Nobody could compare what the policy expects of an episode with what came of it."""
    session = open_session(tmp_path)
    play = play_with(session)
    offline_runner.run(session, lambda asked: (*play(asked)[:2], [0.25, 0.5, 1.0]))
    session.close()
    rows = [row for row in trace(tmp_path) if row["kind"] == "episode"]
    assert [row.get("success_probability") for row in rows if row["purpose"] != "demonstration"] == [0.25] * 8
    run_in(tmp_path / "without")
    assert not any("success_probability" in row for row in trace(tmp_path / "without"))


def test_pretraining_alone_stops_before_the_robot_is_needed(tmp_path: Path) -> None:
    """`pretrain` would wait for a robot."""
    session = open_session(tmp_path)
    assert pretrain(session)
    assert session.learner.updates == {"clone": 20}
    assert not isinstance(session.schedule.next(), (Offline, RunEpisode))
    session.close()


def test_pretraining_without_data_is_one_sentence(tmp_path: Path) -> None:
    """An empty bag folder would end in a traceback of the sampler."""
    empty = ReplayStore(tmp_path / "cache")
    session = TrainingRun.open(RunFolder(tmp_path), "clone", CloneSettings(), SETTINGS, SPACES, lambda _: empty)
    with pytest.raises(MotoError, match="no usable episode"):
        pretrain(session)
    session.close()


def test_published_weights_arrive_unchanged_or_are_refused(tmp_path: Path) -> None:
    """A policy would act with damaged weights."""
    session = open_session(tmp_path)
    content, sha256 = session.weights()
    session.close()
    assert set(unpack(content, sha256, "trainer/policy")) == {"weight", "bias"}
    with pytest.raises(MotoError, match="trainer/policy: weights with sha256"):
        unpack(content[:-1] + b"!", sha256, "trainer/policy")


def test_demonstrations_are_in_the_metrics(tmp_path: Path) -> None:
    """The report could not say what the offline phase learned from."""
    session = open_session(tmp_path)
    world = PointWorld()
    session.add_demonstration(world.play(world.expert, 5, 2_000_005), None)
    session.close()
    (row,) = trace(tmp_path)
    assert (row["purpose"], row["id"], row["success"]) == ("demonstration", 2_000_005, 1)


RUN = """
    import sys
    from pathlib import Path
    from training_support import CloneSettings, KilledError, SPACES, play_with, run_until_killed, store_maker, trace
    from moto_ros.agents import registry
    from moto_ros.training import offline_runner
    from moto_ros.training.run_folder import RunFolder
    from moto_ros.training.session import TrainingRun
    from moto_ros.training.settings import TrainerSettings
    registry.AGENTS.lines["clone"] = "training_support:CloneAgent"
    run, every = RunFolder(Path(sys.argv[1])), float(sys.argv[2])
    settings = TrainerSettings(evaluation_episodes=1, checkpoint_every=every, threads=1, device="cpu", log_every=5)
    agent = CloneSettings(offline_clone_updates=100, online_clone_updates=30, online_episodes=3)
    with run.locked():
        session = TrainingRun.open(run, "clone", agent, settings, SPACES, store_maker(run.path))
        found = session.resumed_from
        print("new" if found is None else " ".join(["resumed", *found.refused]))
        offline_runner.run(session, play_with(session), on_update=lambda _: print("update", flush=True))
        session.close()
"""


def run_process(path: Path, every: float) -> subprocess.Popen[str]:
    """Start a run in a process of its own that saves after each update when `every` (s) is tiny."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", textwrap.dedent(RUN), str(path), str(every)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def result_of_run(path: Path) -> tuple[str, list[dict[str, Any]]]:
    """Return the hash of the agent that a run ended with, and its metrics but for the time."""
    rows = read_metrics(path / "metrics.jsonl")
    plain = [{name: value for name, value in row.items() if name != "time" and "seconds" not in name} for row in rows]
    newest = max((path / "checkpoints").glob("checkpoint_*"))
    return sha256_of(newest / AGENT), [{n: v for n, v in row.items() if "rate" not in n} for row in plain]


@pytest.mark.slow
def test_kill_9_in_the_middle_of_checkpoints_and_resume_give_the_undisturbed_run(tmp_path: Path) -> None:
    """A kill while a checkpoint is written would cost the run, or make another one of it."""
    undisturbed, killed, draws = tmp_path / "undisturbed", tmp_path / "killed", random.Random(0)
    with run_process(undisturbed, 0.0) as process:
        assert process.communicate()[0].startswith("new")
    kills = resumed = 0
    while kills < 8:
        with run_process(killed, 1e-6) as process:
            assert process.stdout is not None
            said = [process.stdout.readline().strip() for _ in range(draws.randint(2, 12))]
            time.sleep(draws.uniform(0.0, 0.03))
            process.send_signal(signal.SIGKILL)
        assert said[0] in ("new", "resumed"), "a checkpoint was refused, or the run did not start"
        kills, resumed = kills + 1, resumed + (said[0] == "resumed")
    with run_process(killed, 1e-6) as process:
        assert process.communicate()[0].startswith("resumed\n")
    assert process.returncode == 0
    assert resumed >= 6
    assert result_of_run(killed) == result_of_run(undisturbed)


def test_a_file_of_metrics_that_no_checkpoint_knows_is_set_aside(tmp_path: Path) -> None:
    """A run whose checkpoints somebody has removed begins again: what it had measured would be cut to nothing."""
    (tmp_path / "metrics.jsonl").write_text('{"kind": "mine"}\n')
    open_session(tmp_path).close()
    assert (tmp_path / "metrics.jsonl.old-1").read_text() == '{"kind": "mine"}\n'
    assert read_metrics(tmp_path / "metrics.jsonl") == []
