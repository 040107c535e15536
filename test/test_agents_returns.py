"""Lambda-returns, critic losses and actor objective against their equations, computed without torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from agents_data import RandomData, make_tiny
from hypothesis import given, settings
from hypothesis import strategies as st

from moto_ros.agents.common.returns import lambda_return
from moto_ros.agents.moto.behaviour import imagine
from moto_ros.agents.moto.rssm import Latent


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


ROWS, LENGTH = 2, 5
"""Chunks and steps of the batch that rollouts begin at."""


class Case:
    """A policy update taken apart: random posteriors, a rollout from each, and the losses of a small agent.

    The networks' outputs are taken as they are; what is checked is the arithmetic on them.
    """

    def __init__(self, **changes: object) -> None:
        agent = make_tiny(critics=3, discount=0.9, alpha=2.0, **changes)
        rng, stream = np.random.default_rng(0), torch.Generator().manual_seed(0)
        self.behaviour, self.batch = agent.behaviour, RandomData().batch("all", ROWS, LENGTH)
        self.batch["is_terminal"][1, LENGTH - 1] = True
        self.batch["is_first"][0, 2] = True
        deter, stoch = (torch.from_numpy(rng.normal(size=(ROWS, LENGTH, n)).astype(np.float32)) for n in (16, 6))
        self.latent = Latent(deter, stoch)
        start = Latent(*(part.flatten(0, 1) for part in self.latent))
        with torch.no_grad():
            for layer in self.behaviour.critics.target.layers:
                layer.bias.copy_(torch.from_numpy(rng.normal(size=layer.bias.shape)))
            self.rollout = imagine(agent.model, self.behaviour.actor, start, 4, stream)
            self.values = self.behaviour.critics.values(self.rollout.feature, self.rollout.action)
        self.rewards = self.rollout.penalised(2.0)

    def critic_terms(self) -> dict[str, float]:
        """Return the figures of the critic loss, with the target critic that seed 7 draws."""
        stream = torch.Generator().manual_seed(7)
        given = self.rollout, self.rewards, self.values, self.latent, self.batch, stream
        return {name: float(term.detach()) for name, term in self.behaviour.critic_loss(*given)[1].items()}

    def targets(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the values of that target critic and the lambda-returns they give, (H, rows) each."""
        critics = self.behaviour.critics
        member = int(torch.randint(critics.target.members, (), generator=torch.Generator().manual_seed(7)))
        value = critics.target_value(self.rollout.feature, self.rollout.action, member).double().numpy()
        reward, returns = self.rewards.double().numpy(), value.copy()
        for k, row in np.ndindex(len(value) - 1, value.shape[1]):
            returns[k, row] = mixture(reward[k:, row], value[k:, row], 0.9, 0.95)
        return value, returns


def test_imagined_critic_loss_discounts_each_step_and_averages_over_critics() -> None:
    """Breaks learning: critics would be fitted to other targets than MOTO's."""
    case = Case()
    values, (_, returns) = case.values.double().numpy(), case.targets()
    terms = [
        0.9 ** (k + 1) * 0.5 * (values[i, k, row] - returns[k, row]) ** 2
        for i, k, row in np.ndindex(3, len(returns) - 1, returns.shape[1])
    ]
    assert case.critic_terms()["critic_model_loss"] == pytest.approx(float(np.mean(terms)), rel=1e-4)


def test_real_critic_loss_expands_logged_rewards_by_the_model_within_an_episode() -> None:
    """Breaks learning from recorded steps: no future after a terminal state, no pair that straddles two episodes."""
    case = Case()
    value, returns = (rows[0].reshape(ROWS, LENGTH) for rows in case.targets())
    batch, terms = {name: rows.numpy() for name, rows in case.batch.items()}, []
    with torch.no_grad():
        feature, action = case.latent.feature[:, :-1], case.batch["action"][:, 1:]
        predicted = case.behaviour.critics.values(feature, action).double().numpy()
    for row, t in np.ndindex(ROWS, LENGTH - 1):
        future = 0.0 if batch["is_terminal"][row, t + 1] else 0.05 * value[row, t + 1] + 0.95 * returns[row, t + 1]
        target = batch["reward"][row, t + 1] + 0.9 * future
        if not batch["is_first"][row, t + 1]:
            terms += [0.5 * (predicted[i, row, t] - target) ** 2 for i in range(3)]
    assert len(terms) == 3 * (ROWS * (LENGTH - 1) - 1)
    found = case.critic_terms()
    assert found["critic_real_loss"] == pytest.approx(float(np.mean(terms)), rel=1e-4)
    assert found["critic_loss"] == pytest.approx(found["critic_model_loss"] + found["critic_real_loss"], rel=1e-6)


def test_actor_loss_follows_its_equation() -> None:
    """Breaks learning: the policy would climb another objective than MOTO's."""
    case = Case(entropy=0.1, beta=10.0)
    values, rewards = case.values.double().numpy().min(0), case.rewards.double().numpy()
    entropy, gains = case.rollout.policy.entropy().double().numpy(), []
    for k, row in np.ndindex(*rewards.shape):
        future = mixture(rewards[k:, row], values[k:, row], 0.9, 0.95)
        gains.append(0.9**k * (0.05 * values[k, row] + 0.95 * future + 0.1 * entropy[k, row]))
    for cloning in (None, torch.tensor(0.7)):
        loss, terms = case.behaviour.actor_loss(case.rollout, case.rewards, case.values, cloning)
        assert float(terms["objective"]) == pytest.approx(float(np.mean(gains)), rel=1e-4)
        expected = -np.mean(gains) + (0.0 if cloning is None else 7.0)
        assert float(loss) == pytest.approx(float(expected), rel=1e-4)
