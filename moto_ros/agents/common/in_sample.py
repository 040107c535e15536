"""Losses of in-sample offline RL: expectile, TD target, advantage-weighted cloning (IQL, used by FOWM too)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from moto_ros.agents.interface import Batch

MAX_ADVANTAGE_WEIGHT = 100.0
"""Advantage weights are clamped to it, as published."""

MAX_RELATIVE_WEIGHT = 10.0
"""Weights of advantages in units of the range of Q are clamped to it: all successes are worth repeating."""


def expectile(error: Tensor, tau: float) -> Tensor:
    """Return |tau - 1[error < 0]| error^2, elementwise: over-estimates cost 1 - tau, under-estimates tau."""
    return torch.where(error < 0, 1 - tau, tau) * error.square()


def td_target(reward: Tensor, terminal: Tensor, value: Tensor, discount: float) -> Tensor:
    """Return r + discount * value of the state reached, or r where that is terminal (a time limit is not)."""
    return reward + discount * (~terminal).to(reward.dtype) * value


def advantage_weight(advantage: Tensor, scale: float, most: float = MAX_ADVANTAGE_WEIGHT) -> Tensor:
    """Return min(exp(scale * advantage), most)."""
    return (scale * advantage).exp().clamp(max=most)


def worth_cloning(batch: Batch) -> Tensor:
    """Return which actions of windows show the skill, bool (B, L - 1): those of imitable rows, taken before success.

    Entry t is of `batch["action"][:, t + 1]`, taken in observation t. Rules of the prior leave no row of a failure.
    """
    return batch["imitable"][:, 1:] & (batch["steps_to_success"][:, :-1] != 0)


def cloning(mean: Tensor, action: Tensor) -> Tensor:
    """Return -log N(action; mean, 1), summed over the last dimension."""
    return 0.5 * (mean - action).square().sum(-1) + action.shape[-1] / 2 * math.log(2 * math.pi)


def pair(members: int, generator: torch.Generator | None, device: torch.device) -> Tensor:
    """Draw two different members at random, the heads whose minimum counts (REDQ)."""
    return torch.randperm(members, generator=generator, device=device)[:2]


@torch.no_grad()
def polyak_update(targets: list[Tensor], online: list[Tensor], rate: float) -> None:
    """Move every target weight towards the online one by `rate` of the way."""
    torch._foreach_lerp_(targets, online, rate)
