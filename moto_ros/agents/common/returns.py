"""Returns of imagined trajectories; time is the first dimension."""

from __future__ import annotations

import torch
from torch import Tensor


def lambda_return(reward: Tensor, bootstrap: Tensor, discount: float, mix: float) -> Tensor:
    """Return G_0..G_{H-1} (H, ...) from rewards r_0..r_{H-2} (H-1, ...) and values Q_0..Q_{H-1} (H, ...).

    G_{H-1} = Q_{H-1};  G_k = r_k + discount * ((1 - mix) * Q_{k+1} + mix * G_{k+1}), the geometric mixture of
    n-step returns (TD(lambda)).
    """
    target = bootstrap[-1]
    targets = [target]
    fixed = reward + discount * (1 - mix) * bootstrap[1:]
    for step in reversed(range(len(reward))):
        target = fixed[step] + discount * mix * target
        targets.append(target)
    return torch.stack(targets[::-1])


def discount_weights(steps: int, discount: float, like: Tensor) -> Tensor:
    """Return discount^0 .. discount^(steps-1) as a column (steps, 1)."""
    powers = torch.arange(steps, device=like.device, dtype=like.dtype)
    return (discount**powers)[:, None]
