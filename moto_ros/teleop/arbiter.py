"""Who decides a step, and how one hands over to the other without a jump. No ROS."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from moto_ros.config import parameter


class Source(IntEnum):
    """Who decided; Action.SOURCE_*."""

    POLICY = 0
    HUMAN = 1


@dataclass(frozen=True)
class BlendRules:
    """How one source of actions hands over to the other."""

    blend_steps: int = parameter(
        3, "steps over which one source's actions fade into the other's; 1: at once", unit="steps", low=1, high=1000
    )


class Arbiter:
    """Fades from the last executed action to those of a new source, over the configured number of steps.

    With n steps, the jth action after a change lies j / n of the way, so that no action differs from the one before by
    more than 1 / n of the distance plus what the new source itself moves; the nth is the new source's own.
    """

    def __init__(self, rules: BlendRules, size: int, gripper: int | None) -> None:
        """Decide actions of `size` entries; `gripper` is the entry that keeps its value in standing still, if any."""
        self._steps, self._size, self._gripper = rules.blend_steps, size, gripper
        self.begin(0.0)

    def begin(self, gripper: float) -> None:
        """Start an episode with the gripper commanded to `gripper`, in [-1, 1]; its first action is not faded."""
        self.last: np.ndarray = np.zeros(self._size, np.float32)
        if self._gripper is not None:
            self.last[self._gripper] = gripper
        self._from = self.last
        self._who: object = None
        self._done = self._steps

    def still(self) -> np.ndarray:
        """Return the action that moves nothing: zeros, and the gripper as it was commanded last."""
        values = np.zeros(self._size, np.float32)
        if self._gripper is not None:
            values[self._gripper] = self.last[self._gripper]
        return values

    def slowed(self, values: np.ndarray, speed: float) -> np.ndarray:
        """Return an action with its motion scaled by `speed`, and the gripper as commanded."""
        slow = (speed * values).astype(np.float32)
        if self._gripper is not None:
            slow[self._gripper] = values[self._gripper]
        return slow

    def decide(self, who: object, values: np.ndarray) -> np.ndarray:
        """Return the action to execute, float32 (A,) in [-1, 1], where `who` decides `values`.

        An action that moves nothing is never faded in: stopping is allowed at once.
        """
        wanted = np.clip(values, -1.0, 1.0).astype(np.float32)
        if self._who not in (None, who):
            self._from, self._done = self.last, 0
        self._who = who
        self._done = min(self._steps, self._done + 1) if self._moves(wanted) else self._steps
        share = self._done / self._steps
        self.last = wanted if share == 1.0 else ((1.0 - share) * self._from + share * wanted).astype(np.float32)
        return self.last

    def _moves(self, values: np.ndarray) -> bool:
        motion = values if self._gripper is None else np.delete(values, self._gripper)
        return bool(motion.any())
