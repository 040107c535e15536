"""Acting by an average of the newest weights: what one batch moves does not decide what the robot does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from moto_ros.config import parameter


@dataclass(frozen=True)
class AveragingSettings:
    """How far acting stays behind learning."""

    actor_ema: float = parameter(
        0.0,
        "share of the acting weights that an update keeps, so that they average about 1 / (1 - actor_ema) updates; "
        "0: act by the newest, as published",
        low=0.0,
        high=0.99999,
        formerly="average",
    )


def averaged(network: nn.Module, share: float) -> AveragedModel | None:
    """Return an exponential moving average of the weights of `network` (Polyak averaging), or None with a share of 0.

    Its first updates are averaged evenly, lest the weights before learning count. Buffers are copied.
    """
    if not share:
        return None
    average = AveragedModel(network, multi_avg_fn=_kept(share))
    average.requires_grad_(False)
    return average


def _kept(share: float) -> Callable[[Sequence[Tensor], Sequence[Tensor], Tensor | int], None]:
    def move(slow: Sequence[Tensor], fast: Sequence[Tensor], seen: Tensor | int) -> None:
        count = float(seen)
        torch._foreach_lerp_(list(slow), list(fast), 1 - min(share, count / (count + 1)))

    return move
