"""FOWM that starts from what was shown: a cloned base, solved episodes, plans that must beat the base, chances."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from agents_data import RandomData, train
from fowm_numpy import NumpyFowm
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from test_agents_fowm_losses import drawn, pair, random_model, small
from torch import Tensor

from moto_ros.agents.fowm.agent import FowmAgent
from moto_ros.agents.fowm.config import FowmSettings
from moto_ros.agents.fowm.losses import Windows, critic_loss, model_loss, policy_loss, policy_weight
from moto_ros.agents.fowm.model import FowmModel
from moto_ros.agents.fowm.planner import Planner, correlated
from moto_ros.agents.fowm.planning_time import PlanningTime, Stopwatch
from moto_ros.agents.fowm.score import Imagined, elite_scores, full_scores
from moto_ros.agents.interface import BASE, POLICY, ActRequest, Batch, Spaces
from moto_ros.errors import MotoError

BOTH, STATE = Spaces((32, 32, 3), 4, 3), Spaces(None, 4, 2)
EQUAL_SIZES: dict[str, object] = {"encoder": "map", "state_units": 128, "fusion": "project", "normalise": True}
NEW: dict[str, object] = EQUAL_SIZES | {
    "latent_size": 8,
    "conv_channels": 2,
    "hidden": 16,
    "batch": 6,
    "horizon": 3,
    "plan_horizon": 3,
    "plan_proposals": "base",
    "plan_policy_samples": 12,
    "penalty": 0.3,
    "penalty_relative": True,
    "advantage_mask": "solved",
    "base_policy": "cloned",
    "base_latent_size": 8,
    "base_channels": 2,
    "base_hidden": 16,
    "base_heads": 3,
    "base_batch": 4,
    "steps_after_success": 5,
}
CHANCES = {"steps_after_success": 5}


def make(seed: int = 0, spaces: Spaces = BOTH, **changes: object) -> FowmAgent:
    return FowmAgent(spaces, FowmSettings(**(NEW | changes)), seed)  # type: ignore[arg-type]


def seen(spaces: Spaces = BOTH, size: int = 1) -> Batch:
    return {name: rows[:, 0] for name, rows in RandomData(spaces).batch("all", size, 2).items()}


def equal(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def steady(figures: dict[str, float]) -> dict[str, float]:
    """Return the figures that do not depend on time."""
    return {name: value for name, value in figures.items() if name not in ("plan_s", "deadline_missed")}


def no_deadline() -> Stopwatch:
    return Stopwatch(PlanningTime(), time.perf_counter(), None)


# The base policy and what begins from it.


def test_a_base_policy_is_a_phase_and_an_arm_of_the_runs_that_have_one() -> None:
    """A run begun without it could not be resumed."""
    assert FowmAgent.phases == ("base", "joint")
    with_base, without = make(), FowmAgent(BOTH, small(encoder="map"), 0)
    assert (with_base.phases, with_base.arms) == (("base", "joint"), (BASE, POLICY))
    assert (without.phases, without.arms) == (("joint",), (POLICY,))
    names = {name.split("/")[0] for name in without.state_dict()}
    assert names == {"network", "optimizer", "rng"}
    assert not {name for name in without.state_dict() if "data_uncertainty" in name or "base" in name}
    assert set(without.start(1)) == {"mean"}
    assert "updates" not in without.weights()


@pytest.mark.parametrize("changes", [{}, {"latent": "simnorm", "two_hot": True, "heads_style": "modern"}])
def test_the_encoder_begins_once_from_the_cloned_one(changes: dict[str, object]) -> None:
    agent, stored = make(rate=0.0, **changes), RandomData(BOTH)
    assert agent.base is not None
    for _ in range(3):
        agent.update("base", stored)
    cloned = {name: value.clone() for name, value in agent.base.acting.encoder.state_dict().items()}
    assert not torch.equal(cloned["image.dense.weight"], agent.network.encoder.state_dict()["image.dense.weight"])
    agent.update("joint", stored)
    weights = [name for name in cloned if "normaliser" not in name]
    for encoder in (agent.network.encoder, agent.network.target_encoder):
        found = encoder.state_dict()
        assert all(torch.equal(found[name], cloned[name]) for name in weights)
    assert int(agent.network.encoder.state_dict()["normaliser.seen"]) == int(cloned["normaliser.seen"]) + 1
    agent.update("base", stored)
    agent.update("joint", stored)
    found = agent.network.encoder.state_dict()
    assert all(torch.equal(found[name], cloned[name]) for name in weights), "learned weights were thrown away"


def test_an_encoder_of_other_sizes_begins_from_its_own_weights() -> None:
    agent = make(base_channels=3, rate=0.0)
    before = {name: value.clone() for name, value in agent.network.encoder.named_parameters()}
    train(agent, RandomData(BOTH), 1)
    assert equal(before, dict(agent.network.encoder.named_parameters()))


def test_joint_learning_leaves_the_base_policy_as_it_is_and_it_acts_alone() -> None:
    """The floor of fine-tuning would sink."""
    agent, stored = make(actor_ema=0.9), RandomData(BOTH)
    train(agent, stored, 2)
    assert agent.base is not None
    before = {name: value.clone() for name, value in agent.base.state_dict().items()}
    for _ in range(3):
        agent.update("joint", stored)
    assert equal(before, dict(agent.base.state_dict()))
    decision = agent.act(seen(size=4), agent.start(4), ActRequest(sample=False, arm=BASE))
    assert torch.equal(decision.action, agent.base.actions(seen(size=4)).mean(0))
    assert decision.figures.keys() == {"success_probability"}, "an action of the base was counted as a plan"


def test_cloning_the_base_is_no_update_of_what_acts_by_its_average() -> None:
    """The average would begin with weights of before learning."""
    agent, stored = make(actor_ema=0.9), RandomData(BOTH)
    assert agent.average is not None
    agent.update("base", stored)
    assert int(agent.average.n_averaged) == 0
    agent.update("joint", stored)
    assert int(agent.average.n_averaged) == 1


@pytest.mark.parametrize("successes", [True, False])
def test_the_base_clones_successes_where_there_are_any(successes: bool) -> None:
    stored = RandomData(BOTH, successes=successes)
    make().update("base", stored)
    assert stored.drawn == ["successful" if successes else "all"]


@pytest.mark.parametrize(("changes", "named"), [({"base_policy": "none"}, "base_policy"), ({}, "plan_policy_samples")])
def test_plans_around_a_base_that_is_not_there_are_refused(changes: dict[str, object], named: str) -> None:
    with pytest.raises(MotoError, match=named):
        FowmSettings(**(NEW | {"plan_policy_samples": 0} | changes))  # type: ignore[arg-type]


# Resumption and acting.

KINDS: list[tuple[Spaces, dict[str, object]]] = [
    (BOTH, {"actor_ema": 0.9}),
    (STATE, {"latent": "simnorm", "two_hot": True, "heads_style": "modern", "scale_free": True, "prioritised": False}),
    (STATE, {"plan_proposals": "published", "plan_samples": 8, "plan_elites": 4, "plan_iterations": 2}),
    (STATE, {"plan": False, "penalty_relative": False, "steps_after_success": -1}),
]


@pytest.mark.parametrize(("spaces", "changes"), KINDS)
def test_a_run_split_by_a_checkpoint_equals_the_whole_run_to_the_bit(
    spaces: Spaces, changes: dict[str, object]
) -> None:
    plan = [*["base"] * 3, *["joint"] * 4]
    for split in (2, 3, 5):
        whole, first, second = (make(seed, spaces, **changes) for seed in (0, 0, 9))
        stored = RandomData(spaces), RandomData(spaces)
        for phase in plan:
            whole.update(phase, stored[0])
        for phase in plan[:split]:
            first.update(phase, stored[1])
        second.load_state_dict(first.state_dict())
        for phase in plan[split:]:
            second.update(phase, stored[1])
        assert equal(whole.state_dict(), second.state_dict())


@pytest.mark.parametrize(("spaces", "changes"), KINDS)
@pytest.mark.parametrize("arm", ["", BASE, POLICY])
def test_the_policy_side_acts_as_the_learner_after_taking_its_weights(
    spaces: Spaces, changes: dict[str, object], arm: str
) -> None:
    learner, actor = (make(seed, spaces, plan_margin=0.0, **changes) for seed in (1, 2))
    train(learner, RandomData(spaces), 3)
    actor.load_weights(learner.weights())
    for sample in (False, True):
        found = []
        for agent in (learner, actor):
            stream, state = torch.Generator().manual_seed(5), agent.start(2)
            for _ in range(2):
                request = ActRequest(sample=sample, arm=arm, generator=stream)
                decision = agent.act(seen(spaces, 2), state, request)
                state = decision.state
            found.append(decision)
        assert torch.equal(found[0].action, found[1].action)
        assert torch.equal(found[0].uncertainty, found[1].uncertainty)
        assert equal(found[0].state, found[1].state)
        assert steady(found[0].figures) == steady(found[1].figures)
        assert found[0].action.abs().max() <= 1


@pytest.mark.parametrize("deadline", [0.0, 1e-9])
def test_without_time_for_a_plan_the_base_policy_acts(deadline: float) -> None:
    agent = make()
    train(agent, RandomData(BOTH), 1)
    agent.planning_time.update("iteration", 5.0)
    decision = agent.act(seen(), agent.start(1), ActRequest(sample=False, deadline=deadline))
    assert decision.figures["policy_answered"] == 1
    assert agent.base is not None
    assert torch.equal(decision.action, agent.base.actions(seen()).mean(0))


def test_planned_ahead_the_policy_head_stands_in_for_the_base_which_sees_no_latents() -> None:
    agent = make(plan_margin=1e9)
    train(agent, RandomData(BOTH), 2)
    pending = torch.rand(1, 1, 3) * 2 - 1
    with torch.no_grad():
        latent = agent.network.advance(agent.network.encoder(seen()), pending[:, 0])
        expected = agent.network.policy(latent)
    for arm in (BASE, POLICY):
        request = ActRequest(sample=False, arm=arm, pending=pending)
        torch.testing.assert_close(agent.act(seen(), agent.start(1), request).action, expected)


def test_exploring_noise_goes_on_in_one_direction_around_the_action() -> None:
    agent = make(spaces=STATE, explore_std=0.1, quiet_episodes=0.5)
    train(agent, RandomData(STATE), 1)
    batch, stream, away = 300, torch.Generator().manual_seed(0), []
    state, one = agent.start(batch), {name: rows.expand(batch, -1) for name, rows in seen(STATE).items()}
    still = agent.act(one, state, ActRequest(sample=False, arm=BASE)).action
    for _ in range(6):
        decision = agent.act(one, state, ActRequest(sample=True, arm=BASE, generator=stream))
        state = decision.state
        away.append((decision.action - still)[:, 0])
    steps = torch.stack(away)
    quiet = (steps.abs() < 1e-6).all(0)
    assert float(quiet.float().mean()) == pytest.approx(0.5, abs=0.1)
    assert float(steps[:, ~quiet].std()) == pytest.approx(0.1, abs=0.02)
    assert float(torch.corrcoef(steps[3:5, ~quiet])[0, 1]) == pytest.approx(0.9, abs=0.05)


# Losses.


def test_cloning_is_by_hand_and_flows_into_the_encoder_from_imitable_rows_only() -> None:
    off = {"consistency_scale": 0.0, "reward_scale": 0.0, "q_scale": 0.0, "value_scale": 0.0}
    s = small(base_policy="cloned", bc_scale=0.7, **off)
    model, batch = random_model(s), drawn(s)
    batch["imitable"] = torch.rand(batch["imitable"].shape, generator=torch.Generator().manual_seed(0)) < 0.5
    found = model_loss(model, Windows.of(batch, s.rho), s, torch.Generator().manual_seed(3))
    net, expected = NumpyFowm.of(model), 0.0
    for b in range(s.batch):
        z = net.encode(*(batch[name][b, 0].double().numpy() for name in ("image", "proprio")))
        for j in range(s.horizon):
            action = batch["action"][b, j + 1].double().numpy()
            counts = float(batch["valid"][b, j + 1] & batch["imitable"][b, j + 1]) * float(batch["weight"][b])
            expected += 0.7 * s.rho**j * counts * 0.5 * ((net.policy(z) - action) ** 2).sum() / s.batch / s.horizon
            z = net.advance(z, action)
    np.testing.assert_allclose(found.total.item(), expected, rtol=1e-4)
    moved = torch.autograd.grad(found.total, model.encoder.image.dense.weight)[0]  # type: ignore[union-attr]
    assert moved.abs().max() > 0
    batch["imitable"][:] = False
    none = model_loss(model, Windows.of(batch, s.rho), s, torch.Generator().manual_seed(3))
    assert none.total.item() == 0


def test_the_policy_loss_is_by_hand_that_of_solved_rows_and_cloning() -> None:
    s = small(base_policy="cloned", bc_scale=0.7, advantage_mask="solved")
    model, batch = random_model(s), drawn(s)
    model.q_range.fill_(0.4)
    batch["imitable"] = torch.rand(batch["imitable"].shape, generator=torch.Generator().manual_seed(0)) < 0.7
    batch["steps_to_success"] = (3 - torch.arange(s.length)).clamp(min=0).expand(s.batch, -1).clone()
    batch["steps_to_success"][0] = -1
    found = model_loss(model, Windows.of(batch, s.rho), s, torch.Generator().manual_seed(3))
    stream = torch.Generator().manual_seed(7)
    loss, _ = policy_loss(model, found.latents, Windows.of(batch, s.rho), s, stream)
    net, heads, expected = NumpyFowm.of(model), pair(7), 0.0
    for j, b in np.ndindex(s.horizon, s.batch):
        z, action = found.latents[j, b].double().numpy(), batch["action"][b, j + 1].double().numpy()
        advantage = net.q(z, action, target=True)[heads].min() - net.value(z)
        imitable = float(batch["imitable"][b, j + 1])
        weight = imitable * float(b > 0 and j < 3) * min(np.exp(3 * advantage / 0.4), 10) + 0.7 * imitable
        cloned = 0.5 * ((net.policy(z) - action) ** 2).sum() + len(action) / 2 * np.log(2 * np.pi)
        expected += s.rho**j * float(batch["valid"][b, j + 1]) * weight * cloned / s.batch / s.horizon
    np.testing.assert_allclose(loss.item(), expected, rtol=1e-4)


@given(
    advantage=st.lists(st.floats(-1e3, 1e3, width=32), min_size=4, max_size=4),
    solving=st.lists(st.booleans(), min_size=4, max_size=4),
    q_range=st.floats(1e-3, 1e3),
    scale=st.floats(0, 20),
)
def test_failures_weigh_nothing_and_no_action_more_than_ten(
    advantage: list[float], solving: list[bool], q_range: float, scale: float
) -> None:
    s, where = small(advantage_mask="solved", advantage_scale=scale), torch.tensor(solving)
    weight = policy_weight(torch.tensor(advantage), torch.tensor(q_range), where, s)
    assert (weight[~where] == 0).all()
    assert ((weight >= 0) & (weight <= 10)).all()


def test_what_failed_is_not_cloned() -> None:
    """Half of each batch is online, and at first most of it fails."""
    stored = RandomData(STATE)
    plain = stored.windows

    def windows(source: str, size: int, length: int, prioritised: Any = None) -> Batch:
        batch = plain(source, size, length, prioritised)
        solved = (torch.arange(size) % 2 == 0)[:, None].expand(-1, length)
        batch["action"] = torch.where(solved[..., None], 0.5, -0.5).expand_as(batch["action"]).clone()
        batch["imitable"], batch["reward"] = solved, torch.zeros(size, length)
        batch["steps_to_success"] = torch.where(solved, 20, -1)
        return batch

    stored.windows = windows  # type: ignore[method-assign]
    sizes = {"batch": 16, "rate": 3e-3}
    found = {}
    for mask in ("solved", "published"):
        agent = make(spaces=STATE, advantage_mask=mask, bc_scale=1.0 if mask == "solved" else 0.0, **sizes)
        for _ in range(60):
            agent.update("joint", stored)
        with torch.no_grad():
            found[mask] = float(agent.network.policy(agent.network.encoder(seen(STATE, 20))).mean())
    assert found["solved"] == pytest.approx(0.5, abs=0.1)
    assert found["published"] < 0.25


@given(seed=st.integers(0, 2**16), scale=st.floats(0.1, 100))
@examples(max_examples=15, deadline=None)
def test_targets_are_chances_whatever_the_networks_say(seed: int, scale: float) -> None:
    s = small(**CHANCES)
    model = random_model(s, STATE)
    with torch.no_grad():
        model.v.last.weight.mul_(scale)
    batch = RandomData(STATE, seed=seed).windows("all", s.batch, s.length)
    batch["reward"] *= 3
    windows = Windows.of(batch, s.rho)
    latents = torch.rand(s.horizon, s.batch, s.latent_size)
    target = critic_loss(model, latents, latents, windows, s, torch.Generator().manual_seed(0)).target
    assert ((target >= 0) & (target <= 1)).all()
    ended = windows.terminal
    assert torch.equal(target[ended], windows.reward.clamp(0, 1)[ended])


# The relative penalty.


def test_u_on_data_is_its_running_mean_inside_episodes_and_is_saved() -> None:
    agent, stored = make(spaces=STATE), RandomData(STATE)
    model = agent.network
    values = torch.tensor([[[1.0, 9.0]], [[3.0, -9.0]]])
    inside = torch.tensor([[True, False]])
    model.update_data_uncertainty(values, inside)
    assert model.data_uncertainty is not None
    assert float(model.data_uncertainty) == pytest.approx(2**0.5)
    model.updates.fill_(1000)
    model.update_data_uncertainty(3 * values, inside)
    assert float(model.data_uncertainty) == pytest.approx(2**0.5 * 1.02)
    train(agent, stored, 3)
    other = make(5, STATE)
    other.load_weights(agent.weights())
    assert torch.equal(other.network.data_uncertainty, model.data_uncertainty)
    assert agent.update("joint", stored)["data_uncertainty"] > 0


def searched(s: FowmSettings, model: FowmModel, robots: int = 2) -> tuple[Planner, Tensor, Tensor]:
    stream = torch.Generator().manual_seed(1)
    latent = torch.rand(robots, s.latent_size, generator=stream)
    return Planner(model, s), latent, 0.4 * torch.rand(robots, STATE.action, generator=stream)


PLAN: dict[str, object] = {"base_policy": "cloned", "plan_proposals": "base", "plan_policy_samples": 20}


@torch.no_grad()
def test_a_relative_penalty_is_lambda_times_the_range_of_q_times_u_over_u_on_data() -> None:
    """A penalty of fixed size outweighs all returns once uncertainty has grown threefold."""
    s = small(**PLAN, penalty=0.3, penalty_relative=True, plan_horizon=3)
    model = random_model(s, STATE)
    model.q_range.fill_(0.5)
    assert model.data_uncertainty is not None
    model.data_uncertainty.fill_(0.2)
    planner, latent, first = searched(s, model)
    plain = Planner(model, replace(s, penalty_relative=False, penalty=1.0))
    noise = torch.randn(3, 2, 7, STATE.action)
    candidates = planner.scorer.around_base(latent, first, noise)
    terminal = planner.scorer.terminal(candidates, torch.zeros(2, 7, STATE.action), torch.tensor([0, 1]))
    absolute = plain.scorer.penalty(candidates, terminal)
    torch.testing.assert_close(planner.scorer.penalty(candidates, terminal), 0.3 * 0.5 / 0.2 * absolute)
    for part in (model.q_range, model.data_uncertainty):
        part.mul_(3.0)
    torch.testing.assert_close(planner.scorer.penalty(candidates, terminal), 0.3 * 0.5 / 0.2 * absolute)
    model.data_uncertainty.zero_()
    assert torch.isfinite(planner.scorer.penalty(candidates, terminal)).all()


# Plans around the base policy.


@torch.no_grad()
def test_a_plan_acts_where_it_beats_the_base_by_the_margin_else_the_base_does() -> None:
    s = small(**PLAN, penalty=0.5, plan_horizon=3, plan_margin=0.05)
    model = random_model(s, STATE)
    planner, latent, first = searched(s, model, robots=30)
    plan = planner.improve_base(latent, first, generator=torch.Generator().manual_seed(4), watch=no_deadline())
    assert plan is not None
    assert plan.better is not None
    assert plan.iterations == 1
    stream = torch.Generator().manual_seed(4)
    white = torch.randn(3, 30, 20, STATE.action, generator=stream)
    members = torch.randperm(s.heads, generator=stream)[:2]
    noise = torch.cat((torch.zeros(3, 30, 1, STATE.action), s.plan_noise * correlated(white, 0.9)), 2)
    scorer = planner.scorer
    candidates = scorer.around_base(latent, first, noise)
    torch.testing.assert_close(candidates.actions[0], (first[:, None] + noise[0]).clamp(-1, 1))
    torch.testing.assert_close(candidates.actions[1, :, 0], model.policy(candidates.latents[1, :, 0]))
    terminal = scorer.terminal(candidates, torch.zeros_like(candidates.actions[0]), members)
    scores = full_scores(scorer.upper_bound(candidates, terminal), candidates, terminal, scorer.penalty)
    gain, best = (scores - scores[:, :1]).max(-1)
    assert torch.equal(plan.better, gain >= 0.05)
    assert plan.better.any(), "no plan is better here, so this test shows nothing"
    assert not plan.better.all(), "every plan is better here, so this test shows nothing"
    expected = torch.where(plan.better[:, None], candidates.actions[0][torch.arange(30), best], first)
    torch.testing.assert_close(plan.action, expected)
    assert torch.equal(plan.action[~plan.better], first[~plan.better])


@given(margin=st.floats(0, 1e6), noise=st.floats(0, 2), seed=st.integers(0, 1000))
@examples(max_examples=15, deadline=None)
@torch.no_grad()
def test_a_plan_never_leaves_the_actions_and_a_margin_that_is_out_of_reach_leaves_the_base(
    margin: float, noise: float, seed: int
) -> None:
    s = small(**PLAN, **CHANCES, penalty=0.0, plan_horizon=2, plan_margin=margin, plan_noise=noise)
    planner, latent, first = searched(s, random_model(s, STATE))
    plan = planner.improve_base(latent, first, generator=torch.Generator().manual_seed(seed), watch=no_deadline())
    assert plan is not None
    assert plan.action.abs().max() <= 1
    if margin > 1 or noise == 0:
        assert torch.equal(plan.action, first), "chances differ by 1 at most, and copies without noise not at all"


def test_noise_of_candidates_is_correlated_and_of_constant_size() -> None:
    white = torch.randn(10, 20_000, generator=torch.Generator().manual_seed(0))
    noise = correlated(white, 0.9)
    np.testing.assert_allclose(noise.std(1).numpy(), 1.0, atol=0.03)
    assert float(torch.corrcoef(noise[4:6])[0, 1]) == pytest.approx(0.9, abs=0.02)
    assert torch.equal(correlated(white, 0.0), white)


def test_a_plan_makes_its_decision_known() -> None:
    agent = make(plan_margin=0.0)
    train(agent, RandomData(BOTH), 2)
    figures = agent.act(seen(size=3), agent.start(3), ActRequest(sample=False)).figures
    assert 0 <= figures["plan_better"] <= 1
    assert figures["plan_iterations"] == 1
    assert figures["plan_cut"] == figures["policy_answered"] == 0
    assert 0 <= figures["success_probability"] <= 1


# Chances.


@torch.no_grad()
def test_success_counts_once_in_a_score_and_what_follows_it_not_at_all() -> None:
    """A plan would be best that stays at success for long, and its uncertainty there would be held against it."""
    s = small(**PLAN, **CHANCES, discount=0.9, plan_horizon=3, penalty=1.0)
    model = random_model(s, STATE)
    rewards = torch.tensor([[0.0, 1.0, 1.0], [0.0, 0.0, 0.0], [0.25, 2.0, 0.0]]).T[:, None]
    latents = torch.zeros(4, 1, 3, s.latent_size)
    actions = torch.zeros(3, 1, 3, STATE.action)
    model.reward = lambda latent, _: rewards[0]  # type: ignore[method-assign, assignment]
    scorer = Planner(model, s).scorer
    scorer._rewards = lambda latents, actions: rewards  # type: ignore[method-assign]
    model.q_values = (
        lambda latent, action, target=False, members=None: torch.stack(  # type: ignore[method-assign]
            (torch.full(action.shape[:-1], 0.4), torch.full(action.shape[:-1], 5.0))
        )
    )
    imagined = scorer._imagined(actions, latents)
    terminal = scorer.terminal(imagined, torch.zeros(1, 3, STATE.action), torch.tensor([0, 1]))
    bound = scorer.upper_bound(imagined, terminal)[0]
    np.testing.assert_allclose(bound.numpy(), [0.9, 0.9**3 * 0.4, 0.25 + 0.9 * 0.75], rtol=1e-5)
    u = 4.6 / 2**0.5
    going = np.array([1 + 0.9, 1 + 0.9 + 0.81 + 0.729, 1 + 0.9 * 0.75])
    np.testing.assert_allclose(scorer.penalty(imagined, terminal)[0].numpy(), u * going, rtol=1e-5)


@given(seed=st.integers(0, 2**16), scale=st.floats(0.1, 1e3))
@examples(max_examples=15, deadline=None)
@torch.no_grad()
def test_a_return_in_imagination_is_a_chance(seed: int, scale: float) -> None:
    s = small(**CHANCES, plan_horizon=3, discount=0.99)
    model, stream = random_model(s, STATE), torch.Generator().manual_seed(seed)
    model.reward_head.output.weight.mul_(scale)
    model.q.last.weight.mul_(scale)
    scorer = Planner(model, s).scorer
    imagined = scorer.imagine(torch.rand(2, s.latent_size, generator=stream), torch.rand(3, 2, 9, STATE.action))
    terminal = scorer.terminal(imagined, torch.zeros(2, 9, STATE.action), torch.tensor([0, 1]))
    bound = scorer.upper_bound(imagined, terminal)
    assert ((bound >= 0) & (bound <= 1 + 1e-5)).all()


@torch.no_grad()
def test_the_published_search_ranks_by_chances_too() -> None:
    """Candidates are joined and selected with the chance that the episode goes on."""
    s = small(**CHANCES, plan_horizon=3, penalty=0.5)
    model = random_model(s, STATE)
    scorer, stream = Planner(model, s).scorer, torch.Generator().manual_seed(0)
    latent = torch.rand(2, s.latent_size, generator=stream)
    parts = [scorer.imagine(latent, 2 * torch.rand(3, 2, n, STATE.action, generator=stream) - 1) for n in (9, 30)]
    joined = parts[0].joined(parts[1])
    assert isinstance(joined, Imagined)
    assert joined.going.shape == (4, 2, 39)
    terminal = scorer.terminal(joined, torch.zeros(2, 39, STATE.action), torch.tensor([0, 3]))
    bound = scorer.upper_bound(joined, terminal)
    full = full_scores(bound, joined, terminal, scorer.penalty)
    lazy = elite_scores(bound, joined, terminal, scorer.penalty, 5)
    torch.testing.assert_close(lazy.topk(5).values, full.topk(5).values)


def test_a_chance_is_told_once_there_are_values() -> None:
    agent = make(spaces=STATE)
    decision = agent.act(seen(STATE), agent.start(1), ActRequest(sample=False))
    assert "success_probability" not in decision.figures, "a chance of success is published that nothing stands behind"
    train(agent, RandomData(STATE), 1)
    decision = agent.act(seen(STATE), agent.start(1), ActRequest(sample=False))
    value = agent.expected_return(seen(STATE), decision.state, decision.action)
    assert decision.figures["success_probability"] == pytest.approx(float(value))
    plain = make(spaces=STATE, steps_after_success=-1)
    train(plain, RandomData(STATE), 1)
    assert "success_probability" not in plain.act(seen(STATE), plain.start(1), ActRequest(sample=False)).figures
