"""Planning ahead: while one action is executed, a separate thread plans the action of the next step. No ROS."""

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
    """Runs jobs in order, in parallel to the caller; `moto_ros.ros.worker.Worker` is one."""

    def do(self, job: Callable[[], Any], then: Callable[[Any], None] | None = None) -> None:
        """Queue `job`; the caller's own thread calls `then` with its result."""


@dataclass(frozen=True)
class EpisodeStep:
    """A step of an episode."""

    episode: int
    step: int


@dataclass(frozen=True)
class PlanRequest:
    """The step an action is requested for, the observation, and the action still being executed, float32 (A,), if any.

    Times are seconds of a steady clock. A plan ends by `deadline`; from `fallback_from` on the policy head's answer is
    used if the plan is late; after `valid_until` neither is used.
    """

    due: EpisodeStep
    observation: Observation
    pending: np.ndarray | None
    deadline: float
    fallback_from: float
    valid_until: float


class PlanAhead:
    """Requests the plan of the next step as soon as an action is sent, so that it is ready when that step is due.

    Each request is answered twice: at once by the policy head, as a fallback, and by a plan. A step without a valid
    request is requested when it is due, and its action is sent as soon as it is answered. Only the thread calls the
    policy. `now` is in seconds of the steady clock.
    """

    def __init__(
        self,
        policy: EpisodePolicy,
        thread: Thread,
        tally: PlanTally,
        period: float,
        allowed: float,
        on_answer: Callable[[], Any],
    ) -> None:
        """Plan for `allowed` seconds of each control `period` (s); `on_answer` is called for each answer."""
        self._policy, self._thread, self._tally = policy, thread, tally
        self._period, self._allowed, self._on_answer = period, allowed, on_answer
        self.begin()

    def begin(self) -> None:
        """Forget the last episode; a late answer is ignored."""
        self._request: PlanRequest | None = None
        self._plan: Choice | None = None
        self._fallback: Choice | None = None
        self._seen: Observation | None = None
        self._acted: tuple[EpisodeStep, Observation] | None = None

    def answer(
        self, due: EpisodeStep, observation: Observation | None, now: float
    ) -> tuple[Observation, Choice] | None:
        """Return the action for a step that is due, with its observation; None while either is missing.

        `observation` is the one that is new since the last call, if any.
        """
        self._seen = observation or self._seen
        if self._seen is None:
            return None
        request = self._request
        if request is not None and (request.due != due or now > request.valid_until):
            request = None
        choice = None if request is None else self._choice(request, now)
        if choice is not None:
            self._request, self._acted, self._seen = None, (due, self._seen), None
            return self._acted[1], choice
        if request is None and observation is not None:
            deadline, valid_until = now + self._allowed, now + self._period
            self._submit(PlanRequest(due, observation, None, deadline, deadline, valid_until))
        return None

    def plan_next(self, values: np.ndarray, now: float) -> None:
        """Request the step after the last one, given the action `values`, float32 (A,), that is executed."""
        if self._acted is not None:
            due, observation = self._acted
            after = EpisodeStep(due.episode, due.step + 1)
            deadline, valid_until = now + self._allowed, now + 1.5 * self._period
            self._submit(PlanRequest(after, observation, values, deadline, now, valid_until))

    def _submit(self, request: PlanRequest) -> None:
        if self._request is not None:
            self._tally.count("plans_dropped")
        self._request, self._plan, self._fallback = request, None, None
        self._thread.do(partial(self._unplanned, request), partial(self._keep_fallback, request))
        self._thread.do(partial(self._planned, request), partial(self._keep_plan, request))

    def _unplanned(self, request: PlanRequest) -> Choice | None:
        """Answer without planning, in the thread; None for a request that has been dropped."""
        if request is not self._request:
            return None
        return self._policy.unplanned(request.observation, request.pending)

    def _planned(self, request: PlanRequest) -> Choice | None:
        """Answer by a plan, in the thread; None for a request that has been dropped."""
        if request is not self._request:
            return None
        remaining = max(0.0, request.deadline - time.monotonic())
        return self._policy.act(request.observation, remaining, request.pending)

    def _keep_fallback(self, request: PlanRequest, choice: Choice | None) -> None:
        if request is self._request:
            self._fallback = choice
            self._on_answer()

    def _keep_plan(self, request: PlanRequest, choice: Choice | None) -> None:
        if choice is not None:
            self._tally.add(choice.figures)
        if request is self._request:
            self._plan = choice
            self._on_answer()

    def _choice(self, request: PlanRequest, now: float) -> Choice | None:
        """Return the plan, or the fallback if the plan is late; None while there is neither."""
        if self._plan is None and self._fallback is not None and now >= request.fallback_from:
            self._tally.count("plans_late", "policy_answers")
            return self._fallback
        return self._plan
