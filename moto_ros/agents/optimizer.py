"""Adam as the reference implementations use it: clipped by global norm, with multiplicative weight decay."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from moto_ros.agents.tensors import require_fit

MOMENTS = ("step", "exp_avg", "exp_avg_sq")


class Optimizer:
    """Adam over named parameters; after each step every weight is multiplied by 1 - decay (not scaled by the rate)."""

    def __init__(self, module: nn.Module, rate: float, epsilon: float, clip: float, decay: float) -> None:
        """Optimise all parameters of `module`."""
        self._parameters: dict[str, Tensor] = dict(module.named_parameters())
        self._adam = torch.optim.Adam(self._parameters.values(), lr=rate, eps=epsilon, fused=True)
        self._clip, self._decay = clip, decay
        for parameter in self._parameters.values():
            self._adam.state[parameter] = _fresh_moments(parameter)

    def step(self, loss: Tensor, *, retain_graph: bool = False) -> Tensor:
        """Descend `loss` once, touching no gradient outside these parameters; return the norm before clipping."""
        parameters: list[Tensor] = list(self._parameters.values())
        gradients = torch.autograd.grad(loss, parameters, retain_graph=retain_graph, allow_unused=True)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = torch.zeros_like(parameter) if gradient is None else laid_out(gradient, parameter)
        norm = nn.utils.clip_grad_norm_(parameters, self._clip, foreach=True)
        self._adam.step()
        self._adam.zero_grad()
        self._shrink(parameters)
        return norm

    def tensors(self) -> dict[str, Tensor]:
        """Return Adam's moments and step counts by parameter name."""
        return {f"{name}/{key}": tensor for name, key, tensor in self._moments()}

    def load_tensors(self, tensors: dict[str, Tensor], what: str) -> None:
        """Restore what `tensors` returned; raise MotoError, naming `what`, where it does not fit."""
        require_fit(self.tensors(), tensors, what)
        for name, key, tensor in self._moments():
            tensor.copy_(tensors[f"{name}/{key}"])

    @torch.no_grad()
    def _shrink(self, parameters: list[Tensor]) -> None:
        if self._decay:
            torch._foreach_mul_(parameters, 1 - self._decay)

    def _moments(self) -> Iterable[tuple[str, str, Tensor]]:
        for name, parameter in self._parameters.items():
            for key in MOMENTS:
                yield name, key, self._adam.state[parameter][key]


def laid_out(gradient: Tensor, parameter: Tensor) -> Tensor:
    """Return `gradient` with the strides of `parameter`.

    Fused Adam walks through the memory of both in the same order and does not look at strides; those of a convolution's
    or a transposed weight's gradient are often others, and each weight would be moved by another's gradient.
    """
    if gradient.stride() == parameter.stride():
        return gradient
    return torch.empty_like(parameter, memory_format=torch.preserve_format).copy_(gradient)


def _fresh_moments(parameter: Tensor) -> dict[str, Tensor]:
    zeros = torch.zeros_like(parameter, memory_format=torch.preserve_format)
    return {"step": torch.zeros((), device=parameter.device), "exp_avg": zeros, "exp_avg_sq": zeros.clone()}
