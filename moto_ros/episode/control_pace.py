"""Pacing of actions at the control rate, shared by policy and operator. No ROS."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

from moto_ros.config import parameter
from moto_ros.data.layout import StepLayout

MIN_SPACING = 0.75
"""Minimum time between two actions, in control periods, if each reward sets the pace: below 1 because of jitter."""


@dataclass(frozen=True)
class PaceSettings(StepLayout):
    """Parameters of a node that paces actions."""

    clock: str = parameter(
        "lockstep",
        "act on each new observation, or on a timer at the control rate",
        choices=("lockstep", "realtime"),
    )
    action_lifespan: float = parameter(
        0.5, "an action that is not delivered within this time is dropped (realtime)", unit="s", low=0.001, high=60.0
    )
    reward_lag: int = parameter(
        0, "how far rewards may be behind the actions taken; 0: they arrive with the observation", unit="steps", low=0
    )

    @property
    def lockstep(self) -> bool:
        """Whether the world waits for each action."""
        return self.clock == "lockstep"


class ControlPace:
    """Says when the next action of an episode is due; times are seconds of a steady clock.

    In lockstep an action is always due, because the world waits. In real time it is due once the robot has taken the
    last action, rewards are at most `reward_lag` steps behind, and the next control tick (`next_tick`) has come.
    Without `reward_lag` the reward that arrives with an observation sets the pace; with it, the ticks are a grid that
    begins at the episode's first action and does not drift. `counts`: periods_without_action.
    """

    def __init__(self, settings: PaceSettings) -> None:
        """Start at the beginning of an episode."""
        self._period = 1.0 / settings.control_rate
        self._lockstep, self._lag, self._lifespan = settings.lockstep, settings.reward_lag, settings.action_lifespan
        self.counts: Counter[str] = Counter()
        self.begin()

    def begin(self) -> None:
        """Start an episode: no action sent or taken, no step rewarded."""
        self.sent = self.taken = self.rewarded = 0
        self._reward_stamp = 0
        self._first = self._last = self._published = 0.0
        self.next_tick = -math.inf

    def on_action_taken(self, step: int) -> None:
        """Note that the robot has taken `step` actions of this episode."""
        self.taken = max(self.taken, step)

    def on_reward(self, step: int, stamp: int) -> None:
        """Note the reward of `step`, stamped `stamp` (ns); its action has been taken too."""
        if step > self.rewarded:
            self.rewarded, self._reward_stamp = step, stamp
            self.on_action_taken(step)

    def due(self, now: float) -> bool:
        """Return whether the next action may be sent at `now`, given an observation."""
        if self._lockstep:
            return True
        return self.taken >= self.sent and self.sent - self.rewarded <= self._lag and now >= self.next_tick

    def earliest_stamp(self, start: int) -> int:
        """Return the earliest stamp (ns) of the next observation, in an episode that began at `start`."""
        return start if self._lag else max(start, self._reward_stamp)

    def send(self, now: float) -> None:
        """Note a new action, decided at `now`."""
        if not self.sent:
            self._first = now
        self.sent += 1
        self._last = self._published = now
        self.next_tick = now + MIN_SPACING * self._period
        if self._lag:
            # The first tick of the grid at least half a period ahead: a late action does not delay later ones.
            self.next_tick = self._first + math.ceil((now - self._first) / self._period + 0.5) * self._period

    def action_expired(self, now: float) -> bool:
        """Return whether the last action has expired without being taken: it must be sent again."""
        return self.taken < self.sent and now - self._published > self._lifespan

    def resend(self, now: float) -> None:
        """Note that the last action was sent again."""
        self._published = now

    def tick(self, now: float) -> None:
        """Count a period that passed without a new action."""
        self.counts["periods_without_action"] += bool(self.sent) and now - self._last > 1.5 * self._period
