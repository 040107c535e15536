"""Planning by model predictive path integral control (MPPI), with proposals of the policy, within a deadline.

`Planner.iterate` is one iteration; `score.py` holds the score G of a candidate. H steps, B robots, K elites, A actions.
`Planner.improve_base` is the search around a base policy, which acts unless a plan is better by a margin.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from moto_ros.agents.common.compiled import Compiled
from moto_ros.agents.common.in_sample import pair
from moto_ros.agents.fowm.config import FowmSettings
from moto_ros.agents.fowm.model import FowmModel
from moto_ros.agents.fowm.planning_time import Stopwatch
from moto_ros.agents.fowm.score import Imagined, Scorer, elite_scores, full_scores

Noise = torch.Generator | None


@dataclass(frozen=True)
class Search:
    """The distribution of the candidates: mean and std (H, B, A); with the elites (H, B, K, A) and weights (B, K)."""

    mean: Tensor
    std: Tensor
    elites: Tensor | None = None
    weights: Tensor | None = None


@dataclass(frozen=True)
class Plan:
    """The action (B, A), the mean to start the next plan from (H, B, A), and how many iterations there was time for.

    `better` bool (B,): where the plan acts and not the base policy; None where none was asked.
    """

    action: Tensor
    mean: Tensor
    iterations: int
    better: Tensor | None = None


class Planner:
    """Optimises action sequences by MPPI in the latents of the world model; without gradients."""

    def __init__(self, model: FowmModel, settings: FowmSettings) -> None:
        self._model, self._settings = model, settings
        self.scorer = Scorer(model, settings)
        scorer, self._cold = self.scorer, settings.compile
        graphs = model.q_range.device.type == "cuda"
        parts: list[Callable[..., Any]] = [
            *(scorer.propose, scorer.imagine, scorer.around_base, scorer.terminal),
            *(scorer.upper_bound, scorer.penalty),
        ]
        prepared = [Compiled(part, graphs) if settings.compile else part for part in parts]
        self._propose, self._imagine, self._around_base, self._terminal, self._upper_bound, self._penalty = prepared

    def plan(self, latent: Tensor, mean: Tensor, *, sample: bool, generator: Noise, watch: Stopwatch) -> Plan | None:
        """Plan from latents (B, D), starting at mean (H, B, A); None where not even one iteration fits the deadline.

        `sample` adds exploration noise: the last std of the first step times a normal draw.
        """
        if self._cold:
            self._warm_up(latent, mean)
            watch.lap("compiling")
        if not watch.fits("proposals", "iteration", "answer"):
            return None
        proposals = self._proposals(latent, generator)
        watch.lap("proposals")
        search = Search(mean, torch.full_like(mean, self._settings.plan_max_std))
        done = 0
        while done < self._settings.plan_iterations and (done == 0 or watch.fits("iteration", "answer")):
            search = self.iterate(search, latent, proposals, generator)
            done += 1
            watch.lap("iteration")
        return Plan(self._choose(search, sample, generator), search.mean, done)

    def improve_base(self, latent: Tensor, first: Tensor, *, generator: Noise, watch: Stopwatch) -> Plan | None:
        """Return the best of noisy copies of the base policy's sequence, or the base policy's action `first` (B, A).

        A copy acts where its score beats that of the base policy's sequence without noise by `plan_margin`. None where
        there is no time for it.
        """
        if self._cold:
            self._cold = False
            self._search_around(latent, first, torch.Generator(latent.device))
            watch.lap("compiling")
        if not watch.fits("iteration", "answer"):
            return None
        candidates, scores = self._search_around(latent, first, generator)
        gain, best = (scores - scores[:, :1]).max(-1)
        better = (gain >= self._settings.plan_margin) & (best > 0)
        rows = torch.arange(len(latent), device=latent.device)
        chosen = candidates.actions[:, rows, torch.where(better, best, 0)]
        watch.lap("iteration")
        return Plan(torch.where(better[:, None], chosen[0], first), chosen, 1, better)

    def _search_around(self, latent: Tensor, first: Tensor, generator: Noise) -> tuple[Imagined, Tensor]:
        """Return the base policy's sequence, first, and noisy copies of it; and their scores (B, 1 + N)."""
        settings = self._settings
        shape = settings.plan_horizon, len(latent), settings.plan_policy_samples, self._model.actions
        noise = settings.plan_noise * correlated(_normal(shape, latent, generator), settings.explore_correlation)
        candidates = self._around_base(latent, first, torch.cat((torch.zeros_like(noise[:, :, :1]), noise), 2))
        # The same two heads, and no noise at the end, for all: scores are compared in pairs.
        still = torch.zeros_like(candidates.actions[0])
        terminal = self._terminal(candidates, still, pair(settings.heads, generator, latent.device))
        scores = self._upper_bound(candidates, terminal)
        if self.scorer.penalised:
            scores = full_scores(scores, candidates, terminal, self._penalty)
        return candidates, scores

    def _warm_up(self, latent: Tensor, mean: Tensor) -> None:
        """Plan once and discard the result, so that the time of compilation is not taken for an iteration's."""
        stream, self._cold = torch.Generator(latent.device), False
        search = Search(mean, torch.ones_like(mean))
        self.iterate(search, latent, self._proposals(latent, stream), stream)

    def _proposals(self, latent: Tensor, generator: Noise) -> Imagined | None:
        settings = self._settings
        if not settings.plan_policy_samples:
            return None
        shape = settings.plan_horizon, len(latent), settings.plan_policy_samples, self._model.actions
        return Imagined(*self._propose(latent, _normal(shape, latent, generator)))

    def iterate(self, search: Search, latent: Tensor, proposals: Imagined | None, generator: Noise) -> Search:
        """Do one MPPI iteration: sample, imagine, score, and move mean and std to the elites."""
        settings = self._settings
        horizon, robots, actions = search.mean.shape
        # Sample action sequences a ~ N(mean, std), clamped to [-1, 1].
        noise = _normal((horizon, robots, settings.plan_samples, actions), latent, generator)
        drawn = torch.addcmul(search.mean[:, :, None], search.std[:, :, None], noise).clamp_(-1, 1)
        # Roll them out by the model; the policy's sequences are candidates of every iteration.
        candidates = Imagined(*self._imagine(latent, drawn))
        if proposals is not None:
            candidates = candidates.joined(proposals)
        # Score without uncertainty: discounted rewards and, at a ~ pi(z_H), the minimum of two random Q heads.
        noise = _normal(candidates.actions.shape[1:], candidates.actions, generator)
        members = pair(settings.heads, generator, noise.device)
        terminal = self._terminal(candidates, noise, members)
        scores = self._upper_bound(candidates, terminal)
        # Subtract lambda u(z, a) of every step. To do so for some candidates only takes decisions, for which a GPU
        # would have to be waited for.
        if self.scorer.penalised and noise.device.type == "cpu":
            likely = not settings.plan_exact
            scores = elite_scores(scores, candidates, terminal, self._penalty, settings.plan_elites, likely)
        elif self.scorer.penalised:
            scores = full_scores(scores, candidates, terminal, self._penalty)
        # Elites, and their weights: softmax(temperature * G).
        best = scores.topk(settings.plan_elites, -1)
        rows = torch.arange(robots, device=latent.device)[:, None]
        elites = candidates.actions[:, rows, best.indices]
        weights = (settings.plan_temperature * (best.values - best.values.amax(-1, keepdim=True))).softmax(-1)
        # New mean and std: the elites' weighted ones, with momentum for the mean and limits for the std.
        mean = torch.einsum("bk,hbka->hba", weights, elites)
        variance = torch.einsum("bk,hbka->hba", weights, (elites - mean[:, :, None]).square())
        std = variance.sqrt().clamp(settings.plan_min_std, settings.plan_max_std)
        return Search(torch.lerp(mean, search.mean, settings.plan_momentum), std, elites, weights)

    def _choose(self, search: Search, sample: bool, generator: Noise) -> Tensor:
        """Return the first action of one elite, drawn by the weights; with noise of the last std where `sample`."""
        assert search.elites is not None
        assert search.weights is not None
        which = torch.multinomial(search.weights, 1, generator=generator)
        action = search.elites[0].gather(1, which[:, :, None].expand(-1, -1, search.elites.shape[-1]))[:, 0]
        if sample:
            action = action + search.std[0] * _normal(action.shape, action, generator)
        return action.clamp(-1, 1)


def shifted(mean: Tensor, steps: int) -> Tensor:
    """Return the mean (H, B, A) of a plan made `steps` control steps ago: past steps are dropped, zeros appended."""
    left = mean[min(steps, len(mean)) :]
    return torch.cat((left, mean.new_zeros(len(mean) - len(left), *mean.shape[1:])))


def correlated(white: Tensor, rho: float) -> Tensor:
    """Return AR(1) noise along the first dimension, of the variance of the white noise (H, ...) that it is made of."""
    steps = [white[0]]
    for fresh in white[1:]:
        steps.append(rho * steps[-1] + (1 - rho**2) ** 0.5 * fresh)
    return torch.stack(steps)


def _normal(shape: tuple[int, ...], like: Tensor, generator: Noise) -> Tensor:
    return torch.randn(shape, generator=generator, device=like.device, dtype=like.dtype)
