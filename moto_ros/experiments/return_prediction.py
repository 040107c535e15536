"""Return prediction: what the critics expect at an episode's start, beside the return that follows."""

from __future__ import annotations

from collections.abc import Mapping
from functools import singledispatch
from typing import Any

import numpy as np
import torch

from moto_ros.agents.fowm.agent import FowmAgent
from moto_ros.agents.interface import Agent, Batch, State
from moto_ros.agents.iql.agent import IqlAgent
from moto_ros.agents.moto.agent import MotoAgent
from moto_ros.agents.moto.rssm import Latent
from moto_ros.training.evaluation import Player


class ReturnPredictingPlayer(Player):
    """A player that also keeps the discounted return that its agent predicts at the first action."""

    def __init__(self, agent: Agent, action_size: int, seed: int, *, sample: bool, device: str = "cpu") -> None:
        super().__init__(agent, action_size, seed, sample=sample, device=device)
        self.predicted_return: float | None = None

    def __call__(self, images: Mapping[str, np.ndarray], proprio: np.ndarray) -> np.ndarray:
        """Return the action (A,), as `Player`."""
        first = None if self.uncertainty else self._observation(images, proprio)
        action = super().__call__(images, proprio)
        if first is not None:
            with torch.inference_mode():
                self.predicted_return = predicted_return(self._agent, first, self._state, self._action)
        return action


@singledispatch
def predicted_return(agent: Agent, observation: Batch, state: State, action: torch.Tensor) -> float | None:
    """Return the discounted return that an agent expects of `action` (1, A), taken in `observation`.

    `state` is the filter state that includes the observation. None where the agent has no values.
    """
    return None


@predicted_return.register
def _(agent: MotoAgent, observation: Batch, state: State, action: torch.Tensor) -> float:
    """Return the minimum of the critics' Q: what MOTO's policy is trained on."""
    return float(agent.behaviour.critics.values(Latent(**state).feature, action).amin(0))


@predicted_return.register
def _(agent: FowmAgent, observation: Batch, state: State, action: torch.Tensor) -> float:
    """Return the mean of the Q heads at the planned action."""
    latent = agent.actor.encoder(agent.to_device(observation))
    return float(agent.actor.q_values(latent, action).mean())


@predicted_return.register
def _(agent: IqlAgent, observation: Batch, state: State, action: torch.Tensor) -> float:
    """Return V, IQL's expectile of Q over the actions in the data."""
    return float(agent.actor.value(agent.actor.encoder(agent.to_device(observation))))


def discounted(rewards: np.ndarray, agent_settings: Any) -> float:
    """Return the discounted sum of an episode's rewards (row 0 is not one), by the agent's own discount."""
    gamma = float(getattr(agent_settings, "discount", 1.0))
    return float(np.sum(rewards[1:] * gamma ** np.arange(len(rewards) - 1)))
