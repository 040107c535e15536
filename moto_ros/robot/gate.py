"""Which commands may move a robot, simulated or not. No ROS."""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import ArrayLike


class Gate:
    """Lets an action through once, for the step that is due, if it is finite and of the right size; counts the rest.

    Out-of-range entries are clipped to [-1, 1]. A stop is latched: nothing passes until `recover`.
    """

    def __init__(self, action_size: int) -> None:
        """Start without an episode: nothing passes."""
        self._size = action_size
        self._episode: int | None = None
        self.step = 0
        self.stopped = ""
        self.refusal = ""
        self.counts: Counter[str] = Counter()

    @property
    def open(self) -> bool:
        """Whether an episode is under way."""
        return self._episode is not None

    @property
    def episode(self) -> int:
        """Return the number of the episode under way, 0 without one."""
        return self._episode or 0

    def begin(self, episode: int) -> None:
        """Expect step 0 of an episode."""
        self._episode, self.step, self.refusal = episode, 0, ""

    def end(self) -> None:
        """Let nothing pass until the next episode."""
        self._episode = None

    def stop(self, reason: str) -> None:
        """Refuse every command until `recover`."""
        self.stopped = reason
        self.end()

    def recover(self) -> None:
        """Take commands again, from the next episode on."""
        self.stopped = ""

    def admit(self, episode: int, step: int, values: ArrayLike) -> np.ndarray | None:
        """Return the command as float32 (A,) in [-1, 1], or None when it must not move the robot."""
        why = self._wrong_time(episode, step)
        if why:
            self.counts[why] += 1
            return None
        action = np.asarray(values, np.float32)
        if action.shape != (self._size,) or not np.isfinite(action).all():
            self.counts["refused"] += 1
            self.refusal = (
                f"policy/action: step {step} of episode {episode} is {action.tolist()}, expected {self._size} finite "
                "numbers; mend its publisher"
            )
            return None
        self.counts["clipped"] += bool((np.abs(action) > 1.0).any())
        self.step += 1
        return np.clip(action, -1.0, 1.0)

    def _wrong_time(self, episode: int, step: int) -> str:
        if self.stopped:
            return "refused_stopped"
        if episode != self._episode:
            return "ignored_other_episode"
        return "" if step == self.step else "ignored_other_step"
