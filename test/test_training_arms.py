"""A whole run of an agent with two arms, without ROS: killed and resumed, its rows, its checkpoint, its report."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from support.two_arms import TwoArmAgent, TwoArmSettings
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from training_support import SPACES, KilledError, PointWorld, run_until_killed, store_maker, trace

from moto_ros.agents.interface import BASE, POLICY
from moto_ros.data.records import HUMAN
from moto_ros.errors import MotoError
from moto_ros.policy.checkpoint_policy import load_policy
from moto_ros.report.history import History
from moto_ros.report.report import write_report
from moto_ros.training.arm_bandit import ArmOutcome
from moto_ros.training.metrics import read_metrics
from moto_ros.training.run_folder import RunFolder
from moto_ros.training.run_schedule import RunEpisode
from moto_ros.training.session import TrainingRun
from moto_ros.training.settings import TrainerSettings, agent_identity

AGENT = "support.two_arms:TwoArmAgent"
SETTINGS = TrainerSettings(
    evaluation_episodes=3, evaluation_every=6, log_every=5, checkpoint_every=0.0, warm_up_episodes=2
)
SMALL = TwoArmSettings(
    latent_size=8,
    state_units=8,
    hidden=16,
    batch=8,
    noise=0.3,
    offline_policy_updates=20,
    online_policy_updates=2,
    online_episodes=12,
)


def open_session(path: Path, settings: TrainerSettings = SETTINGS) -> TrainingRun:
    return TrainingRun.open(RunFolder(path), AGENT, SMALL, settings, SPACES, store_maker(path))


def run_in(path: Path, killed_at: int = 10**9, settings: TrainerSettings = SETTINGS) -> TrainingRun:
    """Run to the end, or be killed when it would start its `killed_at`-th episode or update."""
    return run_until_killed(open_session(path, settings), killed_at)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run that was not disturbed."""
    path = tmp_path_factory.mktemp("arms") / "whole"
    run_in(path)
    return path


@pytest.mark.parametrize("killed_at", [15, 26, 40, 61])
def test_a_killed_run_lets_the_same_arms_act(whole: Path, tmp_path: Path, killed_at: int) -> None:
    """The arm of an episode would depend on when the process was killed."""
    with pytest.raises(KilledError):
        run_in(tmp_path / "killed", killed_at)
    session = run_in(tmp_path / "killed")
    assert trace(tmp_path / "killed") == trace(whole)
    assert session.schedule.state() == open_session(whole).schedule.state()


def test_rows_say_which_arm_acted_why_and_how_each_has_done(whole: Path) -> None:
    """Nobody could tell whether learning helped."""
    rows = read_metrics(RunFolder(whole).metrics_file)
    training = [row for row in rows if row["kind"] == "episode" and row["purpose"] == "training"]
    assert {row["arm"] for row in training} == {BASE, POLICY}
    assert all(row["arm_reason"] for row in training)
    for arm in (BASE, POLICY):
        acted = [row["success"] for row in training if row["arm"] == arm]
        last = next(row for row in reversed(rows) if row["kind"] == "arm" and row["arm"] == arm and "after" not in row)
        assert (last["n"], last["successes"]) == (len(acted), sum(acted))
        assert last["low"] <= last["success_rate"] <= last["high"]
        assert 0 < last["posterior_mean"] < 1
    evaluations = [row for row in rows if row["kind"] == "evaluation"]
    assert [row["after"] for row in evaluations] == [0, 6, 12]
    assert evaluations[0]["arm"] == BASE
    of_arms = [row for row in rows if row["kind"] == "arm" and row["purpose"] == "evaluation"]
    assert [(row["arm"], row["after"], row["n"]) for row in of_arms] == [
        (row["arm"], row["after"], 3) for row in evaluations
    ]


def test_tensorboard_has_a_line_for_each_arm(whole: Path) -> None:
    """The lines of two policies would be one zigzag."""
    events = EventAccumulator(str(RunFolder(whole).tensorboard))
    events.Reload()
    names = set(events.Tags()["scalars"])
    assert {f"arm/training/{arm}/{name}" for arm in (BASE, POLICY) for name in ("success_rate", "n", "low")} <= names
    assert f"arm/evaluation/{BASE}/success_rate" in names


def test_the_checkpoint_says_which_arm_acts(whole: Path) -> None:
    """A deployed run would act by the policy that lost."""
    session = open_session(whole)
    agent = TwoArmAgent(SPACES, SMALL, 0)
    assert load_policy(whole, agent, agent_identity(AGENT, SMALL)).arm == session.schedule.better_arm()
    session.schedule.position.outcomes = [ArmOutcome(BASE, False), ArmOutcome(POLICY, True)] * 20
    state = json.loads((session.save() / "state.json").read_text())
    assert state["arm"] == POLICY
    session.close()


def test_an_episode_that_a_person_helped_in_is_no_success_of_its_arm(tmp_path: Path) -> None:
    """A policy that people rescue would be the better one."""
    session = open_session(tmp_path)
    asked = RunEpisode(0, "training", 1, True, POLICY, "drawn: 0.80 against 0.60")
    episode = PointWorld().play(PointWorld().expert, 1, 0)
    session.take(asked, episode, None)
    episode.source[1:4] = HUMAN
    session.take(replace(asked, id=1), episode, None)
    session.close()
    assert [one.success for one in session.schedule.position.outcomes] == [True, False]


def test_what_acted_counts_and_not_what_was_asked_for(tmp_path: Path) -> None:
    """A bag of another arm, left by a killed trainer, would be credited to the wrong policy."""
    session = open_session(tmp_path)
    episode = PointWorld().play(PointWorld().expert, 1, 0)
    episode.info["arm"] = BASE
    session.take(RunEpisode(0, "training", 1, True, POLICY, "pinned"), episode, None)
    session.close()
    assert session.schedule.position.outcomes == [ArmOutcome(BASE, True)]
    row = next(row for row in read_metrics(RunFolder(tmp_path).metrics_file) if row.get("purpose") == "training")
    assert (row["arm"], row["arm_reason"]) == (BASE, "policy was asked for")


def test_a_pinned_arm_acts_everywhere_and_another_one_resumes(tmp_path: Path) -> None:
    """A person could not stop a bad policy, or not without a new run."""
    with pytest.raises(MotoError, match=r"trainer.pinned_arm is 'best', expected an arm of the agent: base, policy;"):
        open_session(tmp_path / "other", replace(SETTINGS, pinned_arm="best"))
    with pytest.raises(KilledError):
        run_in(tmp_path / "run", 45, replace(SETTINGS, pinned_arm=BASE))
    run_in(tmp_path / "run", settings=replace(SETTINGS, pinned_arm=POLICY))
    rows = [row for row in read_metrics(RunFolder(tmp_path / "run").metrics_file) if row["kind"] == "episode"]
    online = [row["arm"] for row in rows if row["purpose"] != "demonstration"]
    assert (online[0], online[-1]) == (BASE, POLICY)
    assert online == sorted(online)


def test_the_report_compares_the_arms(whole: Path) -> None:
    """The comparison that every user wants would have to be made by hand."""
    history = History(whole)
    assert history.arms == (BASE, POLICY)
    text = " ".join(re.sub(r"<[^>]*>", " ", write_report([whole]).read_text(encoding="utf-8")).split())
    assert "Success by arm" in text
    for arm in (BASE, POLICY):
        solved = history.arm_outcomes(arm)
        assert f"{arm} {100 * sum(solved) / len(solved):.0f} % [" in text
        assert f"n = {len(solved)}" in text
    assert "The better arm is" in text
    assert "success after the offline phase, by base" in text
    assert (whole / "plots" / "success_by_arm.png").stat().st_size > 1000
