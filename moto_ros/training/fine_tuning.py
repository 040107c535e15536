"""Fine-tuning, from the first update to the last evaluation: does what the schedule decides. No ROS.

Runs in a thread of its own; the robot side is reached through `RobotSide`, whose methods may wait.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from moto_ros.agents.interface import EDITED, Metrics
from moto_ros.contract.episodes import Outcome
from moto_ros.contract.log import Log
from moto_ros.data.bag_library import BagLibrary
from moto_ros.data.episode import Episode
from moto_ros.training.learner import RoundProgress
from moto_ros.training.run_schedule import Done, EpisodeResult, Offline, Publish, RunEpisode, Update
from moto_ros.training.session import TrainingRun

REPORT_PERIOD = 2.0
"""Seconds between two reports of progress while learning."""

RECENT = 20
"""Online episodes that the reported success rate is taken over."""


@dataclass(frozen=True)
class RecordedEpisode:
    """An episode that has ended; `episode` is None when it has no usable steps; `note` then gives the reason."""

    id: int
    outcome: Outcome
    episode: Episode | None
    bag: Path | None
    uncertainty: list[float] = field(default_factory=list)
    ranks: list[float] = field(default_factory=list)
    note: str = ""
    success_probability: list[float] = field(default_factory=list)
    edited: float | None = None
    """Share of the steps that an agent edited that edits a base policy."""


@dataclass(frozen=True)
class TrainerStatus:
    """What the trainer does now, for moto_msgs/TrainingStatus."""

    phase: str
    message: str
    progress: float = 0.0
    rate: float = 0.0
    losses: Metrics | None = None
    success_rate: float = float("nan")
    arms: tuple[ArmStatus, ...] = ()
    arm: str = ""
    arm_reason: str = ""
    better_arm: str = ""


@dataclass(frozen=True)
class ArmStatus:
    """An arm of the agent: training episodes that it has acted, and in how many it solved the task."""

    name: str
    episodes: int
    successes: int


class RobotSide(Protocol):
    """What fine-tuning asks of the processes at the robot. Each method waits no longer than its time-out."""

    def publish(self, version: int, data: bytes, sha256: str) -> None:
        """Send weights, and wait until the policy has them. MotoError when it does not take them."""

    def start(self, action: RunEpisode) -> None:
        """Wait until the episode is accepted. MotoError when it is not."""

    def wait(self, episode: int) -> RecordedEpisode:
        """Wait until the episode has ended and its bag is closed. MotoError when it does not end."""

    def report(self, status: TrainerStatus) -> None:
        """Publish the trainer's status."""


class FineTuning:
    """Runs one session. Whatever kills it, running it again resumes: bags and checkpoints hold everything."""

    def __init__(
        self,
        session: TrainingRun,
        robot: RobotSide,
        library: BagLibrary,
        log: Log,
        stop: Callable[[], bool],
        offline_only: bool = False,
    ) -> None:
        """Work on `session`; `stop` asks for an early end, `offline_only` runs no episode."""
        self._session, self._robot, self._library = session, robot, library
        self._log, self._stop, self._offline_only = log, stop, offline_only
        self._recent: deque[bool] = deque(maxlen=RECENT)
        self._acted: RunEpisode | None = None
        self._reported = 0.0
        self._save_wanted = False

    def request_save(self) -> None:
        """Save a checkpoint after the present update. May be called from any thread."""
        self._save_wanted = True

    def run(self) -> bool:
        """Work until the run is done (True) or `stop` ended it early (False); either way all is saved."""
        # An episode that was running is requested again: it is read from its bag, waited for, or repeated.
        self._session.schedule.position.running = None
        self._publish_again()
        while not self._stop() and not self._over():
            self._do(self._session.schedule.next())
            self._save_if_wanted()
        self._session.save()
        done = self._over()
        better = f"; of its arms, {self._session.schedule.better_arm()} is the better one" if self._arms() else ""
        self._report(
            "done" if done else "waiting", f"the run is done{better}" if done else "stopped; the same command resumes"
        )
        return done

    def _over(self) -> bool:
        """Whether nothing is left to do, or, with `offline_only`, nothing without episodes."""
        return isinstance(self._session.schedule.next(), (Done, RunEpisode) if self._offline_only else Done)

    def _do(self, action: object) -> None:
        if isinstance(action, (Offline, Update)):
            self._learn(action)
        elif isinstance(action, Publish):
            self._publish(action.version)
        elif isinstance(action, RunEpisode):
            self._run_episode(action)
        else:
            self._collect()

    # Weights.

    def _publish_again(self) -> None:
        """Send the published weights again: the robot side may have been restarted."""
        version = self._session.schedule.position.published
        if version:
            self._send(version)

    def _publish(self, version: int) -> None:
        self._send(version)
        self._session.schedule.published(version)

    def _send(self, version: int) -> None:
        data, sha256 = self._session.weights()
        self._robot.publish(version, data, sha256)

    # Learning.

    def _learn(self, action: Offline | Update) -> None:
        if isinstance(action, Offline):
            self._report("offline", "learning from the recorded episodes")
        self._session.learn(action, on_update=self._progress, stop=self._stop)

    def _progress(self, progress: RoundProgress) -> None:
        self._save_if_wanted()
        last = progress.done == progress.total
        if not last and time.monotonic() - self._reported < REPORT_PERIOD:
            return
        left = (progress.total - progress.done) / progress.rate if progress.rate > 0 else float("nan")
        text = f"{progress.round} {progress.phase}: {progress.done}/{progress.total} updates, {progress.rate:.1f}/s"
        phase = "offline" if progress.round == "offline" else "online"
        message = text if last else f"{text}, {_duration(left)} left"
        self._report(phase, message, progress.done / max(1, progress.total), progress.rate, progress.scalars)

    def _save_if_wanted(self) -> None:
        if self._save_wanted:
            self._save_wanted = False
            self._log.info(f"checkpoint {self._session.save()}")

    # Episodes.

    def _run_episode(self, action: RunEpisode) -> None:
        self._acted = action
        recorded = self._recorded_before(action)
        if recorded is None:
            self._robot.start(action)
            self._session.schedule.episode_started(action)
        else:
            self._session.schedule.episode_started(action)
            self._log.info(f"episode {action.id} was recorded before the restart: read from {recorded.bag}")
            self._take(recorded)

    def _recorded_before(self, action: RunEpisode) -> RecordedEpisode | None:
        """Return the recording of this episode from before a restart; None for an evaluation of other weights."""
        found = self._library.recorded(action.id)
        if found is None:
            return None
        bag, episode = found
        published = self._session.schedule.position.published
        other_policy = episode.info["policy_version"] != published or episode.info.get("arm", "") not in (
            "",
            action.arm,
        )
        if action.purpose == "evaluation" and other_policy:
            return None
        return RecordedEpisode(action.id, Outcome.TIME_LIMIT, episode, bag)

    def _collect(self) -> None:
        running = self._session.schedule.position.running
        if running is not None:
            self._take(self._robot.wait(running.id))

    def _take(self, recorded: RecordedEpisode) -> None:
        running = self._session.schedule.position.running
        if running is None or running.id != recorded.id:
            self._log.warning(f"episode {recorded.id} was not requested: ignored")
            return
        if recorded.episode is None:
            self._log.warning(f"episode {recorded.id} has no usable steps: {recorded.note}")
            self._session.schedule.episode_lost(recorded.id, recorded.note)
            return
        if recorded.note:
            self._log.warning(f"episode {recorded.id}: {recorded.note}")
        figures = {"policy_version": float(recorded.episode.info["policy_version"])}
        if recorded.edited is not None:
            figures[EDITED] = recorded.edited
        result = self._session.take(
            running,
            recorded.episode,
            recorded.bag,
            recorded.uncertainty,
            recorded.ranks,
            recorded.success_probability,
            **figures,
        )
        self._report_episode(running, result)

    def _report_episode(self, ran: RunEpisode, result: EpisodeResult) -> None:
        position, wanted = self._session.schedule.position, self._session.schedule.budget.online_episodes
        self._acted = replace(ran, arm=result.arm)
        if ran.purpose == "training":
            self._recent.append(result.success)
            text = f"{len(position.steps)} of {wanted} online episodes{self._by_arm(ran, result)}"
            self._report("online", text, len(position.steps) / max(1, wanted))
            return
        results, asked = position.evaluations[-1].results, self._session.settings.evaluation_episodes
        solved = sum(result.success for result in results)
        by = f" by {result.arm}" if self._arms() else ""
        text = (
            f"evaluation{by} after {position.evaluations[-1].after} online episodes: {solved} of {len(results)} solved"
        )
        self._report("evaluating", f"{text}, {asked - len(results)} to go", len(results) / max(1, asked))

    def _arms(self) -> tuple[ArmStatus, ...]:
        """Return how each arm has done in training; empty for an agent with only one."""
        arms = self._session.agent.arms
        counted = ((arm, [one.success for one in self._session.arm_outcomes(arm)]) for arm in arms)
        return tuple(ArmStatus(arm, len(found), sum(found)) for arm, found in counted) if len(arms) > 1 else ()

    def _by_arm(self, ran: RunEpisode, result: EpisodeResult) -> str:
        """Return the part of a line that says which arm acted and how all have done; empty with only one."""
        arms = self._arms()
        if not arms:
            return ""
        tally = ", ".join(f"{arm.name} {arm.successes} of {arm.episodes}" for arm in arms)
        word = "solved" if result.success else "not solved"
        why = f" ({ran.arm_reason})" if result.arm == ran.arm and ran.arm_reason else ""
        return f", the last {word} by {result.arm}{why}; solved so far: {tally}"

    def _report(
        self, phase: str, message: str, progress: float = 0.0, rate: float = 0.0, losses: Metrics | None = None
    ) -> None:
        self._reported = time.monotonic()
        success = sum(self._recent) / len(self._recent) if self._recent else float("nan")
        arms, better = self._arms(), self._session.schedule.better_arm()
        acted = (self._acted.arm, self._acted.arm_reason) if self._acted is not None else ("", "")
        self._robot.report(TrainerStatus(phase, message, progress, rate, losses, success, arms, *acted, better))
        self._log.info(message)


def _duration(seconds: float) -> str:
    if seconds != seconds:
        return "an unknown time"
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
