"""The actor: an MLP from model states to a truncated normal over actions, and its cloning loss."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from moto_ros.agents.common.compiled import Compiled
from moto_ros.agents.common.distributions import TruncatedNormal, sigmoid2
from moto_ros.agents.common.networks import MLP
from moto_ros.agents.interface import Batch
from moto_ros.agents.moto.config import MotoSettings


class Actor(nn.Module):
    """pi(a | s): mean tanh(.), standard deviation 2 sigmoid(x / 2) + 0.1, truncated to [-1, 1] (DreamerV2)."""

    def __init__(self, settings: MotoSettings, feature: int, action: int) -> None:
        """Build the network for features (F,) and actions (A,)."""
        super().__init__()
        self.network = MLP(feature, (settings.head_units,) * settings.head_layers, 2 * action)
        self.draw = Compiled(self._draw) if settings.compile_steps else self._draw

    def forward(self, feature: Tensor) -> TruncatedNormal:
        """Return the distribution of actions at states (..., F)."""
        loc, raw = self.network(feature).float().chunk(2, -1)
        return TruncatedNormal(torch.tanh(loc), sigmoid2(raw))

    def _draw(self, feature: Tensor, quantile: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the actions at states (rows, F) for uniform draws (rows, A), and loc and std of the policy."""
        policy = self(feature)
        return policy.icdf(quantile), policy.loc, policy.std


def cloning_loss(actor: Actor, feature: Tensor, batch: Batch) -> Tensor:
    """Return L_BC = -mean ln pi(a_t | s_t) of the actions that were taken at states (B, L, F) of chunks.

    Only actions that may be imitated count; 0 where there are none.
    """
    policy = actor(feature[:, :-1])
    valid = (batch["imitable"] & ~batch["is_first"])[:, 1:].float()
    return -(policy.log_prob(batch["action"][:, 1:]) * valid).sum() / valid.sum().clamp(min=1)
