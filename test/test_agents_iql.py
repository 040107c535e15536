"""Breaks IQL: its policy clones failures and what follows success, or follows the scale of the reward."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from agents_data import RandomData
from torch import Tensor

from moto_ros.agents.common.in_sample import advantage_weight, cloning, worth_cloning
from moto_ros.agents.common.running_range import RATE, SMALLEST, RunningRange
from moto_ros.agents.interface import Batch, Prioritised, Spaces
from moto_ros.agents.iql.agent import IqlAgent, IqlSettings
from moto_ros.errors import MotoError

SPACES = Spaces(image=None, proprio=4, action=3)
SMALL: dict[str, Any] = {"latent_size": 8, "state_units": 8, "hidden": 16, "batch": 32}


class Windows(RandomData):
    """Windows of three kinds of rows in turn: before success, after it, and of a failure."""

    def windows(self, source: str, size: int, length: int, prioritised: Prioritised | None = None) -> Batch:
        """Draw random windows, and say what they are."""
        kind = (torch.arange(size) % 3)[:, None]
        batch = super().windows(source, size, length, prioritised)
        batch["steps_to_success"] = torch.where(kind == 0, 9 - torch.arange(length), torch.where(kind == 1, 0, -1))
        batch["imitable"] = (kind < 2).expand(-1, length)
        return batch


def agent_of(**changes: Any) -> IqlAgent:
    return IqlAgent(SPACES, IqlSettings(**(SMALL | changes)), 0)


def policy_loss(agent: IqlAgent, batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return loss and weights (B,), and what they are made of: advantage and cloning losses (B,)."""
    network, action = agent.network, batch["action"][:, 1]
    latent = network.encoder({"proprio": batch["proprio"][:, 0]}).detach()
    loss, weight = agent._policy_loss(latent, action, batch)
    with torch.no_grad():
        advantage = network.q_values(latent, action, target=True).amin(0) - network.value(latent)
        losses = cloning(network.policy(latent), action)
    return loss, weight, advantage, losses


def test_as_published_every_action_is_cloned_by_its_advantage() -> None:
    agent, batch = agent_of(advantage_scale=2.0), Windows(SPACES).windows("all", 30, 2)
    loss, weight, advantage, losses = policy_loss(agent, batch)
    assert torch.allclose(weight, advantage_weight(advantage, 2.0))
    assert (weight > 0).all()
    assert torch.allclose(loss, (weight * losses).mean())
    assert agent.network.q_range is None
    assert not any("q_range" in name for name in agent.state_dict()), "checkpoints of earlier versions would not fit"


def test_where_episodes_end_at_success_only_what_led_to_it_is_cloned_in_units_of_the_range_of_q() -> None:
    agent, batch = agent_of(steps_after_success=5), Windows(SPACES).windows("all", 30, 2)
    network = agent.network
    assert network.q_range is not None
    with torch.no_grad():
        network.q_range.range.fill_(0.01)
    loss, weight, advantage, losses = policy_loss(agent, batch)
    kind = torch.arange(30) % 3
    expected = (3.0 * advantage / network.q_range.range).exp().clamp(max=10.0) * (kind == 0)
    assert torch.allclose(weight, expected)
    assert (weight[kind == 0] > 0).all()
    assert torch.allclose(loss, (expected * losses).mean())


def test_actions_worth_cloning_are_those_of_imitable_rows_taken_before_success() -> None:
    batch = {
        "imitable": torch.tensor([[True, True, True, True], [True, True, False, False], [False] * 4, [True] * 4]),
        "steps_to_success": torch.tensor([[2, 1, 0, 0], [9, 8, 7, 6], [-1] * 4, [-1] * 4]),
    }
    expected = [[True, True, False], [True, False, False], [False] * 3, [True] * 3]
    assert worth_cloning(batch).tolist() == expected, "a rule that lets parts of unsolved episodes be imitated counts"


def test_a_batch_without_success_moves_the_values_and_not_the_policy() -> None:
    """Half of each batch are failures from the first online episode on."""

    class Failures(Windows):
        def windows(self, source: str, size: int, length: int, prioritised: Prioritised | None = None) -> Batch:
            batch = super().windows(source, size, length, prioritised)
            return batch | {"steps_to_success": -torch.ones(size, length), "imitable": torch.zeros(size, length) > 0}

    for changes, stays in (({"steps_after_success": 5}, True), ({}, False)):
        agent = agent_of(**changes)
        before = {name: value.clone() for name, value in agent.network.state_dict().items()}
        figures = agent.update("joint", Failures(SPACES))
        assert (figures["advantage_weight"] == 0.0) == stays
        moved = {
            name.split(".")[0] for name, value in agent.network.state_dict().items() if (value != before[name]).any()
        }
        assert ("policy_head" in moved) != stays
        assert {"q", "v", "encoder"} <= moved


def test_the_range_follows_the_values_and_is_saved_with_the_agent() -> None:
    """A resumed run would weight its data otherwise than the undisturbed one."""
    found = RunningRange()
    found.update(torch.linspace(0.0, 100.0, 101))
    assert float(found.range) == pytest.approx(1 + RATE * (90.0 - 1))
    for _ in range(2000):
        found.update(torch.zeros(5))
    assert float(found.range) == pytest.approx(SMALLEST, rel=1e-3)
    whole, data = agent_of(steps_after_success=5, actor_ema=0.9), Windows(SPACES)
    for _ in range(3):
        whole.update("joint", data)
    again = agent_of(steps_after_success=5, actor_ema=0.9)
    again.load_state_dict(whole.state_dict())
    assert again.network.q_range is not None
    assert whole.network.q_range is not None
    assert torch.equal(again.network.q_range.range, whole.network.q_range.range)
    with pytest.raises(MotoError):
        agent_of(actor_ema=0.9).load_state_dict(whole.state_dict())
