"""Exponential moving average of weights (Polyak averaging) to act by, so that one batch does not decide an action."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from moto_ros.config import parameter


@dataclass(frozen=True)
class AveragingSettings:
    """How much the weights that act are averaged."""

    actor_ema: float = parameter(
        0.0,
        "share of the acting weights that an update keeps, so that they average about 1 / (1 - actor_ema) updates; "
        "0: act by the newest, as published",
        low=0.0,
        high=0.99999,
        formerly="average",
    )


def averaged(network: nn.Module, decay: float) -> AveragedModel | None:
    """Return an exponential moving average of the weights of `network`, or None with a decay of 0.

    Its first updates are averaged evenly, so that the weights before learning do not count. Buffers are copied.
    """
    if not decay:
        return None
    average = AveragedModel(network, multi_avg_fn=_moving_average(decay))
    average.requires_grad_(False)
    return average


def _moving_average(decay: float) -> Callable[[Sequence[Tensor], Sequence[Tensor], Tensor | int], None]:
    def update(average: Sequence[Tensor], newest: Sequence[Tensor], updates: Tensor | int) -> None:
        count = float(updates)
        torch._foreach_lerp_(list(average), list(newest), 1 - min(decay, count / (count + 1)))

    return update
