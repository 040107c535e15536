"""Uncertainty on recorded data: measured once, the same to the bit, kept through a restart, and shown."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from training_support import SPACES, CloneAgent, CloneSettings, PointWorld, play_with, store_maker

from moto_ros.agents import registry
from moto_ros.agents.fowm.agent import FowmAgent
from moto_ros.agents.fowm.config import FowmSettings
from moto_ros.agents.interface import ActRequest, Batch, Decision, State
from moto_ros.data.episode import Episode
from moto_ros.data.records import HUMAN
from moto_ros.files import read_json
from moto_ros.report.history import History
from moto_ros.report.report import write_report
from moto_ros.training import offline_runner
from moto_ros.training.offline_runner import pretrain
from moto_ros.training.run_folder import RunFolder
from moto_ros.training.run_schedule import RunEpisode
from moto_ros.training.session import TrainingRun
from moto_ros.training.settings import TrainerSettings
from moto_ros.training.uncertainty_quantiles import offline_quantiles

CPU = torch.device("cpu")


class DoubtfulAgent(CloneAgent):
    """As unsure as the point is far from the middle; one of its two coordinates is its memory's."""

    name: ClassVar[str] = "doubtful"

    def start(self, batch: int) -> State:
        return {"before": torch.zeros(batch)}

    def act(self, observation: Batch, state: State, request: ActRequest) -> Decision:
        decision = super().act(observation, {}, request)
        noise = 0.01 * torch.rand(len(decision.action), generator=request.generator)
        doubt = observation["proprio"].norm(dim=-1) + noise + 0 * state["before"]
        return Decision(decision.action, {"before": observation["proprio"][:, 0]}, doubt)


def agent() -> DoubtfulAgent:
    return DoubtfulAgent(SPACES, CloneSettings(), seed=0)


def episodes(count: int, lengths: tuple[int, ...] = (20, 5, 33)) -> list[Episode]:
    world = PointWorld()
    found = []
    for index in range(count):
        world.steps = lengths[index % len(lengths)]
        found.append(world.play(world.expert, index, index))
    return found


def test_quantiles_are_those_of_every_step_of_every_episode() -> None:
    recorded = episodes(5)
    found = offline_quantiles(agent(), recorded, 10_000, CPU)
    distances = np.concatenate([np.linalg.norm(episode.proprio[:-1], axis=1) for episode in recorded])
    assert len(found) == 101
    assert found == sorted(found)
    assert np.allclose(found, np.quantile(distances, np.linspace(0, 1, 101)), atol=0.011)


def test_the_same_weights_and_data_give_the_same_numbers_and_nothing_else_is_touched() -> None:
    """A resumed run would differ from the whole one."""
    own = agent()
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = offline_quantiles(own, episodes(20), 10_000, CPU)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(own._generator.get_state(), agent()._generator.get_state())
    assert offline_quantiles(agent(), episodes(20), 10_000, CPU) == first
    assert offline_quantiles(agent(), episodes(20), 10_000, CPU, seed=1) != first


@pytest.mark.parametrize(("count", "steps", "most"), [(100, 200, 260), (1, 7, 7), (3, 1, 3)])
def test_a_large_data_set_costs_no_more_than_asked(count: int, steps: int, most: int) -> None:
    own, acted = agent(), []
    plain = own.act

    def counted(*given: Any, **options: Any) -> Decision:
        decision = plain(*given, **options)
        acted.append(len(decision.action))
        return decision

    own.act = counted  # type: ignore[method-assign]
    found = offline_quantiles(own, episodes(count, (20,)), steps, CPU)
    assert len(found) == 101
    assert 0 < sum(acted) <= most


def test_a_planner_is_measured_by_its_policy_which_takes_no_time() -> None:
    """Minutes would go by after the offline phase, planning along every episode for a number."""
    small = {"latent_size": 8, "state_units": 8, "hidden": 8, "plan_samples": 8, "plan_elites": 2}
    planner, policy = (FowmAgent(SPACES, FowmSettings(**small, plan=plan), 0) for plan in (True, False))
    found = offline_quantiles(planner, episodes(3), 100, CPU)
    assert found == offline_quantiles(policy, episodes(3), 100, CPU)
    assert planner.planning_time.of("iteration") == 0


def test_no_data_none_asked_for_or_an_agent_that_cannot_tell_gives_none() -> None:
    class Silent(DoubtfulAgent):
        def act(self, *given: object, **options: object) -> Decision:
            decision = super().act(*given, **options)  # type: ignore[arg-type]
            return replace(decision, uncertainty=torch.full_like(decision.uncertainty, torch.nan))

    assert offline_quantiles(agent(), [], 100, CPU) == []
    assert offline_quantiles(agent(), episodes(2), 0, CPU) == []
    assert offline_quantiles(Silent(SPACES, CloneSettings(), seed=0), episodes(2), 100, CPU) == []


@pytest.fixture
def _doubtful(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.AGENTS.lines, "doubtful", f"{__name__}:DoubtfulAgent")


def open_session(path: Path, **settings: int) -> TrainingRun:
    asked = TrainerSettings(evaluation_episodes=1, **settings)
    return TrainingRun.open(RunFolder(path), "doubtful", CloneSettings(), asked, SPACES, store_maker(path))


@pytest.mark.usefixtures("_doubtful")
def test_quantiles_are_measured_after_the_offline_phase_and_survive_a_restart(tmp_path: Path) -> None:
    session = open_session(tmp_path)
    assert session.quantiles == []
    pretrain(session)
    session.close()
    assert len(session.quantiles) == 101
    newest = sorted((tmp_path / "checkpoints").iterdir())[-1]
    assert read_json(newest / "state.json")["uncertainty_quantiles"] == session.quantiles
    again = open_session(tmp_path, quantile_steps=7)
    again.close()
    assert again.quantiles == session.quantiles


def help_in(episode: Episode) -> Episode:
    """Return the episode as if a person had decided its first half and the guard had slowed two more steps."""
    source, guard = np.zeros(len(episode) + 1, np.uint8), np.zeros(len(episode) + 1, np.uint8)
    source[1 : 1 + len(episode) // 2], guard[-2:] = HUMAN, 1
    facts = {**episode.info, "faults": 1, "camera_gaps": 2}
    return replace(episode, source=source, guard=guard, info=facts)


@pytest.mark.usefixtures("_doubtful")
def test_the_page_says_how_much_people_helped_and_what_the_guard_did(tmp_path: Path) -> None:
    session = open_session(tmp_path)
    plain = play_with(session)

    def play(asked: RunEpisode) -> tuple[Episode, list[float], list[float]]:
        episode, doubt, chances = plain(asked)
        return help_in(episode), [*doubt[:-1], float("nan")], chances

    offline_runner.run(session, play)
    session.close()
    history = History(tmp_path)
    (first, _) = history.online
    assert (first["human_share"], first["guard_slowed"], first["faults"], first["camera_gaps"]) == (0.5, 2, 1, 2)
    assert first["uncertainty"] > 0
    page = write_report([tmp_path]).read_text()
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page))
    assert "Who chose the actions" in text
    assert "online episodes 2 50.0 4 0 0 2 4" in text
    assert f"{history.quantiles[50]:.3g}" in text
    for name in ("shares", "uncertainty_quantiles", "uncertainty"):
        assert (tmp_path / "plots" / f"{name}.png").exists() == (name != "uncertainty")
