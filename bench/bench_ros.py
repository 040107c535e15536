"""The ROS graph in lockstep: steps a second, and how long an action takes from the image it is computed from.

Simulator, episode node and recorder run as processes of their own, as in a run. The policy is a constant one in this
process (the loop's own cost), then the policy node with the default preset and fresh weights.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from result import write
from rich.console import Console
from rich.table import Table
from sensor_msgs.msg import Image

from moto_msgs.msg import Action, EpisodeState, PolicyWeights, Reward, RobotState
from moto_ros.agents.registry import make_agent
from moto_ros.config import build
from moto_ros.contract import topics
from moto_ros.nodes.learning_settings import agent_part, policy_settings, spaces_of
from moto_ros.policy.latency import Latency
from moto_ros.ros import qos
from moto_ros.ros.convert import to_bytes, to_nanoseconds
from moto_ros.ros.discovery import Readiness
from moto_ros.systems.bringup import resolve
from moto_ros.systems.transport import environment
from moto_ros.training.settings import agent_digest
from moto_ros.training.weights import pack

TARGET = 60.0
"""Lockstep steps a second that the loop must reach with a constant policy."""

SIDE = ("sim", "recorder", "episode")


class Clock(Node):
    """Times the rewards of each episode, and the way from action to next complete observation."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.first: dict[int, tuple[float, int]] = {}
        self.last: dict[int, tuple[float, int]] = {}
        self.done: set[int] = set()
        self.figures: dict[str, float] = {}
        self.create_subscription(Reward, topics.REWARD, self._reward, qos.event())
        self.create_subscription(EpisodeState, topics.EPISODE_STATE, self._state, qos.latched(10))
        self.create_subscription(DiagnosticArray, topics.DIAGNOSTICS, self._diagnosed, qos.event())

    def _reward(self, message: Reward) -> None:
        here = (time.monotonic(), message.step)
        self.first.setdefault(message.episode, here)
        self.last[message.episode] = here

    def _state(self, message: EpisodeState) -> None:
        if message.phase == EpisodeState.PHASE_ENDED:
            self.done.add(message.episode)

    def _diagnosed(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name.endswith("/policy"):
                pairs = {pair.key: pair.value for pair in status.values}
                self.figures |= {key: float(value) for key, value in pairs.items() if key.endswith("_ms")}

    def steps_per_second(self) -> float:
        """Return the rate over all episodes, without resets."""
        steps = sum(self.last[n][1] - self.first[n][1] for n in self.last)
        seconds = sum(self.last[n][0] - self.first[n][0] for n in self.last)
        return steps / seconds if seconds else 0.0


class ConstantPolicy(Clock):
    """Answers each complete observation at once with the same action; stands in for the policy node."""

    def __init__(self, wait_for: list[str]) -> None:
        super().__init__("policy")
        self.latency = Latency()
        self._images, self._states = Seen(), Seen()
        self._episode, self._sent, self._answered = EpisodeState(), 0, -1
        self._actions = self.create_publisher(Action, topics.ACTION, qos.event())
        self.create_subscription(Image, topics.camera_image("agent"), self._images.take, qos.every())
        self.create_subscription(RobotState, topics.ROBOT_STATE, self._states.take, qos.every())
        self._images.then = self._states.then = self._act
        self._ready = Readiness(self, wait_for)

    def _state(self, message: EpisodeState) -> None:
        super()._state(message)
        if message.phase == EpisodeState.PHASE_RESETTING:
            self._sent = 0
        self._episode = message
        self._act()

    def _act(self) -> None:
        stamp = self._images.stamp
        running = self._episode.phase == EpisodeState.PHASE_RUNNING
        if not running or stamp != self._states.stamp or stamp == self._answered:
            return
        if stamp < to_nanoseconds(self._episode.start):
            return
        action = Action(episode=self._episode.episode, step=self._sent, cameras=["agent"], values=[0.0] * 4)
        action.state_stamp = self._states.time
        action.camera_stamps = [self._images.time]
        self._actions.publish(action)
        self.latency.add(time.monotonic() - max(self._images.arrived, self._states.arrived))
        self._sent, self._answered = self._sent + 1, stamp


class Seen:
    """The newest message of a topic: its stamp, and when it arrived."""

    def __init__(self) -> None:
        self.stamp, self.arrived, self.time = 0, 0.0, None
        self.then: Callable[[], None] = lambda: None

    def take(self, message: Any) -> None:
        """Store a message."""
        self.time, self.stamp = message.header.stamp, to_nanoseconds(message.header.stamp)
        self.arrived = time.monotonic()
        self.then()


class Trainer(Clock):
    """Gives the policy node fresh weights of the preset."""

    def __init__(self, parameters: dict[str, Any]) -> None:
        super().__init__("trainer")
        settings = build(policy_settings({}), parameters, "bench")
        agent = make_agent("moto", spaces_of(settings), agent_part(settings), 0)
        data, sha256 = pack(agent)
        self._weights = self.create_publisher(PolicyWeights, topics.POLICY_WEIGHTS, qos.latched())
        message = PolicyWeights(version=1, agent="moto", digest=agent_digest(agent_part(settings)), sha256=sha256)
        message.data = to_bytes(data)
        self._weights.publish(message)
        self.megabytes = len(data) / 1e6


@contextlib.contextmanager
def processes(folder: Path, nodes: tuple[str, ...], overrides: str) -> Iterator[dict[str, dict[str, Any]]]:
    """Run nodes of the system `evaluate` as processes; yield their parameters by node."""
    system = resolve("evaluate", {"run": str(folder), "namespace": "bench", "parameters": overrides})
    system.write_parameters()
    chosen = [process for process in system.processes if process.node in nodes]
    variables = {**os.environ, **system.environment, "OMP_NUM_THREADS": "1"}
    started = [
        subprocess.Popen(process.command("bench"), shell=True, env=variables, stdout=subprocess.DEVNULL)
        for process in chosen
    ]
    try:
        yield {process.node: dict(process.parameters) for process in chosen}
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait(20)


def spin(node: Clock, episodes: int, timeout: float = 300.0) -> None:
    """Spin `node` until this many episodes have ended."""
    executor, end = SingleThreadedExecutor(), time.monotonic() + timeout
    executor.add_node(node)
    while len(node.done) < episodes and time.monotonic() < end:
        executor.spin_once(timeout_sec=0.2)
    executor.shutdown()


def lockstep(make: Callable[[dict[str, dict[str, Any]]], Clock], nodes: tuple[str, ...], episodes: int) -> Clock:
    """Measure the loop with the node that `make` returns from the processes' parameters."""
    settings = (
        f"session:=0 automatic_episodes:={episodes} episode.wait_for:=[sim,recorder,policy] policy.checkpoint:=''"
    )
    overrides = f"{settings} sim.wait_for:=[recorder,episode,policy] recorder.wait_for:=[sim,episode,policy]"
    with tempfile.TemporaryDirectory() as name, processes(Path(name), nodes, overrides) as parameters:
        rclpy.init(args=["--ros-args", "-r", "__ns:=/bench"])
        node = make(parameters)
        spin(node, episodes)
        node.destroy_node()
        rclpy.try_shutdown()
    return node


def measure(episodes: int) -> dict[str, dict[str, float]]:
    """Return all figures by loop."""
    constant = lockstep(lambda _: ConstantPolicy([*SIDE]), SIDE, episodes)
    results = {"constant policy": {"steps_per_s": constant.steps_per_second()}}
    if isinstance(constant, ConstantPolicy):
        results["constant policy"] |= constant.latency.figures("action")
    trainer = lockstep(lambda p: Trainer(p["policy"]), (*SIDE, "policy"), episodes)
    results["policy node, quick preset"] = {"steps_per_s": trainer.steps_per_second(), **trainer.figures}
    return results


def show(results: dict[str, dict[str, float]]) -> None:
    """Print a table."""
    title = f"ROS loop in lockstep, 64 px, simulator and recorder included (target {TARGET:g} steps/s)"
    table = Table("loop", "figure", "value", title=title)
    for loop, figures in results.items():
        for name, value in figures.items():
            table.add_row(loop, name, f"{value:.2f}")
    Console().print(table)


def main() -> int:
    """Print the table and the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--episodes", type=int, default=5, help="episodes for each loop")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    os.environ.update(environment())
    results = measure(options.episodes)
    show(results)
    write(results, options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
