"""The link of the trainer's thread to the robot side: it waits for what the node's executor receives. No ROS."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from moto_ros.contract.episodes import EpisodeStatus, Outcome, Phase, Purpose, Request
from moto_ros.data.bag_library import BagLibrary
from moto_ros.data.episode import Episode
from moto_ros.data.live_episodes import LiveEpisode, LiveEpisodes
from moto_ros.errors import MotoError
from moto_ros.training.fine_tuning import RecordedEpisode, TrainerStatus
from moto_ros.training.run_schedule import RunEpisode

RETRY_PERIOD = 0.2
"""Seconds between two requests for an episode."""

LOST = (Outcome.ABORTED, Outcome.DISCARDED)


class Stopped(Exception):  # noqa: N818 - not an error
    """Raised in the waiting thread when the node must end."""


@dataclass(frozen=True)
class ClosedBag:
    """What the recorder reported of an episode."""

    uri: str
    complete: bool
    message: str


@dataclass(frozen=True)
class Answer:
    """The episode node's answer to a request."""

    accepted: bool
    message: str


@dataclass(frozen=True)
class Timeouts:
    """How long anything may take, in seconds."""

    start: float
    episode: float
    bag: float
    policy: float


class NodeInterface(Protocol):
    """What the node does for the link; called from the trainer's thread, returns at once."""

    def send_weights(self, version: int, data: bytes, sha256: str) -> None:
        """Publish weights."""

    def ask(self, request: Request) -> None:
        """Call episode/start; `RobotLink.on_answer` follows."""

    def send_status(self, status: TrainerStatus) -> None:
        """Publish the trainer's status."""

    def log(self, sentence: str) -> None:
        """Log a line for the user."""


@dataclass
class _RobotSideState:
    """What the executor's thread has received from the nodes at the robot, for the trainer's thread to wait for."""

    status: EpisodeStatus = field(default_factory=EpisodeStatus)
    version: int = 0
    answer: Answer | None = None
    ended: dict[int, EpisodeStatus] = field(default_factory=dict)
    bags: dict[int, ClosedBag] = field(default_factory=dict)


class RobotLink:
    """`RobotSide` over a `NodeInterface`. The executor calls the `on_` methods; the trainer's thread waits."""

    def __init__(
        self, node: NodeInterface, live: LiveEpisodes, library: BagLibrary, timeouts: Timeouts, *, has_policy: bool
    ) -> None:
        """Without a policy (`has_policy` False) no node has to confirm weights."""
        self._node, self._live, self._library = node, live, library
        self._timeouts, self._has_policy = timeouts, has_policy
        self._known, self._changed = _RobotSideState(), threading.Condition()
        self._stopping = False

    # The executor's side.

    def on_state(self, status: EpisodeStatus) -> None:
        """Take the state of an episode; one that resets the scene is not learned from."""
        if status.purpose is Purpose.RESET:
            self._live.stop()
            return
        if status.phase is Phase.RESETTING:
            self._live.begin(status.episode)
        with self._changed:
            self._known.status = status
            if status.phase is Phase.RESETTING:
                self._known.ended.pop(status.episode, None)
                self._known.bags.pop(status.episode, None)
            elif status.phase is Phase.ENDED:
                self._known.ended[status.episode] = status
            self._changed.notify_all()

    def on_bag(self, episode: int, bag: ClosedBag) -> None:
        """Take a report of the recorder."""
        with self._changed:
            self._known.bags[episode] = bag
            self._changed.notify_all()

    def on_version(self, version: int) -> None:
        """Note which weights the policy has."""
        with self._changed:
            self._known.version = version
            self._changed.notify_all()

    def on_answer(self, accepted: bool, message: str) -> None:
        """Take the answer to `ask`."""
        with self._changed:
            self._known.answer = Answer(accepted, message)
            self._changed.notify_all()

    def stop(self) -> None:
        """Let the waiting thread end."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    @property
    def stopping(self) -> bool:
        """Whether the node is to end."""
        return self._stopping

    # The trainer's side.

    def publish(self, version: int, data: bytes, sha256: str) -> None:
        """Send weights, and wait until the policy has them."""
        self._node.send_weights(version, data, sha256)
        if self._has_policy and not self._until(lambda: self._known.version == version, self._timeouts.policy):
            raise MotoError(
                f"the policy did not take weights {version} within {self._timeouts.policy:g} s, it has version "
                f"{self._known.version}; see the policy node's diagnostics"
            )

    def start(self, action: RunEpisode) -> None:
        """Request the episode until it is accepted, or runs since it was requested before a restart."""
        end, refusal = time.monotonic() + self._timeouts.start, ""
        purpose = Purpose[action.purpose.upper()]
        request = Request(action.id, purpose, action.seed, arm=action.arm, arm_reason=action.arm_reason)
        while time.monotonic() < end:
            if self._runs(action.id):
                return
            answer = self._ask(request, end - time.monotonic())
            if answer is not None and answer.accepted:
                return
            refusal = self._log_reason(answer.message if answer is not None else "no answer", refusal)
            self._until(lambda: self._runs(action.id), RETRY_PERIOD)
        raise MotoError(f"episode {action.id} was not accepted within {self._timeouts.start:g} s: {refusal}")

    def _log_reason(self, reason: str, known: str) -> str:
        """Log the reason for waiting where it is a new one; return it."""
        if reason != known:
            self._node.log(f"waiting for the episode node: {reason}")
            self._node.send_status(TrainerStatus("waiting", reason))
        return reason

    def _runs(self, episode: int) -> bool:
        status = self._known.status
        return status.episode == episode and status.phase in (Phase.RESETTING, Phase.RUNNING)

    def _ask(self, request: Request, timeout: float) -> Answer | None:
        self._known.answer = None
        self._node.ask(request)
        self._until(lambda: self._known.answer is not None, min(timeout, 5.0))
        return self._known.answer

    def wait(self, episode: int) -> RecordedEpisode:
        """Wait until the episode has ended and its bag is closed; return it with all of its steps, or without any."""
        if not self._until(lambda: episode in self._known.ended, self._timeouts.episode):
            raise MotoError(
                f"episode {episode} has not ended within {self._timeouts.episode:g} s; see the episode node"
            )
        self._until(lambda: episode in self._known.bags, self._timeouts.bag)
        with self._changed:
            status, bag = self._known.ended.pop(episode), self._known.bags.pop(episode, None)
        return self._recorded(status, bag, self._live.fetch(episode))

    def _recorded(self, status: EpisodeStatus, bag: ClosedBag | None, live: LiveEpisode | None) -> RecordedEpisode:
        path = self._library.inside(bag.uri) if bag is not None and bag.complete else None
        if status.outcome in LOST or status.step == 0:
            return RecordedEpisode(
                status.episode, status.outcome, None, path, note=status.reason or status.outcome.name.lower()
            )
        steps = status.step
        uncertainty, ranks = (live.uncertainties(steps), live.ranks(steps)) if live is not None else ([], [])
        chances = live.success_probabilities(steps) if live is not None else []
        edited = live.edited_share(steps) if live is not None else None
        episode, note = self._episode(status, path, live)
        if bag is None:
            note = f"{note}; the recorder has not closed its bag".strip("; ")
        elif not bag.complete:
            note = f"{note}; its bag is not complete: {bag.message}".strip("; ")
        elif path is None:
            note = f"{note}; {bag.uri[:200]!r} is no folder in {self._library.bags}, so it is not used".strip("; ")
        return RecordedEpisode(status.episode, status.outcome, episode, path, uncertainty, ranks, note, chances, edited)

    def _episode(self, status: EpisodeStatus, bag: Path | None, live: LiveEpisode | None) -> tuple[Episode | None, str]:
        """Return the steps received live, or those of the bag where some were missed."""
        missing = live.assembler.missing() if live is not None else ["the beginning"]
        if live is not None and not missing:
            return live.assembler.assemble(), ""
        missed = f"missed live: {missing[0]}" + (f" and {len(missing) - 1} more" if len(missing) > 1 else "")
        episode = self._library.whole(bag, status.episode) if bag is not None else None
        if episode is not None:
            return episode, f"{missed}; taken from {bag}"
        why = "; ".join(self._library.problems[:1]) if bag is not None else "there is no whole bag"
        return None, f"{missed}; {why}"

    def report(self, status: TrainerStatus) -> None:
        """Publish the trainer's status."""
        self._node.send_status(status)

    def _until(self, condition: Callable[[], bool], timeout: float) -> bool:
        """Wait until `condition` holds; return whether it did in time. Raises Stopped on `stop`."""
        with self._changed:
            found = self._changed.wait_for(lambda: self._stopping or condition(), timeout)
            if self._stopping:
                raise Stopped
            return found
