"""The robot: an arm behind its guard, as the topics and services of the contract."""

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
from moto_ros.robot.arms import make_arm
from moto_ros.robot.camera_watchdog import CameraWatchdog
from moto_ros.robot.robot import ResetJob, Robot
from moto_ros.robot.safety import ArmReading, Command
from moto_ros.robot.settings import RobotNodeSettings, robot_settings
from moto_ros.ros import process, qos
from moto_ros.ros.convert import SECOND, to_nanoseconds, to_time
from moto_ros.ros.diagnostics import NodeReport
from moto_ros.ros.discovery import Ready
from moto_ros.ros.node import MotoNode
from moto_ros.ros.robot_message import robot_state

STOPPED = "the robot is stopped; call robot/recover"
UNCONNECTED = "the robot is still being connected; ask again"

REPEAT = 0.1
"""Seconds after which a state is said again although the arm has measured nothing new."""

START_PERIOD = 0.1
"""Seconds between two looks whether the arm may be connected."""

IN_TIME = 0.9
"""Share of a time-out after which an answer is given in any case, so that it arrives by then."""


class RobotNode(MotoNode[RobotNodeSettings]):
    """Messages in, calls of `Robot`, messages out: whatever waits or guards has threads of its own there."""

    def __init__(self, given: Mapping[str, Any] | None = None) -> None:
        """Check the settings, create topics and services; the arm is connected once the node runs alone."""
        super().__init__("franka", robot_settings, given)
        self.refuse_simulated_time()
        arm = make_arm(self.settings.arm, self.settings)
        self._robot = Robot(self.settings, self.settings, arm, self.tell, self._crashed)
        self._sight = CameraWatchdog(self.settings.cameras, self.settings.health_timeout, time.monotonic())
        self._said: ArmReading | None = None
        self._said_at = 0.0
        self._ready: Ready | None = None
        self._make_topics()
        self._start = self.create_timer(START_PERIOD, self._connect)

    def _make_topics(self) -> None:
        self._states = self.advertise(RobotState, topics.ROBOT_STATE, qos.stream_out())
        self.subscribe(Action, topics.ACTION, self._acted, qos.event())
        self.subscribe(EpisodeState, topics.EPISODE_STATE, self._episode_changed, qos.latched())
        self.subscribe(OperatorEvent, topics.OPERATOR_EVENT, self._operator_said, qos.event())
        for camera in self.settings.cameras:
            self.subscribe(CameraHealth, topics.camera_health(camera), self._camera_said, qos.latched())
        # Groups of their own: while one waits for its answer, everything else must still be heard.
        self.serve(ResetRobot, topics.ROBOT_RESET, self._reset, callback_group=MutuallyExclusiveCallbackGroup())
        self.create_service(Trigger, topics.ROBOT_STOP, self._stop)
        self.create_service(
            Trigger, topics.ROBOT_RECOVER, self._recover, callback_group=MutuallyExclusiveCallbackGroup()
        )
        self.create_timer(1.0 / self.settings.state_rate, self._publish)

    def _connect(self) -> None:
        """Connect once no other system was met: this alone may clear a fault and home the gripper of another's arm."""
        if self.alone:
            self._start.cancel()
            self._robot.connect().add_done_callback(lambda done: self.mailbox.post(partial(self._connected, done)))

    def _connected(self, done: Done[None]) -> None:
        done.result()
        self.tell(f"arm {self.settings.arm}: connected with the {self.settings.title}")
        self._ready = Ready(self, self.settings.wait_for)

    def _crashed(self, error: Exception) -> None:
        self.mailbox.post(partial(_raise, error))

    # States.

    def _publish(self) -> None:
        """Say what is new: a measurement, or what the guard makes of it."""
        seen, now = self._robot.seen, time.monotonic()
        if seen is None:
            return
        self._robot.guard.hinder(self._sight.hindrance(now))
        if self._said is None or _differs(seen, self._said) or now - self._said_at > REPEAT:
            self._said, self._said_at = seen, now
            self._states.publish(robot_state(seen, self._robot.joint_names, self.settings.base_frame))

    # What others say.

    def _acted(self, action: Action) -> None:
        age = (self.now() - to_nanoseconds(action.header.stamp)) / SECOND
        values = np.array(action.values, np.float64)
        self._robot.submit(Command(action.episode, action.step, values, time.monotonic() - age, action.source))

    def _episode_changed(self, state: EpisodeState) -> None:
        if state.phase == EpisodeState.PHASE_ENDED and self._robot.connected:
            self._robot.guard.end(state.episode)

    def _operator_said(self, message: OperatorEvent) -> None:
        if message.event == OperatorEvent.STOP:
            self._robot.stop(STOPPED)
        elif message.event == OperatorEvent.READY:
            self._robot.ready()

    def _camera_said(self, message: CameraHealth) -> None:
        trouble = "" if message.healthy else message.reason or "not healthy; see its diagnostics"
        self._sight.on_state(time.monotonic(), message.camera, trouble)
        if self._robot.connected:
            self._robot.guard.hinder(self._sight.hindrance(time.monotonic()))

    # Services.

    def _stop(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._robot.stop(STOPPED)
        response.success = self._robot.connected
        response.message = "stopped; robot/recover ends it" if response.success else UNCONNECTED
        return response

    async def _reset(self, request: ResetRobot.Request, response: ResetRobot.Response) -> ResetRobot.Response:
        timeout = IN_TIME * (request.timeout or self.settings.reset_timeout)
        job = ResetJob(request.episode, request.seed)
        late = f"robot/reset: not done within {timeout:.1f} s; see robot/state, give it more time or speed"
        response.message = await self._answer(
            lambda: self._robot.reset(job), timeout, late, lambda: self._robot.cancel(job, late)
        )
        response.success, response.stamp = not response.message, to_time(self.now())
        return response

    async def _recover(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        was = self._robot.guard.trouble if self._robot.connected else ""
        timeout = self.settings.recover_timeout
        late = f"robot/recover: still at it after {timeout:g} s; see robot/state, or call again"
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
                give(self._robot.waits or late)
                expire()

        timer = self.create_timer(timeout, expired)
        begin().add_done_callback(lambda done: self.mailbox.post(lambda: give(done.result())))
        found: str = await answer
        self.destroy_timer(timer)
        return found

    def report(self) -> NodeReport:
        """Return what was executed, what was not and why, and what lasts: a stop, a fault, a hindrance."""
        robot = self._robot
        if not robot.connected:
            return NodeReport({"arm": self.settings.title}, warning=robot.waits)
        guard = robot.guard
        hindrance = self._sight.hindrance(time.monotonic())
        values = {"mode": robot.guard.seen.mode.name.lower(), **robot.figures()}
        warning = hindrance or robot.waits or guard.refusal or self.health.sentence()
        return NodeReport(values, warning=warning, error=guard.trouble)

    def destroy_node(self) -> None:
        """Stop the arm and let go of it, then free the node."""
        self._robot.close()
        super().destroy_node()


def _differs(seen: ArmReading, said: ArmReading) -> bool:
    new = seen.state.stamp > said.state.stamp
    return new or seen.mode is not said.mode or seen.fault != said.fault


def _raise(error: Exception) -> None:
    raise error


def main() -> None:
    """Run the node's process."""
    sys.exit(process.run(RobotNode))


if __name__ == "__main__":
    main()
