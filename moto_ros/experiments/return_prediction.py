"""The return that a policy predicts at its first action, to compare with the return that it then achieves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from moto_ros.agents.interface import Agent
from moto_ros.training.episode_results import Player


class PredictingPlayer(Player):
    """A `Player` that keeps the discounted return that its agent expects of its first action.

    `predicted_return` is None before that action, and always of an agent without values.
    """

    def __init__(
        self, agent: Agent, action_size: int, seed: int, *, sample: bool, device: str = "cpu", arm: str = ""
    ) -> None:
        super().__init__(agent, action_size, seed, sample=sample, device=device, arm=arm)
        self.predicted_return: float | None = None

    def __call__(self, images: Mapping[str, np.ndarray], proprio: np.ndarray) -> np.ndarray:
        """Return the action (A,), as `Player`."""
        first = None if self.uncertainty else self._observation(images, proprio)
        action = super().__call__(images, proprio)
        if first is not None:
            expected = self._agent.expected_return(first, self._state, self._action)
            self.predicted_return = None if expected is None else float(expected[0])
        return action


def discounted(rewards: np.ndarray, agent_settings: Any) -> float:
    """Return the discounted sum of an episode's rewards (row 0 is not one), by the agent's own discount."""
    gamma = float(getattr(agent_settings, "discount", 1.0))
    return float(np.sum(rewards[1:] * gamma ** np.arange(len(rewards) - 1)))
