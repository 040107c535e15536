"""Acts with an agent and takes its new weights between two steps. No ROS."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from moto_ros.agents.interface import Agent, Batch, State
from moto_ros.data.observer import Observation
from moto_ros.errors import MotoError
from moto_ros.nodes.episode_facts import Purpose
from moto_ros.training.weights import unpack


@dataclass(frozen=True)
class Choice:
    """One action: float32 (A,) in [-1, 1], the model's uncertainty, and the version of the weights that chose it.

    `rank` is the share of the uncertainties on recorded data that lie below; NaN where unknown.
    """

    values: np.ndarray
    uncertainty: float
    version: int
    rank: float = math.nan


@dataclass(frozen=True)
class Weights:
    """Verified weights by tensor name; `published` is their stamp in nanoseconds.

    `quantiles` are evenly spaced quantiles, 0 to 100 %, of the uncertainty on recorded data; empty where unknown.
    """

    version: int
    published: int
    tensors: Mapping[str, Tensor]
    quantiles: tuple[float, ...] = ()


@dataclass(frozen=True)
class Parcel:
    """Weights as they were sent, moto_msgs/PolicyWeights without ROS."""

    version: int
    published: int
    agent: str
    digest: str
    sha256: str
    data: bytes
    quantiles: tuple[float, ...] = ()

    def opened(self, agent: str, digest: str) -> Weights:
        """Return the weights; MotoError when they are of another agent or preset, or damaged. May run in any thread."""
        for what, found, expected in (("agent", self.agent, agent), ("settings digest", self.digest, digest)):
            if found != expected:
                raise MotoError(
                    f"weights {self.version}: {what} is '{found}', expected '{expected}'; "
                    "give trainer and policy the same agent and preset"
                )
        tensors = unpack(self.data, self.sha256, f"weights {self.version}")
        return Weights(self.version, self.published, tensors, self.quantiles)


class Actor:
    """An agent at work: one filter state an episode, one generator an episode, weights changed only between steps.

    The actions of an episode are a function of seed, episode number, weights and observations.
    """

    def __init__(self, agent: Agent, action_size: int, seed: int, device: torch.device) -> None:
        """Hold `agent`, whose weights count as version 0: none yet."""
        self._agent, self._size, self._seed, self._device = agent, action_size, seed, device
        self._offered: Weights | None = None
        self._quantiles: tuple[float, ...] = ()
        self._sample = False
        self.version = 0
        self.published = 0
        self.begin(0, Purpose.TRAINING, sample=False)

    def begin(self, episode: int, purpose: Purpose, *, sample: bool) -> None:
        """Forget the last episode; `sample` draws from the policy instead of taking its mode."""
        entropy = np.random.SeedSequence([self._seed, int(purpose), episode])
        seed = int(entropy.generate_state(1, np.uint64)[0] >> np.uint64(1))
        self._generator = torch.Generator(self._device).manual_seed(seed)
        self._sample = sample
        self._state: State = self._agent.start(1)
        self._last = torch.zeros(1, self._size, device=self._device)

    def offer(self, weights: Weights) -> None:
        """Keep verified weights for the next step boundary; the newest wins."""
        self._offered = weights

    def take_offered(self) -> None:
        """Apply what was offered, if anything. MotoError, and the old ones kept, when a tensor does not fit."""
        weights, self._offered = self._offered, None
        if weights is None:
            return
        try:
            self._agent.load_weights(dict(weights.tensors))
        except MotoError as error:
            raise MotoError(f"weights {weights.version} refused: {error}") from error
        self.version, self.published, self._quantiles = weights.version, weights.published, weights.quantiles

    def act(self, observation: Observation) -> Choice:
        """Filter one observation and choose the action that leaves it."""
        with torch.inference_mode():
            decision = self._agent.act(
                self._batch(observation), self._state, sample=self._sample, generator=self._generator
            )
        self._state, self._last = decision.state, decision.action
        values = decision.action[0].cpu().numpy().astype(np.float32)
        uncertainty = float(decision.uncertainty[0])
        return Choice(values, uncertainty, self.version, rank(uncertainty, self._quantiles))

    def executed(self, values: np.ndarray) -> None:
        """Filter on from the action that was executed, float32 (A,), in place of the one that was chosen."""
        self._last = torch.from_numpy(values.astype(np.float32))[None].to(self._device)

    def _batch(self, observation: Observation) -> Batch:
        batch: Batch = {"proprio": torch.from_numpy(observation.proprio)[None].to(self._device), "action": self._last}
        if observation.image is not None:
            batch["image"] = torch.from_numpy(observation.image)[None].to(self._device)
        return batch


def rank(uncertainty: float, quantiles: Sequence[float]) -> float:
    """Return the share (0 to 1) of a distribution, given by evenly spaced quantiles, that lies below `uncertainty`.

    NaN where either is unknown.
    """
    if not quantiles:
        return math.nan
    return float(np.interp(uncertainty, quantiles, np.linspace(0.0, 1.0, len(quantiles))))
