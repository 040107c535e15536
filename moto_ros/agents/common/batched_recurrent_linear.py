"""A dense layer that a recurrence uses at every step, with one weight gradient for all steps."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

Seen = list[tuple[Tensor, Tensor]]
"""Inputs (rows, inputs) and output gradients (rows, outputs) of the steps that the backward pass has been through."""


class BatchedRecurrentLinear:
    """`layer` for the steps of one recurrence.

    Autograd would make a whole weight gradient at each step, from a few rows, and add them up. Here the steps leave
    their inputs and gradients behind, and one product over all of them follows the last.
    """

    def __init__(self, layer: nn.Linear) -> None:
        """Take the layer's weights, in the precision that is in force."""
        kind = layer.weight.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else layer.weight.dtype
        bias = layer.weight.new_zeros(len(layer.weight)) if layer.bias is None else layer.bias
        self._seen: Seen = []
        self._weight, self._bias = _Gathered.apply(layer.weight.to(dtype), bias.to(dtype), self._seen)

    def __call__(self, inputs: Tensor) -> Tensor:
        """Map rows (rows, inputs) to (rows, outputs)."""
        value: Tensor = _Step.apply(inputs.to(self._weight.dtype), self._weight, self._bias, self._seen)
        return value


class _Gathered(torch.autograd.Function):
    """Weight and bias as they are; their gradients come from what the steps left behind, when all of them are done."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, bias: Tensor, seen: Seen) -> tuple[Tensor, Tensor]:
        """Return both."""
        ctx.seen = seen
        return weight.view_as(weight), bias.view_as(bias)

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        """Return one product over all steps, and their sum; None where the loss hangs on none of them."""
        if not ctx.seen:
            return None, None, None
        inputs, gradients = (torch.cat(parts) for parts in zip(*ctx.seen, strict=True))
        ctx.seen.clear()
        return gradients.t() @ inputs, gradients.sum(0), None


class _Step(torch.autograd.Function):
    """One use of the layer, whose weight and bias gradients are left to `_Gathered`."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor, seen: Seen) -> Tensor:
        """Return (rows, outputs)."""
        ctx.save_for_backward(inputs, weight)
        ctx.seen = seen
        return functional.linear(inputs, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        """Return the gradient of the inputs; leave the rest behind."""
        inputs, weight = ctx.saved_tensors
        ctx.seen.append((inputs, gradients[0]))
        return gradients[0] @ weight, None, None, None
