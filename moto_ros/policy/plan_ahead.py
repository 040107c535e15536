"""Plans on a thread of its own, for the step that follows the action under way. No ROS."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np

from moto_ros.data.observer import Observation
from moto_ros.policy.episode_policy import Choice, EpisodePolicy
from moto_ros.policy.plan_tally import PlanTally


class Thread(Protocol):
    """Does jobs in order beside the caller; `moto_ros.ros.worker.Worker` is one."""

    def do(self, job: Callable[[], Any], then: Callable[[Any], None] | None = None) -> None:
        """Queue `job`; the caller's own thread calls `then` with its result."""


@dataclass(frozen=True)
class EpisodeStep:
    """A step of an episode."""

    episode: int
    step: int


@dataclass(frozen=True)
class PlanRequest:
    """For which step an action is asked, on what, and after which action still under way, float32 (A,), if any.

    Times are seconds of a steady clock. A plan ends by `end`; from `spare` on the policy head's answer will do; after
    `until` none will: it was meant for another time.
    """

    place: EpisodeStep
    observation: Observation
    pending: np.ndarray | None
    end: float
    spare: float
    until: float


class PlanAhead:
    """The next step's question is asked as soon as an action is sent: its plan acts at the time it was made for.

    Each is answered twice: by the policy head, at once, to fall back on, and by a plan. A step of which nothing is
    known in time is asked for when it is there, and acted on as soon as that is answered. Only the thread touches the
    actor. `now` is in seconds of the steady clock.
    """

    def __init__(
        self,
        actor: EpisodePolicy,
        thread: Thread,
        tally: PlanTally,
        period: float,
        allowed: float,
        answered: Callable[[], Any],
    ) -> None:
        """Plan for `allowed` seconds of each control `period` (s); `answered` is called when an answer came."""
        self._actor, self._thread, self._tally = actor, thread, tally
        self._period, self._allowed, self._answered = period, allowed, answered
        self.begin()

    def begin(self) -> None:
        """Forget the last episode: an answer that still comes is to no question."""
        self._question: PlanRequest | None = None
        self._plan: Choice | None = None
        self._spare: Choice | None = None
        self._seen: Observation | None = None
        self._acted: tuple[EpisodeStep, Observation] | None = None

    def answer(
        self, place: EpisodeStep, observation: Observation | None, now: float
    ) -> tuple[Observation, Choice] | None:
        """Return the action for a step that is due, with what is seen at it; None while either is not there.

        `observation` is what is new since the last call.
        """
        self._seen = observation or self._seen
        if self._seen is None:
            return None
        asked = self._asked(place, now)
        choice = None if asked is None else self._choice(asked, now)
        if choice is not None:
            self._question, self._acted, self._seen = None, (place, self._seen), None
            return self._acted[1], choice
        if asked is None and observation is not None:
            end = now + self._allowed
            self._ask(PlanRequest(place, observation, None, end, spare=end, until=now + self._period))
        return None

    def follow(self, values: np.ndarray, now: float) -> None:
        """Ask for the step after the one that was acted on, now that it is known that `values`, float32 (A,), act."""
        if self._acted is not None:
            place, observation = self._acted
            after, until = EpisodeStep(place.episode, place.step + 1), now + 1.5 * self._period
            self._ask(PlanRequest(after, observation, values, now + self._allowed, spare=now, until=until))

    def _ask(self, question: PlanRequest) -> None:
        if self._question is not None:
            self._tally.count("plans_dropped")
        self._question, self._plan, self._spare = question, None, None
        self._thread.do(partial(self._unplanned, question), partial(self._keep_spare, question))
        self._thread.do(partial(self._planned, question), partial(self._keep_plan, question))

    def _unplanned(self, question: PlanRequest) -> Choice | None:
        """Answer without planning; on the thread. A question that was dropped meanwhile is not answered."""
        if question is not self._question:
            return None
        return self._actor.unplanned(question.observation, question.pending)

    def _planned(self, question: PlanRequest) -> Choice | None:
        """Answer by a plan; on the thread."""
        if question is not self._question:
            return None
        left = max(0.0, question.end - time.monotonic())
        return self._actor.act(question.observation, left, question.pending)

    def _keep_spare(self, question: PlanRequest, choice: Choice | None) -> None:
        if question is self._question:
            self._spare = choice
            self._answered()

    def _keep_plan(self, question: PlanRequest, choice: Choice | None) -> None:
        if choice is not None:
            self._tally.add(choice.figures)
        if question is self._question:
            self._plan = choice
            self._answered()

    def _asked(self, place: EpisodeStep, now: float) -> PlanRequest | None:
        """Return the question of a step, if an answer is still worth anything."""
        question = self._question
        return question if question and question.place == place and now <= question.until else None

    def _choice(self, question: PlanRequest, now: float) -> Choice | None:
        """Return the plan, or what there is in its place when it is late."""
        if self._plan is None and self._spare is not None and now >= question.spare:
            self._tally.count("plans_late", "policy_answers")
            return self._spare
        return self._plan
