"""The control loop of an acting node: takes observations, rewards and executed actions, asks for an action when due."""

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

MIN_TIMER_PERIOD = 0.005
"""Shortest period of the control timer, in seconds."""


ESTIMATES = ("uncertainty", "uncertainty_rank", "success_probability", "edited")
"""Fields of an action that say what the model estimates; the diagnostics of acting nodes show them."""


def estimates_of(message: Action) -> dict[str, float]:
    """Return what the model estimated at an action, by field; NaN where unknown."""
    return {name: float(getattr(message, name)) for name in ESTIMATES}


class DecisionMaker(Protocol):
    """Chooses the actions."""

    def handles(self, state: EpisodeState) -> bool:
        """Return whether this is an episode to act in."""

    def begin(self, state: EpisodeState) -> None:
        """Forget the last episode."""

    def decide(self, after: int, now: int | None) -> Action | None:
        """Return an action on something new, seen at `after` (ns) or later; None where there is nothing new.

        `now` (ns) is given in real time, to refuse what is too old.
        """


class EpisodeActor:
    """Asks a decision maker for actions at the control rate; publishes them on `topic`, in real time until executed."""

    def __init__(
        self, node: MotoNode[Any], settings: PaceSettings, pairing: Pairing, decision_maker: DecisionMaker, topic: str
    ) -> None:
        """Create the topics on `node`; observations go to `pairing`."""
        self._node, self._settings, self._pairing, self._decision_maker = node, settings, pairing, decision_maker
        self.pace = ControlPace(settings)
        self.counts: Counter[str] = Counter()
        self.episode = EpisodeState()
        self.last: Action | None = None
        self.warning = ""
        self.arrived = time.monotonic()
        profile = qos.action(settings.lockstep, settings.control_rate, settings.action_lifespan)
        self._actions = node.advertise(Action, topic, profile)
        # Deeper than one: a node that misses an episode's reset, since its start followed at once, cannot act in it.
        node.subscribe(EpisodeState, topics.EPISODE_STATE, self._on_episode_state, qos.latched(10))
        node.subscribe(RobotState, topics.ROBOT_STATE, self._on_robot_state, self.frames)
        self._control_timer = None if settings.lockstep else self._make_control_timer()

    def _make_control_timer(self) -> Timer:
        self._node.subscribe(Reward, topics.REWARD, self._on_reward, qos.event())
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        return self._node.create_timer(1.0 / self._settings.control_rate, self._tick, clock=steady)

    @property
    def frames(self) -> Any:
        """Return the profile to read frames and states with: all of them in lockstep, else the newest."""
        return qos.every() if self._settings.lockstep else qos.newest()

    @property
    def running(self) -> bool:
        """Whether an episode to act in runs."""
        return self.episode.phase == Phase.RUNNING

    # Episodes.

    def _on_episode_state(self, state: EpisodeState) -> None:
        if not self._decision_maker.handles(state):
            state = EpisodeState()
        begins = state.phase == Phase.RESETTING or state.episode != self.episode.episode
        known = self.episode.phase in (Phase.RESETTING, Phase.RUNNING) and not begins
        self.episode = state
        if state.phase == Phase.RESETTING:
            self._begin(state)
        elif state.phase == Phase.RUNNING and not known:
            # Which step it is, and what happened before, is unknown: acting now would corrupt the episode.
            self.warning = f"episode {state.episode} was running before this node started; waits for the next"
            self.episode = EpisodeState()
        self.act()

    def _begin(self, state: EpisodeState) -> None:
        self._decision_maker.begin(state)
        self._pairing.forget()
        self.pace.begin()
        self.last, self.warning = None, ""

    # Observations, executed actions, rewards.

    def on_observation(self, role: str, message: Any) -> None:
        """Take an image, or what stands for it, in the role `camera/<name>`."""
        self._pairing.add(role, message)
        self.arrived = time.monotonic()
        self.act()

    def _on_robot_state(self, message: RobotState) -> None:
        # What was executed before the start belongs to an earlier attempt at the same episode.
        if self._current(message) and to_nanoseconds(message.header.stamp) >= to_nanoseconds(self.episode.start):
            self.pace.on_action_taken(message.step)
        if self.last is not None and message.header.stamp == self.last.state_stamp:
            self._on_repeated_state()
        self.on_observation("state", message)

    def _on_repeated_state(self) -> None:
        """Resend the action: a world in lockstep that publishes the same observation again has not received it."""
        if self._settings.lockstep and self.running:
            self._resend()

    def _on_reward(self, message: Reward) -> None:
        if self._current(message):
            self.pace.on_reward(message.step, to_nanoseconds(message.header.stamp))
            self.act()

    def _current(self, message: Any) -> bool:
        return self.running and message.episode == self.episode.episode

    # Control ticks.

    def _tick(self) -> None:
        """Real time: act when due, resend an action that was not executed, count periods without one."""
        if not self.running:
            return
        self.act()
        now = time.monotonic()
        self.pace.tick(now)
        if self.last is not None and self.pace.action_expired(now):
            # The stamps of its observations stay; only the permission to execute it is renewed.
            self.last.header.stamp = self._node.get_clock().now().to_msg()
            self.pace.resend(now)
            self._resend()

    def _resend(self) -> None:
        if self.last is not None:
            self.counts["resent"] += 1
            self._actions.publish(self.last)

    def act(self) -> None:
        """Ask for an action and publish it, if one is due."""
        began = time.monotonic()
        if not self.running or not self.pace.due(began):
            return
        after = self.pace.earliest_stamp(to_nanoseconds(self.episode.start))
        action = self._decision_maker.decide(after, None if self._settings.lockstep else self._node.now())
        if action is not None:
            self._send(action, began)

    def _send(self, action: Action, began: float) -> None:
        self._actions.publish(action)
        self.last, self.warning = action, ""
        self.pace.send(began)
        self.counts["actions"] += 1
        if self._control_timer is not None and self._settings.reward_lag:
            self._wake_at(self._control_timer, self.pace.next_tick)
        elif self._control_timer is not None and self.pace.sent == 1:
            self._control_timer.reset()  # the world's own control ticks begin now

    def _wake_at(self, timer: Timer, when: float) -> None:
        """Have the timer fire when the next action is due: a fixed phase would make the grid uneven."""
        timer.timer_period_ns = round(NSEC_PER_SEC * max(when - time.monotonic(), MIN_TIMER_PERIOD))
        timer.reset()

    def stamped(self, camera_stamps: Sequence[int], state_stamp: int) -> Action:
        """Return the next action, still without values, stamped (ns) with all that it is computed from."""
        message = Action(episode=self.episode.episode, step=self.pace.sent, cameras=list(self._settings.cameras))
        now = self._node.now(state_stamp, *camera_stamps)
        message.header.stamp, message.state_stamp = to_time(now), to_time(state_stamp)
        message.camera_stamps = [to_time(stamp) for stamp in camera_stamps]
        return message
