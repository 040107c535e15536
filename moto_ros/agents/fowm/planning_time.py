"""How long the stages of planning take, so that a deadline is kept."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

SAFETY = 1.25
"""Stages are taken to need this much more than estimated: an answer too late costs more than an iteration not done."""

FORGET = 0.2
"""Share of the way that an estimate falls towards a shorter time; to a longer one it rises at once."""

LEAST_BOLDNESS = 0.01
"""Even where every trial was late one is made now and then: what kept the machine busy may have ended."""


@dataclass
class PlanningTime:
    """Running estimates in seconds by stage; a stage not measured yet counts as taking no time.

    `boldness` (0, 1] says how soon to try again what did not fit: where plans never fit, every trial is an answer that
    is late, so that trials have to become rare.
    """

    estimates: dict[str, float] = field(default_factory=dict)
    boldness: float = 1.0

    def learn(self, stage: str, seconds: float) -> None:
        """Take in a measured time."""
        old = self.estimates.get(stage, 0.0)
        self.estimates[stage] = seconds if seconds > old else old + FORGET * (seconds - old)

    def of(self, *stages: str) -> float:
        """Return the time that stages will take together."""
        return sum(self.estimates.get(stage, 0.0) for stage in stages)

    def doubt(self, *stages: str) -> None:
        """Lower the estimates that kept stages from running: they may be out of date."""
        for stage in stages:
            self.estimates[stage] = (1 - FORGET * self.boldness) * self.of(stage)

    def answered(self, late: bool) -> None:
        """Note whether a plan that was tried came too late: half as bold then, twice as bold else."""
        self.boldness = max(LEAST_BOLDNESS, self.boldness / 2) if late else min(1.0, 2 * self.boldness)


class Stopwatch:
    """One answer against its deadline (seconds from `start`; None: no deadline)."""

    def __init__(self, pace: PlanningTime, start: float, deadline: float | None) -> None:
        self._pace, self._mark, self.start = pace, start, start
        self._end = None if deadline is None else start + deadline
        self.given = deadline is None or deadline > 0
        """Whether there was any time to plan in."""

    def fits(self, *stages: str) -> bool:
        """Return whether these stages, by their estimates, end in time."""
        return self._end is None or time.perf_counter() + SAFETY * self._pace.of(*stages) <= self._end

    def lap(self, stage: str) -> None:
        """Note that a stage ended, having begun when the one before ended."""
        now = time.perf_counter()
        self._pace.learn(stage, now - self._mark)
        self._mark = now

    @property
    def elapsed(self) -> float:
        """Return the seconds since the start."""
        return time.perf_counter() - self.start

    @property
    def late(self) -> bool:
        """Return whether the deadline has passed."""
        return self._end is not None and time.perf_counter() > self._end
