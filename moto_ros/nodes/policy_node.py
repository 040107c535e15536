"""Acts: pairs images and robot state, asks the agent, publishes the action with all it was computed from."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
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
from moto_ros.ros import life, names, qos
from moto_ros.ros.convert import to_nanoseconds, to_time
from moto_ros.ros.diagnostics import Report
from moto_ros.ros.node import MotoNode
from moto_ros.ros.ready import Ready
from moto_ros.ros.worker import Worker
from moto_ros.training.settings import agent_digest, choose_device

SECOND = 1_000_000_000

REST = 0.75
"""Share of a control period that must pass between two actions in real time; the rest is room for jitter."""


class PolicyNode(MotoNode[PolicySettings]):
    """One action for each new complete observation of the running episode; no new observation, no action."""

    def __init__(self, given: Mapping[str, Any] | None = None) -> None:
        """Make the agent, load the checkpoint if one is named, create topics."""
        super().__init__("policy", policy_settings, given)
        self._agent = self._make_agent()
        self._actor = Actor(self._agent, self.settings.action_size, self.settings.seed, self._device)
        self._observer = Observer(self.settings)
        self._worker = Worker(self.mailbox, "weights")
        self._episode = EpisodeState()
        self._lockstep = self.settings.clock == "lockstep"
        self._sent = 0
        self._last: Action | None = None
        self._paid, self._paid_stamp, self._acted = 0, 0, 0.0
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
        lockstep = self._lockstep
        self._actions = self.speak(Action, names.ACTION, self._action_profile(lockstep))
        self._version = self.speak(UInt64, names.POLICY_VERSION, qos.latched())
        frames = qos.every() if lockstep else qos.newest()
        kind = CompressedImage if settings.compressed else Image
        # Deeper than one: to miss the reset of an episode for its start would be to sit it out.
        self.listen(EpisodeState, names.EPISODE_STATE, self._state_changed, qos.latched(10))
        self.listen(PolicyWeights, names.POLICY_WEIGHTS, self._weights_came, qos.latched())
        for camera in settings.cameras:
            topic = names.camera_image(camera, settings.compressed)
            self.listen(kind, topic, partial(self._saw, f"camera/{camera}"), frames)
        self.listen(RobotState, names.ROBOT_STATE, partial(self._saw, "state"), frames)
        if not lockstep:
            self.listen(Reward, names.REWARD, self._rewarded, qos.event())
            self.create_timer(1.0 / settings.control_rate, self._tick)

    def _action_profile(self, lockstep: bool) -> Any:
        # In lockstep the world waits for the action however long it takes: it must not expire.
        return qos.event() if lockstep else qos.command(1.0 / self.settings.control_rate, self.settings.action_lifespan)

    # Episodes.

    def _state_changed(self, state: EpisodeState) -> None:
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
        self._sent, self._last, self._trouble = 0, None, ""
        self._paid, self._paid_stamp = 0, 0

    # Observations.

    def _saw(self, role: str, message: Any) -> None:
        self._observer.add(role, message)
        self._arrived = time.monotonic()
        if role == "state" and self._last is not None and message.header.stamp == self._last.state_stamp:
            self._repeated()
        self._act()

    def _repeated(self) -> None:
        """Say it again: a world in lockstep that shows the same observation once more has missed the action."""
        if self._lockstep and self._running():
            self._resend()

    def _resend(self) -> None:
        if self._last is not None:
            self._counts["resent"] += 1
            self._actions.publish(self._last)

    def _rewarded(self, message: Reward) -> None:
        """Take note that an action was executed: its reward says so."""
        if message.episode == self._episode.episode and message.step > self._paid:
            self._paid, self._paid_stamp = message.step, to_nanoseconds(message.header.stamp)
            self._act()

    def _tick(self) -> None:
        """Real time: say an action that was not executed again, and count periods without an action."""
        if not self._running():
            return
        self._act()
        waited = time.monotonic() - self._acted
        self._counts["periods_without_action"] += waited > 1.5 / self.settings.control_rate
        if self._last is not None and self._paid < self._sent and waited > self.settings.action_lifespan:
            # What it was computed from stays what it says; only the permission to execute it is renewed.
            self._last.header.stamp, self._acted = self.get_clock().now().to_msg(), time.monotonic()
            self._resend()

    def _running(self) -> bool:
        return self._episode.phase == Phase.RUNNING

    def _act(self) -> None:
        """Act on a new observation, in real time once the last action was executed and not faster than the rate."""
        if not self._running():
            return
        if self._lockstep:
            self._act_on_newest(None)
        elif self._paid >= self._sent and time.monotonic() - self._acted >= REST / self.settings.control_rate:
            self._act_on_newest(self.now())

    def _act_on_newest(self, now: int | None) -> None:
        self._take_weights()
        if self._actor.version == 0:
            self._trouble = "has no weights yet: waits for trainer/policy; or name a checkpoint"
            return
        start = max(to_nanoseconds(self._episode.start), self._paid_stamp)
        observation = self._observer.newest(start, now)
        if observation is not None:
            self._acted = time.monotonic()
            self._publish(observation, self._actor.act(observation))
            self._measure(observation, self._acted)

    def _publish(self, observation: Observation, choice: Choice) -> None:
        now = self.now()
        message = Action(episode=self._episode.episode, step=self._sent, cameras=list(self.settings.cameras))
        message.header.stamp = to_time(now)
        message.camera_stamps = [to_time(stamp) for stamp in observation.camera_stamps]
        message.state_stamp = to_time(observation.state_stamp)
        message.values = choice.values
        message.source = Action.SOURCE_POLICY
        message.policy_version = choice.version
        message.policy_age = max(0.0, (now - self._actor.published) / SECOND)
        message.uncertainty = choice.uncertainty
        self._actions.publish(message)
        self._last = message
        self._sent += 1
        self._counts["actions"] += 1
        self._trouble = ""

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
        parcel = Parcel(message.version, stamp, message.agent, message.digest, message.sha256, data)
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
            self._version.publish(UInt64(data=self._actor.version))

    def _refuse(self, sentence: str) -> None:
        self._refusal = f"{sentence} (acts on with version {self._actor.version})"
        self._counts["weights_refused"] += 1
        self.get_logger().error(self._refusal)
        self.diagnostics.publish()

    def report(self) -> Report:
        """Return rates, latencies, counts of what was not acted on, and the first thing that is wrong."""
        age = (self.now() - self._actor.published) / SECOND if self._actor.version else float("nan")
        values: dict[str, object] = {"episode": self._episode.episode, "step": self._sent}
        values |= {"policy_version": self._actor.version, "policy_age_s": age}
        values |= self._latency.figures("latency") | self._thinking.figures("act")
        values |= {**self._counts, **{f"observations_{name}": n for name, n in self._observer.counts.items()}}
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
