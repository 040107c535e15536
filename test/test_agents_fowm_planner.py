"""The planner of FOWM: the published scores and updates, built once more in NumPy; and deadlines kept."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest
import torch
from fowm_numpy import NumpyFowm
from hypothesis import given, settings
from hypothesis import strategies as st
from test_agents_fowm_losses import random_model, small
from torch import Tensor

from moto_ros.agents.fowm.config import FowmSettings
from moto_ros.agents.fowm.model import FowmModel
from moto_ros.agents.fowm.planner import Plan, Planner, Search, shifted
from moto_ros.agents.fowm.planning_time import PlanningTime, Stopwatch
from moto_ros.agents.fowm.score import Imagined, Terminal, elite_scores, full_scores
from moto_ros.agents.interface import Spaces
from moto_ros.errors import MotoError

STATE = Spaces(None, 4, 2)
PLAN = {
    "plan_horizon": 3,
    "plan_iterations": 3,
    "plan_samples": 12,
    "plan_policy_samples": 3,
    "plan_elites": 5,
    "penalty": 0.7,
}


def planned(**changes: object) -> FowmSettings:
    return small(**(PLAN | changes))


def no_deadline() -> Stopwatch:
    return Stopwatch(PlanningTime(), time.perf_counter(), None)


def run(model: FowmModel, s: FowmSettings, *, sample: bool = False, seed: int = 5, robots: int = 1) -> Plan:
    """Plan from random latents and a random warm start, both the same each time."""
    with torch.inference_mode():
        plan = Planner(model, s).plan(
            *start(s, robots),
            sample=sample,
            generator=torch.Generator().manual_seed(seed),
            watch=no_deadline(),
        )
    assert plan is not None
    return plan


def start(s: FowmSettings, robots: int = 1) -> tuple[Tensor, Tensor]:
    stream = torch.Generator().manual_seed(1)
    latent = torch.rand(robots, s.latent_size, generator=stream)
    return latent, 0.3 * torch.randn(s.plan_horizon, robots, STATE.action, generator=stream)


def policy_action(net: NumpyFowm, z: np.ndarray, noise: np.ndarray, s: FowmSettings) -> np.ndarray:
    moved = net.policy(z) + np.clip(s.policy_noise * noise, -0.3, 0.3)
    return np.clip(moved, -1 + 1e-6, 1 - 1e-6)


def score(
    net: NumpyFowm, z: np.ndarray, actions: np.ndarray, noise: np.ndarray, heads: list[int], s: FowmSettings
) -> float:
    """Return the score of one action sequence (H, A): section 3 of the specification."""
    total = 0.0
    for t, action in enumerate(actions):
        uncertainty = net.q(z, action).std(ddof=1)
        total += s.discount**t * (net.reward(z, action) - s.penalty * uncertainty)
        z = net.advance(z, action)
    last = policy_action(net, z, noise, s)
    values = net.q(z, last)
    return total + s.discount ** len(actions) * (values[heads].min() - s.penalty * values.std(ddof=1))


class NumpyPlanner:
    """The published procedure, one candidate at a time, drawing from a torch stream in the order the planner does."""

    def __init__(self, model: FowmModel, s: FowmSettings, seed: int) -> None:
        self.net, self.s = NumpyFowm.of(model), s
        self.stream = torch.Generator().manual_seed(seed)

    def normal(self, *shape: int) -> np.ndarray:
        return torch.randn(*shape, generator=self.stream).double().numpy()

    def proposals(self, z: np.ndarray) -> list[np.ndarray]:
        noise = self.normal(self.s.plan_horizon, 1, self.s.plan_policy_samples, STATE.action)[:, 0]
        found = []
        for k in range(self.s.plan_policy_samples):
            at, actions = z, []
            for t in range(self.s.plan_horizon):
                actions.append(policy_action(self.net, at, noise[t, k], self.s))
                at = self.net.advance(at, actions[-1])
            found.append(np.array(actions))
        return found

    def plan(self, z: np.ndarray, mean: np.ndarray, sample: bool) -> tuple[np.ndarray, np.ndarray]:
        s, proposals = self.s, self.proposals(z)
        std = np.full_like(mean, 2.0)
        for _ in range(s.plan_iterations):
            noise = self.normal(s.plan_horizon, 1, s.plan_samples, STATE.action)[:, 0]
            drawn = [np.clip(mean + std * noise[:, k], -1, 1) for k in range(s.plan_samples)]
            candidates = np.array(drawn + proposals)
            last = self.normal(1, len(candidates), STATE.action)[0]
            heads = torch.randperm(s.heads, generator=self.stream)[:2].tolist()
            scores = np.array([score(self.net, z, *pair, heads, s) for pair in zip(candidates, last, strict=True)])
            best = np.argsort(-scores)[: s.plan_elites]
            elites = candidates[best]
            weights = np.exp(0.5 * (scores[best] - scores.max()))
            weights /= weights.sum()
            found = np.einsum("k,kha->ha", weights, elites)
            std = np.sqrt(np.einsum("k,kha->ha", weights, (elites - found) ** 2)).clip(0.05, 2.0)
            mean = 0.1 * mean + 0.9 * found
        which = torch.multinomial(torch.tensor(weights, dtype=torch.float32)[None], 1, generator=self.stream)
        action = elites[int(which), 0]
        if sample:
            action = action + std[0] * self.normal(1, STATE.action)[0]
        return action.clip(-1, 1), mean


@pytest.mark.parametrize(("sample", "penalty"), [(False, 0.7), (True, 0.7), (False, 0.0), (False, 20.0)])
def test_the_plan_is_the_published_one(sample: bool, penalty: float) -> None:
    s = planned(penalty=penalty)
    model = random_model(s, STATE)
    latent, mean = start(s)
    action, expected = NumpyPlanner(model, s, 5).plan(latent[0].double().numpy(), mean[:, 0].double().numpy(), sample)
    plan = run(model, s, sample=sample)
    np.testing.assert_allclose(plan.action[0].numpy(), action, atol=1e-4)
    np.testing.assert_allclose(plan.mean[:, 0].numpy(), expected, atol=1e-4)
    assert plan.iterations == s.plan_iterations


def candidates(model: FowmModel, s: FowmSettings, robots: int) -> tuple[Planner, Imagined, Terminal]:
    planner = Planner(model, s)
    latent, _ = start(s, robots)
    stream = torch.Generator().manual_seed(2)
    actions = 2 * torch.rand(s.plan_horizon, robots, 40, STATE.action, generator=stream) - 1
    imagined = planner.scorer.imagine(latent, actions)
    noise = torch.randn(robots, 40, STATE.action, generator=stream)
    return planner, imagined, planner.scorer.terminal(imagined, noise, torch.tensor([3, 1]))


@torch.no_grad()
def test_every_candidate_gets_its_published_score() -> None:
    s = planned()
    model = random_model(s, STATE)
    planner, imagined, terminal = candidates(model, s, robots=2)
    bound = planner.scorer.upper_bound(imagined, terminal)
    scores = full_scores(bound, imagined, terminal, planner.scorer.penalty)
    net, stream = NumpyFowm.of(model), torch.Generator().manual_seed(2)
    torch.rand(s.plan_horizon, 2, 40, STATE.action, generator=stream)
    noise = torch.randn(2, 40, STATE.action, generator=stream).double().numpy()
    for b, k in itertools.product(range(2), range(0, 40, 7)):
        z, actions = start(s, 2)[0][b].double().numpy(), imagined.actions[:, b, k].double().numpy()
        np.testing.assert_allclose(scores[b, k], score(net, z, actions, noise[b, k], [3, 1], s), rtol=1e-3, atol=1e-4)


@given(
    penalties=st.lists(st.floats(0, 5, width=32), min_size=30, max_size=30),
    bounds=st.lists(st.sampled_from([-2.0, -0.5, 0.0, 0.25, 1.0, 3.0]), min_size=30, max_size=30),
    elites=st.integers(1, 29),
)
@settings(max_examples=200)
def test_evaluating_penalties_in_order_of_the_bounds_finds_the_same_scores(
    penalties: list[float], bounds: list[float], elites: int
) -> None:
    """The best candidates must not change because the penalty of others was not evaluated."""
    bound, taken = torch.tensor([bounds]), torch.tensor([penalties])
    actions = taken.view(1, 1, 30, 1)
    imagined = Imagined(actions, actions, taken)
    terminal = Terminal(taken[..., None], torch.tensor([0, 1]))
    lazy = elite_scores(bound, imagined, terminal, lambda found, _: found.reward, elites)
    full = full_scores(bound, imagined, terminal, lambda found, _: found.reward)
    assert torch.equal(lazy.topk(elites).values, full.topk(elites).values)
    examined = lazy > -torch.inf
    assert torch.equal(lazy[examined], full[examined])


@pytest.mark.parametrize("seed", range(5))
def test_a_likely_search_loses_less_than_one_percent_of_the_score(seed: int) -> None:
    """With `plan_exact` off actions must not get worse."""
    s = planned()
    model = random_model(s, STATE)
    with torch.no_grad():
        latent = torch.rand(1, s.latent_size, generator=torch.Generator().manual_seed(seed))
        scorer, stream = Planner(model, s).scorer, torch.Generator().manual_seed(seed)
        actions = 2 * torch.rand(s.plan_horizon, 1, 400, STATE.action, generator=stream) - 1
        imagined = scorer.imagine(latent, actions)
        terminal = scorer.terminal(imagined, torch.randn(1, 400, STATE.action, generator=stream), torch.tensor([0, 4]))
        bound = scorer.upper_bound(imagined, terminal)
        full = full_scores(bound, imagined, terminal, scorer.penalty)
        likely = elite_scores(bound, imagined, terminal, scorer.penalty, 30, likely=True)
        chosen = full.gather(-1, likely.topk(30).indices)
    spread = float(full.amax() - full.amin())
    assert float(full.topk(30).values.mean() - chosen.mean()) < 0.01 * spread
    assert float(full.amax() - chosen.amax()) < 0.01 * spread


def test_several_robots_are_planned_for_at_once_each_as_if_alone() -> None:
    """An evaluation of many robots would move each by the plan of another."""
    s = planned(plan_policy_samples=0, plan_iterations=1)
    model = random_model(s, STATE)
    both = run(model, s, robots=2)
    assert both.action.shape == (2, STATE.action)
    assert both.mean.shape == (s.plan_horizon, 2, STATE.action)
    assert not torch.allclose(both.mean[:, 0], both.mean[:, 1])


def test_the_uncertainty_penalty_keeps_the_plan_where_the_heads_agree() -> None:
    """Only the penalty tells the two apart: the heads disagree about actions with a positive first entry."""
    s = planned(plan_samples=64, plan_iterations=4, penalty=0.0)
    model = random_model(s, STATE)
    with torch.no_grad():
        model.reward_head.output.weight.zero_()
        model.q.last.weight.zero_()

    def spread(_: Tensor, action: Tensor, target: bool = False, members: Tensor | None = None) -> Tensor:
        values = torch.linspace(-1, 1, 5).view(5, *(1,) * (action.ndim - 1)) * action[..., 0].clamp(min=0)
        return values + action[..., 0] if members is None else values[members] + action[..., 0]

    model.q_values = spread  # type: ignore[method-assign, assignment]
    model.policy = lambda latent: torch.zeros(*latent.shape[:-1], STATE.action)  # type: ignore[method-assign]
    cautious = planned(plan_samples=64, plan_iterations=4, penalty=5.0)
    assert run(model, cautious).mean[0, 0, 0] < run(model, s).mean[0, 0, 0]


def test_scale_free_plans_do_not_change_with_the_scale_of_rewards() -> None:
    """One penalty and one temperature then serve a sparse and a dense reward alike."""
    s = planned(scale_free=True)
    plans = []
    for scale in (1.0, 50.0):
        model = random_model(s, STATE)
        with torch.no_grad():
            for layer in (model.reward_head.output, model.q.last):
                layer.weight.mul_(scale)
                layer.bias.mul_(scale)
            model.q_range.fill_(2.0 * scale)
        plans.append(run(model, s))
    torch.testing.assert_close(plans[0].mean, plans[1].mean, atol=1e-4, rtol=1e-4)


def test_nan_scores_count_as_zero_and_the_action_stays_finite() -> None:
    s = planned()
    model = random_model(s, STATE)
    model.reward = lambda latent, _: torch.full(latent.shape[:-1], torch.nan)  # type: ignore[method-assign, assignment]
    assert torch.isfinite(run(model, s).action).all()


@pytest.mark.parametrize(("steps", "kept"), [(0, [1, 2, 3]), (1, [2, 3, 0]), (2, [3, 0, 0]), (9, [0, 0, 0])])
def test_a_warm_start_is_shifted_by_the_elapsed_steps(steps: int, kept: list[int]) -> None:
    mean = torch.tensor([1.0, 2.0, 3.0]).view(3, 1, 1)
    assert shifted(mean, steps).flatten().tolist() == kept


def test_one_iteration_by_hand() -> None:
    """The new mean and std are the elites' weighted ones: one candidate at the mean, for std is 0, and one proposal."""
    s = planned(plan_horizon=1, plan_samples=1, plan_policy_samples=1, plan_elites=2, penalty=0.0)
    model = random_model(s, STATE)
    model.reward = lambda _, action: 2.0 * (action[..., 0] > 0)  # type: ignore[method-assign, assignment]
    with torch.no_grad():
        model.q.last.weight.zero_()
        model.q.last.bias.zero_()
    latent, mean = torch.rand(1, s.latent_size), torch.tensor([1.0, 0.5]).view(1, 1, 2)
    with torch.inference_mode():
        planner = Planner(model, s)
        proposal = planner.scorer.imagine(latent, -torch.ones(1, 1, 1, 2))
        found = planner.iterate(Search(mean, torch.zeros_like(mean)), latent, proposal, torch.Generator())
    weight = 1 / (1 + np.exp(-1))
    centre = 2 * weight - 1
    np.testing.assert_allclose(found.mean[0, 0, 0].item(), 0.1 + 0.9 * centre, rtol=1e-5)
    variance = weight * (1 - centre) ** 2 + (1 - weight) * (1 + centre) ** 2
    np.testing.assert_allclose(found.std[0, 0, 0].item(), np.sqrt(variance), rtol=1e-5)


def test_a_deadline_that_is_known_to_be_missed_is_not_begun() -> None:
    """The policy head answers instead; and old estimates decay, so that the planner is tried again."""
    s = planned()
    times = PlanningTime({"iteration": 30.0})
    watch = Stopwatch(times, time.perf_counter(), 1.0)
    with torch.inference_mode():
        plan = Planner(random_model(s, STATE), s).plan(*start(s), sample=False, generator=None, watch=watch)
    assert plan is None
    for _ in range(40):
        times.decay_estimates("iteration")
    assert watch.fits("iteration")


def test_iterations_stop_when_the_next_would_miss_the_deadline() -> None:
    s = planned(plan_iterations=1000)
    times = PlanningTime()
    watch = Stopwatch(times, time.perf_counter(), 0.5)
    with torch.inference_mode():
        plan = Planner(random_model(s, STATE), s).plan(*start(s), sample=False, generator=None, watch=watch)
    assert plan is not None
    assert 1 <= plan.iterations < 1000
    assert not watch.fits("iteration")


def test_an_estimate_rises_at_once_and_falls_slowly() -> None:
    times = PlanningTime()
    for seconds in (0.1, 0.5, 0.1):
        times.update("iteration", seconds)
    assert 0.1 < times.of("iteration") < 0.5


def test_where_plans_never_fit_late_answers_become_rare() -> None:
    """On a busy machine every attempt to plan is a late action; after a while nearly all must be the policy's."""
    times, deadline, late = PlanningTime(), 0.05, []
    for tick in range(1000):
        if Stopwatch(times, time.perf_counter(), deadline).fits("iteration"):
            times.update("iteration", 2 * deadline)
            times.answered(late=True)
            late.append(tick)
        else:
            times.decay_estimates("iteration")
    assert 2 <= len(late) <= 15
    assert late[-1] > 300, "and it is tried again, for the machine may have become idle"


def test_after_plans_in_time_the_planner_is_tried_at_once_again() -> None:
    """One slow second must not leave the robot to its policy for the rest of the run."""
    times = PlanningTime()
    for _ in range(10):
        times.answered(late=True)
    low = times.retry_rate
    for _ in range(10):
        times.answered(late=False)
    assert low < 0.05
    assert times.retry_rate == 1


def test_more_elites_than_candidates_are_refused() -> None:
    with pytest.raises(MotoError, match="plan_elites"):
        planned(plan_elites=16)


@pytest.mark.slow
def test_a_compiled_planner_answers_as_the_plain_one_or_falls_back_to_it() -> None:
    """On a machine without a compiler the planner must still plan."""
    s = planned()
    model = random_model(s, STATE)
    compiled = planned(compile=True)
    torch.testing.assert_close(run(model, compiled).mean, run(model, s).mean, atol=1e-4, rtol=1e-4)
