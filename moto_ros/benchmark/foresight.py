"""What a policy expects to earn, beside what it then earns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from moto_ros.agents.interface import Agent
from moto_ros.agents.moto.agent import MotoAgent
from moto_ros.agents.moto.rssm import Latent
from moto_ros.training.evaluation import Player


class Watched(Player):
    """A player that also says what the critics foretell of the first action's discounted return."""

    def __init__(self, agent: Agent, action_size: int, seed: int, *, sample: bool, device: str = "cpu") -> None:
        super().__init__(agent, action_size, seed, sample=sample, device=device)
        self.foretold: float | None = None

    def __call__(self, images: Mapping[str, np.ndarray], proprio: np.ndarray) -> np.ndarray:
        """Return the action (A,), as `Player`."""
        first = not self.uncertainty
        action = super().__call__(images, proprio)
        if first and isinstance(self._agent, MotoAgent):
            self.foretold = _moto_value(self._agent, self._state, self._action)
        return action


@torch.inference_mode()
def _moto_value(agent: MotoAgent, state: Mapping[str, torch.Tensor], action: torch.Tensor) -> float:
    """Return the least critic's Q of MOTO at its latent state."""
    feature = Latent(**state).feature
    return float(agent.behaviour.critics.values(feature, action).amin(0).mean())


def discounted(rewards: np.ndarray, agent_settings: Any) -> float:
    """Return the discounted sum of an episode's rewards (row 0 is not one), by the agent's own discount."""
    gamma = float(getattr(agent_settings, "discount", 1.0))
    return float(np.sum(rewards[1:] * gamma ** np.arange(len(rewards) - 1)))
