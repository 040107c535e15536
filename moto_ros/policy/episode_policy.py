"""Policy of an episode: chooses actions with an agent, and loads new weights between two steps. No ROS."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from moto_ros.agents.interface import EDITED, ActRequest, Agent, Batch, Decision, State
from moto_ros.contract.episodes import Purpose
from moto_ros.contract.stamps import NSEC_PER_SEC
from moto_ros.data.observer import Observation
from moto_ros.errors import MotoError
from moto_ros.training.arm_bandit import check_arm
from moto_ros.training.weights import unpack

WARM_UP_DECISIONS = 20
"""Decisions after which the slow first ones no longer influence a planner's time estimates."""


@dataclass(frozen=True)
class Choice:
    """One action: float32 (A,) in [-1, 1], the model's uncertainty, and the version of the weights that chose it.

    `rank` is the share of the uncertainties on recorded data that lie below, `success_probability` the agent's estimate
    that the episode reaches success; NaN where unknown. `figures` are the agent's, `Decision.figures`. `arm` is which
    of the agent's policies chose.
    """

    values: np.ndarray
    uncertainty: float
    version: int
    rank: float = math.nan
    figures: Mapping[str, float] = field(default_factory=dict)
    success_probability: float = math.nan
    arm: str = ""

    @property
    def edited(self) -> float:
        """Return 1 where the agent chose a better action than its base policy's, else 0; NaN where unknown."""
        return float(self.figures.get(EDITED, math.nan))


@dataclass(frozen=True)
class Weights:
    """Verified weights by tensor name; `published` is when, in nanoseconds of the steady clock.

    `quantiles` are evenly spaced quantiles, 0 to 100 %, of the uncertainty on recorded data, `joint_names` the joints
    in the order that was learned with; empty where unknown. The tensors are those of all of the agent's arms; `arm` is
    the better one, empty where unknown.
    """

    version: int
    published: int
    tensors: Mapping[str, Tensor]
    quantiles: tuple[float, ...] = ()
    joint_names: tuple[str, ...] = ()
    arm: str = ""


@dataclass(frozen=True)
class WeightsMessage:
    """Weights as received, not verified yet: moto_msgs/PolicyWeights without ROS."""

    version: int
    published: int
    agent: str
    digest: str
    sha256: str
    data: bytes
    quantiles: tuple[float, ...] = ()
    joint_names: tuple[str, ...] = ()
    arm: str = ""

    def verified(self, agent: str, digest: str) -> Weights:
        """Return the weights; MotoError if they are damaged or of another agent or preset. May run in any thread."""
        for what, found, expected in (("agent", self.agent, agent), ("settings digest", self.digest, digest)):
            if found != expected:
                raise MotoError(
                    f"weights {self.version}: {what} is '{found}', expected '{expected}'; "
                    "give trainer and policy the same agent and preset"
                )
        tensors = unpack(self.data, self.sha256, f"weights {self.version}")
        return Weights(self.version, self.published, tensors, self.quantiles, self.joint_names, self.arm)


class EpisodePolicy:
    """An agent that acts: one filter state and one random generator per episode, weights changed only between steps.

    The actions of an episode are a function of seed, episode number, weights and observations; those of a planner with
    a deadline also of time.
    """

    def __init__(
        self, agent: Agent, action_size: int, seed: int, device: torch.device, period: float = 0.0, arm: str = ""
    ) -> None:
        """Take `agent`; its weights are version 0: none yet.

        `period` (s) counts the control steps between two observations by their stamps; 0: each is one step. `arm` acts
        in episodes that name none; empty: the better one of the weights. MotoError for one that the agent lacks.
        """
        check_arm(arm, agent.arms, "parameter 'acting_arm' of the policy")
        self._own_arm = self._better_arm = arm
        self._agent, self._size, self._seed, self._device = agent, action_size, seed, device
        self._period = round(period * NSEC_PER_SEC)
        self._quantiles: tuple[float, ...] = ()
        self._sample = False
        self.version = 0
        self.published = 0
        self.begin(0, Purpose.TRAINING, sample=False)

    def begin(self, episode: int, purpose: Purpose, *, sample: bool, arm: str = "") -> None:
        """Forget the last episode; with `sample`, actions are drawn from the policy to explore.

        `arm` acts, empty for the one that was chosen or is better; it stays for the whole episode.
        """
        entropy = np.random.SeedSequence([self._seed, int(purpose), episode])
        seed = int(entropy.generate_state(1, np.uint64)[0] >> np.uint64(1))
        self._generator = torch.Generator(self._device).manual_seed(seed)
        self._sample, self._arm = sample, arm
        self._state: State = self._agent.start(1)
        self._last = torch.zeros(1, self._size, device=self._device)
        self._decided_for: int | None = None

    def warm_up(self, blank: Observation, deadline: float) -> None:
        """Decide on a blank observation, so that one-time costs are paid before an episode begins."""
        for _ in range(WARM_UP_DECISIONS):
            self.act(blank, deadline)
        self.begin(0, Purpose.TRAINING, sample=False)

    def load_weights(self, weights: Weights) -> None:
        """Load verified weights, between two steps. MotoError if a tensor does not fit; the old ones are kept."""
        try:
            check_arm(weights.arm, self._agent.arms, "their better arm")
            self._agent.load_weights(dict(weights.tensors))
        except MotoError as error:
            raise MotoError(f"weights {weights.version} refused: {error}") from error
        self.version, self.published, self._quantiles = weights.version, weights.published, weights.quantiles
        self._better_arm = self._own_arm or weights.arm

    def act(self, observation: Observation, deadline: float | None = None, pending: np.ndarray | None = None) -> Choice:
        """Filter one observation and choose, within `deadline` seconds, the action that follows it.

        With `pending`, float32 (A,), that action follows it, and the one after `pending` is chosen.
        """
        decision = self._decision(observation, deadline, pending)
        self._state, self._decided_for = decision.state, self._time_of(observation, pending)
        self._last = decision.action if pending is None else self._row(pending)
        return self._choice(decision)

    def unplanned(self, observation: Observation, pending: np.ndarray | None = None) -> Choice:
        """Choose like `act` without planning; the filter state does not change."""
        return self._choice(self._decision(observation, 0.0, pending))

    def _decision(self, observation: Observation, deadline: float | None, pending: np.ndarray | None) -> Decision:
        elapsed = 1
        if self._period and self._decided_for is not None:
            elapsed = max(1, round((self._time_of(observation, pending) - self._decided_for) / self._period))
        self._arm = self._arm or self._better_arm or self._agent.arms[-1]
        request = ActRequest(
            sample=self._sample,
            arm=self._arm,
            generator=self._generator,
            deadline=deadline,
            elapsed=elapsed,
            pending=None if pending is None else self._row(pending)[:, None],
        )
        with torch.inference_mode():
            return self._agent.act(self._batch(observation), self._state, request)

    def _choice(self, decision: Decision) -> Choice:
        values = decision.action[0].cpu().numpy().astype(np.float32)
        uncertainty = float(decision.uncertainty[0])
        place = rank(uncertainty, self._quantiles)
        return Choice(
            values, uncertainty, self.version, place, decision.figures, decision.success_probability, self._arm
        )

    def _time_of(self, observation: Observation, pending: np.ndarray | None) -> int:
        """Return the time (ns) of the action: that of the observation, or a control period later."""
        return observation.state_stamp + (0 if pending is None else self._period)

    def executed(self, values: np.ndarray) -> None:
        """Continue the filter with the executed action, float32 (A,), instead of the chosen one."""
        self._last = self._row(values)

    def _row(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(values.astype(np.float32))[None].to(self._device)

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
