"""Batched weight gradient of a recurrent dense layer: computed once for all steps, equal to the sum over steps."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from moto_ros.agents.common.batched_recurrent_linear import BatchedRecurrentLinear


def unrolled(layer: nn.Linear | BatchedRecurrentLinear, start: Tensor, steps: int) -> Tensor:
    """Return the sum over the states of a recurrence through `layer`."""
    state, total = start, start.sum()
    for _ in range(steps):
        state = torch.tanh(layer(state))
        total = total + state.square().sum()
    return total


@pytest.mark.parametrize("bias", [True, False])
def test_one_gradient_for_all_steps_equals_the_sum_of_the_steps(bias: bool) -> None:
    """Breaks learning: a gradient that is not that of the loss."""
    torch.manual_seed(0)
    layer, start = nn.Linear(5, 5, bias=bias), torch.randn(3, 5, requires_grad=True)
    wanted = (start, *layer.parameters())
    expected = torch.autograd.grad(unrolled(layer, start, 7), wanted)
    found = torch.autograd.grad(unrolled(BatchedRecurrentLinear(layer), start, 7), wanted)
    torch.testing.assert_close(found, expected)


def test_a_graph_that_is_kept_gives_the_same_gradient_again() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(4, 4)
    loss = unrolled(BatchedRecurrentLinear(layer), torch.randn(2, 4), 3)
    first = torch.autograd.grad(loss, list(layer.parameters()), retain_graph=True)
    torch.testing.assert_close(torch.autograd.grad(loss, list(layer.parameters())), first)


def test_it_takes_part_in_mixed_precision() -> None:
    layer, start = nn.Linear(4, 4), torch.randn(2, 4)
    with torch.autocast("cpu", torch.bfloat16):
        value = BatchedRecurrentLinear(layer)(start)
    assert value.dtype == torch.bfloat16
    gradient = torch.autograd.grad(value.float().sum(), layer.weight)[0]
    torch.testing.assert_close(gradient, start.sum(0).expand(4, 4), atol=0.05, rtol=0.02)
