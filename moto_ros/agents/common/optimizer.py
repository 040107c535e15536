"""Adam as the reference implementations use it: clipped by global norm, with multiplicative weight decay.

The kernel is PyTorch's; its class Adam is left out, since to make one loads PyTorch's compiler, which takes seconds of
every process that learns or acts.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from moto_ros.agents.common.tensors import require_fit

MOMENTS = ("step", "exp_avg", "exp_avg_sq")
FIRST_DECAY, SECOND_DECAY = 0.9, 0.999
"""How much of its two moments Adam keeps at a step."""


class Optimizer:
    """Adam over named parameters; after each step every weight is multiplied by 1 - decay (not scaled by the rate)."""

    def __init__(self, module: nn.Module, rate: float, epsilon: float, clip: float, decay: float) -> None:
        """Optimise all parameters of `module`."""
        self._parameters: dict[str, Tensor] = dict(module.named_parameters())
        self._moments = {name: _fresh_moments(parameter) for name, parameter in self._parameters.items()}
        self._rate, self._epsilon, self._clip, self._decay = rate, epsilon, clip, decay

    def step(self, loss: Tensor, *, retain_graph: bool = False) -> Tensor:
        """Descend `loss` once, touching no gradient outside these parameters; return the norm before clipping."""
        parameters: list[Tensor] = list(self._parameters.values())
        gradients = torch.autograd.grad(loss, parameters, retain_graph=retain_graph, allow_unused=True)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = torch.zeros_like(parameter) if gradient is None else laid_out(gradient, parameter)
        norm = nn.utils.clip_grad_norm_(parameters, self._clip, foreach=True)
        self._descend(parameters)
        self._shrink(parameters)
        return norm

    @torch.no_grad()
    def _descend(self, parameters: list[Tensor]) -> None:
        """Do Adam's step with the gradients that the parameters hold, and let go of these."""
        steps, first, second = ([moments[key] for moments in self._moments.values()] for key in MOMENTS)
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        torch._foreach_add_(steps, 1)
        torch._fused_adam_(
            *(parameters, gradients, first, second, [], steps),
            lr=self._rate,
            beta1=FIRST_DECAY,
            beta2=SECOND_DECAY,
            weight_decay=0.0,
            eps=self._epsilon,
            amsgrad=False,
            maximize=False,
        )
        for parameter in parameters:
            parameter.grad = None

    def tensors(self) -> dict[str, Tensor]:
        """Return Adam's moments and step counts by parameter name."""
        return {f"{name}/{key}": tensor for name, moments in self._moments.items() for key, tensor in moments.items()}

    def load_tensors(self, tensors: dict[str, Tensor], what: str) -> None:
        """Restore what `tensors` returned; raise MotoError, naming `what`, where it does not fit."""
        mine = self.tensors()
        require_fit(mine, tensors, what)
        for name, tensor in mine.items():
            tensor.copy_(tensors[name])

    @torch.no_grad()
    def _shrink(self, parameters: list[Tensor]) -> None:
        if self._decay:
            torch._foreach_mul_(parameters, 1 - self._decay)


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
    return dict(zip(MOMENTS, (torch.zeros((), device=parameter.device), zeros, zeros.clone()), strict=True))
