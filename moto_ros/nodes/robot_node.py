"""The robot node: an arm under its safety supervisor, with the topics and services of the contract."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future as Done
from functools import partial
from typing import Any

import numpy as np
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.task import Future
from std_srvs.srv import Trigger

from moto_msgs.msg import Action, CameraHealth, EpisodeState, OperatorEvent, RobotState
from moto_msgs.srv import ResetRobot
from moto_ros.contract import topics
from moto_ros.contract.stamps import NSEC_PER_SEC
from moto_ros.robot.arms import make_arm
from moto_ros.robot.camera_watchdog import CameraWatchdog
from moto_ros.robot.robot import ResetJob, Robot
from moto_ros.robot.safety import ArmReading, Command
from moto_ros.robot.settings import RobotNodeSettings, robot_settings
from moto_ros.ros import process, qos
from moto_ros.ros.convert import to_nanoseconds, to_time
from moto_ros.ros.diagnostics import NodeReport
from moto_ros.ros.discovery import Readiness
from moto_ros.ros.node import MotoNode
from moto_ros.ros.robot_message import robot_state

STOPPED = "the robot is stopped; call robot/recover"
UNCONNECTED = "the robot is still being connected; ask again"

REPEAT_PERIOD = 0.1
"""Seconds after which a state is published again although the arm has measured nothing new."""

START_PERIOD = 0.1
"""Seconds between two checks whether the arm may be connected."""

ANSWER_FRACTION = 0.9
"""Share of a time-out after which an answer is given in any case, so that it arrives in time."""


class RobotNode(MotoNode[RobotNodeSettings]):
    """Messages in, calls of `Robot`, messages out; waits and the safety supervisor have threads of their own there."""

    def __init__(self, given: Mapping[str, Any] | None = None) -> None:
        """Check the settings, create topics and services; the arm is connected once the node runs alone."""
        super().__init__("franka", robot_settings, given)
        self.refuse_simulated_time()
        arm = make_arm(self.settings.arm, self.settings)
        self._robot = Robot(self.settings, self.settings, arm, self.get_logger(), self._crashed)
        self._cameras = CameraWatchdog(self.settings.cameras, self.settings.health_timeout, time.monotonic())
        self._published: ArmReading | None = None
        self._published_at = 0.0
        self._ready: Readiness | None = None
        self._make_topics()
        self._start = self.create_timer(START_PERIOD, self._connect)

    def _make_topics(self) -> None:
        self._states = self.advertise(RobotState, topics.ROBOT_STATE, qos.stream_out())
        self.subscribe(Action, topics.ACTION, self._on_action, qos.event())
        self.subscribe(EpisodeState, topics.EPISODE_STATE, self._on_episode_state, qos.latched())
        self.subscribe(OperatorEvent, topics.OPERATOR_EVENT, self._on_operator_event, qos.event())
        for camera in self.settings.cameras:
            self.subscribe(CameraHealth, topics.camera_health(camera), self._on_camera_health, qos.latched())
        # Groups of their own: while one waits for its answer, everything else must still be received.
        self.serve(ResetRobot, topics.ROBOT_RESET, self._reset, callback_group=MutuallyExclusiveCallbackGroup())
        self.create_service(Trigger, topics.ROBOT_STOP, self._stop)
        self.create_service(
            Trigger, topics.ROBOT_RECOVER, self._recover, callback_group=MutuallyExclusiveCallbackGroup()
        )
        self.create_timer(1.0 / self.settings.state_rate, self._publish)

    def _connect(self) -> None:
        """Connect once no other system is found: connecting may clear a fault and home the gripper of an arm in use."""
        if self.alone:
            self._start.cancel()
            self._robot.connect().add_done_callback(lambda done: self.mailbox.post(partial(self._connected, done)))

    def _connected(self, done: Done[None]) -> None:
        done.result()
        self.get_logger().info(f"arm {self.settings.arm}: connected with the {self.settings.title}")
        self._ready = Readiness(self, self.settings.wait_for)

    def _crashed(self, error: Exception) -> None:
        self.mailbox.post(partial(_raise, error))

    # States.

    def _publish(self) -> None:
        """Publish a new measurement, or a new mode or fault."""
        seen, now = self._robot.reading, time.monotonic()
        if seen is None:
            return
        self._robot.safety.request_hold(self._cameras.hold_reason(now))
        if self._published is None or _differs(seen, self._published) or now - self._published_at > REPEAT_PERIOD:
            self._published, self._published_at = seen, now
            self._states.publish(robot_state(seen, self._robot.joint_names, self.settings.base_frame))

    # Messages in.

    def _on_action(self, action: Action) -> None:
        age = (self.now() - to_nanoseconds(action.header.stamp)) / NSEC_PER_SEC
        values = np.array(action.values, np.float64)
        self._robot.submit(Command(action.episode, action.step, values, time.monotonic() - age, action.source))

    def _on_episode_state(self, state: EpisodeState) -> None:
        if state.phase == EpisodeState.PHASE_ENDED and self._robot.connected:
            self._robot.safety.end(state.episode)

    def _on_operator_event(self, message: OperatorEvent) -> None:
        if message.event == OperatorEvent.STOP:
            self._robot.stop(STOPPED)
        elif message.event == OperatorEvent.READY:
            self._robot.ready()

    def _on_camera_health(self, message: CameraHealth) -> None:
        fault = "" if message.healthy else message.reason or "unhealthy; see its diagnostics"
        self._cameras.on_state(time.monotonic(), message.camera, fault)
        if self._robot.connected:
            self._robot.safety.request_hold(self._cameras.hold_reason(time.monotonic()))

    # Services.

    def _stop(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._robot.stop(STOPPED)
        response.success = self._robot.connected
        response.message = "stopped; robot/recover ends it" if response.success else UNCONNECTED
        return response

    async def _reset(self, request: ResetRobot.Request, response: ResetRobot.Response) -> ResetRobot.Response:
        timeout = ANSWER_FRACTION * (request.timeout or self.settings.reset_timeout)
        job = ResetJob(request.episode, request.seed)
        late = f"robot/reset: not done within {timeout:.1f} s; see robot/state, give it more time or speed"
        response.message = await self._answer(
            lambda: self._robot.reset(job), timeout, late, lambda: self._robot.cancel(job, late)
        )
        response.success, response.stamp = not response.message, to_time(self.now())
        return response

    async def _recover(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        was = self._robot.safety.stop_or_fault if self._robot.connected else ""
        timeout = self.settings.recover_timeout
        late = f"robot/recover: not done within {timeout:g} s; see robot/state, or call again"
        why = await self._answer(self._robot.recover, timeout, late, lambda: None)
        response.success = not why
        response.message = why or ("recovered" if was else "was not stopped")
        return response

    async def _answer(
        self, begin: Callable[[], Done[str]], timeout: float, late: str, expire: Callable[[], None]
    ) -> str:
        """Return a job's answer; `late`, after `expire` was called, where it takes more than `timeout` seconds."""
        if not self._robot.connected:
            return UNCONNECTED
        answer: Future = Future()

        def give(found: str) -> None:
            if not answer.done():
                answer.set_result(found)

        def expired() -> None:
            if not answer.done():
                give(self._robot.waits_for or late)
                expire()

        timer = self.create_timer(timeout, expired)
        begin().add_done_callback(lambda done: self.mailbox.post(lambda: give(done.result())))
        found: str = await answer
        self.destroy_timer(timer)
        return found

    def report(self) -> NodeReport:
        """Return counts of executed and rejected actions, and the stop, the fault or the reason to hold, if any."""
        robot = self._robot
        if not robot.connected:
            return NodeReport({"arm": self.settings.title}, warning=robot.waits_for)
        safety = robot.safety
        hold_reason = self._cameras.hold_reason(time.monotonic())
        values = {"mode": safety.reading.mode.name.lower(), **robot.figures()}
        warning = hold_reason or robot.waits_for or safety.refusal or self.health.sentence()
        return NodeReport(values, warning=warning, error=safety.stop_or_fault)

    def destroy_node(self) -> None:
        """Stop the arm and disconnect, then destroy the node."""
        self._robot.close()
        super().destroy_node()


def _differs(seen: ArmReading, published: ArmReading) -> bool:
    new = seen.state.stamp > published.state.stamp
    return new or seen.mode is not published.mode or seen.fault != published.fault


def _raise(error: Exception) -> None:
    raise error


def main() -> None:
    """Run the node's process."""
    sys.exit(process.run(RobotNode))


if __name__ == "__main__":
    main()
