"""Assigns one reward to each executed step of an episode, in order, and stamps it with an observation. No ROS."""

from __future__ import annotations

import math
from collections import Counter, deque
from dataclasses import dataclass

from moto_ros.episode.reward_rules import Measured, RuleSettings

STATE_MARGIN = 10
"""Control periods of robot states kept in addition to `lag`."""


@dataclass(frozen=True)
class AssignedReward:
    """The reward of one step; `source`: the rule, "operator", or the node that sent it, which replace the rule's."""

    value: float
    success: bool
    terminal: bool
    source: str


@dataclass(frozen=True)
class StepReward:
    """A step with its reward, stamped (ns) with the robot state of the observation that the step led to."""

    step: int
    stamp: int
    assigned: AssignedReward


class RewardAssigner:
    """Rewards the steps of an episode: step k + 1 is due one control period after robot/state reports action k taken.

    It is rewarded at the first state stamped at or after that time, or at the state that action k + 1 names if that is
    known earlier. With the rule `external` it waits for an external reward, until `lag` periods after action k was
    taken. All times are stamps of robot states.
    """

    rewarded: int | None
    """Steps rewarded so far; None until the first state of an episode that was already running."""

    def __init__(self, period: int, lag: int) -> None:
        """Start between episodes; `period` in ns, `lag` (at least 1) in periods."""
        self._period, self._lag = period, lag
        self.counts: Counter[str] = Counter()
        self.refusal = ""
        self.episode: int | None = None
        self._clear(None, RuleSettings())

    def begin(self, episode: int, start: int, rules: RuleSettings, *, from_start: bool) -> None:
        """Begin an episode whose states are stamped from `start` (ns) on.

        One that already runs (`from_start` False) is rewarded from the next step on.
        """
        self._clear(episode, rules)
        self._start, self.rewarded = start, 0 if from_start else None

    def end(self) -> None:
        """Assign no reward until the next episode begins."""
        self.episode = None

    def _clear(self, episode: int | None, rules: RuleSettings) -> None:
        self.episode, self._rules = episode, rules
        self.rewarded = 0
        self._start = 0
        self._taken: list[int] = []
        self._named: dict[int, int] = {}
        self._external: dict[int, AssignedReward] = {}
        self._seen: deque[Measured] = deque()
        self._streak, self._operator_ended, self._closed = 0, False, False

    @property
    def taken(self) -> int:
        """Return how many actions of the episode the robot is known to have taken."""
        return len(self._taken)

    def state(self, measured: Measured) -> list[StepReward]:
        """Add a robot state; return the rewards that are due."""
        newest = self._seen[-1].stamp if self._seen else self._start - 1
        if measured.episode != self.episode or measured.stamp <= newest:
            return []
        if self.rewarded is None:
            self.rewarded = measured.step
        self._taken += [measured.stamp] * (measured.step - self.taken)
        self._seen.append(measured)
        while self._seen[0].stamp < measured.stamp - (self._lag + STATE_MARGIN) * self._period:
            self._seen.popleft()
        return self._due()

    def action(self, episode: int, step: int, state_stamp: int) -> list[StepReward]:
        """Note the robot state (ns) of the observation of `step`; return the rewards that are due."""
        if episode != self.episode:
            return []
        self._named.setdefault(step, state_stamp)
        return self._due()

    def external(self, episode: int, step: int, reward: AssignedReward) -> list[StepReward]:
        """Add an external reward for a step, 0: the newest one; return the rewards that are due."""
        self.refusal = self._refusal_reason(episode, step, reward)
        if self.refusal:
            return []
        self._external[step or self._newest()] = reward
        return self._due()

    def _refusal_reason(self, episode: int, step: int, reward: AssignedReward) -> str:
        if self.episode is None or (step and episode != self.episode):
            text = f"reward/external for episode {episode}: it is not running"
            return self._refuse("foreign", f"{text}; give the number of the running episode")
        if not math.isfinite(reward.value):
            return self._refuse("bad", f"reward/external for step {step}: is {reward.value}, expected a finite number")
        if self.rewarded is None or step > self.taken + 1:
            return self._refuse("early", f"reward/external for step {step}: only {self.taken} steps have begun")
        if 0 < step <= self.rewarded:
            bound = self._lag * self._period * 1e-9
            text = f"reward/external for step {step}: after it was rewarded, expected within {bound:g} s of its action"
            return self._refuse("late", f"{text}; publish it earlier, or set rule external and raise reward_lag")
        repeated = f"reward/external for step {step}: it has one already; publish one reward a step"
        return self._refuse("repeated", repeated) if step in self._external else ""

    def _refuse(self, kind: str, sentence: str) -> str:
        self.counts[f"external_{kind}"] += 1
        return sentence

    def _newest(self) -> int:
        """Return the newest step that is not rewarded yet."""
        return max(self.taken, (self.rewarded or 0) + 1)

    def operator(self, *, success: bool) -> list[StepReward]:
        """End the episode with its newest step, for the operator; return the rewards that are due."""
        if self.episode is None:
            self.counts["operator_idle"] += 1
            return []
        self._external[self._newest()] = AssignedReward(float(success), success, True, "operator")
        self._operator_ended = True
        return self._due()

    def _due(self) -> list[StepReward]:
        found: list[StepReward] = []
        while (due := self._next()) is not None:
            found.append(due)
            self.rewarded = due.step
            self._closed = due.assigned.terminal
            self.counts[f"rewarded_by_{due.assigned.source}"] += 1
        return found

    def _next(self) -> StepReward | None:
        """Return the reward of the next step if it is due."""
        step = 0 if self.rewarded is None else self.rewarded + 1
        if self._closed or self.episode is None or not 0 < step <= self.taken:
            return None
        observed = self._observation(step)
        if observed is None or self._awaited(step):
            return None
        self._streak = self._streak + 1 if self._rules.holds(observed) else 0
        solved = self._streak >= self._rules.hold_steps
        reward = self._external.pop(step, None) or AssignedReward(float(solved), solved, False, self._rules.rule)
        return StepReward(step, self._named.pop(step, observed.stamp), reward)

    def _observation(self, step: int) -> Measured | None:
        """Return the robot state that a step led to, None until it has arrived."""
        named = self._named.get(step)
        if named is not None and self._seen and self._seen[-1].stamp >= named:
            return next((seen for seen in reversed(self._seen) if seen.stamp <= named), self._seen[0])
        due = self._taken[step - 1] + self._period
        return next((seen for seen in self._seen if seen.stamp >= due), None)

    def _awaited(self, step: int) -> bool:
        """Whether an external reward of a step may still arrive in time."""
        if self._rules.rule != "external" or self._operator_ended or step in self._external:
            return False
        return self._seen[-1].stamp < self._taken[step - 1] + self._lag * self._period
