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
    explore_lost_std: float = parameter(
        0.0,
        "the same where the chance of success has fallen to nothing; between the two by how far it has fallen from its "
        "highest in the episode; below explore_std: explore_std everywhere",
        low=0.0,
        high=2.0,
        before=0.0,
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
    """AR(1) noise around an action: n_t = rho n_(t-1) + sqrt(1 - rho^2) sigma_t N(0, 1).

    Steps that go on in one direction explore; white noise averages out before the arm has moved. sigma_t is 0 or
    `explore_std`, by the episode, as long as all goes well. It grows towards `explore_lost_std` by the share
    1 - V_t / max V of the chance of success that is lost: there is little left to spoil, and a way out to be found.
    """

    def __init__(self, settings: ExplorationSettings) -> None:
        """Take the settings."""
        self._settings = settings

    def start(self, batch: int, action: int, device: torch.device) -> dict[str, Tensor]:
        """Return the state before the first step."""
        one = torch.zeros(batch, 1, device=device)
        return {"noise": torch.zeros(batch, action, device=device), "loud": one - 1, "highest": one}

    def draw(
        self, state: Mapping[str, Tensor], generator: torch.Generator, chance: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the noise (B, A) of this step, and the next state; `chance` (B,) is that of success, if known."""
        settings, noise, loud = self._settings, state["noise"], state["loud"]
        fresh = torch.rand(loud.shape, generator=generator, device=loud.device) >= settings.quiet_episodes
        first = loud < 0
        loud = torch.where(first, fresh.to(loud.dtype), loud)
        # The standard deviation of this step.
        sigma, highest = settings.explore_std * loud, state["highest"]
        if chance is not None and settings.explore_lost_std > settings.explore_std:
            highest = torch.maximum(highest, chance[:, None])
            lost = 1 - chance[:, None] / highest.clamp(min=1e-6)
            sigma = torch.lerp(sigma, torch.full_like(sigma, settings.explore_lost_std), lost)
        white = sigma * torch.randn(noise.shape, generator=generator, device=noise.device)
        rho = settings.explore_correlation
        noise = torch.where(first, white, rho * noise + (1 - rho**2) ** 0.5 * white)
        return noise, {"noise": noise, "loud": loud, "highest": highest}

    @staticmethod
    def part(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return what belongs to the noise in the state of an agent."""
        return {name: state[name] for name in ("noise", "loud", "highest")}
