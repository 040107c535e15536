"""Pays each executed step of an episode once and in order: when, for which observation, by whose word. No ROS."""

from __future__ import annotations

import math
from collections import Counter, deque
from dataclasses import dataclass

from moto_ros.episode.reward_rules import Measured, RuleSettings

SPARE = 10
"""Control periods of robot states kept beyond those that the bound on late rewards needs."""


@dataclass(frozen=True)
class ExternalReward:
    """Somebody's word on a step; it takes the place of the rule's."""

    value: float
    success: bool
    terminal: bool
    source: str


@dataclass(frozen=True)
class StepReward:
    """The reward of a step, stamped (ns) with the robot state of the observation that the step led to."""

    step: int
    stamp: int
    offer: ExternalReward


class RewardAssigner:
    """Step k + 1 is due one control period after robot/state first said that action k was taken.

    It is paid for the first state stamped at or after that, or for the state that action k + 1 names, if that is known
    earlier. With the rule `external` it waits for the word of others, until `lag` periods after action k was taken.
    The clock is that of the states' stamps.
    """

    paid: int | None
    """Steps paid so far; None until the first state of an episode that was already running."""

    def __init__(self, period: int, lag: int) -> None:
        """Start between episodes; `period` in ns, `lag` (at least 1) in periods."""
        self._period, self._lag = period, lag
        self.counts: Counter[str] = Counter()
        self.refusal = ""
        self.episode: int | None = None
        self._clear(None, RuleSettings())

    def begin(self, episode: int, start: int, rules: RuleSettings, *, from_start: bool) -> None:
        """Take up an episode whose states are stamped from `start` (ns) on.

        One that runs already (`from_start` False) is paid from the next step on: who paid what is not known.
        """
        self._clear(episode, rules)
        self._start, self.paid = start, 0 if from_start else None

    def end(self) -> None:
        """Pay nothing until the next episode begins."""
        self.episode = None

    def _clear(self, episode: int | None, rules: RuleSettings) -> None:
        self.episode, self._rules = episode, rules
        self.paid = 0
        self._start = 0
        self._taken: list[int] = []
        self._named: dict[int, int] = {}
        self._offers: dict[int, ExternalReward] = {}
        self._seen: deque[Measured] = deque()
        self._streak, self._hurry, self._closed = 0, False, False

    @property
    def taken(self) -> int:
        """Return how many actions of the episode the robot has taken, as far as is known."""
        return len(self._taken)

    def state(self, measured: Measured) -> list[StepReward]:
        """Take a robot state; return what is due now."""
        newest = self._seen[-1].stamp if self._seen else self._start - 1
        if measured.episode != self.episode or measured.stamp <= newest:
            return []
        if self.paid is None:
            self.paid = measured.step
        self._taken += [measured.stamp] * (measured.step - self.taken)
        self._seen.append(measured)
        while self._seen[0].stamp < measured.stamp - (self._lag + SPARE) * self._period:
            self._seen.popleft()
        return self._due()

    def action(self, episode: int, step: int, state_stamp: int) -> list[StepReward]:
        """Take note which robot state (ns) the observation of `step` has; return what is due now."""
        if episode != self.episode:
            return []
        self._named.setdefault(step, state_stamp)
        return self._due()

    def external(self, episode: int, step: int, offer: ExternalReward) -> list[StepReward]:
        """Take somebody's reward for a step, 0: the newest one; return what is due now. Bad and late ones count."""
        self.refusal = self._objection(episode, step, offer)
        if self.refusal:
            return []
        self._offers[step or self._newest()] = offer
        return self._due()

    def _objection(self, episode: int, step: int, offer: ExternalReward) -> str:
        if self.episode is None or (step and episode != self.episode):
            return self._refuse("foreign", f"reward/external for episode {episode}: it does not run; name the running")
        if not math.isfinite(offer.value):
            return self._refuse("bad", f"reward/external for step {step}: is {offer.value}, expected a finite number")
        if self.paid is None or step > self.taken + 1:
            return self._refuse("early", f"reward/external for step {step}: only {self.taken} steps have begun")
        if 0 < step <= self.paid:
            bound = self._lag * self._period * 1e-9
            text = f"reward/external for step {step}: came after it was paid, expected within {bound:g} s of its action"
            return self._refuse("late", f"{text}; be quicker, or set rule external and raise reward_lag")
        return self._refuse("repeated", f"step {step} was offered before") if step in self._offers else ""

    def _refuse(self, kind: str, sentence: str) -> str:
        self.counts[f"external_{kind}"] += 1
        return sentence

    def _newest(self) -> int:
        """Return the newest step that is not paid yet."""
        return max(self.taken, (self.paid or 0) + 1)

    def operator(self, *, success: bool) -> list[StepReward]:
        """Let a person's word end the episode with its newest step; return what is due now."""
        if self.episode is None:
            self.counts["operator_idle"] += 1
            return []
        self._offers[self._newest()] = ExternalReward(float(success), success, True, "operator")
        self._hurry = True
        return self._due()

    def _due(self) -> list[StepReward]:
        found: list[StepReward] = []
        while (payment := self._next()) is not None:
            found.append(payment)
            self.paid = payment.step
            self._closed = payment.offer.terminal
            self.counts[f"paid_by_{payment.offer.source}"] += 1
        return found

    def _next(self) -> StepReward | None:
        """Return the payment of the next step if it is due."""
        step = 0 if self.paid is None else self.paid + 1
        if self._closed or self.episode is None or not 0 < step <= self.taken:
            return None
        place = self._observation(step)
        if place is None or self._awaited(step):
            return None
        self._streak = self._streak + 1 if self._rules.holds(place) else 0
        solved = self._streak >= self._rules.hold_steps
        offer = self._offers.pop(step, None) or ExternalReward(float(solved), solved, False, self._rules.rule)
        return StepReward(step, self._named.pop(step, place.stamp), offer)

    def _observation(self, step: int) -> Measured | None:
        """Return the robot state that a step led to, None while it has not come."""
        named = self._named.get(step)
        if named is not None and self._seen and self._seen[-1].stamp >= named:
            return next((seen for seen in reversed(self._seen) if seen.stamp <= named), self._seen[0])
        due = self._taken[step - 1] + self._period
        return next((seen for seen in self._seen if seen.stamp >= due), None)

    def _awaited(self, step: int) -> bool:
        """Whether somebody else's word on a step may still come in time."""
        if self._rules.rule != "external" or self._hurry or step in self._offers:
            return False
        return self._seen[-1].stamp < self._taken[step - 1] + self._lag * self._period
