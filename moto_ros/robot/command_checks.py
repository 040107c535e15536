"""Checks of commands before they move a robot, simulated or not: episode, step, size, range, and stop. No ROS."""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import ArrayLike


class CommandChecks:
    """Admits one action per step of the running episode, if it is finite and of the right size; counts the others.

    Out-of-range entries are clipped to [-1, 1]. A stop is latched: no action is admitted until `recover`. `counts` are
    by reason.
    """

    def __init__(self, action_size: int) -> None:
        """Start without an episode: no action is admitted."""
        self._size = action_size
        self._episode: int | None = None
        self.step = 0
        self.stopped = ""
        self.refusal = ""
        self.counts: Counter[str] = Counter()

    @property
    def open(self) -> bool:
        """Whether an episode is running."""
        return self._episode is not None

    @property
    def episode(self) -> int:
        """Return the number of the running episode, 0 without one."""
        return self._episode or 0

    def begin(self, episode: int) -> None:
        """Expect step 0 of an episode."""
        self._episode, self.step, self.refusal = episode, 0, ""

    def end(self) -> None:
        """Admit no action until the next episode."""
        self._episode = None

    def stop(self, reason: str) -> None:
        """Reject every command until `recover`."""
        self.stopped = reason
        self.end()

    def recover(self) -> None:
        """Accept commands again, from the next episode on."""
        self.stopped = ""

    def admit(self, episode: int, step: int, values: ArrayLike) -> np.ndarray | None:
        """Return the command as float32 (A,) in [-1, 1], or None when it must not move the robot."""
        if self.stopped:
            self.counts["refused_stopped"] += 1
            return None
        if (episode, step) != (self._episode, self.step):
            self.counts["ignored_other_episode" if episode != self._episode else "ignored_other_step"] += 1
            return None
        action = np.asarray(values, np.float32)
        if action.shape != (self._size,) or not np.isfinite(action).all():
            self.counts["refused"] += 1
            self.refusal = (
                f"policy/action: step {step} of episode {episode} is {action.tolist()}, expected {self._size} finite "
                "numbers; fix its publisher"
            )
            return None
        self.counts["clipped"] += bool((np.abs(action) > 1.0).any())
        self.step += 1
        return np.clip(action, -1.0, 1.0)
