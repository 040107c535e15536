"""FOWM, behaviour cloning and IQL behind the agent interface: acting, learning, weights, resumption, presets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from agents_data import RandomData, train
from torch import Tensor

from moto_ros.agents.common.base import NetworkAgent
from moto_ros.agents.fowm.agent import FowmAgent
from moto_ros.agents.fowm.config import FowmSettings
from moto_ros.agents.interface import ActRequest, Batch, Prioritised, Spaces
from moto_ros.agents.registry import AGENTS, agent_settings, make_agent
from moto_ros.config import build, read_parameters, shipped
from moto_ros.errors import MotoError

BOTH, STATE, IMAGE = (Spaces(image, proprio, 3) for image, proprio in (((40, 40, 3), 4), (None, 4), ((40, 40, 6), 0)))
TINY = {"latent_size": 8, "conv_channels": 2, "state_units": 6, "hidden": 16, "batch": 6}
PLAN = {"plan_samples": 12, "plan_policy_samples": 3, "plan_elites": 4, "plan_iterations": 2, "plan_horizon": 3}
OWN: dict[str, dict[str, object]] = {"fowm": PLAN | {"horizon": 3}, "bc": {}, "iql": {}}
KINDS: list[tuple[str, Spaces, dict[str, object]]] = [
    ("fowm", BOTH, {}),
    ("fowm", BOTH, {"fusion": "project", "normalise": True}),
    ("fowm", STATE, {"latent": "simnorm", "two_hot": True, "heads_style": "modern", "scale_free": True}),
    ("fowm", IMAGE, {"plan": False, "prioritised": False}),
    ("bc", BOTH, {}),
    ("iql", BOTH, {"normalise": True}),
    ("bc", BOTH, {"actor_ema": 0.9}),
    ("iql", STATE, {"normalise": True, "actor_ema": 0.5}),
    ("fowm", STATE, {"actor_ema": 0.9}),
]


def make(name: str = "fowm", spaces: Spaces = BOTH, seed: int = 0, **changes: object) -> Any:
    settings = agent_settings(name)(**(TINY | OWN[name] | changes))
    return make_agent(name, spaces, settings, seed)


def data(spaces: Spaces = BOTH, **options: Any) -> RandomData:
    return RandomData(spaces, **options)


def seen(spaces: Spaces = BOTH, size: int = 1) -> Batch:
    return {name: rows[:, 0] for name, rows in data(spaces).batch("all", size, 2).items()}


def equal(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


@pytest.mark.parametrize(("name", "spaces", "changes"), KINDS)
def test_a_run_split_by_a_checkpoint_equals_the_whole_run_to_the_bit(
    name: str, spaces: Spaces, changes: dict[str, object]
) -> None:
    whole, first, second = (make(name, spaces, seed, **changes) for seed in (0, 0, 9))
    drawn = data(spaces), data(spaces)
    train(whole, drawn[0], 5)
    train(first, drawn[1], 3)
    second.load_state_dict(first.state_dict())
    train(second, drawn[1], 2)
    assert equal(whole.state_dict(), second.state_dict())
    assert not equal(make(name, spaces, 1, **changes).weights(), make(name, spaces, 2, **changes).weights())


@pytest.mark.parametrize(("name", "spaces", "changes"), KINDS)
@pytest.mark.parametrize("sample", [True, False])
def test_the_policy_side_acts_as_the_learner_after_taking_its_weights(
    name: str, spaces: Spaces, changes: dict[str, object], sample: bool
) -> None:
    learner, actor = (make(name, spaces, seed, **changes) for seed in (1, 2))
    train(learner, data(spaces), 3)
    actor.load_weights(learner.weights())
    found = []
    for agent in (learner, actor):
        stream, state = torch.Generator().manual_seed(5), agent.start(2)
        for _ in range(2):
            decision = agent.act(seen(spaces, 2), state, ActRequest(sample=sample, generator=stream))
            state = decision.state
        found.append(decision)
    assert torch.equal(found[0].action, found[1].action)
    assert torch.equal(found[0].uncertainty, found[1].uncertainty)
    assert found[0].action.shape == (2, 3)
    assert found[0].action.abs().max() <= 1
    assert (found[0].uncertainty > 0).all()


def test_half_of_each_batch_is_online_once_there_is_an_online_episode() -> None:
    for sources, drawn in (
        (("all", "offline"), ["offline"]),
        (("all", "online"), ["online"]),
        (("all", "offline", "online"), ["offline", "online"]),
    ):
        stored = data(sources=sources)
        make(batch=7).update("joint", stored)
        assert stored.drawn == drawn
    assert [len(index) for _, index, _ in stored.returned] == [4, 3]


def test_merged_buffers_and_uniform_replay_are_switches() -> None:
    stored = data(sources=("all", "offline", "online"))
    make(balanced=False, prioritised=False).update("joint", stored)
    assert stored.drawn == ["all"]
    assert stored.returned == []


def test_priorities_are_set_for_the_windows_that_were_drawn() -> None:
    @dataclass
    class RecordingData(RandomData):
        def windows(self, source: str, size: int, length: int, prioritised: Prioritised | None = None) -> Batch:
            self.asked = prioritised
            self.last = super().windows(source, size, length, prioritised)
            return self.last

    stored = RecordingData(BOTH)
    make(priority_alpha=0.5).update("joint", stored)
    (source, index, priority), *_ = stored.returned
    assert (source, stored.asked) == ("all", Prioritised(0.5, 0.4))
    assert torch.equal(index, stored.last["index"])
    assert (priority > 0).all()


def test_target_networks_follow_every_second_update() -> None:
    agent, stored = make(), data()
    for moves in (False, True, False):
        before = {name: value.clone() for name, value in agent.network.target_q.state_dict().items()}
        agent.update("joint", stored)
        assert equal(before, agent.network.target_q.state_dict()) is not moves


def test_the_targets_move_one_hundredth_of_the_way() -> None:
    agent = make(target_every=1)
    before = agent.network.target_q.second.weight.clone()
    agent.update("joint", data())
    expected = 0.99 * before + 0.01 * agent.network.q.second.weight.detach()
    torch.testing.assert_close(agent.network.target_q.second.weight, expected)


def test_a_decision_tells_how_it_was_planned_and_starts_the_next() -> None:
    agent = make()
    train(agent, data(), 2)
    decision = agent.act(seen(), agent.start(1), ActRequest(sample=False))
    assert decision.figures["plan_iterations"] == 2
    assert decision.figures["plan_cut"] == decision.figures["deadline_missed"] == 0
    assert decision.state["mean"].shape == (1, 3, 3)
    assert decision.state["mean"].abs().max() > 0


def test_without_time_for_one_iteration_the_policy_answers_at_once() -> None:
    agent = make()
    agent.planning_time.update("iteration", 5.0)
    decision = agent.act(seen(), agent.start(1), ActRequest(sample=False, deadline=0.5))
    assert decision.figures["policy_answered"] == 1
    assert torch.equal(decision.action, make(plan=False).act(seen(), agent.start(1), ActRequest(sample=False)).action)


@pytest.mark.parametrize("stage", ["proposals", "iteration"])
def test_one_slow_moment_does_not_keep_the_planner_from_planning_indefinitely(stage: str) -> None:
    agent, state = make(), make().start(1)
    agent.planning_time.update(stage, 3.0)
    request = ActRequest(sample=False, deadline=1.0)
    answers = [agent.act(seen(), state, request).figures["policy_answered"] for _ in range(20)]
    assert answers[0] == 1
    assert answers[-1] == 0


def test_a_deadline_of_zero_does_not_lower_the_time_estimates() -> None:
    """The next plan would begin an iteration that does not fit."""
    agent = make()
    agent.planning_time.update("iteration", 3.0)
    agent.act(seen(), agent.start(1), ActRequest(sample=False, deadline=0.0))
    assert agent.planning_time.of("iteration") == 3.0


def test_an_answer_after_the_deadline_is_counted_as_missed() -> None:
    decision = make().act(seen(), make().start(1), ActRequest(sample=False, deadline=1e-9))
    assert decision.figures["deadline_missed"] == 1


def test_a_policy_answer_shifts_the_warm_start() -> None:
    """The next plan would start from actions of the past."""
    agent = make()
    mean = torch.arange(9.0).view(1, 3, 3)
    agent.planning_time.update("iteration", 5.0)
    decision = agent.act(seen(), {"mean": mean}, ActRequest(sample=False, deadline=0.5, elapsed=2))
    assert decision.state["mean"][0].tolist() == [[6.0, 7.0, 8.0], [0.0] * 3, [0.0] * 3]


def test_planning_ahead_is_planning_from_where_pending_actions_lead() -> None:
    agent = make(plan=False)
    train(agent, data(), 3)
    pending = torch.rand(1, 2, 3)
    decision = agent.act(seen(), agent.start(1), ActRequest(sample=False, pending=pending))
    with torch.no_grad():
        latent = agent.network.encoder(seen())
        for action in pending.unbind(1):
            latent = agent.network.advance(latent, action)
        torch.testing.assert_close(decision.action, agent.network.policy(latent))


@pytest.mark.parametrize("heads", [2, 5, 10])
@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_ablations_of_heads_and_penalty_learn_and_act(heads: int, penalty: float) -> None:
    agent = make(heads=heads, penalty=penalty)
    metrics = agent.update("joint", data())
    assert all(np.isfinite(value) for value in metrics.values())
    assert agent.act(seen(), agent.start(1), ActRequest(sample=True)).action.shape == (1, 3)


class Point:
    """A point on a line: reward is 1 - |position|; the data acts at random."""

    spaces = Spaces(None, 1, 1)

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.action = rng.uniform(-1, 1, (200, 11, 1)).astype(np.float32)
        self.action[:, 0] = 0
        place = rng.uniform(-1, 1, (200, 1, 1)) + 0.4 * np.cumsum(self.action, 1)
        self.proprio = place.astype(np.float32)
        self.rng = rng

    def holds(self, source: str) -> bool:
        return source in ("all", "offline")

    def windows(self, source: str, size: int, length: int, prioritised: Prioritised | None = None) -> Batch:
        episodes, starts = self.rng.integers(200, size=size), self.rng.integers(10, size=size)
        rows = starts[:, None] + np.arange(length)
        inside, rows = rows <= 10, rows.clip(max=10)
        proprio, action = (torch.from_numpy(part[episodes[:, None], rows]) for part in (self.proprio, self.action))
        flags = torch.zeros(size, length, dtype=torch.bool)
        batch = {"proprio": proprio, "action": action, "reward": 1 - proprio[..., 0].abs(), "is_terminal": flags}
        return batch | {
            "valid": torch.from_numpy(inside),
            "index": torch.zeros(size).long(),
            "weight": torch.ones(size),
        }

    def prioritise(self, source: str, index: Tensor, priority: Tensor) -> None:
        """Draw uniformly all the same."""


def final_distance(agent: NetworkAgent) -> float:
    """Return how far from the middle ten steps of acting leave points that start left and right of it."""
    place, state = torch.linspace(-1.5, 1.5, 16)[:, None], agent.start(16)
    stream, action = torch.Generator().manual_seed(0), torch.zeros(16, 1)
    for _ in range(10):
        decision = agent.act({"proprio": place, "action": action}, state, ActRequest(sample=False, generator=stream))
        state, action = decision.state, decision.action
        place = place + 0.4 * action
    return float(place.abs().mean())


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("fowm", {"plan_samples": 64, "plan_iterations": 4, "plan_elites": 8}),
        ("fowm", {"plan": False, "advantage_scale": 10.0, "target_rate": 0.1}),
        (
            "fowm",
            {
                "latent": "simnorm",
                "two_hot": True,
                "heads_style": "modern",
                "scale_free": True,
                "plan_samples": 64,
                "plan_iterations": 4,
                "plan_elites": 8,
                "plan_temperature": 10.0,
            },
        ),
        ("iql", {"advantage_scale": 10.0}),
    ],
)
def test_an_agent_learns_from_random_data_to_go_where_the_reward_is(name: str, changes: dict[str, object]) -> None:
    sizes = {"hidden": 48, "latent_size": 16, "state_units": 32, "batch": 64, "rate": 3e-3, "normalise": True}
    agent, stored = make(name, Point.spaces, 2, **(sizes | changes)), Point()
    before = final_distance(agent)
    for _ in range(150):
        agent.update("joint", stored)  # type: ignore[arg-type]
    after = final_distance(agent)
    print(f"mean distance {before:.2f} -> {after:.2f}")
    assert after < min(0.4, 0.7 * before)


def test_cloning_repeats_what_was_done() -> None:
    """The data moves towards the middle; the clone must too."""
    stored = Point()
    stored.action[:, 1:] = -np.sign(stored.proprio[:, :-1]) * 0.5
    sizes = {"hidden": 48, "latent_size": 16, "state_units": 32, "batch": 64, "rate": 3e-3, "normalise": True}
    agent = make("bc", Point.spaces, **sizes)
    losses = [agent.update("policy", stored)["policy_loss"] for _ in range(150)]  # type: ignore[arg-type]
    assert losses[-1] < 0.3 * losses[0]


@pytest.mark.parametrize("shift", [True, False])
@pytest.mark.parametrize("name", OWN)
def test_images_are_shifted_where_the_settings_say_so(name: str, shift: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A comparison with and without `shift` would compare an agent with itself."""
    images: list[Tensor] = []
    where = "common.base_policy" if name == "bc" else f"{name}.agent"
    monkeypatch.setattr(f"moto_ros.agents.{where}.random_shift", lambda image, _: images.append(image) or image)
    agent = make(name, IMAGE, shift=shift)
    agent.update(agent.phases[0], data(IMAGE))
    assert bool(images) == shift


def test_cloning_imitates_successes_where_there_are_any() -> None:
    for successes, source in ((True, "successful"), (False, "all")):
        stored = data(successes=successes)
        make("bc").update("policy", stored)
        assert stored.drawn == [source]


@pytest.mark.parametrize(
    "path", sorted(shipped("agents", "fowm_paper").parent.glob("*.yaml")), ids=lambda path: path.stem
)
def test_every_shipped_preset_is_valid_and_names_an_agent(path: Any) -> None:
    name = path.stem.split("_")[0]
    flat = {key.removeprefix("agent."): value for key, value in read_parameters(path).items()}
    settings = build(agent_settings(name), flat, path.stem)
    phases = make_agent(name, Spaces((64, 64, 3), 4, 4), settings, 0).phases
    assert phases
    for phase in phases:
        assert getattr(settings, f"offline_{phase}_updates") > 0
        assert getattr(settings, f"online_{phase}_updates") > 0 or phase == "base"


def test_the_paper_preset_is_the_default_of_every_setting() -> None:
    flat = {
        key.removeprefix("agent."): value for key, value in read_parameters(shipped("agents", "fowm_paper")).items()
    }
    assert build(FowmSettings, flat, "fowm_paper") == FowmSettings()
    assert set(flat) == set(FowmSettings.__dataclass_fields__)


@pytest.mark.parametrize("name", OWN)
def test_an_unknown_phase_is_refused(name: str) -> None:
    with pytest.raises(MotoError, match=f"agent {name} has no phase 'dream'"):
        make(name).update("dream", data())


def test_an_image_too_small_for_the_encoder_is_refused() -> None:
    with pytest.raises(MotoError, match="38x38"):
        make(spaces=Spaces((38, 38, 3), 0, 3))


def test_a_latent_that_cannot_be_grouped_is_refused() -> None:
    with pytest.raises(MotoError, match="latent_size"):
        make(latent="simnorm", latent_size=50)


def test_all_agents_are_made_by_name() -> None:
    assert isinstance(make(), FowmAgent)
    assert set(AGENTS.lines) == {"moto", "fowm", "bc", "iql"}
