"""Returns and critic targets against their definitions, computed without torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from moto_ros.agents.common.returns import lambda_return
from moto_ros.agents.moto.behaviour import actor_objective, expanded_target, imagined_loss, real_loss


def mixture(reward: np.ndarray, value: np.ndarray, discount: float, mix: float) -> float:
    """Return G_0 as the geometric mixture of n-step returns, the textbook definition of TD(lambda)."""
    steps = len(reward)
    partial = [sum(discount**k * reward[k] for k in range(n)) + discount**n * value[n] for n in range(1, steps + 1)]
    weights = [(1 - mix) * mix ** (n - 1) for n in range(1, steps)] + [mix ** (steps - 1)]
    return float(np.dot(weights, partial))


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.floats(-5, 5), st.floats(-50, 50)), min_size=2, max_size=16),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_lambda_return_is_the_geometric_mixture_of_n_step_returns(
    rows: list[tuple[float, float]], discount: float, mix: float
) -> None:
    reward, value = (np.array(column) for column in zip(*rows, strict=True))
    found = lambda_return(torch.tensor(reward[:-1])[:, None], torch.tensor(value)[:, None], discount, mix)
    assert found[-1].item() == value[-1]
    for start in range(len(value) - 1):
        expected = mixture(reward[start:-1], value[start:], discount, mix)
        assert found[start].item() == pytest.approx(expected, rel=1e-6, abs=1e-6)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_imagined_critic_loss_discounts_each_step_and_averages_over_critics(rng: np.random.Generator) -> None:
    values, returns, discount = rng.normal(size=(3, 5, 7)), rng.normal(size=(5, 7)), 0.9
    terms = [
        discount ** (k + 1) * 0.5 * (values[i, k, row] - returns[k, row]) ** 2
        for i in range(3)
        for k in range(4)
        for row in range(7)
    ]
    found = imagined_loss(torch.tensor(values), torch.tensor(returns), discount)
    assert found.item() == pytest.approx(float(np.mean(terms)))


def test_real_target_uses_the_logged_reward_then_the_model_and_stops_at_terminal_states(
    rng: np.random.Generator,
) -> None:
    reward, value, returns = (rng.normal(size=(2, 4)) for _ in range(3))
    terminal = np.zeros((2, 4), bool)
    terminal[1, 3] = True
    expected = reward + 0.99 * (1 - terminal) * (0.05 * value + 0.95 * returns)
    arrays = (torch.tensor(array) for array in (reward, terminal, value, returns))
    np.testing.assert_allclose(expanded_target(*arrays, 0.99, 0.95).numpy(), expected)


def test_real_critic_loss_ignores_pairs_that_straddle_two_episodes(rng: np.random.Generator) -> None:
    values, target = rng.normal(size=(2, 2, 3)), rng.normal(size=(2, 3))
    first = np.array([[False, True, False], [False, False, False]])
    expected = (0.5 * (values - target) ** 2)[:, ~first].mean()
    found = real_loss(torch.tensor(values), torch.tensor(target), torch.tensor(first))
    assert found.item() == pytest.approx(float(expected))


def test_actor_objective_follows_its_equation(rng: np.random.Generator) -> None:
    rewards, values, entropy = rng.normal(size=(4, 6)), rng.normal(size=(5, 6)), rng.normal(size=(5, 6))
    gains = []
    for k, row in np.ndindex(4, 6):
        future = mixture(rewards[k:, row], values[k:, row], 0.9, 0.95)
        gains.append(0.9**k * (0.05 * values[k, row] + 0.95 * future + 0.1 * entropy[k, row]))
    found = actor_objective(*map(torch.tensor, (rewards, values, entropy)), 0.9, 0.95, 0.1)
    assert found.item() == pytest.approx(float(np.mean(gains)))
