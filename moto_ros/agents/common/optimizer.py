"""Adam as the reference implementations use it: clipped by global norm, with multiplicative weight decay.

The kernel is PyTorch's. Its class Adam is not used: constructing one imports PyTorch's compiler, which costs every
process that learns or acts several seconds.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

MOMENTS = ("step", "exp_avg", "exp_avg_sq")
BETA_1, BETA_2 = 0.9, 0.999
"""Decay rates of the first and second moment."""


Gradients = Sequence[Tensor | None]
"""One for each parameter; None where the loss does not depend on it."""


class Optimizer:
    """Adam over named parameters; after each step every weight is multiplied by 1 - decay (not scaled by the rate)."""

    def __init__(self, module: nn.Module, rate: float, epsilon: float, clip: float, decay: float) -> None:
        """Optimise all parameters of `module`."""
        self._parameters: dict[str, Tensor] = dict(module.named_parameters())
        self._moments = {name: _fresh_moments(parameter) for name, parameter in self._parameters.items()}
        self._rate, self._epsilon, self._clip, self._decay = rate, epsilon, clip, decay

    def step(self, loss: Tensor, *, retain_graph: bool = False) -> Tensor:
        """Do one step down the gradient of `loss`, for these parameters only; return the norm before clipping."""
        return self._apply(self._gradients(loss, retain_graph))

    def step_with_prior(self, loss: Tensor, prior: Tensor | None, *, retain_graph: bool = False) -> dict[str, Tensor]:
        """Do one step down `loss`, of which `prior` is a part; return three norms before clipping.

        actor_norm is that of the whole gradient, prior_norm of the prior's, objective_norm of the rest: an objective
        far below its prior changes nothing, and one far above is not held.
        """
        if prior is None:
            norm = self.step(loss, retain_graph=retain_graph)
            return {"actor_norm": norm, "objective_norm": norm}
        of_prior = self._gradients(prior, True)
        whole = self._gradients(loss, retain_graph)
        pairs = [(one, part) for one, part in zip(whole, of_prior, strict=True) if one is not None]
        rest = [one if part is None else one - part for one, part in pairs]
        norms = {"objective_norm": _norm(rest), "prior_norm": _norm(of_prior)}
        return {"actor_norm": self._apply(whole)} | norms

    def _gradients(self, loss: Tensor, retain_graph: bool) -> Gradients:
        parameters = list(self._parameters.values())
        return torch.autograd.grad(loss, parameters, retain_graph=retain_graph, allow_unused=True)

    def _apply(self, gradients: Gradients) -> Tensor:
        parameters: list[Tensor] = list(self._parameters.values())
        # Gradients, clipped by their global norm
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = torch.zeros_like(parameter) if gradient is None else with_strides_of(parameter, gradient)
        norm = nn.utils.clip_grad_norm_(parameters, self._clip, foreach=True)
        clipped = [parameter.grad for parameter in parameters if parameter.grad is not None]
        with torch.no_grad():
            # Adam
            steps, first, second = ([moments[key] for moments in self._moments.values()] for key in MOMENTS)
            torch._foreach_add_(steps, 1)
            torch._fused_adam_(
                *(parameters, clipped, first, second, [], steps),
                lr=self._rate,
                beta1=BETA_1,
                beta2=BETA_2,
                weight_decay=0.0,
                eps=self._epsilon,
                amsgrad=False,
                maximize=False,
            )
            # Weight decay, not scaled by the learning rate
            if self._decay:
                torch._foreach_mul_(parameters, 1 - self._decay)
        for parameter in parameters:
            parameter.grad = None
        return norm

    def tensors(self) -> dict[str, Tensor]:
        """Return Adam's moments and step counts by parameter name."""
        return {f"{name}/{key}": tensor for name, moments in self._moments.items() for key, tensor in moments.items()}


def _norm(gradients: Gradients) -> Tensor:
    return torch.stack([gradient.norm() for gradient in gradients if gradient is not None]).norm()


def with_strides_of(parameter: Tensor, gradient: Tensor) -> Tensor:
    """Return `gradient` with the strides of `parameter`.

    Fused Adam reads the memory of both in the same order and ignores strides. The gradient of a convolution or of a
    transposed weight often has other strides, and each weight would be changed by the gradient of another.
    """
    if gradient.stride() == parameter.stride():
        return gradient
    return torch.empty_like(parameter, memory_format=torch.preserve_format).copy_(gradient)


def _fresh_moments(parameter: Tensor) -> dict[str, Tensor]:
    zeros = torch.zeros_like(parameter, memory_format=torch.preserve_format)
    return dict(zip(MOMENTS, (torch.zeros((), device=parameter.device), zeros, zeros.clone()), strict=True))
