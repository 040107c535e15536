"""Acting by averaged weights: else one unlucky batch decides what the robot does in the next episode."""

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


def learn(pupil: BcAgent, updates: int) -> list[dict[str, Tensor]]:
    """Return the network's own weights after each update."""
    data, seen = RandomData(SPACES), []
    for _ in range(updates):
        pupil.update("policy", data)
        seen.append({name: value.clone() for name, value in pupil.network.state_dict().items()})
    return seen


@pytest.mark.parametrize("share", [0.5, 0.8])
def test_what_acts_is_the_average_that_the_parameter_promises(share: float) -> None:
    pupil = agent(share)
    name = next(name for name, value in pupil.network.named_parameters() if value.ndim > 1)
    expected = np.zeros(())
    for count, weights in enumerate(learn(pupil, 6)):
        kept = min(share, count / (count + 1))
        expected = kept * expected + (1 - kept) * weights[name].numpy()
    np.testing.assert_allclose(pupil.weights()[name].numpy(), expected, rtol=1e-5, atol=1e-7)


def test_the_first_updates_count_evenly_and_the_weights_before_them_not_at_all() -> None:
    pupil = agent(0.999)
    seen = learn(pupil, 3)
    for name, weight in pupil.actor.named_parameters():
        mean = torch.stack([weights[name] for weights in seen]).mean(0)
        torch.testing.assert_close(weight.detach(), mean)


def test_statistics_of_what_was_observed_are_those_of_the_learner() -> None:
    pupil = agent(0.9)
    newest = learn(pupil, 4)[-1]
    for name, value in pupil.actor.named_buffers():
        assert torch.equal(value, newest[name])


def test_learning_is_the_same_with_and_without_an_average() -> None:
    plain, smooth = agent(0.0), agent(0.9)
    for left, right in zip(learn(plain, 3), learn(smooth, 3), strict=True):
        assert all(torch.equal(left[name], right[name]) for name in left)
    assert not torch.equal(*(next(iter(pupil.actor.parameters())) for pupil in (plain, smooth)))


def test_without_a_share_the_newest_weights_act() -> None:
    pupil = agent(0.0)
    assert pupil.actor is pupil.network
    assert averaged(pupil.network, 0.0) is None
