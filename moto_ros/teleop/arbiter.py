"""Arbitration between policy and person: who decides a step, blended without a jump. No ROS."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from moto_ros.config import parameter


class Source(IntEnum):
    """Source of an action; Action.SOURCE_*."""

    POLICY = 0
    HUMAN = 1


@dataclass(frozen=True)
class BlendRules:
    """How actions blend from one source to the other."""

    blend_steps: int = parameter(
        3,
        "steps over which the actions of one source are blended into those of the other; 1: at once",
        unit="steps",
        low=1,
        high=1000,
    )


class Arbiter:
    """Blends from the last executed action to those of a new source, over the configured number of steps.

    With n steps, the jth action after a change has the new source's weight j / n, so that no action differs from the
    previous one by more than 1 / n of the distance plus the change of the new source; the nth is the new source's.
    """

    def __init__(self, rules: BlendRules, size: int, gripper: int | None) -> None:
        """Decide actions of `size` entries; `gripper` is the index of the gripper's entry, if any."""
        self._steps, self._size, self._gripper = rules.blend_steps, size, gripper
        self.begin(0.0)

    def begin(self, gripper: float) -> None:
        """Start an episode with the gripper commanded to `gripper`, in [-1, 1]; its first action is not blended."""
        self.last: np.ndarray = np.zeros(self._size, np.float32)
        if self._gripper is not None:
            self.last[self._gripper] = gripper
        self._from = self.last
        self._source: object = None
        self._done = self._steps

    def still(self) -> np.ndarray:
        """Return the action without motion: zeros, and the last gripper command."""
        values = np.zeros(self._size, np.float32)
        if self._gripper is not None:
            values[self._gripper] = self.last[self._gripper]
        return values

    def slowed(self, values: np.ndarray, speed: float) -> np.ndarray:
        """Return an action with its motion scaled by `speed`, and its gripper command unchanged."""
        slow = (speed * values).astype(np.float32)
        if self._gripper is not None:
            slow[self._gripper] = values[self._gripper]
        return slow

    def decide(self, source: object, values: np.ndarray) -> np.ndarray:
        """Return the action to execute, float32 (A,) in [-1, 1], where `source` decides `values`.

        An action without motion is not blended: stopping is allowed at once.
        """
        wanted = np.clip(values, -1.0, 1.0).astype(np.float32)
        if self._source not in (None, source):
            self._from, self._done = self.last, 0
        self._source = source
        motion = wanted if self._gripper is None else np.delete(wanted, self._gripper)
        self._done = min(self._steps, self._done + 1) if motion.any() else self._steps
        share = self._done / self._steps
        self.last = wanted if share == 1.0 else ((1.0 - share) * self._from + share * wanted).astype(np.float32)
        return self.last
