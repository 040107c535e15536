"""Small batches and agents for the agents' tests."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from moto_ros.agents.interface import Agent, Batch, Prioritised, Spaces
from moto_ros.agents.moto.agent import MotoAgent
from moto_ros.agents.moto.config import MotoSettings

SPACES = Spaces(image=(32, 32, 3), proprio=4, action=3)
TINY = {
    "stoch": 6,
    "deter": 16,
    "hidden": 16,
    "conv_depth": 2,
    "head_units": 16,
    "head_layers": 2,
    "proprio_units": 8,
    "ensemble": 3,
    "critics": 2,
    "batch": 3,
    "prior_batch": 2,
    "length": 6,
    "horizon": 4,
    "target_every": 3,
}


def tiny(**changes: object) -> MotoSettings:
    """Return settings small enough for a test, with `changes`."""
    return MotoSettings(**(TINY | changes))  # type: ignore[arg-type]


def make_tiny(seed: int = 0, spaces: Spaces = SPACES, **changes: object) -> MotoAgent:
    """Return a small agent."""
    return MotoAgent(spaces, tiny(**changes), seed)


@dataclass
class RandomData:
    """Random chunks with a seed; optionally without successes."""

    spaces: Spaces = SPACES
    seed: int = 0
    successes: bool = True
    drawn: list[str] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    sources: tuple[str, ...] = ("all",)
    returned: list[tuple[str, torch.Tensor, torch.Tensor]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Start the stream."""
        self._rng = np.random.default_rng(self.seed)

    def holds(self, source: str) -> bool:
        """Return whether the source has episodes."""
        return source in self.sources or (source == "successful" and self.successes)

    def windows(self, source: str, size: int, length: int, prioritised: Prioritised | None = None) -> Batch:
        """Draw windows of which some end early, some in a terminal state."""
        batch, rng = self.batch(source, size, length), self._rng
        lasts = torch.from_numpy(rng.integers(1, 2 * length, size))
        batch["valid"] = torch.arange(length) <= lasts[:, None]
        batch["is_terminal"] = torch.arange(length) >= lasts[:, None]
        batch["index"] = torch.from_numpy(rng.integers(0, 1000, size))
        batch["frame"] = torch.from_numpy(rng.integers(0, 200, (size, length)))
        to_success = torch.where(torch.from_numpy(rng.random((size, 1)) < 0.5), 50 - torch.arange(length), -1)
        batch["steps_to_success"] = to_success
        batch["episode"] = torch.from_numpy(rng.integers(0, 10, size))
        weight = torch.from_numpy(rng.uniform(0.2, 1, size).astype(np.float32))
        batch["weight"] = weight if prioritised else torch.ones(size)
        return batch

    def prioritise(self, source: str, index: torch.Tensor, priority: torch.Tensor) -> None:
        """Keep what is returned."""
        self.returned.append((source, index, priority))

    def batch(self, source: str, size: int, length: int) -> Batch:
        """Draw chunks whose reward follows the first action dimension, so that there is something to learn."""
        self.drawn.append(source)
        self.sizes.append(size)
        rng, rows = self._rng, (size, length)
        action = rng.uniform(-1, 1, (*rows, self.spaces.action)).astype(np.float32)
        first = np.zeros(rows, bool)
        first[:, 0] = True
        arrays = {
            "proprio": rng.normal(size=(*rows, self.spaces.proprio)).astype(np.float32),
            "action": action,
            "reward": (action[..., 0] > 0).astype(np.float32),
            "is_first": first,
            "is_terminal": np.zeros(rows, bool),
            "imitable": np.ones(rows, bool),
            "begins": np.zeros(rows, bool),
        }
        if self.spaces.image:
            arrays["image"] = rng.integers(0, 256, (*rows, *self.spaces.image), dtype=np.uint8)
        return {name: torch.from_numpy(array) for name, array in arrays.items()}


def train(agent: Agent, data: RandomData, updates: int) -> None:
    """Do `updates` of every phase in turn."""
    for _ in range(updates):
        for phase in agent.phases:
            agent.update(phase, data)
