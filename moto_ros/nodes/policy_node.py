"""The policy node: pairs images and robot state, asks the agent, publishes the action with the stamps of both."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sensor_msgs.msg import CompressedImage, Image

from moto_msgs.msg import Action, EpisodeState, PolicyVersion, PolicyWeights
from moto_ros.agents.interface import Agent
from moto_ros.agents.registry import make_agent
from moto_ros.contract import topics
from moto_ros.contract.episodes import Purpose
from moto_ros.contract.stamps import NSEC_PER_SEC
from moto_ros.data.joints import STATE, JointOrder
from moto_ros.data.observer import Observation, Observer
from moto_ros.errors import MotoError
from moto_ros.nodes.episode_actor import EpisodeActor, estimates_of
from moto_ros.nodes.learning_settings import PolicySettings, agent_part, policy_settings, spaces_of
from moto_ros.policy.checkpoint_policy import load_policy
from moto_ros.policy.episode_policy import Choice, EpisodePolicy, Weights, WeightsMessage
from moto_ros.policy.latency import Latency
from moto_ros.policy.plan_ahead import EpisodeStep, PlanAhead
from moto_ros.policy.plan_tally import PlanTally
from moto_ros.ros import process, qos
from moto_ros.ros.convert import to_nanoseconds
from moto_ros.ros.diagnostics import NodeReport
from moto_ros.ros.discovery import Readiness
from moto_ros.ros.node import MotoNode
from moto_ros.ros.worker import Worker
from moto_ros.training.settings import agent_identity, choose_device


class PolicyNode(MotoNode[PolicySettings]):
    """One action for each new complete observation of the running episode; no new observation, no action.

    With an operator in the loop it publishes proposals; the operator node decides what is executed, and the agent's
    state continues from the executed action. With `plan_ahead` an action is planned before its observation arrives,
    from the observation before it and the action between the two; it is stamped with the observation that it is for.
    """

    def __init__(self, given: Mapping[str, Any] | None = None) -> None:
        """Make the agent, create the topics, load the checkpoint if one is named."""
        super().__init__("policy", policy_settings, given)
        self._agent = self._make_agent()
        self._actor = self._make_actor()
        self._observer = Observer(self.settings)
        self._worker = Worker(self.mailbox, "weights")
        self._planner = Worker(self.mailbox, "planner") if self.settings.plan_ahead else None
        self._answered = self._announced = 0
        self._latency, self._thinking, self._tally = Latency(), Latency(), PlanTally()
        self._counts: Counter[str] = Counter()
        self._refusal = self._warning = ""
        self._estimates: dict[str, float] = {}
        self._make_topics()
        self._ahead = self._make_ahead()
        if self.settings.checkpoint:
            self._take(load_policy(Path(self.settings.checkpoint).expanduser(), self._agent, self._identity))
        self._ready = Readiness(self, self.settings.wait_for)

    def _make_agent(self) -> Agent:
        settings, own = self.settings, agent_part(self.settings)
        if settings.threads:
            torch.set_num_threads(settings.threads)
        self._device, self._identity = choose_device(settings.device), agent_identity(settings.agent_name, own)
        return make_agent(settings.agent_name, spaces_of(settings), own, settings.seed, self._device)

    def _make_actor(self) -> EpisodePolicy:
        settings, image = self.settings, spaces_of(self.settings).image
        period = 0.0 if settings.lockstep else 1.0 / settings.control_rate
        actor = EpisodePolicy(
            self._agent, settings.action_size, settings.seed, self._device, period, settings.acting_arm
        )
        if self._agent.plans and not settings.lockstep:
            pixels = None if image is None else np.zeros(image, np.uint8)
            blank = Observation(pixels, np.zeros(settings.proprio_size, np.float32), (), 0)
            actor.warm_up(blank, settings.plan_time or 0.0)
        return actor

    def _make_ahead(self) -> PlanAhead | None:
        if self._planner is None:
            return None
        period, allowed = 1.0 / self.settings.control_rate, self.settings.plan_time or 0.0
        return PlanAhead(self._actor, self._planner, self._tally, period, allowed, self._acting.act)

    def _make_topics(self) -> None:
        settings = self.settings
        topic = topics.PROPOSAL if settings.operator_in_loop else topics.ACTION
        self._acting = EpisodeActor(self, settings, self._observer, self, topic)
        if settings.operator_in_loop:
            self.subscribe(Action, topics.ACTION, self._on_executed, qos.event())
        # A policy that resets the scene is not trained: neither it nor the trainer may receive the other's messages.
        self._version = (
            None if settings.reset_only else self.advertise(PolicyVersion, topics.POLICY_VERSION, qos.latched())
        )
        if not settings.reset_only:
            self.subscribe(PolicyWeights, topics.POLICY_WEIGHTS, self._on_weights, qos.latched())
        kind = CompressedImage if settings.compressed else Image
        for camera in settings.cameras:
            topic = topics.camera_image(camera, settings.compressed)
            self.subscribe(kind, topic, partial(self._acting.on_observation, f"camera/{camera}"), self._acting.frames)

    # EpisodeActor.

    def handles(self, state: EpisodeState) -> bool:
        """Return whether to act in an episode: the reset policy acts in resets only, any other policy in the others."""
        return (state.purpose == Purpose.RESET) == self.settings.reset_only

    def begin(self, state: EpisodeState) -> None:
        """Forget the last episode."""
        explore = self.settings.explore
        sample = explore == "always" or (explore == "training" and state.purpose == Purpose.TRAINING)
        begin = partial(self._actor.begin, state.episode, Purpose(state.purpose), sample=sample, arm=state.arm)
        self._between_decisions(begin, lambda _: None)
        if self._ahead is not None:
            self._ahead.begin()
        self._tally.begin()
        self._answered, self._warning = 0, ""

    def _between_decisions(self, job: Callable[[], Any], then: Callable[[Any], None]) -> None:
        """Run a job that changes the policy between two decisions: on the thread that makes them."""
        if self._planner is not None:
            self._planner.do(job, then)
        else:
            then(job())

    def decide(self, after: int, now: int | None) -> Action | None:
        """Act on a new observation, once the operator node has answered the last proposal."""
        if self._actor.version == 0:
            self._warning = "has no weights yet and waits for trainer/policy; start a trainer, or name a checkpoint"
            return None
        if (arm := self._acting.episode.arm) and arm not in self._agent.arms:
            known = ", ".join(self._agent.arms)
            self._warning = (
                f"episode {self._acting.episode.episode}: asks for arm '{arm}', expected one of {known}; give trainer "
                "and policy the same agent and preset, or ask for no arm"
            )
            return None
        if self.settings.operator_in_loop and self._answered < self._acting.pace.sent:
            return None
        observation = self._observer.newest(after, now)
        if self._ahead is not None:
            return self._planned(self._ahead, observation)
        return None if observation is None else self._action(observation, self._decided(observation))

    def _planned(self, ahead: PlanAhead, observation: Observation | None) -> Action | None:
        """Return the action planned for the step that is due, and start to plan the next one."""
        due = EpisodeStep(self._acting.episode.episode, self._acting.pace.sent)
        now = time.monotonic()
        answer = ahead.answer(due, observation, now)
        if answer is None:
            return None
        if not self.settings.operator_in_loop:
            ahead.plan_next(answer[1].values, now)
        return self._action(*answer)

    def _decided(self, observation: Observation) -> Choice:
        began, left = time.monotonic(), self.settings.plan_time
        if left is not None and self._acting.pace.sent:
            left = max(0.0, left - (began - self._acting.arrived))
        choice = self._actor.act(observation, left)
        self._thinking.add(time.monotonic() - began)
        self._tally.add(choice.figures)
        return choice

    def _action(self, observation: Observation, choice: Choice) -> Action:
        message = self._acting.stamped(observation.camera_stamps, observation.state_stamp)
        message.values, message.source = choice.values, Action.SOURCE_POLICY
        message.policy_version, message.arm = choice.version, choice.arm
        message.policy_age = self._policy_age()
        message.uncertainty, message.uncertainty_rank = choice.uncertainty, choice.rank
        message.success_probability, message.edited = choice.success_probability, choice.edited
        self._estimates = estimates_of(message)
        self._warning = ""
        self._measure(observation)
        return message

    def _on_executed(self, message: Action) -> None:
        """Take the action that the operator node executes in answer to the last proposal."""
        last, sent = self._acting.last, self._acting.pace.sent
        if last is None or (message.episode, message.step) != (last.episode, last.step) or self._answered == sent:
            return
        values = np.array(message.values, np.float32)
        if values.shape != (self.settings.action_size,) or not np.isfinite(values).all():
            self._warning = (
                f"policy/action: is {values}, expected {self.settings.action_size} finite numbers; fix its publisher"
            )
            return
        self._answered = sent
        if self._ahead is not None:
            self._ahead.plan_next(values, time.monotonic())
        else:
            self._actor.executed(values)
        self._acting.act()

    def _measure(self, observation: Observation) -> None:
        if not self.settings.lockstep:
            self._latency.add((self.now() - observation.stamp) / NSEC_PER_SEC)
        else:
            # Simulated stamps cannot be compared with this clock: measured from the arrival of the last part.
            self._latency.add(time.monotonic() - self._acting.arrived)

    # Weights.

    def _on_weights(self, message: PolicyWeights) -> None:
        published, data = self._steady(to_nanoseconds(message.header.stamp)), bytes(message.data)
        quantiles = tuple(message.uncertainty_quantiles)
        joints = tuple(message.joint_names)
        header = (message.version, published, message.agent, message.digest, message.sha256)
        weights = WeightsMessage(*header, data, quantiles, joints, message.arm)
        self._worker.do(partial(self._verify, weights), self._on_verified)

    def _steady(self, stamp: int) -> int:
        """Return the time of the steady clock, ns, at which a message with this stamp was sent; it has just arrived.

        Simulated stamps do not tell: their time stands still while the trainer learns, and jumps at a reset.
        """
        under_way = 0 if self.settings.lockstep else max(0, self.now() - stamp)
        return time.monotonic_ns() - under_way

    def _policy_age(self) -> float:
        return (time.monotonic_ns() - self._actor.published) / NSEC_PER_SEC

    def _verify(self, message: WeightsMessage) -> Weights | str:
        try:
            return message.verified(self.settings.agent_name, self._identity.digest)
        except MotoError as error:
            return str(error)

    def _on_verified(self, found: Weights | str) -> None:
        if isinstance(found, str):
            self._refuse(found)
        else:
            self._take(found)

    def _take(self, weights: Weights) -> None:
        # Between two decisions no step is under way: this is a step boundary, also in the middle of an episode.
        self._between_decisions(partial(self._load, weights), self._loaded)

    def _load(self, weights: Weights) -> str:
        """Load weights; return why they are refused, or an empty string."""
        joints = JointOrder({STATE: weights.joint_names} if weights.joint_names else {})
        try:
            joints.expected(STATE, self.settings.joint_names)
            self._actor.load_weights(weights)
            self._observer.joints = joints if weights.joint_names else self._observer.joints
        except MotoError as error:
            return str(error)
        return ""

    def _loaded(self, refusal: str) -> None:
        if refusal:
            self._refuse(refusal)
        elif self._actor.version != self._announced:
            self._refusal, self._announced = "", self._actor.version
            self._counts["weights_taken"] += 1
            if self._version is not None:
                message = PolicyVersion(version=self._announced)
                message.header.stamp = self.get_clock().now().to_msg()
                self._version.publish(message)
        self._acting.act()

    def _refuse(self, sentence: str) -> None:
        self._refusal = f"{sentence} (continues with version {self._actor.version})"
        self._counts["weights_refused"] += 1
        self.get_logger().error(self._refusal)
        self.diagnostics.publish()

    def report(self) -> NodeReport:
        """Return version, latencies, counts of what was not acted on, and the first problem."""
        age = self._policy_age() if self._actor.version else float("nan")
        acting = self._acting
        values: dict[str, object] = {"episode": acting.episode.episode, "step": acting.pace.sent}
        values |= {"policy_version": self._actor.version, "policy_age_s": age} | self._estimates
        values |= self._latency.figures("latency") | self._thinking.figures("act")
        values |= {f"observations_{name}": count for name, count in self._observer.counts.items()}
        values |= {**self._tally.figures(), **self._counts, **acting.counts, **acting.pace.counts}
        problems = self._observer.problems.sentences()[-1:]
        warnings = acting.warning, self._warning, self.health.sentence(), *problems, self._tally.sentence()
        warning = next((sentence for sentence in warnings if sentence), "")
        return NodeReport(values, warning=warning, error=self._refusal)

    def destroy_node(self) -> None:
        """Stop the threads, then the node."""
        for worker in (self._worker, self._planner):
            if worker is not None:
                worker.close()
        super().destroy_node()


def main() -> None:
    """Run the node's process."""
    sys.exit(process.run(PolicyNode))


if __name__ == "__main__":
    main()
