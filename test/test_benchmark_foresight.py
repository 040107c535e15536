"""What agents foretell of the return: said by those that have values, without a change to how they act."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from agents_data import make_tiny

from moto_ros.agents.interface import Agent, Spaces
from moto_ros.agents.registry import agent_settings, make_agent
from moto_ros.experiments.return_prediction import ReturnPredictingPlayer, discounted
from moto_ros.training.evaluation import Player

SPACES = Spaces(image=None, proprio=4, action=3)
SMALL: dict[str, Any] = {"latent_size": 8, "state_units": 6, "hidden": 16}
PLAN = {"plan_samples": 12, "plan_policy_samples": 3, "plan_elites": 4, "plan_iterations": 2, "plan_horizon": 3}


def agent_of(name: str) -> Agent:
    """Return a small agent whose values are not all zero."""
    if name == "moto":
        return make_tiny(spaces=SPACES)
    agent = make_agent(name, SPACES, agent_settings(name)(**(SMALL | (PLAN if name == "fowm" else {}))), 0)
    generator = torch.Generator().manual_seed(0)
    weights = agent.weights()
    agent.load_weights({key: rows + 0.1 * torch.rand(rows.shape, generator=generator) for key, rows in weights.items()})
    return agent


STATE = np.array([0.3, -1.0, 0.5, 2.0], np.float32)


@pytest.mark.parametrize("name", ["moto", "fowm", "iql"])
def test_an_agent_with_values_predicts_once_and_acts_as_if_nobody_asked(name: str) -> None:
    """Breaks the figure, or the runs: the question would use up random numbers, and a resumed run would differ."""
    watched = ReturnPredictingPlayer(agent_of(name), 3, 5, sample=True)
    plain = Player(agent_of(name), 3, 5, sample=True)
    assert watched.predicted_return is None
    said = []
    for _ in range(3):
        assert np.array_equal(watched({}, STATE), plain({}, STATE))
        said.append(watched.predicted_return)
    assert len(set(said)) == 1
    assert np.isfinite(np.asarray(said, float)).all()


def test_fowm_predicts_the_mean_of_its_heads_at_the_planned_action() -> None:
    """Breaks the figure: what is drawn would not be the value that the planner believes in."""
    agent: Any = agent_of("fowm")
    watched = ReturnPredictingPlayer(agent, 3, 5, sample=False)
    action = torch.from_numpy(watched({}, STATE))
    seen = {"proprio": torch.from_numpy(STATE)[None]}
    with torch.no_grad():
        heads = agent.network.q(torch.cat((agent.network.encoder(seen), action[None]), -1))
    assert watched.predicted_return == pytest.approx(float(heads.mean()), rel=1e-5)


def test_iql_predicts_its_value_and_cloning_nothing() -> None:
    """Breaks the figure: a policy without values would appear with made-up ones."""
    agent: Any = agent_of("iql")
    watched, cloning = (
        ReturnPredictingPlayer(agent, 3, 5, sample=False),
        ReturnPredictingPlayer(agent_of("bc"), 3, 5, sample=False),
    )
    for player in (watched, cloning):
        player({}, STATE)
    seen = {"proprio": torch.from_numpy(STATE)[None]}
    with torch.no_grad():
        assert watched.predicted_return == pytest.approx(float(agent.network.v(agent.network.encoder(seen))), rel=1e-5)
    assert cloning.predicted_return is None


def test_the_achieved_return_is_discounted_from_the_first_reward_by_the_agents_own_discount() -> None:
    """Breaks the figure: predicted and achieved would be different things."""
    settings = agent_settings("iql")(discount=0.5)
    assert discounted(np.array([9.0, 1.0, 0.0, 4.0]), settings) == 1.0 + 0.25 * 4.0
