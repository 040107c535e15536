"""The return that agents predict at their first action: given by those with values, without changing how they act."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from agents_data import make_tiny

from moto_ros.agents.interface import ActRequest, Agent, Spaces
from moto_ros.agents.registry import agent_settings, make_agent
from moto_ros.experiments.return_prediction import PredictingPlayer, discounted
from moto_ros.training.episode_results import Player

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
def test_an_agent_with_values_predicts_its_return_once_and_acts_as_without_predicting(name: str) -> None:
    """Breaks the figure, or the runs: predicting would use up random numbers, and a resumed run would differ."""
    predicting = PredictingPlayer(agent_of(name), 3, 5, sample=True)
    plain = Player(agent_of(name), 3, 5, sample=True)
    assert predicting.predicted_return is None
    predicted = []
    for _ in range(3):
        assert np.array_equal(predicting({}, STATE), plain({}, STATE))
        predicted.append(predicting.predicted_return)
    assert len(set(predicted)) == 1
    assert np.isfinite(np.asarray(predicted, float)).all()


def test_fowm_predicts_the_mean_of_its_heads_at_the_planned_action() -> None:
    """Breaks the figure: the figure would not show the value that the planner uses."""
    agent: Any = agent_of("fowm")
    player = PredictingPlayer(agent, 3, 5, sample=False)
    action = torch.from_numpy(player({}, STATE))
    seen = {"proprio": torch.from_numpy(STATE)[None]}
    with torch.no_grad():
        heads = agent.network.q(torch.cat((agent.network.encoder(seen), action[None]), -1))
    assert player.predicted_return == pytest.approx(float(heads.mean()), rel=1e-5)


def test_iql_predicts_its_value_and_cloning_nothing() -> None:
    """Breaks the figure: a policy without values would appear with made-up ones."""
    agent: Any = agent_of("iql")
    predicting, cloning = (PredictingPlayer(each, 3, 5, sample=False) for each in (agent, agent_of("bc")))
    for player in (predicting, cloning):
        player({}, STATE)
    seen = {"proprio": torch.from_numpy(STATE)[None]}
    with torch.no_grad():
        value = float(agent.network.v(agent.network.encoder(seen)))
    assert predicting.predicted_return == pytest.approx(value, rel=1e-5)
    assert cloning.predicted_return is None


def test_the_achieved_return_is_discounted_from_the_first_reward_by_the_agents_own_discount() -> None:
    """Breaks the figure: predicted and achieved return would be different quantities."""
    settings = agent_settings("iql")(discount=0.5)
    assert discounted(np.array([9.0, 1.0, 0.0, 4.0]), settings) == 1.0 + 0.25 * 4.0


def test_moto_predicts_the_minimum_of_its_critics_for_each_of_several_robots() -> None:
    """Breaks the figure: the value that the policy is trained on is the minimum, not the mean."""
    agent: Any = agent_of("moto")
    seen = {"proprio": torch.from_numpy(STATE).expand(2, -1), "action": torch.zeros(2, 3)}
    decision = agent.act(seen, agent.start(2), ActRequest(sample=True))
    feature = torch.cat((decision.state["stoch"], decision.state["deter"]), -1)
    with torch.no_grad():
        values = agent.behaviour.critics.online(torch.cat((feature, decision.action), -1)).squeeze(-1)
    found = agent.expected_return(seen, decision.state, decision.action)
    assert torch.equal(found, values.min(0).values)
    assert not torch.equal(found, values.mean(0))
