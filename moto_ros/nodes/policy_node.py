"""Acts: pairs images and robot state, asks the agent, publishes the action with all it was computed from."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rclpy.clock import Clock, ClockType
from rclpy.timer import Timer
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import UInt64

from moto_msgs.msg import Action, EpisodeState, PolicyWeights, Reward, RobotState
from moto_ros.agents.interface import Agent
from moto_ros.agents.registry import make_agent
from moto_ros.data.observer import Observation, Observer
from moto_ros.errors import MotoError
from moto_ros.nodes.actor import Actor, Choice, Parcel, Weights
from moto_ros.nodes.checkpoint_policy import load_policy
from moto_ros.nodes.episode_facts import Phase, Purpose
from moto_ros.nodes.latency import Latency
from moto_ros.nodes.learning_settings import PolicySettings, agent_part, policy_settings, spaces_of
from moto_ros.nodes.pace import Pace
from moto_ros.ros import life, names, qos
from moto_ros.ros.convert import to_nanoseconds, to_time
from moto_ros.ros.diagnostics import Report
from moto_ros.ros.node import MotoNode
from moto_ros.ros.ready import Ready
from moto_ros.ros.worker import Worker
from moto_ros.training.settings import agent_digest, choose_device

SECOND = 1_000_000_000


class PolicyNode(MotoNode[PolicySettings]):
    """One action for each new complete observation of the running episode; no new observation, no action.

    Arbitrated: it proposes; the operator node says what is executed, and that is what it filters on with.
    """

    def __init__(self, given: Mapping[str, Any] | None = None) -> None:
        """Make the agent, load the checkpoint if one is named, create topics."""
        super().__init__("policy", policy_settings, given)
        self._agent = self._make_agent()
        self._actor = Actor(self._agent, self.settings.action_size, self.settings.seed, self._device)
        self._observer = Observer(self.settings)
        self._worker = Worker(self.mailbox, "weights")
        self._episode = EpisodeState()
        self._lockstep = self.settings.lockstep
        self._pace = Pace(self.settings)
        self._answered = 0
        self._last: Action | None = None
        self._arrived = time.monotonic()
        self._latency, self._thinking = Latency(), Latency()
        self._counts: Counter[str] = Counter()
        self._refusal = self._trouble = ""
        self._make_topics()
        if self.settings.checkpoint:
            self._take(load_policy(Path(self.settings.checkpoint), self._agent, self._digest))
        self._ready = Ready(self, self.settings.wait_for)

    def _make_agent(self) -> Agent:
        settings, own = self.settings, agent_part(self.settings)
        if settings.threads:
            torch.set_num_threads(settings.threads)
        self._device, self._digest = choose_device(settings.device), agent_digest(own)
        return make_agent(settings.agent_name, spaces_of(settings), own, settings.seed, self._device)

    def _make_topics(self) -> None:
        settings = self.settings
        topic = names.PROPOSAL if settings.arbitrated else names.ACTION
        profile = qos.action(self._lockstep, settings.control_rate, settings.action_lifespan)
        self._actions = self.speak(Action, topic, profile)
        # Deeper than one: to miss the reset of an episode for its start would be to sit it out.
        self.listen(EpisodeState, names.EPISODE_STATE, self._state_changed, qos.latched(10))
        if settings.arbitrated:
            self.listen(Action, names.ACTION, self._executed, qos.event())
        self._make_weight_topics()
        self._make_observation_topics()
        self._beat = None if self._lockstep else self._make_beat()

    def _make_weight_topics(self) -> None:
        # A policy that brings the scene back is no trainer's: neither must hear of the other.
        self._version = None if self.settings.reset_only else self.speak(UInt64, names.POLICY_VERSION, qos.latched())
        if self._version is not None:
            self.listen(PolicyWeights, names.POLICY_WEIGHTS, self._weights_came, qos.latched())

    def _make_observation_topics(self) -> None:
        settings, frames = self.settings, qos.every() if self._lockstep else qos.newest()
        kind = CompressedImage if settings.compressed else Image
        for camera in settings.cameras:
            topic = names.camera_image(camera, settings.compressed)
            self.listen(kind, topic, partial(self._saw, f"camera/{camera}"), frames)
        self.listen(RobotState, names.ROBOT_STATE, self._felt, frames)

    def _make_beat(self) -> Timer:
        self.listen(Reward, names.REWARD, self._rewarded, qos.event())
        return self.create_timer(
            1.0 / self.settings.control_rate, self._tick, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )

    # Episodes.

    def _state_changed(self, state: EpisodeState) -> None:
        if (state.purpose == Purpose.RESET) != self.settings.reset_only:
            state = EpisodeState()  # another policy's episode
        begins = state.phase == Phase.RESETTING or state.episode != self._episode.episode
        known = self._episode.phase in (Phase.RESETTING, Phase.RUNNING) and not begins
        self._episode = state
        if state.phase == Phase.RESETTING:
            self._begin(state)
        elif state.phase == Phase.RUNNING and not known:
            # Which step it is, and what happened before, is unknown: acting now would corrupt the episode.
            self._trouble = f"episode {state.episode} was running before this node started; waits for the next"
            self._episode = EpisodeState()
        self._act()

    def _begin(self, state: EpisodeState) -> None:
        explore = self.settings.explore
        sample = explore == "always" or (explore == "training" and state.purpose == Purpose.TRAINING)
        self._actor.begin(state.episode, Purpose(state.purpose), sample=sample)
        self._observer.forget()
        self._pace.begin()
        self._answered, self._last, self._trouble = 0, None, ""

    # Observations.

    def _saw(self, role: str, message: Any) -> None:
        self._observer.add(role, message)
        self._arrived = time.monotonic()
        self._act()

    def _felt(self, message: RobotState) -> None:
        # What was executed before the start belongs to an earlier attempt at the same episode.
        if self._current(message) and to_nanoseconds(message.header.stamp) >= to_nanoseconds(self._episode.start):
            self._pace.took(message.step)
        if self._last is not None and message.header.stamp == self._last.state_stamp:
            self._repeated()
        self._saw("state", message)

    def _repeated(self) -> None:
        """Say it again: a world in lockstep that shows the same observation once more has missed the action."""
        if self._lockstep and self._running():
            self._resend()

    def _resend(self) -> None:
        if self._last is not None:
            self._counts["resent"] += 1
            self._actions.publish(self._last)

    # When to act.

    def _rewarded(self, message: Reward) -> None:
        if self._current(message):
            self._pace.was_paid(message.step, to_nanoseconds(message.header.stamp))
            self._act()

    def _executed(self, message: Action) -> None:
        """Take note of what the operator made of the last proposal."""
        if self._last is None or (message.episode, message.step) != (self._last.episode, self._last.step):
            return
        values = np.array(message.values, np.float32)
        if values.shape != (self.settings.action_size,) or not np.isfinite(values).all():
            self._trouble = f"policy/action: is {values}, expected {self.settings.action_size} finite numbers; mend it"
        elif self._answered < self._pace.sent:
            self._answered = self._pace.sent
            self._actor.executed(values)
            self._act()

    def _tick(self) -> None:
        """Real time: act on the beat, say an action that was not executed again, count periods without one."""
        if not self._running():
            return
        self._act()
        now = time.monotonic()
        self._pace.tick(now)
        if self._last is not None and self._pace.unheard(now):
            # What it was computed from stays what it says; only the permission to execute it is renewed.
            self._last.header.stamp = self.get_clock().now().to_msg()
            self._pace.say_again(now)
            self._resend()

    def _running(self) -> bool:
        return self._episode.phase == Phase.RUNNING

    def _current(self, message: Any) -> bool:
        return self._running() and message.episode == self._episode.episode

    def _act(self) -> None:
        """Act on a new observation, once the last action is known and the next one due."""
        unanswered = self.settings.arbitrated and self._answered < self._pace.sent
        if self._running() and not unanswered and self._pace.due(time.monotonic()):
            self._act_on_newest(None if self._lockstep else self.now())

    def _act_on_newest(self, now: int | None) -> None:
        self._take_weights()
        if self._actor.version == 0:
            self._trouble = "has no weights yet: waits for trainer/policy; or name a checkpoint"
            return
        observation = self._observer.newest(self._pace.after(to_nanoseconds(self._episode.start)), now)
        if observation is None:
            return
        began = time.monotonic()
        self._publish(observation, self._actor.act(observation))
        self._pace.send(began)
        if self._beat is not None and self._pace.sent == 1:
            self._beat.reset()  # the grid of this episode begins now
        self._measure(observation, began)

    def _publish(self, observation: Observation, choice: Choice) -> None:
        message = self._message(observation)
        message.values, message.source = choice.values, Action.SOURCE_POLICY
        message.policy_version = choice.version
        message.policy_age = max(0.0, (self.now() - self._actor.published) / SECOND)
        message.uncertainty, message.uncertainty_rank = choice.uncertainty, choice.rank
        self._actions.publish(message)
        self._last = message
        self._counts["actions"] += 1
        self._trouble = ""

    def _message(self, observation: Observation) -> Action:
        """Return an action stamped with all that it is computed from."""
        message = Action(episode=self._episode.episode, step=self._pace.sent, cameras=list(self.settings.cameras))
        message.header.stamp, message.state_stamp = to_time(self.now()), to_time(observation.state_stamp)
        message.camera_stamps = [to_time(stamp) for stamp in observation.camera_stamps]
        return message

    def _measure(self, observation: Observation, began: float) -> None:
        ended = time.monotonic()
        self._thinking.add(ended - began)
        if not self._lockstep:
            self._latency.add((self.now() - observation.stamp) / SECOND)
        else:
            # Simulated stamps cannot be compared with this clock: count from the arrival of the last part.
            self._latency.add(ended - self._arrived)

    # Weights.

    def _weights_came(self, message: PolicyWeights) -> None:
        stamp, data = to_nanoseconds(message.header.stamp), bytes(message.data)
        quantiles = tuple(message.uncertainty_quantiles)
        parcel = Parcel(message.version, stamp, message.agent, message.digest, message.sha256, data, quantiles)
        self._worker.do(partial(self._open, parcel), self._opened)

    def _open(self, parcel: Parcel) -> Weights | str:
        try:
            return parcel.opened(self.settings.agent_name, self._digest)
        except MotoError as error:
            return str(error)

    def _opened(self, found: Weights | str) -> None:
        if isinstance(found, str):
            self._refuse(found)
        else:
            self._take(found)

    def _take(self, weights: Weights) -> None:
        self._actor.offer(weights)
        # Between two callbacks no step is under way: this is a step boundary, also in the middle of an episode.
        self._take_weights()
        self._act()

    def _take_weights(self) -> None:
        before = self._actor.version
        try:
            self._actor.take_offered()
        except MotoError as error:
            self._refuse(str(error))
        if self._actor.version != before:
            self._refusal = ""
            self._counts["weights_taken"] += 1
            if self._version is not None:
                self._version.publish(UInt64(data=self._actor.version))

    def _refuse(self, sentence: str) -> None:
        self._refusal = f"{sentence} (acts on with version {self._actor.version})"
        self._counts["weights_refused"] += 1
        self.get_logger().error(self._refusal)
        self.diagnostics.publish()

    def report(self) -> Report:
        """Return rates, latencies, counts of what was not acted on, and the first thing that is wrong."""
        age = (self.now() - self._actor.published) / SECOND if self._actor.version else float("nan")
        values: dict[str, object] = {"episode": self._episode.episode, "step": self._pace.sent}
        values |= {"policy_version": self._actor.version, "policy_age_s": age}
        values |= self._latency.figures("latency") | self._thinking.figures("act")
        values |= {f"observations_{name}": count for name, count in self._observer.counts.items()}
        values |= {**self._counts, **self._pace.counts}
        problems = self._observer.problems.sentences()
        warning = self._trouble or self.health.sentence() or (problems[-1] if problems else "")
        return Report(values, warning=warning, error=self._refusal)

    def destroy_node(self) -> None:
        """Stop the thread, then the node."""
        self._worker.close()
        super().destroy_node()


def main() -> None:
    """Run the node's process."""
    sys.exit(life.run(PolicyNode))


if __name__ == "__main__":
    main()
