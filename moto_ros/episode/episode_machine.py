"""The life of an episode as a state machine: idle, resetting, running, ended, saved. No ROS, no clock of its own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

from moto_ros.config import parameter
from moto_ros.contract.episodes import EpisodeStatus, Outcome, Phase, Purpose, Request

RESET_IDS = 4_000_000
"""Episode n has its scene brought back by episode RESET_IDS + n: apart from the numbers of all others."""

ROBOT = "robot"
"""Name of the robot among the sources of trouble; the others are cameras."""


@dataclass(frozen=True)
class EpisodeRules:
    """When an episode ends, and how long anything may take."""

    max_steps: int = parameter(100, "step limit of an episode", unit="steps", low=1)
    success_steps: int = parameter(
        0, "end as a success after this many successful steps in a row; 0 runs to the limit", unit="steps", low=0
    )
    reset_timeout: float = parameter(60.0, "abort when the robot's reset takes longer", unit="s", low=0.1)
    step_timeout: float = parameter(30.0, "abort when no reward arrives for this long", unit="s", low=0.1)
    bag_timeout: float = parameter(30.0, "continue when the recorder has not closed the bag by then", unit="s", low=0.1)
    wait_for_bag: bool = parameter(True, "wait for the recorder's bag before the next episode")
    start_on: str = parameter(
        "automatic", "begin when asked, or only after operator/start", choices=("automatic", "operator")
    )
    start_timeout: float = parameter(300.0, "abort when operator/start has not come by then", unit="s", low=0.1)
    recover_timeout: float = parameter(
        60.0, "abort when robot and cameras are unhealthy until then, before a reset", unit="s", low=0.1
    )
    fault: str = parameter(
        "abort", "what a robot's fault does: end the episode, or wait up to step_timeout", choices=("abort", "pause")
    )
    camera_loss: str = parameter(
        "resume", "what a lost camera does: wait up to step_timeout, or end the episode", choices=("resume", "abort")
    )
    scene_reset: str = parameter(
        "none",
        "what resets the scene: with `policy` an episode is run for that, an operator is given time",
        choices=("none", "script", "operator", "policy"),
    )
    scene_timeout: float = parameter(120.0, "how long an operator may take for the scene", unit="s", low=0.1)
    reset_steps: int = parameter(100, "step limit of an episode that resets the scene", unit="steps", low=1)

    @property
    def reset_limit(self) -> float:
        """Return how long a reset may take, a person's part in it included (s)."""
        return self.reset_timeout + (self.scene_timeout if self.scene_reset == "operator" else 0.0)


class EpisodeWorld(Protocol):
    """What the machine asks of its surroundings."""

    def announce(self, facts: EpisodeStatus) -> None:
        """Tell everybody the new state."""

    def reset(self, request: Request) -> None:
        """Ask the robot to reset; `reset_done` or `reset_failed` follows, or the time-out."""

    def finished(self, facts: EpisodeStatus, problem: str) -> None:
        """Take note of an episode ended and saved; `problem` is one sentence when its bag is not complete."""


class EpisodeMachine:
    """One episode after the other; times are seconds of any steady clock.

    Invariants: every state is announced once; no state but idle lasts for ever; `step` never goes down within an
    episode; nothing after the end changes T or the outcome; an episode begins only when the last one is saved, robot
    and cameras are well, and the operator, where asked, has said so.
    """

    def __init__(self, rules: EpisodeRules, world: EpisodeWorld) -> None:
        """Start idle, with nothing announced yet."""
        self._rules, self._world = rules, world
        self.facts = EpisodeStatus()
        self._request: Request | None = None
        self._next: Request | None = None
        self._started = self._prepared = self._saving = False
        self._deadline = float("inf")
        self._streak = 0
        self._troubles: dict[str, str] = {}
        self.waits_for = ""
        self.last_action = -1

    @property
    def busy(self) -> bool:
        """Whether an episode is under way or asked for, or its bag is still being written."""
        return self._saving or self._next is not None or self.facts.phase in (Phase.RESETTING, Phase.RUNNING)

    # Beginning.

    def request(self, now: float, request: Request) -> str:
        """Begin an episode, now or as soon as the last one is saved; return why not, or nothing."""
        if self.facts.phase in (Phase.RESETTING, Phase.RUNNING):
            return f"episode {self.facts.episode} is {self.facts.phase.name.lower()}; wait for its end or end it first"
        if self._next is not None:
            return f"episode {self._next.episode} {self.waits_for or 'waits for the bag of the last one'}"
        self._next, self._started, self._prepared = request, False, False
        self._advance(now)
        return ""

    def operator_start(self, now: float) -> None:
        """Take the operator's word that the episode asked for may begin."""
        self._started = self._next is not None
        self._advance(now)

    def _advance(self, now: float) -> None:
        """Begin what was asked for, unless something is to be waited for."""
        if self._next is None or self._saving or self.facts.phase in (Phase.RESETTING, Phase.RUNNING):
            return
        waits, seconds = self._obstacle()
        if waits:
            self._deadline = self._deadline if waits == self.waits_for else now + seconds
        elif self._rules.scene_reset == "policy" and not self._prepared and self._next.purpose is not Purpose.RESET:
            self._prepared = True
            asked = Request(RESET_IDS + self._next.episode, Purpose.RESET, self._next.seed, self._rules.reset_steps)
            self._begin(now, asked)
        else:
            request, self._next = self._next, None
            self._begin(now, request)
        self.waits_for = waits

    def _obstacle(self) -> tuple[str, float]:
        """Return what an episode has to wait for before its reset, and how long at most; nothing: empty."""
        if self._troubles:
            return f"waits for {', '.join(sorted(self._troubles))} to be well", self._rules.recover_timeout
        if self._rules.start_on == "operator" and not self._started:
            return "waits for operator/start", self._rules.start_timeout
        return "", 0.0

    def _begin(self, now: float, request: Request) -> None:
        self._request = request
        self._streak, self.last_action = 0, -1
        self._deadline = now + self._rules.reset_limit
        self._change(EpisodeStatus(request.episode, request.purpose, Phase.RESETTING))
        self._world.reset(request)

    def _abandon(self, now: float, outcome: Outcome, reason: str) -> None:
        """End an episode that has not begun: nothing of it is recorded."""
        request, self._next = self._next, None
        if request is not None:
            self.facts = EpisodeStatus(request.episode, request.purpose)
        self._finish(now, outcome, reason, saving=False)

    def reset_done(self, now: float, episode: int, stamp: int) -> None:
        """Run: the robot stands at its start; observations from `stamp` (ns) on belong to the episode."""
        if not self._is(Phase.RESETTING, episode):
            return
        self._deadline = now + self._rules.step_timeout
        self._change(replace(self.facts, phase=Phase.RUNNING, start=stamp))
        ending = [text for source, text in self._troubles.items() if self._ends(source)]
        if ending:
            self._end(now, Outcome.ABORTED, ending[0])

    def reset_failed(self, now: float, episode: int, reason: str) -> None:
        """Abort: the robot could not be brought to its start."""
        if self._is(Phase.RESETTING, episode):
            self._end(now, Outcome.ABORTED, f"reset failed: {reason}")

    # Running.

    def action(self, episode: int, step: int) -> None:
        """Take note of an action, to be able to say who stalls."""
        if self._is(Phase.RUNNING, episode):
            self.last_action = max(self.last_action, step)

    def reward(self, now: float, episode: int, step: int, success: bool, terminal: bool) -> None:
        """Count a step, and end the episode when that was the last; repeated and foreign rewards are ignored."""
        if not self._is(Phase.RUNNING, episode) or step <= self.facts.step:
            return
        self.facts = replace(self.facts, step=step)
        if not self._troubles:
            self._deadline = now + self._rules.step_timeout
        self._streak = self._streak + 1 if success else 0
        outcome = self._outcome(success, terminal)
        if outcome is not Outcome.NONE:
            self._end(now, outcome, "")

    def _outcome(self, success: bool, terminal: bool) -> Outcome:
        wanted = 1 if self.facts.purpose is Purpose.RESET else self._rules.success_steps
        if 0 < wanted <= self._streak or (terminal and success):
            return Outcome.SUCCESS
        if terminal:
            return Outcome.FAILURE
        return Outcome.TIME_LIMIT if self.facts.step >= self._limit() else Outcome.NONE

    def _limit(self) -> int:
        asked = self._request.max_steps if self._request else 0
        return asked or self._rules.max_steps

    def trouble(self, now: float, source: str, sentence: str, *, final: bool = False) -> None:
        """Take what is wrong with the robot or a camera, "" once it is well again.

        A running episode ends, or waits up to `step_timeout`, as configured; `final` trouble always ends it.
        """
        before = self._troubles.pop(source, "")
        if sentence:
            self._troubles[source] = sentence
        running, turned = self.facts.phase is Phase.RUNNING, bool(before) != bool(sentence)
        if running and sentence and (final or (sentence != before and self._ends(source))):
            self._end(now, Outcome.ABORTED, sentence)
        elif running and turned:
            self._deadline = now + self._rules.step_timeout
        if turned:
            self._advance(now)

    def _ends(self, source: str) -> bool:
        """Whether trouble of a source ends a running episode at once."""
        return (self._rules.fault if source == ROBOT else self._rules.camera_loss) == "abort"

    @property
    def paused(self) -> str:
        """Return why a running episode does not go on, empty when it does."""
        return next(iter(self._troubles.values()), "") if self.facts.phase is Phase.RUNNING else ""

    # Ending.

    def end(self, now: float, outcome: Outcome, reason: str) -> str:
        """End the episode, or give up waiting for its beginning, on somebody's wish; return why not, or nothing."""
        runs = self.facts.phase in (Phase.RESETTING, Phase.RUNNING)
        if not runs and (self._next is None or self._saving):
            return "no episode runs"
        if outcome is Outcome.NONE:
            return "outcome is NONE, expected one of EpisodeState.OUTCOME_*; say how it ended"
        if runs:
            self._end(now, outcome, reason)
        else:
            self._abandon(now, outcome, reason)
        return ""

    def saved(self, now: float, episode: int, complete: bool, message: str) -> None:
        """Take the recorder's word that the bag of `episode` is closed."""
        if self._saving and episode == self.facts.episode:
            self._settle(now, "" if complete else message or "the bag is not complete")

    def tick(self, now: float) -> None:
        """Act on whatever has taken too long by `now`."""
        if now < self._deadline:
            return
        if self.facts.phase is Phase.RESETTING:
            seconds = self._rules.reset_limit
            self._end(now, Outcome.ABORTED, f"no answer to robot/reset within {seconds:g} s; is the robot node up?")
        elif self.facts.phase is Phase.RUNNING:
            self._end(now, Outcome.ABORTED, self._stall())
        elif self._saving:
            self._settle(now, f"the recorder has not closed the bag within {self._rules.bag_timeout:g} s")
        elif self._next is not None:
            self._abandon(now, Outcome.ABORTED, self._unstarted())

    def _stall(self) -> str:
        step, seconds = self.facts.step, self._rules.step_timeout
        if self.paused:
            return f"{self.paused.rstrip('.')}; not well again within {seconds:g} s"
        if self.last_action < step:
            return f"nobody sent action {step} within {seconds:g} s; see the policy's diagnostics"
        return f"no reward for action {step} within {seconds:g} s; see the robot's diagnostics"

    def _unstarted(self) -> str:
        _, seconds = self._obstacle()
        why = "; ".join(self._troubles.values()) or "press start, or call the service operator/start"
        return f"{self.waits_for}: not within {seconds:g} s; {why}"

    def _end(self, now: float, outcome: Outcome, reason: str) -> None:
        recorded = self.facts.purpose is not Purpose.RESET
        self._finish(now, outcome, reason, saving=recorded and self._rules.wait_for_bag)

    def _finish(self, now: float, outcome: Outcome, reason: str, *, saving: bool) -> None:
        self._saving, self.waits_for = saving, ""
        self._deadline = now + self._rules.bag_timeout
        self._change(replace(self.facts, phase=Phase.ENDED, outcome=outcome, reason=reason))
        if not saving:
            self._settle(now, "")

    def _settle(self, now: float, problem: str) -> None:
        self._saving = False
        self._deadline = float("inf")
        self._world.finished(self.facts, problem)
        self._advance(now)

    def _change(self, facts: EpisodeStatus) -> None:
        self.facts = facts
        self._world.announce(facts)

    def _is(self, phase: Phase, episode: int) -> bool:
        return self.facts.phase is phase and self.facts.episode == episode
