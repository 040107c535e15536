"""A node's part in the running episode: hears what was seen, executed and paid, and asks for an action when due."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import Any, Protocol

from rclpy.clock import Clock, ClockType
from rclpy.timer import Timer

from moto_msgs.msg import Action, EpisodeState, Reward, RobotState
from moto_ros.contract import topics
from moto_ros.contract.episodes import Phase
from moto_ros.contract.stamps import NSEC_PER_SEC
from moto_ros.data.pairing import Pairing
from moto_ros.episode.control_pace import ControlPace, PaceSettings
from moto_ros.ros import qos
from moto_ros.ros.convert import to_nanoseconds, to_time
from moto_ros.ros.node import MotoNode

SHORTEST = 0.005
"""Seconds between two beats at least."""


class DecisionMaker(Protocol):
    """Who decides."""

    def handles(self, state: EpisodeState) -> bool:
        """Return whether this episode is the player's."""

    def begin(self, state: EpisodeState) -> None:
        """Forget the last episode."""

    def decide(self, after: int, now: int | None) -> Action | None:
        """Return an action on something new, seen at `after` (ns) or later; None where there is nothing new.

        `now` (ns) is given in real time, to refuse what is too old.
        """


class EpisodeActor:
    """Paces a player through episodes and publishes its actions on `topic`; in real time, until they are executed."""

    def __init__(
        self, node: MotoNode[Any], settings: PaceSettings, pairing: Pairing, player: DecisionMaker, topic: str
    ) -> None:
        """Create the topics on `node`; what is seen goes to `pairing`."""
        self._node, self._settings, self._pairing, self._player = node, settings, pairing, player
        self.pace = ControlPace(settings)
        self.counts: Counter[str] = Counter()
        self.episode = EpisodeState()
        self.last: Action | None = None
        self.trouble = ""
        self.arrived = time.monotonic()
        profile = qos.action(settings.lockstep, settings.control_rate, settings.action_lifespan)
        self._actions = node.advertise(Action, topic, profile)
        # Deeper than one: to miss the reset of an episode for its start would be to sit it out.
        node.subscribe(EpisodeState, topics.EPISODE_STATE, self._state_changed, qos.latched(10))
        node.subscribe(RobotState, topics.ROBOT_STATE, self._felt, self.frames)
        self._beat = None if settings.lockstep else self._make_beat()

    def _make_beat(self) -> Timer:
        self._node.subscribe(Reward, topics.REWARD, self._rewarded, qos.event())
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        return self._node.create_timer(1.0 / self._settings.control_rate, self._tick, clock=steady)

    @property
    def frames(self) -> Any:
        """Return the profile to read frames and states with: all of them in lockstep, else the newest."""
        return qos.every() if self._settings.lockstep else qos.newest()

    @property
    def running(self) -> bool:
        """Whether an episode of the player runs."""
        return self.episode.phase == Phase.RUNNING

    # Episodes.

    def _state_changed(self, state: EpisodeState) -> None:
        if not self._player.handles(state):
            state = EpisodeState()
        begins = state.phase == Phase.RESETTING or state.episode != self.episode.episode
        known = self.episode.phase in (Phase.RESETTING, Phase.RUNNING) and not begins
        self.episode = state
        if state.phase == Phase.RESETTING:
            self._begin(state)
        elif state.phase == Phase.RUNNING and not known:
            # Which step it is, and what happened before, is unknown: acting now would corrupt the episode.
            self.trouble = f"episode {state.episode} was running before this node started; waits for the next"
            self.episode = EpisodeState()
        self.act()

    def _begin(self, state: EpisodeState) -> None:
        self._player.begin(state)
        self._pairing.forget()
        self.pace.begin()
        self.last, self.trouble = None, ""

    # What is seen, executed and paid.

    def saw(self, role: str, message: Any) -> None:
        """Take an image, or what stands for it, in the role `camera/<name>`."""
        self._pairing.add(role, message)
        self.arrived = time.monotonic()
        self.act()

    def _felt(self, message: RobotState) -> None:
        # What was executed before the start belongs to an earlier attempt at the same episode.
        if self._current(message) and to_nanoseconds(message.header.stamp) >= to_nanoseconds(self.episode.start):
            self.pace.on_action_taken(message.step)
        if self.last is not None and message.header.stamp == self.last.state_stamp:
            self._repeated()
        self.saw("state", message)

    def _repeated(self) -> None:
        """Say it again: a world in lockstep that shows the same observation once more has missed the action."""
        if self._settings.lockstep and self.running:
            self._resend()

    def _rewarded(self, message: Reward) -> None:
        if self._current(message):
            self.pace.on_reward(message.step, to_nanoseconds(message.header.stamp))
            self.act()

    def _current(self, message: Any) -> bool:
        return self.running and message.episode == self.episode.episode

    # EpisodeActor.

    def _tick(self) -> None:
        """Real time: act on the beat, say an action that was not executed again, count periods without one."""
        if not self.running:
            return
        self.act()
        now = time.monotonic()
        self.pace.tick(now)
        if self.last is not None and self.pace.action_expired(now):
            # What it was computed from stays what it says; only the permission to execute it is renewed.
            self.last.header.stamp = self._node.get_clock().now().to_msg()
            self.pace.resend(now)
            self._resend()

    def _resend(self) -> None:
        if self.last is not None:
            self.counts["resent"] += 1
            self._actions.publish(self.last)

    def act(self) -> None:
        """Have the player act if an action is due."""
        began = time.monotonic()
        if not self.running or not self.pace.due(began):
            return
        after = self.pace.earliest_stamp(to_nanoseconds(self.episode.start))
        action = self._player.decide(after, None if self._settings.lockstep else self._node.now())
        if action is not None:
            self._send(action, began)

    def _send(self, action: Action, began: float) -> None:
        self._actions.publish(action)
        self.last, self.trouble = action, ""
        self.pace.send(began)
        self.counts["actions"] += 1
        if self._beat is not None and self._settings.reward_lag:
            self._wake_at(self._beat, self.pace.next_tick)
        elif self._beat is not None and self.pace.sent == 1:
            self._beat.reset()  # the world's own beat begins now

    def _wake_at(self, beat: Timer, when: float) -> None:
        """Have the beat come when the next action is due: one that only came by and by would make the grid uneven."""
        beat.timer_period_ns = round(NSEC_PER_SEC * max(when - time.monotonic(), SHORTEST))
        beat.reset()

    def stamped(self, camera_stamps: Sequence[int], state_stamp: int) -> Action:
        """Return the next action, still without values, stamped (ns) with all that it is computed from."""
        message = Action(episode=self.episode.episode, step=self.pace.sent, cameras=list(self._settings.cameras))
        now = self._node.now(state_stamp, *camera_stamps)
        message.header.stamp, message.state_stamp = to_time(now), to_time(state_stamp)
        message.camera_stamps = [to_time(stamp) for stamp in camera_stamps]
        return message
