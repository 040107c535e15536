"""What every agent offers to the learner and to the policy node.

Shapes: B batch, L chunk length in steps, H W image height and width, C = 3 x cameras,
P proprioception size, A action size.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor

Batch = dict[str, Tensor]
"""A chunk batch in the Dreamer convention (action[t] led to observation[t]; is_first[:, 0] is true):

image uint8 (B, L, H, W, C); proprio float32 (B, L, P); action float32 (B, L, A) in [-1, 1];
reward float32 (B, L); is_first bool (B, L); is_terminal bool (B, L).
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
class Decision:
    """One answer of a policy: action (B, A) in [-1, 1], next filter state, uncertainty (B,)."""

    action: Tensor
    state: State
    uncertainty: Tensor


class Data(Protocol):
    """Where updates draw their batches from; the learner adapts the replay store to it."""

    def batch(self, source: str, size: int, length: int) -> Batch:
        """Draw `size` chunks of `length` steps from `source`: "all" or "successful"."""
        ...

    def holds(self, source: str) -> bool:
        """Return whether `source` has any episode to draw from; `batch` is only asked for sources that do."""
        ...


class Agent(ABC):
    """A learning algorithm: filters observations, acts, and improves by phases of updates.

    `phases` are run in order offline, and once each an update round online. Weights are what acting needs;
    the state dict is everything that exact resumption needs (weights, optimisers, counters, RNG), tensors only.
    """

    name: ClassVar[str]
    phases: ClassVar[tuple[str, ...]]

    @abstractmethod
    def start(self, batch: int) -> State:
        """Return the filter state before the first observation of an episode."""

    @abstractmethod
    def act(
        self, observation: Batch, state: State, *, sample: bool, generator: torch.Generator | None = None
    ) -> Decision:
        """Filter one observation and decide.

        `observation` holds image uint8 (B, H, W, C), proprio float32 (B, P) and action float32 (B, A), the action
        that led to it (zeros at first). `sample` draws from the policy, else its mode is taken.
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
