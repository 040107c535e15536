"""Meta-World's scripted policies as experts."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from metaworld.policies import ENV_POLICY_MAP

if TYPE_CHECKING:
    from moto_sim.meta_world import MetaWorld

# The scripts ask for more than a full step when far away and warn each time; their actions are clipped here.
warnings.filterwarnings("ignore", message="Constant", category=UserWarning, module=r"metaworld\.policies")


class MetaWorldExpert:
    """The scripted policy of a Meta-World task; it uses the simulator's state, not images."""

    def __init__(self, world: MetaWorld) -> None:
        """Find the script of the world's task."""
        policy: Any = ENV_POLICY_MAP[world.task]
        self._world, self._policy = world, policy()

    def action(self) -> np.ndarray:
        """Return what the script does now, float32 (A,) in [-1, 1], without noise."""
        action = self._policy.get_action(self._world.expert_observation)
        return np.clip(np.asarray(action, np.float32), -1.0, 1.0)
