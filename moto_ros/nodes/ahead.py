"""Plans on a thread of its own, for the step that follows the action under way. No ROS."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np

from moto_ros.data.observer import Observation
from moto_ros.nodes.actor import Actor, Choice
from moto_ros.nodes.plan_tally import PlanTally


class Thread(Protocol):
    """Does jobs in order beside the caller; `moto_ros.ros.worker.Worker` is one."""

    def do(self, job: Callable[[], Any], then: Callable[[Any], None] | None = None) -> None:
        """Queue `job`; the caller's own thread calls `then` with its result."""


@dataclass(frozen=True)
class Place:
    """A step of an episode."""

    episode: int
    step: int


@dataclass(frozen=True)
class Question:
    """For which step an action is asked, on what, and after which action still under way, float32 (A,), if any.

    A plan ends by `end`; no answer is worth anything after `until` (s, steady clock): it was meant for another time.
    """

    place: Place
    observation: Observation
    pending: np.ndarray | None
    end: float
    until: float


class Ahead:
    """The next step's question is asked as soon as an action is sent: its plan acts at the time it was made for.

    What was asked ahead is answered twice: by the policy head, at once, to fall back on, and by the plan. A step of
    which nothing is known in time is asked for when it is there, and acted on as soon as that is answered. Only the
    thread touches the actor.
    """

    def __init__(
        self, actor: Actor, thread: Thread, tally: PlanTally, period: float, allowed: float, answered: Callable[[], Any]
    ) -> None:
        """Plan for `allowed` seconds of each control `period` (s); `answered` is called when an answer came."""
        self._actor, self._thread, self._tally = actor, thread, tally
        self._period, self._allowed, self._answered = period, allowed, answered
        self.begin()

    def begin(self) -> None:
        """Forget the last episode: an answer that still comes is to no question."""
        self._question: Question | None = None
        self._plan: Choice | None = None
        self._spare: Choice | None = None
        self._seen: Observation | None = None
        self._acted: tuple[Place, Observation] | None = None

    def answer(self, place: Place, observation: Observation | None) -> tuple[Observation, Choice] | None:
        """Return the action for a step that is due, with what is seen at it; None while either is not there.

        `observation` is what is new since the last call.
        """
        self._seen = observation or self._seen
        if self._seen is None:
            return None
        choice = self._taken(place)
        if choice is not None:
            self._acted, self._seen = (place, self._seen), None
            return self._acted[1], choice
        if observation is not None and not self._awaits(place):
            self._ask(place, observation, None)
        return None

    def follow(self, values: np.ndarray) -> None:
        """Ask for the step after the one that was acted on, now that it is known that `values`, float32 (A,), act."""
        if self._acted is not None:
            place, observation = self._acted
            self._ask(Place(place.episode, place.step + 1), observation, values)

    def _ask(self, place: Place, observation: Observation, pending: np.ndarray | None) -> None:
        if self._question is not None:
            self._tally.count("plans_dropped")
        now = time.monotonic()
        until = now + self._period * (1.0 if pending is None else 1.5)
        self._question = question = Question(place, observation, pending, now + self._allowed, until)
        self._plan = self._spare = None
        if pending is not None:
            self._thread.do(partial(self._actor.unplanned, observation, pending), partial(self._keep_spare, question))
        self._thread.do(partial(self._think, question), partial(self._keep_plan, question))

    def _think(self, question: Question) -> Choice:
        """Plan; on the thread."""
        left = max(0.0, question.end - time.monotonic())
        return self._actor.act(question.observation, left, question.pending)

    def _keep_spare(self, question: Question, choice: Choice) -> None:
        if question is self._question:
            self._spare = choice
            self._answered()

    def _keep_plan(self, question: Question, choice: Choice) -> None:
        self._tally.add(choice.figures)
        if question is self._question:
            self._plan = choice
            self._answered()

    def _awaits(self, place: Place) -> bool:
        question = self._question
        return question is not None and question.place == place and time.monotonic() <= question.until

    def _taken(self, place: Place) -> Choice | None:
        choice = (self._plan or self._spare) if self._awaits(place) else None
        if choice is None:
            return None
        if self._plan is None:
            self._tally.count("plans_late", "policy_answers")
        self._question = None
        return choice
