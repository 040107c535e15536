"""The score of imagined action sequences: return and final value, less the uncertainty of every step.

G = sum_t gamma^t [R(z_t, a_t) - lambda u(z_t, a_t)] + gamma^H [min of two Q(z_H, a) - lambda u(z_H, a)], t = 0..H-1,
with a = pi(z_H) + noise and u the standard deviation of the Q heads. Time is the first dimension; B robots, N
candidates.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from moto_ros.agents.fowm.model import FowmModel, doubt, noisy

BLOCK_SHARE = 8
"""Candidates are examined for uncertainty an eighth at a time."""


class Imagined(NamedTuple):
    """Action sequences (H, B, N, A), the latents they pass (H+1, B, N, D), and their discounted reward (B, N)."""

    actions: Tensor
    latents: Tensor
    reward: Tensor

    def joined(self, other: Imagined) -> Imagined:
        """Return both sets of candidates as one."""
        return Imagined(
            *(torch.cat(parts, dim) for parts, dim in zip(zip(self, other, strict=True), (2, 2, 1), strict=True))
        )


class Ending(NamedTuple):
    """What is drawn to value the last latents: actions (B, N, A), and which two Q heads' minimum counts."""

    actions: Tensor
    members: Tensor


class Scorer:
    """Scores candidates by a model; with `unit` set the score is in that unit (the range of Q)."""

    def __init__(self, model: FowmModel, discount: float, penalty: float, noise: float, scale_free: bool) -> None:
        self._model, self._discount, self._penalty = model, discount, penalty
        self._noise, self._scale_free = noise, scale_free

    def imagine(self, latent: Tensor, actions: Tensor) -> Imagined:
        """Follow sequences (H, B, N, A) from latents (B, D)."""
        latents = [latent[:, None].expand(-1, actions.shape[2], -1)]
        for action in actions:
            latents.append(self._model.advance(latents[-1], action))
        passed = torch.stack(latents)
        return Imagined(actions, passed, self._discounted(self._rewards(passed[:-1], actions)))

    def propose(self, latent: Tensor, noise: Tensor) -> Imagined:
        """Follow the policy with noise (H, B, N, A) from latents (B, D)."""
        latents, actions = [latent[:, None].expand(-1, noise.shape[2], -1)], []
        for draw in noise:
            actions.append(noisy(self._model.policy(latents[-1]), self._noise, draw))
            latents.append(self._model.advance(latents[-1], actions[-1]))
        passed, taken = torch.stack(latents), torch.stack(actions)
        return Imagined(taken, passed, self._discounted(self._rewards(passed[:-1], taken)))

    def ending(self, imagined: Imagined, noise: Tensor, members: Tensor) -> Ending:
        """Return the actions at the last latents, by the policy with noise (B, N, A)."""
        return Ending(noisy(self._model.policy(imagined.latents[-1]), self._noise, noise), members)

    def optimistic(self, imagined: Imagined, ending: Ending) -> Tensor:
        """Return the score (B, N) without any uncertainty: what no score can exceed."""
        final = self._model.q_values(imagined.latents[-1], ending.actions, members=ending.members).amin(0)
        last = self._discount ** len(imagined.actions)
        return torch.nan_to_num((imagined.reward + last * final) / self.unit)

    def doubts(self, imagined: Imagined, ending: Ending) -> Tensor:
        """Return what uncertainty takes off the score (B, N)."""
        actions = torch.cat((imagined.actions, ending.actions[None]))
        spread = doubt(self._model.q_values(imagined.latents, actions))
        return torch.nan_to_num(self._penalty * self._discounted(spread) / self.unit)

    @property
    def unit(self) -> Tensor | float:
        """Return what scores are divided by."""
        return self._model.q_range if self._scale_free else 1.0

    @property
    def penalised(self) -> bool:
        """Return whether uncertainty counts."""
        return self._penalty > 0

    def _rewards(self, latents: Tensor, actions: Tensor) -> Tensor:
        """Return the rewards (H, B, N): on a CPU step by step, what is small enough for its cache; else all at once."""
        if latents.device.type != "cpu":
            return self._model.reward(latents, actions)
        return torch.stack([self._model.reward(*step) for step in zip(latents, actions, strict=True)])

    def _discounted(self, values: Tensor) -> Tensor:
        powers = self._discount ** torch.arange(len(values), device=values.device, dtype=values.dtype)
        return torch.tensordot(powers, values, dims=1)


Doubts = Callable[[Imagined, Ending], Tensor]


def full_scores(bound: Tensor, imagined: Imagined, ending: Ending, doubts: Doubts) -> Tensor:
    """Return the score (B, N) of every candidate from its optimistic one."""
    return bound - doubts(imagined, ending)


def elite_scores(
    bound: Tensor, imagined: Imagined, ending: Ending, doubts: Doubts, elites: int, likely: bool = False
) -> Tensor:
    """Return the scores (B, N) of the best `elites` candidates, and minus infinity for some that are not among them.

    Exact, at a fraction of the cost: as uncertainty only lowers a score, candidates are examined in the order of their
    optimistic scores until none that is left could still be among the best. `likely` stops sooner: when none could be
    whose penalty is not below all those seen.
    """
    order = bound.argsort(dim=-1, descending=True, stable=True)
    scores = torch.full_like(bound, -torch.inf)
    least = torch.full_like(bound[:, 0], torch.inf)
    count = bound.shape[-1]
    block = max(elites, -(-count // BLOCK_SHARE))
    for begin in range(0, count, block):
        # The last block overlaps the one before: all have one shape, so that a compiler works once.
        chosen = order[:, min(begin, count - block) :][:, :block]
        penalty = doubts(*picked(imagined, ending, chosen))
        scores.scatter_(-1, chosen, bound.gather(-1, chosen) - penalty)
        least = torch.minimum(least, penalty.amin(-1))
        if begin + block >= count:
            break
        ahead = bound.gather(-1, order[:, begin + block, None])[:, 0]
        if _settled(scores, ahead - least if likely else ahead, elites):
            break
    return scores


def _settled(scores: Tensor, ahead: Tensor, elites: int) -> bool:
    """Return whether what the best of the others could reach, `ahead` (B,), is below all elites."""
    return bool((ahead <= scores.topk(elites, -1).values[:, -1]).all())


def picked(imagined: Imagined, ending: Ending, chosen: Tensor) -> tuple[Imagined, Ending]:
    """Return the candidates `chosen` (B, n) only."""
    rows = torch.arange(len(chosen), device=chosen.device)[:, None]
    kept = Imagined(imagined.actions[:, rows, chosen], imagined.latents[:, rows, chosen], imagined.reward[rows, chosen])
    return kept, Ending(ending.actions[rows, chosen], ending.members)
