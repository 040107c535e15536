"""Recurrent dense layer with one batched weight gradient for all steps of a sequence."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

StepGradients = list[tuple[Tensor, Tensor]]
"""Inputs (rows, inputs) and output gradients (rows, outputs) of the steps that the backward pass has visited."""


class BatchedRecurrentLinear:
    """`layer` for the steps of one recurrence.

    Autograd computes a whole weight gradient at each step, from a few rows, and adds them up. Here each step stores its
    inputs and output gradients, and one product over all steps gives the weight gradient.
    """

    def __init__(self, layer: nn.Linear) -> None:
        """Take the layer's weights, in the precision of autocast where that is on."""
        kind = layer.weight.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else layer.weight.dtype
        bias = layer.weight.new_zeros(len(layer.weight)) if layer.bias is None else layer.bias
        self._steps: StepGradients = []
        self._weight, self._bias = _SharedWeight.apply(layer.weight.to(dtype), bias.to(dtype), self._steps)

    def __call__(self, inputs: Tensor) -> Tensor:
        """Map rows (rows, inputs) to (rows, outputs)."""
        value: Tensor = _Step.apply(inputs.to(self._weight.dtype), self._weight, self._bias, self._steps)
        return value


class _SharedWeight(torch.autograd.Function):
    """Identity of weight and bias; their gradients are computed from all steps, after the last one's backward pass."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, bias: Tensor, steps: StepGradients) -> tuple[Tensor, Tensor]:
        """Return both."""
        ctx.steps = steps
        return weight.view_as(weight), bias.view_as(bias)

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        """Return one product over all steps, and their sum; None where the loss depends on none of them."""
        if not ctx.steps:
            return None, None, None
        inputs, gradients = (torch.cat(parts) for parts in zip(*ctx.steps, strict=True))
        ctx.steps.clear()
        return gradients.t() @ inputs, gradients.sum(0), None


class _Step(torch.autograd.Function):
    """One use of the layer; `_SharedWeight` computes the gradients of weight and bias."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor, steps: StepGradients) -> Tensor:
        """Return (rows, outputs)."""
        ctx.save_for_backward(inputs, weight)
        ctx.steps = steps
        return functional.linear(inputs, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        """Return the gradient of the inputs; store what the weight gradient needs."""
        inputs, weight = ctx.saved_tensors
        ctx.steps.append((inputs, gradients[0]))
        return gradients[0] @ weight, None, None, None
