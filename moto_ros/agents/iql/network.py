"""The networks of IQL."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn

from moto_ros.agents.common.blocks import HeadEnsemble, NormedMLP, orthogonal
from moto_ros.agents.common.encoder import Encoder
from moto_ros.agents.common.in_sample import follow
from moto_ros.agents.interface import Spaces
from moto_ros.agents.iql.config import IqlSettings


class IqlNetwork(nn.Module):
    """Encoder, Q heads with a slow copy, V and policy on latents (B, D)."""

    def __init__(self, settings: IqlSettings, spaces: Spaces) -> None:
        super().__init__()
        size, hidden = settings.latent_size, settings.hidden
        self.encoder = Encoder(spaces, settings)
        self.q = HeadEnsemble(settings.heads, size + spaces.action, hidden, 1)
        self.v = HeadEnsemble(1, size, hidden, 1)
        self.policy_head = NormedMLP(size, hidden, spaces.action)
        orthogonal(self)
        self.slow_q = deepcopy(self.q).requires_grad_(False)

    def q_values(self, latent: Tensor, action: Tensor, slow: bool = False) -> Tensor:
        """Return Q (heads, B)."""
        return (self.slow_q if slow else self.q)(torch.cat((latent, action), -1)).squeeze(-1)

    def value(self, latent: Tensor) -> Tensor:
        """Return V (B,)."""
        return self.v(latent).view(-1)

    def policy(self, latent: Tensor) -> Tensor:
        """Return the mean action (B, A) in (-1, 1)."""
        return torch.tanh(self.policy_head(latent))

    def step_target(self, rate: float) -> None:
        """Let the slow heads follow."""
        follow(list(self.slow_q.parameters()), list(self.q.parameters()), rate)
