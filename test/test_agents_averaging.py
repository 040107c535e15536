"""Averaged weights to act by: without them one unlucky batch decides how the robot acts in the next episode."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from agents_data import RandomData
from torch import Tensor

from moto_ros.agents.bc.agent import BcAgent, BcSettings
from moto_ros.agents.common.averaging import averaged
from moto_ros.agents.interface import Spaces

SPACES = Spaces(None, 4, 3)


def agent(average: float) -> BcAgent:
    settings = BcSettings(latent_size=8, hidden=8, state_units=8, batch=6, rate=1e-2, normalise=True, actor_ema=average)
    return BcAgent(SPACES, settings, 0)


def learn(learner: BcAgent, updates: int) -> list[dict[str, Tensor]]:
    """Return the network's own weights after each update."""
    data, seen = RandomData(SPACES), []
    for _ in range(updates):
        learner.update("policy", data)
        seen.append({name: value.clone() for name, value in learner.network.state_dict().items()})
    return seen


@pytest.mark.parametrize("share", [0.5, 0.8])
def test_acting_weights_are_the_moving_average_of_the_parameter(share: float) -> None:
    learner = agent(share)
    name = next(name for name, value in learner.network.named_parameters() if value.ndim > 1)
    expected = np.zeros(())
    for count, weights in enumerate(learn(learner, 6)):
        kept = min(share, count / (count + 1))
        expected = kept * expected + (1 - kept) * weights[name].numpy()
    np.testing.assert_allclose(learner.weights()[name].numpy(), expected, rtol=1e-5, atol=1e-7)


def test_first_updates_have_equal_weight_and_initial_weights_none() -> None:
    learner = agent(0.999)
    seen = learn(learner, 3)
    for name, weight in learner.actor.named_parameters():
        mean = torch.stack([weights[name] for weights in seen]).mean(0)
        torch.testing.assert_close(weight.detach(), mean)


def test_normaliser_statistics_are_not_averaged() -> None:
    learner = agent(0.9)
    newest = learn(learner, 4)[-1]
    for name, value in learner.actor.named_buffers():
        assert torch.equal(value, newest[name])


def test_averaging_does_not_change_learning() -> None:
    plain, smooth = agent(0.0), agent(0.9)
    for left, right in zip(learn(plain, 3), learn(smooth, 3), strict=True):
        assert all(torch.equal(left[name], right[name]) for name in left)
    assert not torch.equal(*(next(iter(learner.actor.parameters())) for learner in (plain, smooth)))


def test_without_averaging_the_newest_weights_act() -> None:
    learner = agent(0.0)
    assert learner.actor is learner.network
    assert averaged(learner.network, 0.0) is None
