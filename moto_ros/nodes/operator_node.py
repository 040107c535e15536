"""The operator node: lets a person take over, press buttons and demonstrate; publishes the action to execute."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from geometry_msgs.msg import TwistStamped
from sensor_msgs.msg import CameraInfo, Joy
from std_srvs.srv import Trigger

from moto_msgs.msg import Action, EpisodeState, OperatorEvent, RobotState
from moto_ros.contract import topics
from moto_ros.contract.episodes import Phase, Purpose
from moto_ros.data.pairing import Pairing
from moto_ros.nodes.episode_actor import EpisodeActor, estimates_of
from moto_ros.ros import process, qos
from moto_ros.ros.convert import to_nanoseconds
from moto_ros.ros.diagnostics import NodeReport
from moto_ros.ros.discovery import Readiness
from moto_ros.ros.node import MotoNode
from moto_ros.teleop.buttons import EVENTS
from moto_ros.teleop.decider import Decided, Decider
from moto_ros.teleop.human import Human
from moto_ros.teleop.operator_settings import OperatorSettings
from moto_ros.teleop.uncertainty_guard import Verdict

PROPOSAL_TIMEOUT = 2.0
"""Seconds without a proposal after which the diagnostics say why nothing moves for a person in control."""

ANSWERS = {
    "start": "the next episode may begin",
    "success": "the episode is a success",
    "failure": "the episode has failed",
    "discard": "the episode is discarded",
    "ready": "the scene is prepared",
    "take_over": "the person is in control until operator/let_go",
    "let_go": "the policy is in control, unless a device is still moved",
    "stop": "the robot is told to stop; robot/recover ends it",
}


class OperatorNode(MotoNode[OperatorSettings]):
    """Arbitrates between policy and person: answers each proposal with the action to execute, with the same stamps.

    Without a policy (`proposals: none`) it acts on each new observation itself; this is how demonstrations are made.
    """

    def __init__(self, given: Mapping[str, Any] | None = None) -> None:
        """Create topics and services."""
        super().__init__("operator", OperatorSettings, given)
        self._human = Human(self.settings, self.settings.control_rate)
        self._decider = Decider(self.settings, self._human)
        self._counts: Counter[str] = Counter()
        self._phase = Phase.IDLE
        self._by = self._refusal = self._base = ""
        self._answered: Action | None = None
        self._verdict = Verdict.NONE
        self._estimates: dict[str, float] = {}
        self._last_message = time.monotonic()
        self._events = self.advertise(OperatorEvent, topics.OPERATOR_EVENT, qos.event())
        self._make_topics()
        for event in EVENTS:
            self.create_service(Trigger, topics.operator_service(event), partial(self._on_service, event))
        self._ready = Readiness(self, self.settings.wait_for)

    def _make_topics(self) -> None:
        settings = self.settings
        self.subscribe(Joy, settings.joy.topic, self._on_joy, qos.human())
        self.subscribe(TwistStamped, settings.twist.topic, self._on_twist, qos.human())
        self.subscribe(EpisodeState, topics.EPISODE_STATE, self._on_episode_state, qos.latched(10))
        self.subscribe(RobotState, topics.ROBOT_STATE, self._on_robot_state, qos.newest())
        if settings.proposals == "policy":
            profile = qos.action(settings.lockstep, settings.control_rate, settings.action_lifespan)
            self._actions = self.advertise(Action, topics.ACTION, profile)
            self.subscribe(Action, topics.PROPOSAL, self._on_proposal, qos.event())
        else:
            self._make_recording()

    def _make_recording(self) -> None:
        self._pairing = Pairing(self.settings)
        self._acting = EpisodeActor(self, self.settings, self._pairing, self, topics.ACTION)
        for camera in self.settings.cameras:
            # It has the stamp of its image, and none of its size.
            seen = partial(self._acting.on_observation, f"camera/{camera}")
            self.subscribe(CameraInfo, topics.camera_info(camera), seen, self._acting.frames)

    # The person's devices.

    def _on_joy(self, message: Joy) -> None:
        late = self._is_late(message, self.settings.joy.topic)
        pressed = self._human.joy(message.axes, message.buttons, time.monotonic(), late=late)
        for event in pressed:
            self._refusal = self._handle_event(event, "joy")
        self._moved()

    def _on_twist(self, message: TwistStamped) -> None:
        topic, frame = self.settings.twist.topic, message.header.frame_id
        known = ("", self._base, self.settings.twist.frame)
        if frame not in known:
            sentence = (
                f"{topic}: is in frame '{frame}', expected '{self._base}' or none; transform it, or set twist.frame"
            )
            self._human.refuse("other_frame", sentence)
        elif not self._is_late(message, topic):
            linear, angular = message.twist.linear, message.twist.angular
            parts = [linear.x, linear.y, linear.z], [angular.x, angular.y, angular.z]
            self._human.twist(*parts, time.monotonic())
            self._moved()

    def _is_late(self, message: Any, topic: str) -> bool:
        # The stamps of a device are not simulated time, and a world in lockstep waits: no message is late.
        stamp = 0 if self.simulated_time else to_nanoseconds(message.header.stamp)
        return bool(stamp) and self._human.is_late((self.now() - stamp) * 1e-9, topic)

    def _moved(self) -> None:
        self._note_control()
        if self.settings.proposals == "none":
            self._acting.act()

    def _note_control(self) -> None:
        """Publish an event when a person has taken over or let go."""
        by = self._human.control_source(time.monotonic())
        if bool(by) != bool(self._by):
            self._publish("take_over" if by else "let_go", by or self._by)
        self._by = by

    # Operator events.

    def _on_service(self, event: str, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        refusal = self._handle_event(event, "service")
        response.success, response.message = not refusal, refusal or ANSWERS[event]
        return response

    def _handle_event(self, event: str, source: str) -> str:
        """Publish an operator event; return why it is refused, or an empty string."""
        refusal = self._why_refused(event)
        if refusal:
            self._counts[f"refused_{event}"] += 1
            return refusal
        if event == "take_over":
            self._human.take_over()
        elif event == "let_go":
            self._human.let_go()
            self._decider.guard.begin()  # this answers a policy that has asked for help
        self._publish(event, source)
        self._by = self._human.control_source(time.monotonic())
        return ""

    def _why_refused(self, event: str) -> str:
        if event == "start" and self._phase is Phase.RUNNING:
            return "start: an episode runs already; end it first"
        if event in ("success", "failure") and self._phase is not Phase.RUNNING:
            return f"{event}: no episode runs; start one first"
        if event == "discard" and self._phase not in (Phase.RESETTING, Phase.RUNNING):
            return "discard: no episode runs; it can be discarded only before its end"
        return ""

    def _publish(self, event: str, source: str) -> None:
        message = OperatorEvent(event=EVENTS.index(event), source=source)
        message.header.stamp = self.get_clock().now().to_msg()
        self._events.publish(message)
        self._counts[event] += 1

    # The episode and the robot.

    def _on_episode_state(self, state: EpisodeState) -> None:
        self._phase, self._refusal = Phase(state.phase), ""
        if self._phase is Phase.ENDED:
            self._human.let_go()
            self._note_control()

    def _on_robot_state(self, message: RobotState) -> None:
        self._base = message.header.frame_id

    # With a policy: its proposals are answered.

    def _on_proposal(self, proposal: Action) -> None:
        self._last_message = time.monotonic()
        self._estimates = estimates_of(proposal)
        if self._answered is not None and _same(proposal, self._answered):
            # Resent since it was not executed: the same answer, with a new stamp.
            self._answered.header.stamp = proposal.header.stamp
            self._counts["answered_again"] += 1
            self._actions.publish(self._answered)
            return
        if proposal.step == 0:
            self._decider.begin()
        self._note_control()
        values = np.array(proposal.values, np.float32)
        if self._is_valid(values, proposal.step):
            decided = self._decider.answer(time.monotonic(), values, proposal.uncertainty_rank)
            self._answered = _filled(proposal, decided)
            self._actions.publish(self._answered)
            self._note_verdict(decided.verdict)

    def _is_valid(self, values: np.ndarray, step: int) -> bool:
        size = self.settings.action_size
        if values.shape == (size,) and np.isfinite(values).all():
            return True
        self._counts["refused_proposals"] += 1
        self._refusal = f"policy/proposal: step {step} is {values}, expected {size} finite numbers; fix its publisher"
        return False

    def _note_verdict(self, verdict: Verdict) -> None:
        """Log at once when the uncertainty guard begins to act."""
        if verdict is not Verdict.NONE and verdict is not self._verdict:
            self.get_logger().warning(self._decider.guard.sentence())
        self._verdict = verdict

    # Without a policy: the person's actions at the control rate.

    def handles(self, state: EpisodeState) -> bool:
        """Return whether a person acts in an episode: in all but those in which a policy resets the scene."""
        return bool(state.purpose != Purpose.RESET)

    def begin(self, state: EpisodeState) -> None:
        """Forget the last episode."""
        self._decider.begin()

    def decide(self, after: int, now: int | None) -> Action | None:
        """Return the person's action on a new observation; the first is not before the person moves."""
        self._note_control()
        if self.settings.wait_for_human and not self._acting.pace.sent and not self._by:
            self._acting.warning = "waits until a person moves, by joystick or twist"
            return None
        found = self._pairing.take(after, now)
        if found is None:
            return None
        stamps = [found[f"camera/{camera}"][0] for camera in self.settings.cameras]
        message = self._acting.stamped(stamps, found["state"][0])
        message.uncertainty = message.uncertainty_rank = float("nan")
        message.success_probability = message.edited = float("nan")
        return _filled(message, self._decider.demonstrate(time.monotonic()))

    # Diagnostics.

    def report(self) -> NodeReport:
        """Return who is in control, what the policy estimates, what each has decided, and why nothing moves."""
        values: dict[str, object] = {"in_control": self._by or "policy", **self._estimates}
        values |= {**self._decider.counts, **self._counts}
        values |= {f"guard_{name}": count for name, count in self._decider.guard.counts.items()} | self._human.counts
        warning = self._refusal or self._missing_proposals() or self._decider.guard.sentence() or self._human.refusal
        if self.settings.proposals == "none":
            values |= {"step": self._acting.pace.sent, **self._acting.counts, **self._acting.pace.counts}
            warning = self._acting.warning or warning
        return NodeReport(values, warning=warning or self.health.sentence())

    def _missing_proposals(self) -> str:
        waited = time.monotonic() - self._last_message
        if (
            self.settings.proposals == "none"
            or waited < PROPOSAL_TIMEOUT
            or not self._by
            or self._phase is not Phase.RUNNING
        ):
            return ""
        return (
            f"the person is in control, but the policy has proposed nothing for {waited:.0f} s, so nothing moves; see "
            "the policy node's diagnostics"
        )


def _same(one: Action, other: Action) -> bool:
    return (one.episode, one.step, one.state_stamp) == (other.episode, other.step, other.state_stamp)


def _filled(message: Action, decided: Decided) -> Action:
    """Fill in what was decided; all else stays: the uncertainty is the policy's, also in steps of the person."""
    message.values = decided.values
    message.source, message.guard = int(decided.source), int(decided.verdict)
    return message


def main() -> None:
    """Run the node's process."""
    sys.exit(process.run(OperatorNode))


if __name__ == "__main__":
    main()
