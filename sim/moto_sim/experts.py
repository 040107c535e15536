"""Meta-World's scripted policies as experts, with as much Gaussian noise as wanted."""

from __future__ import annotations

import sys
import warnings
from typing import Any, Protocol

import numpy as np
from metaworld.policies import ENV_POLICY_MAP

from moto_ros.errors import MotoError
from moto_sim.meta_world import MetaWorld
from moto_sim.world import World

# The scripts ask for more than a full step when far away and warn each time; their actions are clipped here.
warnings.filterwarnings("ignore", message="Constant", category=UserWarning, module=r"metaworld\.policies")


class Expert:
    """The scripted policy of one world's task; looks at the simulator's state, not at images."""

    def __init__(self, world: World) -> None:
        """Find the script of the world's task; raise MotoError where there is none."""
        if not isinstance(world, MetaWorld):
            raise MotoError(
                f"world {type(world).__name__} has no scripted expert, expected a metaworld/<task>; record "
                "demonstrations by hand or choose another task"
            )
        policy: Any = ENV_POLICY_MAP[world.task]
        self._world, self._policy = world, policy()

    def action(self) -> np.ndarray:
        """Return what the script does now, float32 (A,) in [-1, 1], without noise."""
        action = self._policy.get_action(self._world.expert_observation)
        return np.clip(np.asarray(action, np.float32), -1.0, 1.0)


def add_noise(action: np.ndarray, std: float, generator: np.random.Generator) -> np.ndarray:
    """Return `action` plus N(0, std) in each entry, clipped to [-1, 1], float32; one draw even where std is 0."""
    noise = std * generator.standard_normal(action.shape)
    return np.clip(action + noise, -1.0, 1.0).astype(np.float32)


class Script(Protocol):
    """What a world's scripted expert offers."""

    def action(self) -> np.ndarray:
        """Return what the script does now, float32 (A,) in [-1, 1], without noise."""
        ...


def make_expert(world: World, seed: int) -> Script:
    """Return the scripted expert of a world that was just reset; `seed` draws what the script leaves open."""
    family = sys.modules.get("moto_sim.kitchen")
    if family is not None and isinstance(world, family.Kitchen):
        from moto_sim.kitchen_expert import KitchenExpert, drawn_elements

        return KitchenExpert(world, drawn_elements(seed))
    return Expert(world)
