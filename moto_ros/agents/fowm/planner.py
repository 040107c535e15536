"""Planning by model predictive path integral control (MPPI), with proposals of the policy, within a deadline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
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
    """Where the candidates are drawn: mean and std (H, B, A); with the elites found and their weights."""

    mean: Tensor
    std: Tensor
    elites: Tensor | None = None
    weights: Tensor | None = None


@dataclass(frozen=True)
class Plan:
    """The action (B, A), the mean to start the next plan from (H, B, A), and how many iterations there was time for."""

    action: Tensor
    mean: Tensor
    iterations: int


class Planner:
    """Improves action sequences by imagining them; the same networks as the agent's, without gradients."""

    def __init__(self, model: FowmModel, settings: FowmSettings) -> None:
        self._model, self._settings = model, settings
        weights = settings.discount, settings.penalty, settings.policy_noise
        self.scorer = Scorer(model, *weights, settings.scale_free)
        scorer, self._cold = self.scorer, settings.compile
        graphs = model.q_range.device.type == "cuda"
        parts: list[Callable[..., Any]] = [
            *(scorer.propose, scorer.imagine, scorer.ending),
            *(scorer.optimistic, scorer.doubts),
        ]
        prepared = [Compiled(part, graphs) if settings.compile else part for part in parts]
        self._propose, self._imagine, self._ending, self._optimistic, self._doubts = prepared

    def plan(self, latent: Tensor, mean: Tensor, *, sample: bool, generator: Noise, watch: Stopwatch) -> Plan | None:
        """Plan from latents (B, D), starting at mean (H, B, A); None where not even one iteration fits the deadline.

        `sample` adds the noise that explores: of the last spread at the first step.
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
            search = self._improved(search, latent, proposals, generator)
            done += 1
            watch.lap("iteration")
        return Plan(self._chosen(search, sample, generator), search.mean, done)

    def _warm_up(self, latent: Tensor, mean: Tensor) -> None:
        """Plan once for nothing, which is when the compiler works: its time is not that of an iteration."""
        stream, self._cold = torch.Generator(latent.device), False
        search = Search(mean, torch.ones_like(mean))
        self._improved(search, latent, self._proposals(latent, stream), stream)

    def _proposals(self, latent: Tensor, generator: Noise) -> Imagined | None:
        settings = self._settings
        if not settings.plan_policy_samples:
            return None
        shape = settings.plan_horizon, len(latent), settings.plan_policy_samples, self._model.actions
        return Imagined(*self._propose(latent, _normal(shape, latent, generator)))

    def _improved(self, search: Search, latent: Tensor, proposals: Imagined | None, generator: Noise) -> Search:
        """Do one iteration: draw, score, and move towards the elites."""
        candidates = self._candidates(search, latent, proposals, generator)
        scores = self._scores(candidates, generator)
        best = scores.topk(self._settings.plan_elites, -1)
        rows = torch.arange(len(latent), device=latent.device)[:, None]
        elites = candidates.actions[:, rows, best.indices]
        return updated(search.mean, elites, best.values, self._settings)

    def _candidates(self, search: Search, latent: Tensor, proposals: Imagined | None, generator: Noise) -> Imagined:
        horizon, robots, size = search.mean.shape
        noise = _normal((horizon, robots, self._settings.plan_samples, size), latent, generator)
        drawn = torch.addcmul(search.mean[:, :, None], search.std[:, :, None], noise).clamp_(-1, 1)
        imagined = Imagined(*self._imagine(latent, drawn))
        return imagined if proposals is None else imagined.joined(proposals)

    def _scores(self, candidates: Imagined, generator: Noise) -> Tensor:
        noise = _normal(candidates.actions.shape[1:], candidates.actions, generator)
        members = pair(self._settings.heads, generator, noise.device)
        ending = self._ending(candidates, noise, members)
        bound = self._optimistic(candidates, ending)
        if not self.scorer.penalised:
            return bound
        # To examine only some candidates takes decisions on the way, for which a GPU would have to be waited for.
        some = partial(elite_scores, elites=self._settings.plan_elites, likely=not self._settings.plan_exact)
        return (some if noise.device.type == "cpu" else full_scores)(bound, candidates, ending, self._doubts)

    def _chosen(self, search: Search, sample: bool, generator: Noise) -> Tensor:
        """Return the first action of one elite, drawn by the weights."""
        assert search.elites is not None
        assert search.weights is not None
        which = torch.multinomial(search.weights, 1, generator=generator)
        action = search.elites[0].gather(1, which[:, :, None].expand(-1, -1, search.elites.shape[-1]))[:, 0]
        if sample:
            action = action + search.std[0] * _normal(action.shape, action, generator)
        return action.clamp(-1, 1)


def updated(mean: Tensor, elites: Tensor, scores: Tensor, settings: FowmSettings) -> Search:
    """Return the search after elites (H, B, K, A) with scores (B, K): their weighted mean and spread."""
    weights = (settings.plan_temperature * (scores - scores.amax(-1, keepdim=True))).softmax(-1)
    found = torch.einsum("bk,hbka->hba", weights, elites)
    variance = torch.einsum("bk,hbka->hba", weights, (elites - found[:, :, None]).square())
    std = variance.sqrt().clamp(settings.plan_min_std, settings.plan_max_std)
    return Search(torch.lerp(found, mean, settings.plan_momentum), std, elites, weights)


def shifted(mean: Tensor, steps: int) -> Tensor:
    """Return the mean (H, B, A) of a plan made `steps` control steps ago: what is over goes, zeros come in."""
    left = mean[min(steps, len(mean)) :]
    return torch.cat((left, mean.new_zeros(len(mean) - len(left), *mean.shape[1:])))


def _normal(shape: tuple[int, ...], like: Tensor, generator: Noise) -> Tensor:
    return torch.randn(shape, generator=generator, device=like.device, dtype=like.dtype)
