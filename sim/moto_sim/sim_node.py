"""The simulator node: replaces robot and cameras by a simulated world, with the same topics and services."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.task import Future
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_srvs.srv import Trigger

from moto_msgs.msg import Action, EpisodeState, OperatorEvent, Reward, RobotState
from moto_msgs.srv import ResetRobot
from moto_ros.contract import topics
from moto_ros.contract.stamps import FIRST_STAMP
from moto_ros.robot.command_checks import CommandChecks
from moto_ros.robot.standstill import Standstill
from moto_ros.ros import process, qos
from moto_ros.ros.convert import camera_info, image_message, jpeg_message, optical_frame, to_nanoseconds, to_time
from moto_ros.ros.diagnostics import NodeReport
from moto_ros.ros.discovery import Readiness
from moto_ros.ros.node import MotoNode
from moto_ros.ros.worker import Worker
from moto_sim.messages import robot_state
from moto_sim.plant import Body, Plant, SimObservation
from moto_sim.settings import SimSettings
from moto_sim.topics import EXPERT_ACTION

STOPPED = "the robot is stopped; call robot/recover"

CLOCK_PERIOD = 0.1
"""Seconds after which the time is published again while the world waits: for nodes that started later or missed it."""


class SimNode(MotoNode[SimSettings]):
    """Lockstep: only an action of the running episode moves the world, by one control period.

    The world's time is then the system's, `/clock`. Realtime: the world moves at the control rate, with the newest
    fresh action or, without one, holding still; all time is the computer's, and there is no `/clock`. Physics and
    rendering run on a worker thread, so that stop, recover and reset are always served.
    """

    def __init__(self, given: Mapping[str, Any] | None = None) -> None:
        """Create topics and services and begin to build the world."""
        super().__init__("sim", SimSettings, given)
        self._lockstep = self.settings.clock == "lockstep"
        self._checks = CommandChecks(0)
        self._body: Body | None = None
        self._mode, self._busy, self._episode = RobotState.MODE_IDLE, False, 0
        self._seen: SimObservation | None = None
        self._pending: Action | None = None
        self._moved = time.monotonic()
        self._time, self._steps = FIRST_STAMP, 0
        self._standstill = Standstill()
        self._make_topics()
        self._worker = Worker(self.mailbox, "world")
        self._worker.do(self._make_plant, self._on_plant)

    def _make_topics(self) -> None:
        settings = self.settings
        kind = CompressedImage if settings.compressed else Image
        image_topics = {camera: topics.camera_image(camera, settings.compressed) for camera in settings.cameras}
        self._images = {camera: self.advertise(kind, topic, qos.stream_out()) for camera, topic in image_topics.items()}
        self._calibrations = {
            c: self.advertise(CameraInfo, topics.camera_info(c), qos.stream_out()) for c in image_topics
        }
        self._states = self.advertise(RobotState, topics.ROBOT_STATE, qos.stream_out())
        self._rewards = self.advertise(Reward, topics.REWARD, qos.event())
        self._experts = self.advertise(Action, EXPERT_ACTION, qos.event()) if settings.expert else None
        self.subscribe(Action, topics.ACTION, self._on_action, qos.event())
        self.subscribe(EpisodeState, topics.EPISODE_STATE, self._on_episode_state, qos.latched())
        self.subscribe(OperatorEvent, topics.OPERATOR_EVENT, self._on_operator_event, qos.event())
        if self._lockstep:
            self._clock_topic = self.advertise(Clock, topics.CLOCK, qos.stream_out(1))
            self.create_timer(CLOCK_PERIOD, self._repeat_time)
        # A group of its own: while a reset waits for the world, all other callbacks must still run.
        alone = MutuallyExclusiveCallbackGroup()
        self.serve(ResetRobot, topics.ROBOT_RESET, self._reset, callback_group=alone)
        self.create_service(Trigger, topics.ROBOT_STOP, self._stop)
        self.create_service(Trigger, topics.ROBOT_RECOVER, self._recover)

    # The world, on its own thread.

    def _make_plant(self) -> Body:
        self._plant = Plant(self.settings, None if self._lockstep else self.now)
        return self._plant.body()

    def _on_plant(self, body: Body) -> None:
        self._body, self._checks = body, CommandChecks(body.action_size)
        self._infos = {c: camera_info(found, optical_frame(c)) for c, found in body.intrinsics.items()}
        if self._lockstep:
            self.create_timer(self.settings.action_timeout / 2, self._repeat)
        else:
            self.create_timer(1.0 / self.settings.control_rate, self._tick)
        self._ready = Readiness(self, self.settings.wait_for)

    def _move(self, job: Callable[[], SimObservation], then: Callable[[SimObservation], None]) -> None:
        self._busy = True
        self._worker.do(job, partial(self._on_moved, then))

    def _on_moved(self, then: Callable[[SimObservation], None], seen: SimObservation) -> None:
        self._busy, self._seen, self._moved = False, seen, time.monotonic()
        if self._lockstep:
            self._time = seen.stamp
            self._publish_time()  # before anything that is stamped with it
        then(seen)

    def _repeat_time(self) -> None:
        # Not before it is known that the domain has no other clock: a running system's time would jump back and forth.
        if self.alone and time.monotonic() - self._moved > CLOCK_PERIOD:
            self._publish_time()

    def _publish_time(self) -> None:
        self._clock_topic.publish(Clock(clock=to_time(self._time)))

    # Actions.

    def _on_action(self, action: Action) -> None:
        if not self._lockstep:
            self._pending = action
        elif not self._busy:
            self._execute(action)
        else:
            self._checks.counts["ignored_busy"] += 1

    def _execute(self, action: Action) -> bool:
        """Move with `action` if the checks admit it; return whether it does."""
        values = self._checks.admit(action.episode, action.step, action.values)
        if values is None:
            return False
        self._mode = RobotState.MODE_TRACK
        self._move(partial(self._plant.step, values), partial(self._on_step, action.episode, self._checks.step))
        return True

    def _on_step(self, episode: int, step: int, seen: SimObservation) -> None:
        self._publish(seen)
        snapshot = seen.snapshot
        message = Reward(episode=episode, step=step, value=float(snapshot.reward), success=bool(snapshot.success))
        message.header.stamp, message.source = to_time(seen.stamp), "task"
        self._rewards.publish(message)
        self._publish_expert(seen)

    def _tick(self) -> None:
        if self._busy:
            self._checks.counts["overruns"] += 1
            return
        action, self._pending = self._pending, None
        if action is None or not self._is_fresh(action) or not self._execute(action):
            self._checks.counts["ticks_held"] += self._checks.open
            idle = not self._checks.open and self._is_at_rest()
            self._mode = RobotState.MODE_IDLE if idle else RobotState.MODE_HOLD
            self._move(partial(self._plant.step, None), self._publish_held)

    def _is_at_rest(self) -> bool:
        seen = self._seen
        return seen is None or self._standstill.update(seen.snapshot.ee_position, seen.stamp)

    def _is_fresh(self, action: Action) -> bool:
        age = (self.now() - to_nanoseconds(action.header.stamp)) * 1e-9
        self._checks.counts["stale_actions"] += age > self.settings.action_lifespan
        return age <= self.settings.action_lifespan

    def _publish_held(self, seen: SimObservation) -> None:
        self._publish(seen)
        self._publish_expert(seen)

    def _repeat(self) -> None:
        """Lockstep: publish the last observation again, unchanged, for a node that has missed it."""
        waited = time.monotonic() - self._moved
        if self._seen is not None and self._checks.open and not self._busy and waited > self.settings.action_timeout:
            self._moved = time.monotonic()
            self._checks.counts["repeated"] += 1
            self._publish_held(self._seen)

    # Observations.

    def _publish(self, seen: SimObservation) -> None:
        stamp = to_time(seen.stamp)
        for camera, pixels in seen.frames.items():
            self._infos[camera].header.stamp = stamp
            self._calibrations[camera].publish(self._infos[camera])
            self._images[camera].publish(self._image(camera, pixels, stamp))
        self._publish_state(seen)

    def _image(self, camera: str, pixels: Any, stamp: Any) -> Any:
        if self.settings.compressed:
            return jpeg_message(pixels, stamp, optical_frame(camera), self.settings.jpeg_quality)
        return image_message(pixels, stamp, optical_frame(camera))

    def _publish_state(self, seen: SimObservation) -> None:
        stopped = self._checks.stopped
        mode = RobotState.MODE_STOPPED if stopped else self._mode
        joints = self._body.joint_names if self._body else ()
        message = robot_state(seen.snapshot, joints, to_time(seen.stamp), mode, stopped)
        message.episode, message.step = self._episode, self._checks.step
        self._states.publish(message)

    def _publish_expert(self, seen: SimObservation) -> None:
        """Publish what the expert would do now, stamped with what it saw."""
        if self._experts is None or seen.expert is None or not self._checks.open:
            return
        message = Action(episode=self._checks.episode, step=self._checks.step, cameras=list(seen.frames))
        message.header.stamp = message.state_stamp = to_time(seen.stamp)
        message.camera_stamps = [message.state_stamp] * len(seen.frames)
        message.values, message.source = seen.expert, Action.SOURCE_SCRIPT
        message.uncertainty = message.uncertainty_rank = float("nan")
        message.success_probability = message.edited = float("nan")
        self._experts.publish(message)

    # Episodes, stop and recover.

    def _on_episode_state(self, state: EpisodeState) -> None:
        if state.phase != EpisodeState.PHASE_ENDED or state.episode != self._episode:
            return
        self._steps = state.step
        if self._checks.open:
            self._checks.end()
            self._standstill.begin()

    async def _reset(self, request: ResetRobot.Request, response: ResetRobot.Response) -> ResetRobot.Response:
        if self._body is None or self._checks.stopped:
            response.message = STOPPED if self._checks.stopped else "the world is still being built; ask again"
            return response
        self._checks.end()
        self._mode, self._pending = RobotState.MODE_RESET, None
        done: Future = Future()
        self._move(partial(self._plant.reset, request.seed, self._steps), done.set_result)
        self._steps = 0
        seen = await done
        return self._on_reset(request, response, seen)

    def _on_reset(
        self, request: ResetRobot.Request, response: ResetRobot.Response, seen: SimObservation
    ) -> ResetRobot.Response:
        if self._checks.stopped:
            response.message = STOPPED
            return response
        self._checks.begin(request.episode)
        self._episode = request.episode
        self._mode = RobotState.MODE_IDLE
        response.success, response.stamp = True, to_time(seen.stamp)
        self._publish_held(seen)
        return response

    def _on_operator_event(self, message: OperatorEvent) -> None:
        if message.event == OperatorEvent.STOP:
            self._stop_now()

    def _stop(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._stop_now()
        response.success, response.message = True, "stopped; robot/recover ends it"
        return response

    def _stop_now(self) -> None:
        self._checks.stop(STOPPED)
        self._standstill.begin()
        self._pending = None
        if self._seen is not None:
            self._publish_state(self._seen)

    def _recover(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success, response.message = True, "recovered" if self._checks.stopped else "was not stopped"
        self._checks.recover()
        if self._seen is not None:
            self._publish_state(self._seen)
        return response

    def report(self) -> NodeReport:
        """Return the step, counts of rejected actions by reason, and whether the world waits."""
        waited = time.monotonic() - self._moved
        waits = self._lockstep and self._checks.open and not self._busy and waited > self.settings.action_timeout
        wait = f"waits for action {self._checks.step} of episode {self._checks.episode}" if waits else ""
        values = {"episode": self._checks.episode, "step": self._checks.step, **self._checks.counts}
        warning = self._checks.refusal or wait or self.health.sentence()
        return NodeReport(values, warning=warning, error=self._checks.stopped)

    def destroy_node(self) -> None:
        """Free the world on its thread, then the node."""
        self._worker.do(lambda: self._plant.close())
        self._worker.close()
        super().destroy_node()


def main() -> None:
    """Run the node's process."""
    sys.exit(process.run(SimNode))


if __name__ == "__main__":
    main()
