"""When the next action is due: the pacing that policy and operator share. No ROS."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

from moto_ros.config import parameter
from moto_ros.data.layout import StepLayout

REST = 0.75
"""Share of a control period between two actions that follow the world's own beat; the rest is room for its jitter."""


@dataclass(frozen=True)
class PaceSettings(StepLayout):
    """Parameters of whoever paces the actions."""

    clock: str = parameter(
        "lockstep",
        "act on each new observation, or on a timer at the control rate",
        choices=("lockstep", "realtime"),
    )
    action_lifespan: float = parameter(
        0.5, "an action not delivered by then is dropped (realtime)", unit="s", low=0.001, high=60.0
    )
    reward_lag: int = parameter(
        0, "rewards may be this far behind the actions taken; 0: they come with the observation", unit="steps", low=0
    )

    @property
    def lockstep(self) -> bool:
        """Whether the world waits for each action."""
        return self.clock == "lockstep"


class ControlPace:
    """Says when the next action of an episode is due; times are seconds of a steady clock.

    In lockstep: always, the world waits. In real time: once the robot has taken the last one, rewards are close enough
    behind, and the beat has come. Without `reward_lag` that is the world's own beat, its reward with the observation;
    with it, a grid that begins with the episode's first action and does not drift; `next` is when that beat comes.
    `counts`: periods_without_action.
    """

    def __init__(self, settings: PaceSettings) -> None:
        """Pace by `settings`, from the beginning of an episode."""
        self._period = 1.0 / settings.control_rate
        self._lockstep, self._lag, self._lifespan = settings.lockstep, settings.reward_lag, settings.action_lifespan
        self.counts: Counter[str] = Counter()
        self.begin()

    def begin(self) -> None:
        """Start an episode: nothing sent, taken or paid."""
        self.sent = self.taken = self.paid = 0
        self._paid_stamp = 0
        self._first = self._last = self._said = 0.0
        self.next = -math.inf

    def took(self, step: int) -> None:
        """Take the robot's word that it has taken `step` actions of this episode."""
        self.taken = max(self.taken, step)

    def was_paid(self, step: int, stamp: int) -> None:
        """Take note of the reward of `step`, stamped `stamp` (ns): the action before it was taken, too."""
        if step > self.paid:
            self.paid, self._paid_stamp = step, stamp
            self.took(step)

    def due(self, now: float) -> bool:
        """Return whether the next action may be sent at `now`, given an observation."""
        if self._lockstep:
            return True
        return self.taken >= self.sent and self.sent - self.paid <= self._lag and now >= self.next

    def after(self, start: int) -> int:
        """Return the stamp (ns) that the next observation must have at least, in an episode that began at `start`."""
        return start if self._lag else max(start, self._paid_stamp)

    def send(self, now: float) -> None:
        """Take note of a new action, decided at `now`."""
        if not self.sent:
            self._first = now
        self.sent += 1
        self._last = self._said = now
        self.next = self._grid(now) if self._lag else now + REST * self._period

    def _grid(self, now: float) -> float:
        """Return the first point of the grid at least half a period ahead: one late action moves no later one."""
        return self._first + math.ceil((now - self._first) / self._period + 0.5) * self._period

    def unheard(self, now: float) -> bool:
        """Return whether the last action has expired without being taken: it is to be said again."""
        return self.taken < self.sent and now - self._said > self._lifespan

    def say_again(self, now: float) -> None:
        """Take note that the last action was said again."""
        self._said = now

    def tick(self, now: float) -> None:
        """Count a period that has passed without a new action."""
        self.counts["periods_without_action"] += bool(self.sent) and now - self._last > 1.5 * self._period
