"""Exploring noise around the action that an agent chose."""

from __future__ import annotations

import torch
from torch import Tensor


class CorrelatedNoise:
    """AR(1) noise around an action: n_t = rho n_(t-1) + sqrt(1 - rho^2) sigma N(0, 1); some episodes have none.

    Steps that go on in one direction explore; white noise averages out before the arm has moved.
    """

    def __init__(self, sigma: float, rho: float, quiet: float) -> None:
        """Take the standard deviation, the correlation of a step with the next, and the share of quiet episodes."""
        self.sigma, self.rho, self.quiet = sigma, rho, quiet

    def start(self, batch: int, action: int, device: torch.device) -> dict[str, Tensor]:
        """Return the state before the first step."""
        return {"noise": torch.zeros(batch, action, device=device), "loud": torch.full((batch, 1), -1.0, device=device)}

    def draw(self, noise: Tensor, loud: Tensor, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the noise (B, A) of this step, and the next state."""
        fresh = torch.rand(loud.shape, generator=generator, device=loud.device) >= self.quiet
        first = loud < 0
        loud = torch.where(first, fresh.to(loud.dtype), loud)
        white = self.sigma * torch.randn(noise.shape, generator=generator, device=noise.device)
        noise = torch.where(first, white, self.rho * noise + (1 - self.rho**2) ** 0.5 * white)
        return loud * noise, {"noise": noise, "loud": loud}
