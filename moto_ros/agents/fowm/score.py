"""The score of imagined action sequences: return and terminal value, minus the uncertainty of every step.

G = sum_t gamma^t [R(z_t, a_t) - lambda u(z_t, a_t)] + gamma^H [min of two Q(z_H, a) - lambda u(z_H, a)], t = 0..H-1,
with a = pi(z_H) + noise and u the standard deviation of the Q heads. Time is the first dimension; B robots, N
candidates.

Where success ends an episode, R is the chance of success at a step, and what comes after it does not count: step t and
the terminal value are weighted by going_t = (1 - R_0) .. (1 - R_(t-1)), R and Q cut to [0, 1]. The return then lies in
[0, 1]. With a relative penalty lambda u is lambda x range of Q x u / u on data.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from moto_ros.agents.fowm.config import FowmSettings
from moto_ros.agents.fowm.model import FowmModel, noisy, uncertainty

BLOCKS = 8
"""The uncertainty of candidates is evaluated in up to this many blocks."""


ALWAYS = torch.empty(0)
"""`Imagined.going` where no episode ends."""


class Imagined(NamedTuple):
    """Action sequences (H, B, N, A), the latents they pass (H+1, B, N, D), and their discounted reward (B, N).

    `going` (H+1, B, N) is the chance that the episode has not ended in success before each step; empty where success
    does not end it.
    """

    actions: Tensor
    latents: Tensor
    reward: Tensor
    going: Tensor = ALWAYS

    def joined(self, other: Imagined) -> Imagined:
        """Return both sets of candidates as one."""
        return Imagined(
            *(torch.cat(parts, dim) for parts, dim in zip(zip(self, other, strict=True), (2, 2, 1, -1), strict=True))
        )


class Terminal(NamedTuple):
    """What is drawn for the terminal value: actions (B, N, A) at the last latents, and two Q heads (members)."""

    actions: Tensor
    members: Tensor


class Scorer:
    """Scores candidates by a model; with `scale_free` in units of the running range of Q."""

    def __init__(self, model: FowmModel, settings: FowmSettings) -> None:
        self._model, self._discount, self._penalty = model, settings.discount, settings.penalty
        self._noise, self._scale_free = settings.policy_noise, settings.scale_free
        self._relative, self._success_ends = settings.penalty_relative, settings.values_are_chances

    def imagine(self, latent: Tensor, actions: Tensor) -> Imagined:
        """Roll out sequences (H, B, N, A) from latents (B, D)."""
        latents = [latent[:, None].expand(-1, actions.shape[2], -1)]
        for action in actions:
            latents.append(self._model.advance(latents[-1], action))
        return self._imagined(actions, torch.stack(latents))

    def propose(self, latent: Tensor, noise: Tensor) -> Imagined:
        """Roll out the policy with noise (H, B, N, A) from latents (B, D)."""
        latents, actions = [latent[:, None].expand(-1, noise.shape[2], -1)], []
        for draw in noise:
            actions.append(noisy(self._model.policy(latents[-1]), self._noise, draw))
            latents.append(self._model.advance(latents[-1], actions[-1]))
        return self._imagined(torch.stack(actions), torch.stack(latents))

    def around_base(self, latent: Tensor, first: Tensor, noise: Tensor) -> Imagined:
        """Roll out the base policy plus noise (H, B, N, A): its action `first` (B, A) now, then the policy's."""
        latents, actions = [latent[:, None].expand(-1, noise.shape[2], -1)], []
        for step, draw in enumerate(noise):
            base = self._model.policy(latents[-1]) if step else first[:, None]
            actions.append((base + draw).clamp(-1, 1))
            latents.append(self._model.advance(latents[-1], actions[-1]))
        return self._imagined(torch.stack(actions), torch.stack(latents))

    def _imagined(self, actions: Tensor, latents: Tensor) -> Imagined:
        rewards = self._rewards(latents[:-1], actions)
        if not self._success_ends:
            return Imagined(actions, latents, self._discounted(rewards), latents.new_empty(0))
        rewards = rewards.clamp(0, 1)
        left = torch.cumprod(1 - rewards, 0)
        going = torch.cat((torch.ones_like(left[:1]), left))
        return Imagined(actions, latents, self._discounted(going[:-1] * rewards), going)

    def terminal(self, imagined: Imagined, noise: Tensor, members: Tensor) -> Terminal:
        """Return the actions at the last latents, by the policy with noise (B, N, A)."""
        return Terminal(noisy(self._model.policy(imagined.latents[-1]), self._noise, noise), members)

    def upper_bound(self, imagined: Imagined, terminal: Terminal) -> Tensor:
        """Return the score (B, N) without the uncertainty penalty, which no score can exceed."""
        final = self._model.q_values(imagined.latents[-1], terminal.actions, members=terminal.members).amin(0)
        if self._success_ends:
            final = imagined.going[-1] * final.clamp(0, 1)
        last = self._discount ** len(imagined.actions)
        return torch.nan_to_num((imagined.reward + last * final) / self.unit)

    def penalty(self, imagined: Imagined, terminal: Terminal) -> Tensor:
        """Return the uncertainty penalty (B, N): lambda times the discounted std of Q over heads, terminal included."""
        actions = torch.cat((imagined.actions, terminal.actions[None]))
        u = uncertainty(self._model.q_values(imagined.latents, actions))
        if self._success_ends:
            u = imagined.going * u
        weight = self._penalty * self._model.penalty_scale if self._relative else self._penalty
        return torch.nan_to_num(weight * self._discounted(u) / self.unit)

    @property
    def unit(self) -> Tensor | float:
        """Return what scores are divided by."""
        return self._model.q_range if self._scale_free else 1.0

    @property
    def penalised(self) -> bool:
        """Return whether uncertainty counts."""
        return self._penalty > 0

    def _rewards(self, latents: Tensor, actions: Tensor) -> Tensor:
        """Return the rewards (H, B, N): on a CPU step by step, as one step fits its cache; else all at once."""
        if latents.device.type != "cpu":
            return self._model.reward(latents, actions)
        return torch.stack([self._model.reward(*step) for step in zip(latents, actions, strict=True)])

    def _discounted(self, values: Tensor) -> Tensor:
        powers = self._discount ** torch.arange(len(values), device=values.device, dtype=values.dtype)
        return torch.tensordot(powers, values, dims=1)


Penalty = Callable[[Imagined, Terminal], Tensor]


def full_scores(bound: Tensor, imagined: Imagined, terminal: Terminal, penalty_of: Penalty) -> Tensor:
    """Return the score (B, N) of every candidate from its upper bound."""
    return bound - penalty_of(imagined, terminal)


def elite_scores(
    bound: Tensor, imagined: Imagined, terminal: Terminal, penalty_of: Penalty, elites: int, likely: bool = False
) -> Tensor:
    """Return the scores (B, N) of the best `elites` candidates, and minus infinity for some that are not among them.

    Exact, at a fraction of the cost: as the penalty only lowers a score, candidates are evaluated in the order of their
    upper bounds until none of the rest can be among the best. `likely` stops sooner: it assumes that the penalty of the
    rest is at least the smallest seen so far.
    """
    order = bound.argsort(dim=-1, descending=True, stable=True)
    scores = torch.full_like(bound, -torch.inf)
    smallest = torch.full_like(bound[:, 0], torch.inf)
    count = bound.shape[-1]
    block = max(elites, -(-count // BLOCKS))
    for begin in range(0, count, block):
        # The last block overlaps the one before: all have one shape, so that the function is compiled once.
        chosen = order[:, min(begin, count - block) :][:, :block]
        penalty = penalty_of(*select(imagined, terminal, chosen))
        scores.scatter_(-1, chosen, bound.gather(-1, chosen) - penalty)
        smallest = torch.minimum(smallest, penalty.amin(-1))
        if begin + block >= count:
            break
        # Stop when what the best of the rest can reach is below all elites.
        reachable = bound.gather(-1, order[:, begin + block, None])[:, 0]
        if likely:
            reachable = reachable - smallest
        if bool((reachable <= scores.topk(elites, -1).values[:, -1]).all()):
            break
    return scores


def select(imagined: Imagined, terminal: Terminal, chosen: Tensor) -> tuple[Imagined, Terminal]:
    """Return the candidates `chosen` (B, n) only."""
    rows = torch.arange(len(chosen), device=chosen.device)[:, None]
    actions, latents = imagined.actions[:, rows, chosen], imagined.latents[:, rows, chosen]
    going = imagined.going[:, rows, chosen] if imagined.going.numel() else imagined.going
    selected = Imagined(actions, latents, imagined.reward[rows, chosen], going)
    return selected, Terminal(terminal.actions[rows, chosen], terminal.members)
