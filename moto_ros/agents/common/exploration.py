"""Exploring noise around the action that an agent chose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from moto_ros.config import parameter


@dataclass(frozen=True)
class ExplorationSettings:
    """Exploring noise of an agent that acts by a base policy or better."""

    explore_std: float = parameter(
        0.1,
        "with a base policy: standard deviation of the exploring noise around the chosen action",
        low=0.0,
        high=2.0,
        before=0.1,
    )
    explore_correlation: float = parameter(
        0.9,
        "with a base policy: correlation of the exploring noise from one step to the next",
        low=0.0,
        high=0.999,
        before=0.9,
    )
    quiet_episodes: float = parameter(
        0.33,
        "with a base policy: share of training episodes without exploring noise",
        low=0.0,
        high=1.0,
        before=0.33,
    )


class CorrelatedNoise:
    """AR(1) noise around an action: n_t = rho n_(t-1) + sqrt(1 - rho^2) sigma N(0, 1); some episodes have none.

    Steps that go on in one direction explore; white noise averages out before the arm has moved.
    """

    def __init__(self, settings: ExplorationSettings) -> None:
        """Take the settings."""
        self._settings = settings

    def start(self, batch: int, action: int, device: torch.device) -> dict[str, Tensor]:
        """Return the state before the first step."""
        return {"noise": torch.zeros(batch, action, device=device), "loud": torch.full((batch, 1), -1.0, device=device)}

    def draw(self, state: Mapping[str, Tensor], generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the noise (B, A) of this step, and the next state."""
        settings, noise, loud = self._settings, state["noise"], state["loud"]
        fresh = torch.rand(loud.shape, generator=generator, device=loud.device) >= settings.quiet_episodes
        first = loud < 0
        loud = torch.where(first, fresh.to(loud.dtype), loud)
        white = settings.explore_std * torch.randn(noise.shape, generator=generator, device=noise.device)
        rho = settings.explore_correlation
        noise = torch.where(first, white, rho * noise + (1 - rho**2) ** 0.5 * white)
        return loud * noise, {"noise": noise, "loud": loud}

    @staticmethod
    def part(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return what belongs to the noise in the state of an agent."""
        return {name: state[name] for name in ("noise", "loud")}
