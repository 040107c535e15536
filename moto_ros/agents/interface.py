"""The agent interface: what every agent offers to learner and policy node; docs/new_agent.md adds one step by step.

Shapes: B batch, L chunk length in steps, H W image height and width, C = 3 x cameras,
P proprioception size, A action size.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from moto_ros.errors import MotoError

Batch = dict[str, Tensor]
"""A chunk batch in the Dreamer convention (action[t] led to observation[t]; is_first[:, 0] is true):

image uint8 (B, L, H, W, C); proprio float32 (B, L, P); action float32 (B, L, A) in [-1, 1];
reward float32 (B, L); is_first bool (B, L); is_terminal bool (B, L). From a store also frame int64 (B, L): equal
numbers are the same recorded row; imitable bool (B, L): actions that may be imitated, where a person helped only the
person's; and in chunks begins bool (B, L): the first row of an episode.

A batch of windows (`Data.windows`) holds besides: valid bool (B, L), false for rows after the episode's end, which
repeat its last one; steps_to_success int64 (B, L), 0 from the episode's first success on and -1 where it has none;
episode int64 (B,), equal for windows of one episode;
index int64 (B,), which `Data.prioritise` needs; weight float32 (B,), the importance weight.
"""

State = dict[str, Tensor]
"""An agent's filter state, each tensor with a leading batch dimension."""

Metrics = dict[str, float]

SUCCESS_PROBABILITY, EDITED = "success_probability", "edited"
"""Names of a decision's figures, see `Decision`."""

BASE, POLICY = "base", "policy"
"""Names of arms: the policy cloned from demonstrations, which stays as it is, and the one that learns."""


BASE_PHASE = "base"
"""Name of the phase of updates that clones the arm "base"; left out where it was cloned before."""


@dataclass(frozen=True)
class Spaces:
    """Sizes of what is observed and commanded; `image` is (H, W, C), or None without cameras."""

    image: tuple[int, int, int] | None
    proprio: int
    action: int


@dataclass(frozen=True, kw_only=True)
class ActRequest:
    """How an agent is asked to act; an agent that does not plan uses `sample` and `generator` only.

    sample: explore by a drawn action; otherwise the answer is the best known one.
    arm: which of the agent's `arms` acts; empty: the last of them.
    generator: where random numbers come from, on the agent's device; None: the agent's own stream.
    deadline: seconds from the call within which the answer must be there, or None for as long as it takes; 0 asks for
    what is known without planning.
    elapsed: control steps since the decision that `state` came from (2: one observation got no decision).
    pending: actions (B, n, A) that will be executed before the one asked for, oldest first, when planning runs ahead of
    the control loop: the answer is then for the step after them.
    """

    sample: bool
    arm: str = ""
    generator: torch.Generator | None = None
    deadline: float | None = None
    elapsed: int = 1
    pending: Tensor | None = None


@dataclass(frozen=True)
class Decision:
    """One answer of a policy: action (B, A) in [-1, 1], next filter state, uncertainty (B,).

    `figures` are for diagnostics. An agent that knows it gives success_probability, its estimate in [0, 1] that the
    episode reaches success from here; it is published with the action. One that edits a base policy gives edited, the
    share of the actions that are not the base's. A planner gives plan_s (seconds),
    plan_iterations, and 0 or 1 for plan_cut (fewer iterations than set), policy_answered (time for none of them) and
    deadline_missed (late).
    """

    action: Tensor
    state: State
    uncertainty: Tensor
    figures: Metrics = field(default_factory=dict)

    @property
    def success_probability(self) -> float:
        """Return the agent's estimate in [0, 1] that the episode reaches success, NaN where it has none."""
        return float(self.figures.get(SUCCESS_PROBABILITY, math.nan))


@dataclass(frozen=True)
class Prioritised:
    """Prioritised replay: probability p ~ priority^alpha, weight ~ (steps x p)^-beta, scaled to a maximum of 1 a draw.

    A step not drawn yet has the largest priority of its source.
    """

    alpha: float = 0.6
    beta: float = 0.4


class Data(Protocol):
    """Source of the batches of updates; the learner adapts the replay store to it."""

    def batch(self, source: str, size: int, length: int) -> Batch:
        """Draw `size` chunks of `length` steps from `source`: "all", "successful", "offline" or "online"."""
        ...

    def windows(self, source: str, size: int, length: int, prioritised: Prioritised | None = None) -> Batch:
        """Draw `size` windows of `length` rows that may begin at any step of `source`, near an episode's end too.

        `source` is "all", "offline", "online", "successful" or "failed" (episodes without success). Steps are drawn
        uniformly (all weights are 1), or by the priorities of that source; each source has its own.
        """
        ...

    def prioritise(self, source: str, index: Tensor, priority: Tensor) -> None:
        """Set the priorities, positive float (B,), of windows that `windows` drew as `index` from `source`."""
        ...

    def holds(self, source: str) -> bool:
        """Return whether `source` has any episode; nothing may be drawn from a source that has none."""
        ...


class Agent(ABC):
    """A learning algorithm: filters observations, acts, and improves by phases of updates.

    `settings_class` is the dataclass of its parameters, which a user sets as `agent.<name>`; the constructor takes
    spaces, settings, seed and device.
    `phases` run in this order offline, and once each in an online round of updates; where settings decide which there
    are, the class names all of them and an instance its own. Weights are what acting needs;
    the state dict is everything that exact resumption needs (weights, optimisers, counters, RNG), tensors only.
    `arms` are the policies it can act by, from the one that stays as it was after the offline phase to the newest; most
    agents have one. Which of them acts a training episode, and which one a run ends with, is decided by what they
    achieve.
    An agent that `plans` keeps the deadline of an `ActRequest`, and may be asked ahead of time: for the step after an
    action that is under way, of only some observations. All others need every observation, at its time.
    """

    name: ClassVar[str]
    settings_class: ClassVar[type]
    phases: tuple[str, ...]
    plans: ClassVar[bool] = False
    arms: tuple[str, ...] = (POLICY,)

    @abstractmethod
    def start(self, batch: int) -> State:
        """Return the filter state before the first observation of an episode."""

    @abstractmethod
    def act(self, observation: Batch, state: State, request: ActRequest) -> Decision:
        """Filter one observation and decide.

        `observation` holds image uint8 (B, H, W, C), proprio float32 (B, P) and action float32 (B, A), the action
        that led to it (zeros at first).
        """

    def expected_return(self, observation: Batch, state: State, action: Tensor) -> Tensor | None:
        """Return the discounted return (B,) that the agent expects of `action` (B, A), taken in `observation`.

        `state` is the filter state that includes the observation, `Decision.state`. None, the default, is the answer of
        an agent that learns no values. Nothing random is drawn.
        """
        return None

    def take_base(self, cloned: dict[str, Tensor], what: str) -> None:
        """Take the weights of a policy of agent `bc` as the base policy, which is then not learned.

        Raises MotoError, naming `what`, where they do not fit, and from an agent that keeps no base policy, the
        default.
        """
        raise MotoError(
            f"{what}: is of agent bc, but agent {self.name} keeps no base policy with these settings; give a "
            "checkpoint of its own, or choose agent moto or fowm with preset quick"
        )

    @abstractmethod
    def update(self, phase: str, data: Data) -> Metrics:
        """Do one gradient update of `phase` on batches drawn from `data`; return its scalars."""

    @abstractmethod
    def weights(self) -> dict[str, Tensor]:
        """Return what acting needs, as detached CPU tensors by name."""

    @abstractmethod
    def load_weights(self, weights: dict[str, Tensor]) -> None:
        """Take acting weights; raise MotoError naming the first missing, extra or misshapen tensor."""

    @abstractmethod
    def state_dict(self) -> dict[str, Tensor]:
        """Return everything needed to resume to the bit, as tensors by name."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore what `state_dict` returned; raise MotoError where it does not fit."""
