"""Normalisation of vectors of mixed units to zero mean and unit variance."""

from __future__ import annotations

import torch
from torch import Tensor, nn

MIN_STD = 1e-3
CLAMP_STDS = 8.0
"""Normalised values are clamped to this many standard deviations, so that one outlier cannot upset a network."""


class Normaliser(nn.Module):
    """Normalises by mean and variance (size,) of its first `limit` batches, which are constant afterwards."""

    mean: Tensor
    variance: Tensor
    seen: Tensor

    def __init__(self, size: int, limit: int = 100) -> None:
        """Start as the identity."""
        super().__init__()
        self._limit = limit
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("variance", torch.ones(size))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def update(self, values: Tensor) -> None:
        """Merge one batch (..., size) into the statistics, each batch with equal weight."""
        seen = int(self.seen)
        if seen >= self._limit:
            return
        rows = values.reshape(-1, values.shape[-1])
        shift = rows.mean(0) - self.mean if seen else rows.mean(0)
        within = rows.var(0, correction=0)
        self.mean.copy_(self.mean + shift / (seen + 1) if seen else shift)
        merged = (self.variance * seen + within + shift.square() * seen / (seen + 1)) / (seen + 1)
        self.variance.copy_(merged if seen else within)
        self.seen += 1

    def forward(self, values: Tensor) -> Tensor:
        """Return (values - mean) / std, clamped."""
        std = self.variance.sqrt().clamp(min=MIN_STD)
        return ((values - self.mean) / std).clamp(-CLAMP_STDS, CLAMP_STDS)
