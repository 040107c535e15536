"""The optimiser equals plain Adam, whatever the memory layout of the gradients."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from moto_ros.agents.common.networks import BatchedMLP, ConvDecoder, ConvEncoder
from moto_ros.agents.common.optimizer import Optimizer, with_strides_of

STEPS = 5


class Turned(nn.Module):
    """A weight that is used transposed, so that its gradient has other strides than itself."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 5))

    def forward(self, rows: Tensor) -> Tensor:
        return rows @ self.weight.t().contiguous()


MODULES = {
    "transposed": (Turned, (4, 5)),
    "decoder": (lambda: ConvDecoder(6, (64, 64, 3), 2), (4, 6)),
    "encoder": (lambda: ConvEncoder((64, 64, 3), 2), (4, 64, 64, 3)),
    "ensemble": (lambda: BatchedMLP(3, 6, (8, 7), 2), (4, 6)),
}


@pytest.mark.parametrize("name", MODULES)
def test_weights_move_as_plain_adam_moves_them(name: str) -> None:
    """Breaks all learning silently: a fused step gives each weight the gradient of another where strides differ."""
    build, shape = MODULES[name]
    torch.manual_seed(0)
    one, other, rows = build(), build(), torch.randn(shape)
    other.load_state_dict(one.state_dict())
    ours = Optimizer(one, 1e-2, 1e-8, 1e9, 0.0)
    plain = torch.optim.Adam(other.parameters(), lr=1e-2, eps=1e-8, foreach=False, fused=False)
    for _ in range(STEPS):
        ours.step((one(rows) - 1).square().mean())
        plain.zero_grad()
        (other(rows) - 1).square().mean().backward()
        plain.step()
    for (key, found), expected in zip(one.state_dict().items(), other.state_dict().values(), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3, msg=lambda text, key=key: f"{key}: {text}")


def test_a_gradient_gets_the_strides_of_its_weight() -> None:
    weight, gradient = torch.zeros(3, 5), torch.arange(15.0).view(5, 3).t()
    found = with_strides_of(weight, gradient)
    assert found.stride() == weight.stride()
    assert torch.equal(found, gradient)


def test_a_decoder_learns_a_picture() -> None:
    """Breaks world models: decoded images that stay one colour."""
    torch.manual_seed(0)
    picture = torch.full((64, 64, 3), -0.3)
    picture[:32] = 0.4
    decoder, features = ConvDecoder(8, (64, 64, 3), 8), torch.randn(16, 8)
    optimizer = Optimizer(decoder, 1e-3, 1e-5, 100.0, 1e-6)

    def error() -> Tensor:
        return 0.5 * (decoder(features) - picture).square().sum((1, 2, 3)).mean()

    colour = 0.5 * (picture - picture.mean()).square().sum()
    for _ in range(150):
        optimizer.step(error())
    assert error() < 0.25 * colour


LEARN = """
import sys
import torch
from agents_data import RandomData, make_tiny
import moto_ros.agents.registry  # all agents
agent = make_tiny()
for phase in agent.phases:
    agent.update(phase, RandomData())
sys.exit("loaded" if "torch._dynamo" in sys.modules else 0)
"""


def test_learning_does_not_import_the_compiler() -> None:
    """Every node with an agent, and every run of a benchmark, would start seconds later."""
    here = Path(__file__).parent
    done = subprocess.run([sys.executable, "-c", LEARN], cwd=here, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_gradient_of_a_prior_and_that_of_the_rest_are_told_apart() -> None:
    """A user could not see that the prior alone decides, and the step must stay that of the whole loss."""
    torch.manual_seed(0)
    modules = [nn.Linear(3, 2), nn.Linear(3, 2)]
    modules[1].load_state_dict(modules[0].state_dict())
    rows, norms = torch.randn(5, 3), {}
    for at, module in enumerate(modules):
        optimizer = Optimizer(module, 1e-2, 1e-8, 10.0, 0.0)
        prior = 4 * module(rows).square().mean()
        loss = prior - module.bias.sum()
        if at:
            norms = optimizer.step_with_prior(loss, prior)
        else:
            whole = optimizer.step(loss)
    assert all(torch.equal(one, other) for one, other in zip(*(m.state_dict().values() for m in modules), strict=True))
    assert torch.equal(norms["actor_norm"], whole)
    assert float(norms["objective_norm"]) == pytest.approx(2**0.5)
    assert float(norms["prior_norm"]) > 0
    alone = Optimizer(modules[0], 1e-2, 1e-8, 10.0, 0.0).step_with_prior(modules[0].bias.sum(), None)
    assert float(alone["objective_norm"]) == float(alone["actor_norm"])
