"""The episode node: resets the robot, starts and ends episodes, counts their steps, waits for their bags."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any

from rclpy.task import Future

from moto_msgs.msg import Action, CameraHealth, EpisodeBag, EpisodeState, OperatorEvent, Reward, RobotState
from moto_msgs.srv import EndEpisode, ResetRobot, StartEpisode
from moto_ros.contract import topics
from moto_ros.contract.episodes import EpisodeStatus, Outcome, Purpose, Request
from moto_ros.episode.episode_machine import ROBOT, EpisodeMachine
from moto_ros.episode.series import EpisodeSeries
from moto_ros.episode.settings import EpisodeSettings
from moto_ros.errors import MotoError
from moto_ros.ros import process, qos
from moto_ros.ros.convert import to_nanoseconds, to_time
from moto_ros.ros.diagnostics import NodeReport
from moto_ros.ros.discovery import Readiness
from moto_ros.ros.node import MotoNode
from moto_ros.training.statistics import wilson

TICK_PERIOD = 0.05
"""Seconds between two checks of the deadlines."""


class EpisodeNode(MotoNode[EpisodeSettings]):
    """Shell of `EpisodeMachine`: topics and services in, state and reset requests out."""

    def __init__(self, given: Mapping[str, Any] | None = None) -> None:
        """Create topics and services and begin to wait for the peers."""
        super().__init__("episode", EpisodeSettings, given)
        self._machine = EpisodeMachine(self.settings, self)
        self._series = EpisodeSeries(self.settings)
        self._born = self._began = time.monotonic()
        self._return, self._solved, self._reward_stamp = 0.0, False, 0
        self._waits, self._failed_resets = "", 0
        self._pending: Future | None = None
        self._state = self.advertise(EpisodeState, topics.EPISODE_STATE, qos.latched())
        self._reset = self.client(ResetRobot, topics.ROBOT_RESET)
        self._subscribe()
        self.serve(StartEpisode, topics.EPISODE_START, self._start)
        self.serve(EndEpisode, topics.EPISODE_END, self._end, by_hand=True)
        self.create_timer(TICK_PERIOD, self._tick)
        self.announce(self._machine.status)
        self._ready = Readiness(self, self.settings.wait_for)

    def _subscribe(self) -> None:
        self.subscribe(Reward, topics.REWARD, self._on_reward, qos.event())
        self.subscribe(Action, topics.ACTION, self._on_action, qos.event())
        self.subscribe(RobotState, topics.ROBOT_STATE, self._on_robot_state, qos.newest())
        self.subscribe(EpisodeBag, topics.EPISODE_BAG, self._on_bag, qos.latched())
        self.subscribe(OperatorEvent, topics.OPERATOR_EVENT, self._on_operator_event, qos.event())
        for camera in self.settings.cameras:
            self.subscribe(CameraHealth, topics.camera_health(camera), self._on_camera, qos.latched(10))

    # Topics and services in.

    def _on_reward(self, message: Reward) -> None:
        if self._machine.counts(message.episode, message.step):
            self._return += message.value
            self._solved |= message.success
        self._reward_stamp = to_nanoseconds(message.header.stamp)
        self._machine.reward(time.monotonic(), message.episode, message.step, message.success, message.terminal)

    def _on_action(self, message: Action) -> None:
        self._machine.action(message.episode, message.step)

    def _on_robot_state(self, message: RobotState) -> None:
        if message.mode == RobotState.MODE_RESET:
            return  # being reset: neither a fault nor recovered
        stopped = message.mode == RobotState.MODE_STOPPED
        bad = stopped or message.mode == RobotState.MODE_FAULT
        sentence = (message.fault or "the robot was stopped; call robot/recover") if bad else ""
        self._machine.fault(time.monotonic(), ROBOT, sentence, final=stopped)

    def _on_camera(self, message: CameraHealth) -> None:
        reason = message.reason or f"camera {message.camera} is unhealthy; see its diagnostics"
        self._machine.fault(time.monotonic(), f"camera {message.camera}", "" if message.healthy else reason)

    def _on_operator_event(self, message: OperatorEvent) -> None:
        if message.event == OperatorEvent.START:
            self._machine.operator_start(time.monotonic())
        elif message.event == OperatorEvent.DISCARD:
            reason = f"discarded by the operator ({message.source or 'unnamed'})"
            self._machine.end(time.monotonic(), Outcome.DISCARDED, reason)

    def _on_bag(self, message: EpisodeBag) -> None:
        self._machine.saved(time.monotonic(), message.episode, message.complete, message.message)

    def _start(self, request: StartEpisode.Request, response: StartEpisode.Response) -> StartEpisode.Response:
        response.message = self._missing() or self._refuse(request)
        response.accepted = not response.message
        return response

    def _refuse(self, request: StartEpisode.Request) -> str:
        try:
            purpose = Purpose(request.purpose)
        except ValueError:
            return f"purpose {request.purpose} is unknown, expected one of EpisodeState.PURPOSE_*"
        wanted = Request(request.episode, purpose, request.seed, request.max_steps, request.arm, request.arm_reason)
        return self._machine.request(time.monotonic(), wanted)

    def _end(self, request: EndEpisode.Request, response: EndEpisode.Response) -> EndEpisode.Response:
        try:
            outcome = Outcome(request.outcome)
        except ValueError:
            outcome = Outcome.NONE
        response.message = self._machine.end(time.monotonic(), outcome, request.reason)
        response.success = not response.message
        return response

    # What the episode machine calls.

    def announce(self, status: EpisodeStatus) -> None:
        """Publish the state of the episode."""
        message = EpisodeState(episode=status.episode, purpose=int(status.purpose), phase=int(status.phase))
        message.step, message.outcome, message.reason = status.step, int(status.outcome), status.reason
        message.arm, message.arm_reason = status.arm, status.arm_reason
        message.header.stamp = to_time(self.now(status.start, self._reward_stamp))
        message.start = to_time(status.start)
        self._state.publish(message)

    def reset(self, request: Request) -> None:
        """Ask the robot to reset, without waiting."""
        self._return, self._solved, self._began = 0.0, False, time.monotonic()
        timeout = self.settings.reset_limit
        call = ResetRobot.Request(episode=request.episode, seed=request.seed, timeout=timeout)
        self._pending = self._reset.call_async(call)
        self._pending.add_done_callback(lambda done: self._was_reset(request.episode, done))

    def _was_reset(self, episode: int, done: Future) -> None:
        if self._pending is None or done is not self._pending:
            return  # the answer to an attempt given up before
        answer, now = done.result(), time.monotonic()
        if answer.success:
            self._machine.reset_done(now, episode, to_nanoseconds(answer.stamp))
        else:
            self._machine.reset_failed(now, episode, answer.message)

    def finished(self, status: EpisodeStatus, problem: str) -> None:
        """Log the result of the episode, and count it."""
        success = self._solved or status.outcome is Outcome.SUCCESS
        self.get_logger().info(self._line(status, problem, success))
        if status.purpose is Purpose.RESET:
            self._failed_resets += not success
        elif self._series.wanted:
            self._series.finished(status, problem, success)

    def _line(self, status: EpisodeStatus, problem: str, success: bool) -> str:
        word = "success" if success else "no success"
        took = time.monotonic() - self._began
        by = f" by {status.arm}" if status.arm_reason else ""  # an agent with one arm has no choice to report
        line = f"{status.purpose.name.lower()} episode {status.episode}{by}: {word}, {status.step} steps, "
        line += f"return {self._return:g}, {took:.1f} s ({status.outcome.name.lower()})"
        return "; ".join(part for part in (line, status.reason, problem) if part)

    # Time.

    def _tick(self) -> None:
        self._machine.tick(time.monotonic())
        self._log_wait()
        if not self._series.wanted or self._machine.busy:
            return
        if self._series.over:
            success = wilson(self._series.successes, self._series.done).percent()
            self.get_logger().info(f"{self._series.done} episodes done, {self._series.successes} successful: {success}")
            raise process.Finished(0)
        self._run_next()

    def _log_wait(self) -> None:
        """Log once what the episode waits for, since a person may have to act."""
        waits = self._machine.waits_for or self._machine.paused
        if waits and waits != self._waits:
            self.get_logger().warning(waits)
        self._waits = waits

    def _run_next(self) -> None:
        missing = self._missing()
        if not missing:
            self._machine.request(time.monotonic(), self._series.next())
        elif time.monotonic() - self._born > self.settings.ready_timeout:
            raise MotoError(f"{self.get_fully_qualified_name()}: {missing}")

    def _missing(self) -> str:
        absent = set(self.settings.wait_for) - {self.get_name()} - self._ready.ready_nodes()
        if absent:
            return f"not ready: {', '.join(sorted(absent))}; start them, or see their diagnostics"
        return self._ready.waits_for

    def report(self) -> NodeReport:
        """Return phase, step and who is missing."""
        status = self._machine.status
        values = {"phase": status.phase.name.lower(), "episode": status.episode, "step": status.step}
        values["failed_scene_resets"] = self._failed_resets
        waits = self._machine.waits_for or self._machine.paused
        return NodeReport(values, warning=self._missing() or waits or status.reason or self.health.sentence())


def main() -> None:
    """Run the node's process."""
    sys.exit(process.run(EpisodeNode))


if __name__ == "__main__":
    main()
