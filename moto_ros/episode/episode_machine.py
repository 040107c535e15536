"""State machine of an episode: idle, resetting, running, ended, saved. No ROS; time is an argument."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

from moto_ros.config import parameter
from moto_ros.contract.episodes import EpisodeStatus, Outcome, Phase, Purpose, Request
from moto_ros.episode.success_rule import SuccessRule

RESET_IDS = 4_000_000
"""The scene of episode n is reset by episode RESET_IDS + n, outside the range of all other numbers."""

ROBOT = "robot"
"""Name of the robot as a source of faults; the others are cameras."""


@dataclass(frozen=True)
class EpisodeRules(SuccessRule):
    """When an episode ends, and the time-outs of its phases."""

    max_steps: int = parameter(100, "step limit of an episode", unit="steps", low=1)
    reset_timeout: float = parameter(60.0, "abort when the robot's reset takes longer than this", unit="s", low=0.1)
    step_timeout: float = parameter(30.0, "abort when no reward arrives for this long", unit="s", low=0.1)
    bag_timeout: float = parameter(
        30.0, "continue when the recorder has not closed the bag after this long", unit="s", low=0.1
    )
    wait_for_bag: bool = parameter(True, "wait until the recorder has closed the bag before the next episode")
    start_on: str = parameter(
        "automatic", "begin an episode when requested, or only after operator/start", choices=("automatic", "operator")
    )
    start_timeout: float = parameter(
        300.0, "abort when operator/start has not been called after this long", unit="s", low=0.1
    )
    recover_timeout: float = parameter(
        60.0, "before a reset: abort when robot and cameras have not recovered after this long", unit="s", low=0.1
    )
    fault: str = parameter(
        "abort",
        "on a fault of the robot: end the episode, or wait up to step_timeout for its recovery",
        choices=("abort", "pause"),
    )
    camera_loss: str = parameter(
        "resume",
        "on the loss of a camera: wait up to step_timeout for its return, or end the episode",
        choices=("resume", "abort"),
    )
    scene_reset: str = parameter(
        "none",
        "what resets the scene: nothing, waypoints of the arm, an operator, or a policy in an episode of its own",
        choices=("none", "script", "operator", "policy"),
    )
    scene_timeout: float = parameter(120.0, "time that an operator is given to reset the scene", unit="s", low=0.1)
    reset_steps: int = parameter(100, "step limit of an episode that resets the scene", unit="steps", low=1)

    @property
    def reset_limit(self) -> float:
        """Return how long a reset may take (s), including the time given to an operator."""
        return self.reset_timeout + (self.scene_timeout if self.scene_reset == "operator" else 0.0)


class EpisodeCallbacks(Protocol):
    """Callbacks of the state machine."""

    def announce(self, status: EpisodeStatus) -> None:
        """Publish the new state."""

    def reset(self, request: Request) -> None:
        """Ask the robot to reset; `reset_done` or `reset_failed` follows, or the time-out."""

    def finished(self, status: EpisodeStatus, problem: str) -> None:
        """Report an episode that has ended and been saved; `problem` is one sentence if its bag is not complete."""


class EpisodeMachine:
    """Runs one episode after the other; times are seconds of any steady clock.

    Invariants: every state is announced once; every state but idle has a time-out; `step` never decreases within an
    episode; nothing after the end changes its length or outcome; an episode begins only when the last one is saved,
    robot and cameras are healthy, and the operator, if configured, has started it.
    """

    def __init__(self, rules: EpisodeRules, callbacks: EpisodeCallbacks) -> None:
        """Start idle, with nothing announced."""
        self._rules, self._callbacks = rules, callbacks
        self.status = EpisodeStatus()
        self._request: Request | None = None
        self._next: Request | None = None
        self._started = self._prepared = self._saving = False
        self._deadline = float("inf")
        self._streak = 0
        self._faults: dict[str, str] = {}
        self.waits_for = ""
        self.last_action = -1

    @property
    def busy(self) -> bool:
        """Whether an episode is running or requested, or its bag is still being written."""
        return self._saving or self._next is not None or self.status.phase in (Phase.RESETTING, Phase.RUNNING)

    # Beginning.

    def request(self, now: float, request: Request) -> str:
        """Begin an episode, now or as soon as the last one is saved; return the reason for a refusal, or nothing."""
        if self.status.phase in (Phase.RESETTING, Phase.RUNNING):
            return (
                f"episode {self.status.episode} is {self.status.phase.name.lower()}; wait for its end or end it first"
            )
        if self._next is not None:
            return f"episode {self._next.episode} {self.waits_for or 'waits for the bag of the last one'}"
        self._next, self._started, self._prepared = request, False, False
        self._advance(now)
        return ""

    def operator_start(self, now: float) -> None:
        """Start the requested episode, for the operator."""
        self._started = self._next is not None
        self._advance(now)

    def _advance(self, now: float) -> None:
        """Begin the requested episode, unless it has to wait."""
        if self._next is None or self._saving or self.status.phase in (Phase.RESETTING, Phase.RUNNING):
            return
        waits, seconds = self._waiting_for()
        if waits:
            self._deadline = self._deadline if waits == self.waits_for else now + seconds
        elif self._rules.scene_reset == "policy" and not self._prepared and self._next.purpose is not Purpose.RESET:
            self._prepared = True
            reset = Request(RESET_IDS + self._next.episode, Purpose.RESET, self._next.seed, self._rules.reset_steps)
            self._begin(now, reset)
        else:
            request, self._next = self._next, None
            self._begin(now, request)
        self.waits_for = waits

    def _waiting_for(self) -> tuple[str, float]:
        """Return what an episode has to wait for before its reset, empty if nothing, and the time-out (s)."""
        if self._faults:
            return f"waits for {', '.join(sorted(self._faults))} to recover", self._rules.recover_timeout
        if self._rules.start_on == "operator" and not self._started:
            return "waits for operator/start", self._rules.start_timeout
        return "", 0.0

    def _begin(self, now: float, request: Request) -> None:
        self._request = request
        self._streak, self.last_action = 0, -1
        self._deadline = now + self._rules.reset_limit
        self._change(_status_of(request, Phase.RESETTING))
        self._callbacks.reset(request)

    def _abandon(self, now: float, outcome: Outcome, reason: str) -> None:
        """End an episode that has not begun: nothing is recorded."""
        request, self._next = self._next, None
        if request is not None:
            self.status = _status_of(request, Phase.IDLE)
        self._finish(now, outcome, reason, saving=False)

    def reset_done(self, now: float, episode: int, stamp: int) -> None:
        """Start running: the robot is at its start pose; observations from `stamp` (ns) on belong to the episode."""
        if not self._is(Phase.RESETTING, episode):
            return
        self._deadline = now + self._rules.step_timeout
        self._change(replace(self.status, phase=Phase.RUNNING, start=stamp))
        ending = [text for source, text in self._faults.items() if self._ends(source)]
        if ending:
            self._end(now, Outcome.ABORTED, ending[0])

    def reset_failed(self, now: float, episode: int, reason: str) -> None:
        """Abort: the reset failed."""
        if self._is(Phase.RESETTING, episode):
            self._end(now, Outcome.ABORTED, f"reset failed: {reason}")

    # Running.

    def action(self, episode: int, step: int) -> None:
        """Note an action, so that a stall can name its cause."""
        if self._is(Phase.RUNNING, episode):
            self.last_action = max(self.last_action, step)

    def counts(self, episode: int, step: int) -> bool:
        """Return whether a reward is of a new step of the running episode: not repeated, foreign, or after its end."""
        return self._is(Phase.RUNNING, episode) and step > self.status.step

    def reward(self, now: float, episode: int, step: int, success: bool, terminal: bool) -> None:
        """Count a step, and end the episode after the last; all rewards that do not count are ignored."""
        if not self.counts(episode, step):
            return
        self.status = replace(self.status, step=step)
        if not self._faults:
            self._deadline = now + self._rules.step_timeout
        self._streak = self._streak + 1 if success else 0
        outcome = self._outcome(success, terminal)
        if outcome is not Outcome.NONE:
            self._end(now, outcome, "")

    def _outcome(self, success: bool, terminal: bool) -> Outcome:
        wanted = 1 if self.status.purpose is Purpose.RESET else self._rules.success_steps
        if 0 < wanted <= self._streak or (terminal and success):
            return Outcome.SUCCESS
        if terminal:
            return Outcome.FAILURE
        limit = (self._request.max_steps if self._request else 0) or self._rules.max_steps
        return Outcome.TIME_LIMIT if self.status.step >= limit else Outcome.NONE

    def fault(self, now: float, source: str, sentence: str, *, final: bool = False) -> None:
        """Set the fault of the robot or a camera, "" once it has recovered.

        A running episode ends, or waits up to `step_timeout`, as configured; a `final` fault always ends it.
        """
        before = self._faults.pop(source, "")
        if sentence:
            self._faults[source] = sentence
        running, changed = self.status.phase is Phase.RUNNING, bool(before) != bool(sentence)
        if running and sentence and (final or (sentence != before and self._ends(source))):
            self._end(now, Outcome.ABORTED, sentence)
        elif running and changed:
            self._deadline = now + self._rules.step_timeout
        if changed:
            self._advance(now)

    def _ends(self, source: str) -> bool:
        """Whether a fault of this source ends a running episode at once."""
        return (self._rules.fault if source == ROBOT else self._rules.camera_loss) == "abort"

    @property
    def paused(self) -> str:
        """Return why a running episode is paused, empty if it is not."""
        return next(iter(self._faults.values()), "") if self.status.phase is Phase.RUNNING else ""

    # Ending.

    def end(self, now: float, outcome: Outcome, reason: str) -> str:
        """End the episode, or cancel one that waits to begin; return the reason for a refusal, or nothing."""
        runs = self.status.phase in (Phase.RESETTING, Phase.RUNNING)
        if not runs and (self._next is None or self._saving):
            return "no episode runs"
        if outcome is Outcome.NONE:
            return "outcome is NONE, expected one of EpisodeState.OUTCOME_*; give the outcome"
        if runs:
            self._end(now, outcome, reason)
        else:
            self._abandon(now, outcome, reason)
        return ""

    def saved(self, now: float, episode: int, complete: bool, message: str) -> None:
        """Note that the recorder has closed the bag of `episode`."""
        if self._saving and episode == self.status.episode:
            self._settle(now, "" if complete else message or "the bag is not complete")

    def tick(self, now: float) -> None:
        """Handle time-outs at `now`."""
        if now < self._deadline:
            return
        if self.status.phase is Phase.RESETTING:
            seconds = self._rules.reset_limit
            self._end(now, Outcome.ABORTED, f"no answer to robot/reset within {seconds:g} s; is the robot node up?")
        elif self.status.phase is Phase.RUNNING:
            self._end(now, Outcome.ABORTED, self._stall())
        elif self._saving:
            self._settle(now, f"the recorder has not closed the bag within {self._rules.bag_timeout:g} s")
        elif self._next is not None:
            why = "; ".join(self._faults.values()) or "press start, or call the service operator/start"
            sentence = f"{self.waits_for}: not within {self._waiting_for()[1]:g} s; {why}"
            self._abandon(now, Outcome.ABORTED, sentence)

    def _stall(self) -> str:
        step, seconds = self.status.step, self._rules.step_timeout
        if self.paused:
            return f"{self.paused.rstrip('.')}; not recovered within {seconds:g} s"
        if self.last_action < step:
            return f"nobody sent action {step} within {seconds:g} s; see the policy's diagnostics"
        return f"no reward for action {step} within {seconds:g} s; see the robot's diagnostics"

    def _end(self, now: float, outcome: Outcome, reason: str) -> None:
        recorded = self.status.purpose is not Purpose.RESET
        self._finish(now, outcome, reason, saving=recorded and self._rules.wait_for_bag)

    def _finish(self, now: float, outcome: Outcome, reason: str, *, saving: bool) -> None:
        self._saving, self.waits_for = saving, ""
        self._deadline = now + self._rules.bag_timeout
        self._change(replace(self.status, phase=Phase.ENDED, outcome=outcome, reason=reason))
        if not saving:
            self._settle(now, "")

    def _settle(self, now: float, problem: str) -> None:
        self._saving = False
        self._deadline = float("inf")
        self._callbacks.finished(self.status, problem)
        self._advance(now)

    def _change(self, status: EpisodeStatus) -> None:
        self.status = status
        self._callbacks.announce(status)

    def _is(self, phase: Phase, episode: int) -> bool:
        return self.status.phase is phase and self.status.episode == episode


def _status_of(request: Request, phase: Phase) -> EpisodeStatus:
    """Return the state of an episode that has no steps yet."""
    return EpisodeStatus(request.episode, request.purpose, phase, arm=request.arm, arm_reason=request.arm_reason)
