"""The life of an episode as a state machine: idle, resetting, running, ended, saved. No ROS, no clock of its own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

from moto_ros.config import parameter
from moto_ros.nodes.episode_facts import Facts, Outcome, Phase, Request


@dataclass(frozen=True)
class EpisodeRules:
    """When an episode ends, and how long anything may take."""

    max_steps: int = parameter(100, "step limit of an episode", unit="steps", low=1)
    success_steps: int = parameter(
        0, "end as a success after this many successful steps in a row; 0 runs to the limit", unit="steps", low=0
    )
    reset_timeout: float = parameter(60.0, "abort when the robot's reset takes longer", unit="s", low=0.1)
    step_timeout: float = parameter(30.0, "abort when no reward arrives for this long", unit="s", low=0.1)
    bag_timeout: float = parameter(30.0, "go on when the recorder has not closed the bag by then", unit="s", low=0.1)
    wait_for_bag: bool = parameter(True, "wait for the recorder's bag before the next episode")


class World(Protocol):
    """What the machine asks of its surroundings."""

    def announce(self, facts: Facts) -> None:
        """Tell everybody the new state."""

    def reset(self, request: Request) -> None:
        """Ask the robot to reset; `reset_done` or `reset_failed` follows, or the time-out."""

    def finished(self, facts: Facts, problem: str) -> None:
        """Take note of an episode ended and saved; `problem` is one sentence when its bag is not complete."""


class EpisodeMachine:
    """One episode after the other; times are seconds of any steady clock.

    Invariants: every state is announced once; no state but idle lasts for ever; `step` never goes down within an
    episode; nothing after the end changes T or the outcome; an episode begins only when the last one is saved.
    """

    def __init__(self, rules: EpisodeRules, world: World) -> None:
        """Start idle, with nothing announced yet."""
        self._rules, self._world = rules, world
        self.facts = Facts()
        self._request: Request | None = None
        self._next: Request | None = None
        self._saving = False
        self._deadline = float("inf")
        self._streak = 0
        self.last_action = -1

    @property
    def busy(self) -> bool:
        """Whether an episode is under way or its bag is still being written."""
        return self._saving or self.facts.phase in (Phase.RESETTING, Phase.RUNNING)

    def request(self, now: float, request: Request) -> str:
        """Begin an episode, now or as soon as the last one is saved; return why not, or nothing."""
        if self.facts.phase in (Phase.RESETTING, Phase.RUNNING) or self._next is not None:
            return f"episode {self.facts.episode} is {self.facts.phase.name.lower()}; wait for its end or end it first"
        if self._saving:
            self._next = request
        else:
            self._begin(now, request)
        return ""

    def _begin(self, now: float, request: Request) -> None:
        self._request, self._next = request, None
        self._streak, self.last_action = 0, -1
        self._deadline = now + self._rules.reset_timeout
        self._change(Facts(request.episode, request.purpose, Phase.RESETTING))
        self._world.reset(request)

    def reset_done(self, now: float, episode: int, stamp: int) -> None:
        """Run: the robot stands at its start; observations from `stamp` (ns) on belong to the episode."""
        if self._is(Phase.RESETTING, episode):
            self._deadline = now + self._rules.step_timeout
            self._change(replace(self.facts, phase=Phase.RUNNING, start=stamp))

    def reset_failed(self, now: float, episode: int, reason: str) -> None:
        """Abort: the robot could not be brought to its start."""
        if self._is(Phase.RESETTING, episode):
            self._end(now, Outcome.ABORTED, f"reset failed: {reason}")

    def action(self, episode: int, step: int) -> None:
        """Take note of an action, to be able to say who stalls."""
        if self._is(Phase.RUNNING, episode):
            self.last_action = max(self.last_action, step)

    def reward(self, now: float, episode: int, step: int, success: bool, terminal: bool) -> None:
        """Count a step, and end the episode when that was the last; repeated and foreign rewards are ignored."""
        if not self._is(Phase.RUNNING, episode) or step <= self.facts.step:
            return
        self.facts = replace(self.facts, step=step)
        self._deadline = now + self._rules.step_timeout
        self._streak = self._streak + 1 if success else 0
        outcome = self._outcome(success, terminal)
        if outcome is not Outcome.NONE:
            self._end(now, outcome, "")

    def _outcome(self, success: bool, terminal: bool) -> Outcome:
        if 0 < self._rules.success_steps <= self._streak or (terminal and success):
            return Outcome.SUCCESS
        if terminal:
            return Outcome.FAILURE
        return Outcome.TIME_LIMIT if self.facts.step >= self._limit() else Outcome.NONE

    def _limit(self) -> int:
        asked = self._request.max_steps if self._request else 0
        return asked or self._rules.max_steps

    def end(self, now: float, outcome: Outcome, reason: str) -> str:
        """End the episode on somebody's wish; return why not, or nothing."""
        if self.facts.phase not in (Phase.RESETTING, Phase.RUNNING):
            return "no episode runs"
        if outcome is Outcome.NONE:
            return "outcome is NONE, expected one of EpisodeState.OUTCOME_*; say how it ended"
        self._end(now, outcome, reason)
        return ""

    def fault(self, now: float, sentence: str) -> None:
        """Abort a running episode: the robot reports a fault or a stop."""
        if self.facts.phase is Phase.RUNNING:
            self._end(now, Outcome.ABORTED, sentence)

    def saved(self, now: float, episode: int, complete: bool, message: str) -> None:
        """Take the recorder's word that the bag of `episode` is closed."""
        if self._saving and episode == self.facts.episode:
            self._settle(now, "" if complete else message or "the bag is not complete")

    def tick(self, now: float) -> None:
        """Act on whatever has taken too long by `now`."""
        if now < self._deadline:
            return
        if self.facts.phase is Phase.RESETTING:
            seconds = self._rules.reset_timeout
            self._end(now, Outcome.ABORTED, f"no answer to robot/reset within {seconds:g} s; is the robot node up?")
        elif self.facts.phase is Phase.RUNNING:
            self._end(now, Outcome.ABORTED, self._stall())
        elif self._saving:
            self._settle(now, f"the recorder has not closed the bag within {self._rules.bag_timeout:g} s")

    def _stall(self) -> str:
        step, seconds = self.facts.step, self._rules.step_timeout
        if self.last_action < step:
            return f"nobody sent action {step} within {seconds:g} s; see the policy's diagnostics"
        return f"no reward for action {step} within {seconds:g} s; see the robot's diagnostics"

    def _end(self, now: float, outcome: Outcome, reason: str) -> None:
        self._saving = True
        self._deadline = now + self._rules.bag_timeout
        self._change(replace(self.facts, phase=Phase.ENDED, outcome=outcome, reason=reason))
        if not self._rules.wait_for_bag:
            self._settle(now, "")

    def _settle(self, now: float, problem: str) -> None:
        self._saving = False
        self._deadline = float("inf")
        self._world.finished(self.facts, problem)
        if self._next is not None:
            self._begin(now, self._next)

    def _change(self, facts: Facts) -> None:
        self.facts = facts
        self._world.announce(facts)

    def _is(self, phase: Phase, episode: int) -> bool:
        return self.facts.phase is phase and self.facts.episode == episode
