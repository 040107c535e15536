"""The control loop on franky-sim: latency from camera to action to first motion, and jitter of the control tick.

Driver, cameras, rewards, episodes, recorder and policy node run as processes, as in a run; this process arbitrates, and
replaces the untrained policy's actions by a pattern of motion and standstill, so that each motion has a beginning.
Measured at 10 and 20 Hz, with learning idle and busy (endless updates of the quick preset, as nice as the trainer).
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from bench_ros import Trainer
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from result import write
from rich.console import Console
from rich.table import Table

from moto_msgs.msg import Action, RobotState
from moto_ros.contract import topics
from moto_ros.ros import qos
from moto_ros.ros.convert import to_nanoseconds, to_time
from moto_ros.systems.bringup import resolve
from moto_ros.systems.transport import environment

NODES = ("franka_server", "franka", "camera", "reward", "recorder", "episode", "policy")
RATES = (10.0, 20.0)
MOVING, STILL = 0.3, 0.7
"""Seconds of each part of the pattern."""

MOTION_TOLERANCE = 0.0005
"""m; a larger displacement from rest counts as motion."""

MAX_JITTER = 0.1
"""Maximum 99th percentile of the tick's jitter while learning is busy, in control periods."""

NANO = 1e-9


class Arbiter(Node):
    """Answers each proposal with the pattern's action of the same stamps, and stores the times."""

    def __init__(self, rate: float) -> None:
        super().__init__("operator")
        self._rate, self._direction = rate, 1.0
        self.sent: list[tuple[int, int, int]] = []  # episode, stamp of the proposal, oldest camera stamp
        self.begun: list[int] = []  # stamps of the actions that begin to move the arm
        self.seen: list[tuple[int, np.ndarray]] = []
        self._actions = self.create_publisher(Action, topics.ACTION, qos.event())
        self.create_subscription(Action, topics.PROPOSAL, self._proposed, qos.event())
        self.create_subscription(RobotState, topics.ROBOT_STATE, self._state, qos.every())

    def _state(self, state: RobotState) -> None:
        point: Any = state.ee_pose.position
        self.seen.append((to_nanoseconds(state.header.stamp), np.array([point.x, point.y, point.z])))

    def _proposed(self, proposal: Action) -> None:
        stamp = to_nanoseconds(proposal.header.stamp)
        self.sent.append((proposal.episode, stamp, min(map(to_nanoseconds, proposal.camera_stamps))))
        turn = round((MOVING + STILL) * self._rate)
        # The first turn of an episode stands still: the arm has just been reset.
        turns, place = divmod(proposal.step, turn)
        moves = turns > 0 and place < round(MOVING * self._rate)
        if moves and place == 0:
            self._direction = -self._direction
            self.begun.append(time.time_ns())
        proposal.values = [0.0, self._direction * float(moves), 0.0, 0.0]
        proposal.header.stamp = to_time(time.time_ns())
        self._actions.publish(proposal)

    def figures(self) -> dict[str, float]:
        """Return the percentiles of all that was measured, in ms."""
        seeing = [(stamp - camera) * NANO for _, stamp, camera in self.sent]
        ticks = [b[1] - a[1] for a, b in itertools.pairwise(self.sent) if a[0] == b[0]]
        jitter = [abs(tick * NANO - 1 / self._rate) for tick in ticks]
        found: dict[str, float] = {"actions": len(self.sent), "motions": len(self.begun)}
        measured = {"camera_to_action": seeing, "tick_jitter": jitter, "action_to_motion": self._motions()}
        for name, values in measured.items():
            found |= {f"{name}_p{q}_ms": 1000 * float(np.percentile(values or [np.nan], q)) for q in (50, 95, 99)}
        return found

    def _motions(self) -> list[float]:
        """Return seconds from each action that begins a motion to the first measurement of it."""
        stamps = np.array([stamp for stamp, _ in self.seen])
        places = np.array([place for _, place in self.seen])
        found = []
        for begun in self.begun:
            start = int(np.searchsorted(stamps, begun))
            window = places[start : start + 200]
            if not len(window):
                continue
            moved = np.flatnonzero(np.linalg.norm(window - window[:1], axis=1) > MOTION_TOLERANCE)
            if len(moved):
                found.append((int(stamps[start + moved[0]]) - begun) * NANO)
        return found


@contextlib.contextmanager
def running(commands: Sequence[str], variables: dict[str, str]) -> Iterator[None]:
    """Run shell commands for the block."""
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    started = [subprocess.Popen(f"exec {c}", shell=True, env=os.environ | variables, **quiet) for c in commands]
    try:
        yield
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait(20)


def loop(rate: float, seconds: float, busy: bool) -> dict[str, float]:
    """Return the figures of one rate, with or without learning beside."""
    steps = round(seconds * rate)
    settings = f"control_rate:={rate} max_steps:={steps} success_steps:=0 automatic_episodes:=1 policy.checkpoint:=''"
    # A step of 2 cm at 10 Hz and of 1 cm at 20 Hz: the same speed.
    # All wait for each other except for the operator, which is this process: a reset requested too early is lost.
    peers = f"wait_for:=[{','.join(NODES)}] policy.operator_in_loop:=true step_timeout:=60.0"
    more = f"session:=0 franka.translation_step:={0.2 / rate} {peers}"
    with tempfile.TemporaryDirectory() as folder:
        given = {"backend": "franka_sim", "run": folder, "namespace": "bench", "parameters": f"{settings} {more}"}
        system = resolve("evaluate", given)
        system.write_parameters()
        chosen = [process for process in system.processes if process.node in NODES]
        parameters = {process.node: dict(process.parameters) for process in chosen}
        updates = Path(__file__).with_name("bench_learning.py")
        learning = [f"nice -n 10 {sys.executable} {updates} --presets moto_quick --seconds 9999"]
        commands = [process.command("bench").removeprefix("exec ") for process in chosen]
        with running(commands + learning * busy, {**system.environment, "OMP_NUM_THREADS": "1"}):
            return measured(rate, steps, parameters["policy"], 60.0 + 2 * seconds)


def measured(rate: float, steps: int, policy: dict[str, Any], timeout: float) -> dict[str, float]:
    """Arbitrate until `steps` actions were answered, or for `timeout` seconds; return the figures."""
    rclpy.init(args=["--ros-args", "-r", "__ns:=/bench"])
    arbiter, executor, end = Arbiter(rate), SingleThreadedExecutor(), time.monotonic() + timeout
    trainer = Trainer(policy)
    for node in (arbiter, trainer):
        executor.add_node(node)
    while len(arbiter.sent) < steps and time.monotonic() < end:
        executor.spin_once(timeout_sec=0.2)
    executor.shutdown()
    for node in (arbiter, trainer):
        node.destroy_node()
    rclpy.try_shutdown()
    return arbiter.figures()


def show(results: dict[str, dict[str, float]]) -> None:
    """Print a table and the verdict on the tick."""
    names_ = ("camera_to_action", "action_to_motion", "tick_jitter")
    columns = ("loop", "actions", "motions", *(f"{name.replace('_', ' ')}, ms" for name in names_))
    table = Table(*columns, title="the loop on franky-sim, p50 / p95 / p99")
    for loop_, found in results.items():
        cells = [" / ".join(f"{found[f'{name}_p{q}_ms']:.1f}" for q in (50, 95, 99)) for name in names_]
        table.add_row(loop_, f"{found['actions']:.0f}", f"{found['motions']:.0f}", *cells)
    Console().print(table)
    for loop_, found in results.items():
        allowed = 1000 * MAX_JITTER / found["rate"]
        verdict = "within" if found["tick_jitter_p99_ms"] <= allowed else "NOT within"
        print(f"{loop_}: tick jitter p99 {found['tick_jitter_p99_ms']:.1f} ms is {verdict} a tenth of the period")


def main() -> int:
    """Print the table and the JSON; return 1 when nothing was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="length of each measurement")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    os.environ.update(environment())
    results = {}
    for rate, busy in itertools.product(RATES, (False, True)):
        title = f"{rate:g} Hz, learning {'busy' if busy else 'idle'}"
        results[title] = loop(rate, options.seconds, busy) | {"rate": rate}
    show(results)
    write(results, options.json)
    return int(not all(found["actions"] for found in results.values()))


if __name__ == "__main__":
    sys.exit(main())
