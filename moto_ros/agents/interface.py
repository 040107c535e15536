"""What every agent offers to the learner and to the policy node; docs/new_agent.md adds one step by step.

Shapes: B batch, L chunk length in steps, H W image height and width, C = 3 x cameras,
P proprioception size, A action size.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

import torch
from torch import Tensor

Batch = dict[str, Tensor]
"""A chunk batch in the Dreamer convention (action[t] led to observation[t]; is_first[:, 0] is true):

image uint8 (B, L, H, W, C); proprio float32 (B, L, P); action float32 (B, L, A) in [-1, 1];
reward float32 (B, L); is_first bool (B, L); is_terminal bool (B, L). From a store also frame int64 (B, L): equal
numbers are the same recorded row; and imitable bool (B, L): rows that source "successful" would draw from.

A batch of windows (`Data.windows`) holds besides: valid bool (B, L), false for rows after the episode's end, which
repeat its last one; index int64 (B,), which `Data.prioritise` takes back; weight float32 (B,), the importance weight.
"""

State = dict[str, Tensor]
"""An agent's filter state, each tensor with a leading batch dimension."""

Metrics = dict[str, float]


@dataclass(frozen=True)
class Spaces:
    """Sizes of what is observed and commanded; `image` is (H, W, C), or None without cameras."""

    image: tuple[int, int, int] | None
    proprio: int
    action: int


@dataclass(frozen=True)
class Budget:
    """What an agent that plans is told of time; an agent that does not plan may ignore it.

    deadline: seconds from the call within which the answer must be there, or None for as long as it takes; 0 asks for
    what is known without planning.
    elapsed: control steps since the decision that `state` came from (2: one observation got no decision).
    pending: actions (B, n, A) that will be executed before the one asked for, oldest first, when planning runs ahead of
    the control loop: the answer is then for the step after them.
    """

    deadline: float | None = None
    elapsed: int = 1
    pending: Tensor | None = None


@dataclass(frozen=True)
class Decision:
    """One answer of a policy: action (B, A) in [-1, 1], next filter state, uncertainty (B,).

    `figures` tell how the answer came about, for diagnostics. A planner gives plan_s (seconds), plan_iterations, and
    0 or 1 for plan_cut (fewer iterations than set), policy_answered (not even one fitted) and deadline_missed (late).
    """

    action: Tensor
    state: State
    uncertainty: Tensor
    figures: Metrics = field(default_factory=dict)


@dataclass(frozen=True)
class Prioritised:
    """Prioritised replay: chance ~ priority^alpha, weight ~ (steps x chance)^-beta, the largest of a draw being 1.

    A step not drawn yet has the largest priority of its source.
    """

    alpha: float = 0.6
    beta: float = 0.4


class Data(Protocol):
    """Where updates draw their batches from; the learner adapts the replay store to it."""

    def batch(self, source: str, size: int, length: int) -> Batch:
        """Draw `size` chunks of `length` steps from `source`: "all", "successful", "offline" or "online"."""
        ...

    def windows(self, source: str, size: int, length: int, prioritised: Prioritised | None = None) -> Batch:
        """Draw `size` windows of `length` rows that may begin at any step of `source`, also near an episode's end.

        `source` is "all", "offline", "online" or "successful". Steps are drawn uniformly (all weights are 1), or by
        the priorities of that source, which are kept apart for each source.
        """
        ...

    def prioritise(self, source: str, index: Tensor, priority: Tensor) -> None:
        """Set the priorities, positive float (B,), of windows that `windows` drew as `index` from `source`."""
        ...

    def holds(self, source: str) -> bool:
        """Return whether `source` has any episode to draw from; nothing is drawn from a source that has none."""
        ...


class Agent(ABC):
    """A learning algorithm: filters observations, acts, and improves by phases of updates.

    `settings_class` is the dataclass of its parameters, which a user sets as `agent.<name>`; the constructor takes
    spaces, settings, seed and device.
    `phases` are run in order offline, and once each an update round online. Weights are what acting needs;
    the state dict is everything that exact resumption needs (weights, optimisers, counters, RNG), tensors only.
    An agent that `plans` is told of time by a `Budget`, and may be asked ahead of it: for the step after an action that
    is under way, of only some observations. All others need every observation, at its time.
    """

    name: ClassVar[str]
    settings_class: ClassVar[type]
    phases: ClassVar[tuple[str, ...]]
    plans: ClassVar[bool] = False

    @abstractmethod
    def start(self, batch: int) -> State:
        """Return the filter state before the first observation of an episode."""

    @abstractmethod
    def act(
        self,
        observation: Batch,
        state: State,
        *,
        sample: bool,
        generator: torch.Generator | None = None,
        budget: Budget | None = None,
    ) -> Decision:
        """Filter one observation and decide.

        `observation` holds image uint8 (B, H, W, C), proprio float32 (B, P) and action float32 (B, A), the action
        that led to it (zeros at first). `sample` explores; else the answer is the best known. `budget` bounds the time
        of agents that plan.
        """

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
