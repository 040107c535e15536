"""Estimates of how long the stages of planning take, so that a deadline is kept."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

SAFETY_FACTOR = 1.25
"""Applied to estimates before a stage is begun: a late answer costs more than an iteration left out."""

DECAY_RATE = 0.2
"""An estimate moves by this fraction towards a shorter time; to a longer one it rises at once."""

MIN_RETRY_RATE = 0.01
"""Even where every attempt was late, another is made now and then: the machine may have become idle."""


@dataclass
class PlanningTime:
    """Running estimates in seconds by stage; a stage not measured yet counts as taking no time.

    `retry_rate` (0, 1] says how fast estimates decay while the planner does not run, so how soon it is tried again:
    where plans never fit, every attempt is a late answer, so that attempts have to become rare.
    """

    estimates: dict[str, float] = field(default_factory=dict)
    retry_rate: float = 1.0

    def update(self, stage: str, seconds: float) -> None:
        """Update an estimate by a measured time."""
        old = self.estimates.get(stage, 0.0)
        self.estimates[stage] = seconds if seconds > old else old + DECAY_RATE * (seconds - old)

    def of(self, *stages: str) -> float:
        """Return the time that stages will take together."""
        return sum(self.estimates.get(stage, 0.0) for stage in stages)

    def decay_estimates(self, *stages: str) -> None:
        """Lower the estimates that kept stages from running: they may be out of date."""
        for stage in stages:
            self.estimates[stage] = (1 - DECAY_RATE * self.retry_rate) * self.of(stage)

    def answered(self, late: bool) -> None:
        """Halve the retry rate after a plan that was late, else double it."""
        self.retry_rate = max(MIN_RETRY_RATE, self.retry_rate / 2) if late else min(1.0, 2 * self.retry_rate)


class Stopwatch:
    """One answer against its deadline (seconds from `start`; None: no deadline)."""

    def __init__(self, times: PlanningTime, start: float, deadline: float | None) -> None:
        self._times, self._mark, self.start = times, start, start
        self._end = None if deadline is None else start + deadline
        self.given = deadline is None or deadline > 0
        """Whether there was any time to plan in."""

    def fits(self, *stages: str) -> bool:
        """Return whether these stages, by their estimates, end in time."""
        return self._end is None or time.perf_counter() + SAFETY_FACTOR * self._times.of(*stages) <= self._end

    def lap(self, stage: str) -> None:
        """Record that a stage ended, which began when the stage before it ended."""
        now = time.perf_counter()
        self._times.update(stage, now - self._mark)
        self._mark = now

    @property
    def elapsed(self) -> float:
        """Return the seconds since the start."""
        return time.perf_counter() - self.start

    @property
    def late(self) -> bool:
        """Return whether the deadline has passed."""
        return self._end is not None and time.perf_counter() > self._end
