"""Two cameras at 30 Hz: frames lost, from stamp to arrival in another process, processor time; then a recorder on top.

The camera node runs as a process of its own on the synthetic cameras of the real SDK, 640x480. The second part records
them raw, with robot states at 50 Hz, as on a robot: whatever the recorder does not get on disk is counted.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from result import write
from rich.console import Console
from rich.table import Table
from sensor_msgs.msg import Image

from moto_msgs.msg import CameraHealth, EpisodeBag, EpisodeState, RobotState
from moto_ros.camera.pattern import read_number
from moto_ros.config import write_parameters
from moto_ros.contract import topics
from moto_ros.data.bag_files import read_messages
from moto_ros.data.decode import decode_rgb
from moto_ros.data.definitions import embedded_type
from moto_ros.data.layout import Problems
from moto_ros.ros import qos
from moto_ros.ros.convert import to_nanoseconds, to_time
from moto_ros.systems.transport import environment

CAMERAS = ("wrist", "front")
RATE = 30.0
STATE_RATE = 50.0
START = 60.0
"""Seconds that the cameras may take until they are healthy."""


class Watcher(Node):
    """Subscribes to both cameras as a policy does, and counts frames."""

    def __init__(self, images: bool) -> None:
        """Subscribe to the health of the cameras and, if `images`, to every frame."""
        super().__init__("bench")
        self.delays: list[float] = []
        self.numbers: dict[str, list[int]] = {camera: [] for camera in CAMERAS}
        self.health: dict[str, CameraHealth] = {}
        self.bags: list[EpisodeBag] = []
        for camera in CAMERAS:
            self.create_subscription(CameraHealth, topics.camera_health(camera), self._said, qos.latched())
            if images:
                self.create_subscription(Image, topics.camera_image(camera), self._saw(camera), qos.every())
        self.create_subscription(EpisodeBag, topics.EPISODE_BAG, self.bags.append, qos.latched())
        self.states = self.create_publisher(RobotState, topics.ROBOT_STATE, qos.stream_out())
        self.episode = self.create_publisher(EpisodeState, topics.EPISODE_STATE, qos.latched())
        self.states_sent = 0

    def _said(self, message: CameraHealth) -> None:
        self.health[message.camera] = message

    def _saw(self, camera: str) -> Any:
        def saw(message: Image) -> None:
            self.delays.append((time.time_ns() - to_nanoseconds(message.header.stamp)) * 1e-6)
            pixels = np.frombuffer(message.data, np.uint8).reshape(message.height, message.width, 3)
            self.numbers[camera].append(read_number(pixels))

        return saw

    def healthy(self) -> bool:
        """Whether both cameras report that they are healthy."""
        return len(self.health) == len(CAMERAS) and all(message.healthy for message in self.health.values())

    def totals(self) -> dict[str, int]:
        """Return the totals reported by both cameras: frames sent, lost, late, and times opened again."""
        keys = ("frames", "lost", "late", "reconnects")
        return {key: sum(getattr(message, key) for message in self.health.values()) for key in keys}

    def state(self) -> None:
        """Publish one robot state."""
        message = RobotState(joint_names=[f"joint{n}" for n in range(7)])
        message.joint_position = message.joint_velocity = message.joint_effort = [0.0] * 7
        message.header.stamp = to_time(time.time_ns())
        self.states.publish(message)
        self.states_sent += 1

    def phase(self, phase: int, outcome: int = EpisodeState.OUTCOME_NONE) -> None:
        """Publish the episode's state."""
        message = EpisodeState(phase=phase, episode=1, purpose=EpisodeState.PURPOSE_TRAINING, outcome=outcome)
        message.header.stamp = to_time(time.time_ns())
        self.episode.publish(message)


def spin(node: Node, executor: SingleThreadedExecutor, seconds: float, done: Any = None) -> bool:
    """Spin until `done` holds or `seconds` are over; return whether it holds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and not (done is not None and done()):
        executor.spin_once(timeout_sec=0.05)
    return bool(done is not None and done())


@contextmanager
def process(folder: Path, node: str, parameters: dict[str, Any]) -> Iterator[psutil.Process]:
    """Run a node as a process of its own."""
    path = folder / f"{node}.yaml"
    write_parameters(path, f"/{node}", parameters)
    command = [sys.executable, "-m", f"moto_ros.nodes.{node}_node", "--ros-args", "--params-file", str(path)]
    variables = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, env=variables, stdout=subprocess.DEVNULL) as started:
        try:
            yield psutil.Process(started.pid)
        finally:
            started.terminate()
            started.wait(20)


def cameras(folder: Path) -> Any:
    """Return the camera node's process."""
    return process(folder, "camera", {"cameras": CAMERAS, "devices": ("synthetic-1", "synthetic-2"), "rate": (RATE,)})


def used(process: psutil.Process) -> float:
    """Return the processor time of a process in s."""
    times = process.cpu_times()
    return float(times.user + times.system)


@contextmanager
def watcher(images: bool) -> Iterator[tuple[Watcher, SingleThreadedExecutor]]:
    """Run this process's node."""
    node, executor = Watcher(images), SingleThreadedExecutor()
    executor.add_node(node)
    yield node, executor
    executor.shutdown(timeout_sec=1.0)
    node.destroy_node()


def settle(node: Watcher, executor: SingleThreadedExecutor, readers: int) -> None:
    """Wait until both cameras are healthy and the recorder, if there is one, listens."""

    def settled() -> bool:
        return node.healthy() and node.states.get_subscription_count() >= readers

    if not spin(node, executor, START, settled):
        raise RuntimeError(f"the cameras are not healthy: {[message.reason for message in node.health.values()]}")
    spin(node, executor, 1.5)


def watch(folder: Path, seconds: float) -> dict[str, float]:
    """Return the figures of two cameras that one process reads."""
    with cameras(folder) as camera, watcher(images=True) as (node, executor):
        settle(node, executor, 0)
        for numbers in node.numbers.values():
            numbers.clear()
        node.delays.clear()
        before, said, start = used(camera), node.totals(), time.monotonic()
        spin(node, executor, seconds)
        passed, spent = time.monotonic() - start, used(camera) - before
        spin(node, executor, 1.5)
        figures = {f"camera_{key}": float(value - said[key]) for key, value in node.totals().items()}
        received = list(node.numbers.values())
        delays = dict(zip(("p50", "p95", "p99"), np.percentile(node.delays, [50, 95, 99]).tolist(), strict=True))
    figures |= {f"arrival_ms_{name}": value for name, value in delays.items()}
    missing = float(sum(map(gaps, received)))
    return figures | {
        "received": float(sum(map(len, received))),
        "missing": missing,
        "cpu_percent": 100 * spent / passed,
    }


def gaps(numbers: list[int]) -> int:
    """Return how many frames are missing in a row of frame numbers."""
    return numbers[-1] - numbers[0] + 1 - len(numbers)


def record(folder: Path, seconds: float) -> dict[str, float]:
    """Return the figures of a recorder of two raw cameras and 50 Hz states."""
    recorder = process(folder, "recorder", {"bags": str(folder / "bags"), "cameras": CAMERAS, "pre_roll": 0.0})
    with cameras(folder) as camera, recorder as writer, watcher(images=False) as (node, executor):
        settle(node, executor, 1)
        before, start = (used(camera), used(writer)), time.monotonic()
        episode(node, executor, seconds)
        passed = time.monotonic() - start
        spent = used(camera) - before[0], used(writer) - before[1]
        if not spin(node, executor, 60.0, lambda: node.bags):
            raise RuntimeError("the recorder has not closed its bag")
    figures = on_disk(Path(node.bags[0].uri)) | {"complete": float(node.bags[0].complete)}
    figures["states_missing"] = node.states_sent - figures.pop("states")
    shares = {"camera_cpu_percent": 100 * spent[0] / passed, "recorder_cpu_percent": 100 * spent[1] / passed}
    figures["megabytes_per_s"] = figures.pop("megabytes") / passed
    return figures | shares


def episode(node: Watcher, executor: SingleThreadedExecutor, seconds: float) -> None:
    """Record an episode of this many seconds, with states at their rate."""
    node.phase(EpisodeState.PHASE_RESETTING)
    node.phase(EpisodeState.PHASE_RUNNING)
    spin(node, executor, 0.5)
    timer = node.create_timer(1.0 / STATE_RATE, node.state)
    spin(node, executor, seconds)
    timer.cancel()
    spin(node, executor, 0.5)
    node.phase(EpisodeState.PHASE_ENDED, EpisodeState.OUTCOME_SUCCESS)


def on_disk(bag: Path) -> dict[str, float]:
    """Count what a bag holds: states, frames by the numbers that they show, and bytes."""
    numbers: dict[str, list[int]] = {}
    states = 0
    for topic, _, data in read_messages(bag, Problems()):
        states += topic.name.endswith(topics.ROBOT_STATE)
        if topic.type_name == "sensor_msgs/msg/Image":
            message = embedded_type(topic.type_name, topic.definition).deserialize_cdr(data, topic.type_name)
            numbers.setdefault(topic.name, []).append(read_number(decode_rgb(message)))
    frames, missing = sum(map(len, numbers.values())), sum(map(gaps, numbers.values()))
    size = sum(path.stat().st_size for path in bag.iterdir())
    return {"states": states, "frames": frames, "frames_missing": missing, "megabytes": size / 1e6}


def show(results: dict[str, dict[str, float]]) -> None:
    """Print a table."""
    title = f"{len(CAMERAS)} synthetic cameras, 640x480 raw at {RATE:g} Hz, through librealsense and ROS"
    table = Table("what", "figure", "value", title=title)
    for part, figures in results.items():
        for name, value in figures.items():
            table.add_row(part, name, f"{value:.2f}")
    Console().print(table)


def main() -> int:
    """Print the table and the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=300.0, help="length of the camera part")
    parser.add_argument("--record", type=float, default=30.0, help="length of the recorder part in s")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    os.environ.update(environment())
    rclpy.init()
    with tempfile.TemporaryDirectory() as name:
        results = {"cameras": watch(Path(name), options.seconds), "recorder": record(Path(name), options.record)}
    rclpy.try_shutdown()
    show(results)
    write(results, options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
