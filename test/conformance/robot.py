"""The robot side under test, in processes of its own, and a peer that commands it as policy and episode node do."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_srvs.srv import Trigger
from support.graph import PATIENCE, Graph, ros_graph

from conformance.world import World
from moto_msgs.msg import Action, EpisodeState, Reward, RobotState
from moto_msgs.srv import ResetRobot
from moto_ros.contract import topics
from moto_ros.ros import qos
from moto_ros.ros.convert import to_nanoseconds, to_time
from moto_ros.systems.bringup import resolve

NAMESPACE = "conformance"
SETTLED = 0.002
"""Speed of the hand that counts as standing still, m/s."""

SETTLING, ATTEMPTS = 40, 4

START_TIME = 90.0
"""Seconds until a robot side must answer its first reset."""


class Robot:
    """Receives all messages of a robot side; sends it resets and actions."""

    def __init__(self, world: World, graph: Graph) -> None:
        """Subscribe to every topic of the contract."""
        self.world, self.graph = world, graph
        self.peer = graph.peer("policy")
        kind = CompressedImage if world.compressed else Image
        self.states: list[RobotState] = self.peer.hear(RobotState, topics.ROBOT_STATE, qos.every())
        self.rewards: list[Reward] = self.peer.hear(Reward, topics.REWARD, qos.event())
        image_topics = {camera: topics.camera_image(camera, world.compressed) for camera in world.cameras}
        self.images = {camera: self.peer.hear(kind, topic, qos.every()) for camera, topic in image_topics.items()}
        self.infos = {c: self.peer.hear(CameraInfo, topics.camera_info(c), qos.every()) for c in world.cameras}
        self._actions = self.peer.node.create_publisher(Action, topics.ACTION, qos.event())
        self._episodes = self.peer.node.create_publisher(EpisodeState, topics.EPISODE_STATE, qos.latched())
        self.number, self.step = 0, 0

    # Received.

    @property
    def state(self) -> RobotState:
        """Return the newest state."""
        return self.states[-1]

    def fresh(self) -> RobotState:
        """Return a state that was measured from now on."""
        now = time.time_ns()
        self.graph.until(lambda: self.states and stamp(self.state) >= now, "a new robot state")
        return self.state

    def position(self) -> np.ndarray:
        """Return the newest hand position (3,) m."""
        return position_of(self.fresh())

    def until(self, condition: Callable[[], Any], what: str, timeout: float = PATIENCE) -> None:
        """Spin until `condition` holds."""
        self.graph.until(condition, f"{what} ({self.world.name})", timeout)

    # Sent.

    def call(self, service: str) -> Trigger.Response:
        """Call stop or recover."""
        return self.peer.call(Trigger, service)

    def reset(self, number: int | None = None, timeout: float = 20.0) -> ResetRobot.Response:
        """Ask for a reset and return the answer."""
        fields = {"episode": self.number if number is None else number, "seed": 1, "timeout": timeout}
        return self.peer.call(ResetRobot, topics.ROBOT_RESET, **fields)

    def begin(self) -> None:
        """Reset, after clearing a stop that a failed test has left, and publish that the next episode is running.

        On a busy machine a simulated arm may halt for so long that its driver rightly reports it as lost: then it is
        recovered and reset again, as an operator would do.
        """
        self.number, self.step = self.number + 1, 0
        if self.states and self.state.mode == RobotState.MODE_STOPPED:
            self.call(topics.ROBOT_RECOVER)
        answer = self.reset()
        if not answer.success and self.state.mode == RobotState.MODE_FAULT:
            self.until(lambda: self.call(topics.ROBOT_RECOVER).success, "the recovery")
            answer = self.reset()
        assert answer.success, answer.message
        self._publish_episode(EpisodeState.PHASE_RUNNING, start=answer.stamp)
        self.until(lambda: stamp(self.fresh()) > to_nanoseconds(answer.stamp), "a state after the reset")

    def end(self) -> None:
        """Publish that the episode has ended."""
        self._publish_episode(EpisodeState.PHASE_ENDED, outcome=EpisodeState.OUTCOME_ABORTED)

    def _publish_episode(self, phase: int, **fields: Any) -> None:
        purpose = EpisodeState.PURPOSE_TRAINING
        self._episodes.publish(EpisodeState(episode=self.number, phase=phase, purpose=purpose, **fields))

    def send(
        self,
        values: Sequence[float],
        step: int | None = None,
        number: int | None = None,
        age: float = 0,
        session: int = 0,
    ) -> None:
        """Send one action, `age` seconds old and for the newest observation, without waiting."""
        action = Action(session=session, episode=self.number if number is None else number)
        action.values = [float(v) for v in values]
        action.step = self.step if step is None else step
        action.header.stamp = to_time(time.time_ns() - round(age * 1e9))
        action.cameras, action.state_stamp = list(self.world.cameras), self.state.header.stamp
        action.camera_stamps = [self.images[camera][-1].header.stamp for camera in self.world.cameras]
        self._actions.publish(action)

    def act(self, values: Sequence[float]) -> None:
        """Send the next action and wait until the robot has taken it."""
        due = self.step + 1
        self.send(values)
        self.until(lambda: self.taken() >= due, f"action {self.step} to be taken", timeout=10.0)
        self.step = due

    def taken(self) -> int:
        """Return how many actions of this episode the robot side reports as taken."""
        return int(self.state.step) if self.state.episode == self.number else 0

    def drive(self, values: Sequence[float], steps: int) -> None:
        """Send the same action `steps` times, once per control period."""
        begun = time.monotonic()
        for k in range(steps):
            self.act(values)
            self.graph.spin(max(0.0, begun + (k + 1) * self.world.period - time.monotonic()))

    def settle(self) -> None:
        """Send still actions until the hand stands still, which takes longer in a simulation that cannot keep up."""
        for _ in range(SETTLING):
            first = len(self.states)
            self.drive(self.still(), 5)
            if max(float(np.linalg.norm(velocity_of(state))) for state in self.states[first:]) < SETTLED:
                return
        raise AssertionError(f"{self.world.name}: the hand still moves after {5 * SETTLING} still actions")

    def moved(self, action: Sequence[float], steps: int) -> np.ndarray:
        """Return how far the hand moves, (3,) in m, by `steps` actions, once it has settled.

        On a busy machine actions may arrive too late; the robot then rightly holds and drops the rest of the motion.
        Such an attempt is repeated in a new episode.
        """
        for _ in range(ATTEMPTS):
            self.settle()
            first, before = len(self.states), self.position()
            self.drive(action, steps)
            self.settle()
            held = any(state.mode != RobotState.MODE_TRACK for state in self.states[first:])
            if not (held and self.world.forgets):
                return self.position() - before
            self.begin()
        raise AssertionError(f"{self.world.name}: never followed {steps} actions in a row without a hold")

    def still(self) -> list[float]:
        """Return the action that moves nothing."""
        return [0.0] * self.world.action_size

    def along(self, axis: int, value: float = 1.0) -> list[float]:
        """Return the action that moves along one axis."""
        return [value * float(entry == axis) for entry in range(self.world.action_size)]


def stamp(message: Any) -> int:
    """Return a message's stamp in nanoseconds."""
    return to_nanoseconds(message.header.stamp)


def position_of(state: RobotState) -> np.ndarray:
    """Return the hand's position (3,) m."""
    point = state.ee_pose.position
    return np.array([point.x, point.y, point.z])


def velocity_of(state: RobotState) -> np.ndarray:
    """Return the hand's velocity (3,) m/s."""
    linear = state.ee_twist.linear
    return np.array([linear.x, linear.y, linear.z])


@contextlib.contextmanager
def robot_side(world: World, folder: Path) -> Iterator[Robot]:
    """Start a robot side's processes as a launch file would, and a peer; stop both."""
    with _processes(world, folder), ros_graph(["--ros-args", "-r", f"__ns:=/{NAMESPACE}"]) as graph:
        robot = Robot(world, graph)
        end = time.monotonic() + START_TIME
        while not (answer := robot.reset(number=0)).success:
            assert time.monotonic() < end, f"{world.name} is not ready: {answer.message}"
            graph.spin(0.5)
        robot.until(lambda: all(robot.images.values()), "a frame of every camera", START_TIME)
        yield robot


@contextlib.contextmanager
def _processes(world: World, folder: Path) -> Iterator[None]:
    more = {"wait_for": "['']", "session": "0"} | world.parameters
    overrides = " ".join(f'"{name}:={value}"' for name, value in more.items())
    arguments = world.arguments | {"run": str(folder), "namespace": NAMESPACE, "parameters": overrides}
    system = resolve("evaluate", arguments)
    system.write_parameters()
    started = []
    for process in (process for process in system.processes if process.node in world.nodes):
        process.check(system.agent)
        output = (folder / f"{process.node}.log").open("w")
        variables = {**os.environ, **system.environment, "OMP_NUM_THREADS": "1"}
        command = process.command(NAMESPACE)
        started.append(subprocess.Popen(command, shell=True, env=variables, stdout=output, stderr=subprocess.STDOUT))
    try:
        yield
    finally:
        _stop(started)


def _stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.send_signal(signal.SIGTERM)
    for process in processes:
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
