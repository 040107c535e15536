"""Layers of latent world models (TD-MPC family): normed dense stacks, bounded latents, batched ensembles of heads."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from moto_ros.agents.common.networks import BatchedLinear
from moto_ros.errors import MotoError

SIMNORM_GROUP = 8
"""Entries of a SimNorm latent that share one softmax (TD-MPC2)."""

MISH_EXP_LIMIT = 20.0
"""Upper limit of x before exp(x), which stays finite; above it mish(x) is x in single precision."""


def mish(value: Tensor) -> Tensor:
    """Return x tanh(softplus(x)); without gradients by one exponential, several times faster on a CPU."""
    if torch.is_grad_enabled() or value.device.type != "cpu":
        return functional.mish(value)
    # tanh(log(1 + e)) = 1 - 2 / ((1 + e)^2 + 1) with e = exp(x)
    grown = value.clamp(max=MISH_EXP_LIMIT).exp_().add_(1).square_().add_(1)
    return torch.addcdiv(value, value, grown, value=-2)


def tanh(value: Tensor) -> Tensor:
    """Take the tanh of x in place; without gradients as 2 sigmoid(2x) - 1, twice as fast on a CPU."""
    if torch.is_grad_enabled() or value.device.type != "cpu":
        return value.tanh_()
    return value.mul_(2).sigmoid_().mul_(2).sub_(1)


def elu(value: Tensor) -> Tensor:
    """Return ELU max(x, 0) + exp(min(x, 0)) - 1, in place; this form is faster on a CPU without gradients."""
    if torch.is_grad_enabled() or value.device.type != "cpu":
        return functional.elu_(value)
    below = value.clamp(max=0).exp_().sub_(1)
    return value.clamp_(min=0).add_(below)


class NormedLinear(nn.Module):
    """Linear, LayerNorm, Mish: (..., inputs) -> (..., outputs)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)
        self.norm = nn.LayerNorm(outputs)

    def forward(self, value: Tensor) -> Tensor:
        """Map the last dimension."""
        return mish(self.norm(self.linear(value)))


class NormedMLP(nn.Module):
    """Two normed layers and a linear output, as FOWM's dynamics, reward and policy have."""

    def __init__(self, inputs: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.first, self.second = NormedLinear(inputs, hidden), NormedLinear(hidden, hidden)
        self.output = nn.Linear(hidden, outputs)

    def forward(self, value: Tensor) -> Tensor:
        """Map (..., inputs) to (..., outputs)."""
        return self.output(self.second(self.first(value)))


class LatentBound(nn.Module):
    """LayerNorm, then a bounded latent: entries in (0, 1) ("sigmoid"), or groups of 8 that sum to 1 ("simnorm")."""

    def __init__(self, size: int, kind: str) -> None:
        """Build the norm; raise MotoError for a size that is no multiple of a SimNorm group."""
        super().__init__()
        if kind == "simnorm" and size % SIMNORM_GROUP:
            raise MotoError(
                f"parameter 'latent_size' is {size}, expected a multiple of {SIMNORM_GROUP} for simnorm; change it"
            )
        self.norm, self._kind = nn.LayerNorm(size), kind

    def forward(self, value: Tensor) -> Tensor:
        """Normalise and bound the last dimension."""
        value = self.norm(value)
        if self._kind == "sigmoid":
            return torch.sigmoid(value)
        return value.unflatten(-1, (-1, SIMNORM_GROUP)).softmax(-1).flatten(-2)


class HeadEnsemble(nn.Module):
    """M heads side by side, one batched product a layer.

    "published": Linear, LayerNorm, Tanh, Linear, ELU, Linear (FOWM); "modern": LayerNorm and Mish after both.
    """

    def __init__(self, members: int, inputs: int, hidden: int, outputs: int, style: str = "published") -> None:
        super().__init__()
        self.members, self._modern = members, style == "modern"
        self.first = BatchedLinear(members, inputs, hidden)
        self.second = BatchedLinear(members, hidden, hidden)
        self.last = BatchedLinear(members, hidden, outputs)
        self.norms = nn.ParameterList([_gain_and_bias(members, hidden) for _ in range(2 if self._modern else 1)])

    def forward(self, rows: Tensor, members: Tensor | None = None) -> Tensor:
        """Map rows (rows, inputs) by all members, or those listed, to (members, rows, outputs)."""
        (weight, bias), second, last = (_picked(layer, members) for layer in (self.first, self.second, self.last))
        # One product for all members. Rows stay the first dimension until the next layer: no copies.
        flat = functional.linear(rows, weight.transpose(1, 2).flatten(0, 1), bias.flatten())
        value = self._normed(flat.view(len(rows), len(weight), -1), 0, members, (1, 0))
        value = mish(value) if self._modern else tanh(value)
        value = torch.baddbmm(second[1], value.transpose(0, 1), second[0])
        value = mish(self._normed(value, 1, members, (0, 1))) if self._modern else elu(value)
        return torch.baddbmm(last[1], value, last[0])

    def _normed(self, value: Tensor, which: int, members: Tensor | None, order: tuple[int, int]) -> Tensor:
        """Return LayerNorm of each member; `order` says which dimensions of `value` are members and rows."""
        norms = self.norms[which] if members is None else self.norms[which][:, members]
        gain, bias = norms.transpose(1, 2) if order == (1, 0) else norms
        return torch.addcmul(bias, functional.layer_norm(value, value.shape[-1:]), gain)


def _gain_and_bias(members: int, size: int) -> nn.Parameter:
    ones = torch.ones(members, 1, size)
    return nn.Parameter(torch.stack((ones, torch.zeros_like(ones))))


def _picked(layer: BatchedLinear, members: Tensor | None) -> tuple[Tensor, Tensor]:
    if members is None:
        return layer.weight, layer.bias
    return layer.weight[members], layer.bias[members]


@torch.no_grad()
def orthogonal(module: nn.Module) -> None:
    """Set every weight orthogonal (convolutions with ReLU's gain) and every bias to zero, as FOWM does."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.orthogonal_(layer.weight)
            nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.Conv2d):
            nn.init.orthogonal_(layer.weight, nn.init.calculate_gain("relu"))
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, BatchedLinear):
            for weight in layer.weight:
                nn.init.orthogonal_(weight)
            nn.init.zeros_(layer.bias)
