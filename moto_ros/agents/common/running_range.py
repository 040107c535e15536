"""Running range of values: how far good and bad lie apart, so that advantages have one scale whatever the reward is."""

from __future__ import annotations

import torch
from torch import Tensor, nn

RATE = 0.01
QUANTILES = (0.05, 0.95)
SMALLEST = 1e-3


class RunningRange(nn.Module):
    """Distance of the 5 % and 95 % quantiles of a batch, averaged over updates (as in TD-MPC2); 1 at the beginning."""

    range: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("range", torch.ones(()))

    @torch.no_grad()
    def update(self, values: Tensor) -> None:
        """Move the range towards that of the values of a batch, of any shape."""
        low, high = torch.quantile(values.flatten(), torch.tensor(QUANTILES, device=values.device))
        self.range.lerp_((high - low).clamp(min=SMALLEST), RATE)
