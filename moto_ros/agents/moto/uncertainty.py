"""Epistemic uncertainty: how far the members of an ensemble disagree about the next latent."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from moto_ros.agents.common.networks import BatchedMLP

SMALLEST_VARIANCE = 1e-14
"""Below it a spread counts as zero: the square root has no gradient there."""


def disagreement(centres: Tensor) -> Tensor:
    """Return u = mean over dimensions of the population std over members: (K, ..., d) -> (...).

    `centres` are each member's predicted means (Gaussian latents) or logits (categorical ones).
    """
    # Tensor.std over the leading dimension takes ten times as long.
    variance = (centres - centres.mean(0)).square().mean(0)
    return variance.clamp(min=SMALLEST_VARIANCE).sqrt().mean(-1)


class SideEnsemble(nn.Module):
    """K networks beside an ordinary prior that predict the next posterior from feature and action (Plan2Explore)."""

    def __init__(self, members: int, inputs: int, hidden: int, outputs: int) -> None:
        """Build K stacks of three hidden layers."""
        super().__init__()
        self.networks = BatchedMLP(members, inputs, (hidden,) * 3, outputs)

    def forward(self, feature: Tensor, action: Tensor) -> Tensor:
        """Predict (K, rows, outputs) from rows (rows, F) and (rows, A)."""
        return self.networks(torch.cat((feature, action), -1))

    def loss(self, feature: Tensor, action: Tensor, target: Tensor, generator: torch.Generator) -> Tensor:
        """Return the mean squared error where each row trains one random member; nothing flows into the inputs."""
        predicted = self(feature.detach(), action)
        members, rows = predicted.shape[:2]
        choice = torch.randint(members, (rows,), generator=generator, device=generator.device)
        chosen = predicted[choice, torch.arange(rows, device=generator.device)]
        return 0.5 * (chosen - target.detach()).square().sum(-1).mean()
