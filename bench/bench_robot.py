"""The arm on franky-sim: latency from target to first motion, and stopping distance after silence and after a stop.

Driver and safety thread run in this process, as in the robot node; no ROS, no camera. Commands at 10 Hz move the arm
along y at the maximum speed of the actions, then they end (the supervisor holds after two periods, and ends control
after `stop_after`), or the supervisor is stopped, or the driver brakes. Distances are of the end effector, from its
position at that event; speeds are those measured then. On a busy machine the simulated arm's clock falls behind, and
the same commands are faster for it: `arm_clock` is the arm's time over the system's, 1 on a real arm.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from result import write
from rich.console import Console
from rich.table import Table

from moto_ros.config import build, read_parameters, shipped, specs
from moto_ros.robot.franka_arm import FrankaArm
from moto_ros.robot.franka_settings import FrankaSettings
from moto_ros.robot.interface import ArmState, Control, Target
from moto_ros.robot.safety import Command, SafetySupervisor, SafetyThread

ADDRESS = "127.11.13.37"
RATE = 10.0
MOTION_TOLERANCE = 0.0002
"""m; a larger displacement from rest counts as motion."""

STANDSTILL_SPEED = 0.005
"""m/s below which the end effector stands."""

STEPS = (0.005, 0.01, 0.02)
"""Translation in one control step at action 1, m: 0.05, 0.1 and 0.2 m/s."""


@contextmanager
def simulated_arm() -> Iterator[None]:
    """Run franky-sim for the block."""
    command = [sys.executable, "-m", "moto_sim.franka_process", "--address", ADDRESS]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8", errors="replace"
    )
    assert process.stdout is not None
    process.stdout.readline()
    try:
        yield
    finally:
        process.terminate()
        process.wait(20)


def settings(step: float) -> FrankaSettings:
    """Return the shipped settings of franky-sim with another translation step."""
    values = read_parameters(shipped("robots", "franky_sim"), "franka")
    values |= {"host": ADDRESS, "translation_step": step, "control_rate": RATE}
    known = specs(FrankaSettings)
    return build(FrankaSettings, {name: value for name, value in values.items() if name in known}, "bench")


@contextmanager
def connected(step: float) -> Iterator[FrankaArm]:
    """Yield an arm."""
    arm = FrankaArm(settings(step))
    arm.connect()
    try:
        yield arm
    finally:
        arm.close()


def home(arm: FrankaArm, given: FrankaSettings) -> ArmState:
    """Move the arm home and wait until it stands."""
    arm.move_joints(np.array(given.home), 0.3, 60.0)
    return at_rest(arm)


def at_rest(arm: FrankaArm) -> ArmState:
    """Wait until the end effector has stood still for 0.1 s of the arm's time."""
    still = arm.state().sequence
    while True:
        state = arm.state()
        if np.linalg.norm(state.linear_velocity) > STANDSTILL_SPEED:
            still = state.sequence
        if state.sequence - still > 100:
            return state
        time.sleep(0.002)


def latency(arm: FrankaArm, given: FrankaSettings, tries: int) -> list[float]:
    """Return seconds from `follow` to the first measured motion, by the system clock."""
    found = []
    for number in range(tries):
        if number % 10 == 0:
            home(arm, given)
        arm.start(Control.CARTESIAN)
        time.sleep(0.3)
        state, begun = arm.state(), time.time_ns()
        offset = np.array([0.0, 0.02 if number % 2 else -0.02, 0.0])
        arm.follow(Target(position=state.position + offset, quaternion=state.quaternion))
        while np.linalg.norm(arm.state().position - state.position) < MOTION_TOLERANCE:
            time.sleep(0.0005)
        found.append((arm.state().stamp - begun) * 1e-9)
        arm.stop()
        at_rest(arm)
    return found


def event(arm: FrankaArm, given: FrankaSettings, trigger: Callable[[SafetyThread], None]) -> dict[str, float]:
    """Drive along y as a policy does, trigger an event, and return speed, stopping distance and stopping time."""
    begun = home(arm, given)
    safety = SafetyThread(SafetySupervisor(given, arm, begun))
    safety.begin(1)
    start, first = time.monotonic(), arm.state().sequence
    for step in range(12):
        safety.submit(Command(1, step, np.array([0.0, 1.0, 0.0, 0.0]), time.monotonic()))
        time.sleep(1.0 / RATE)
    before = arm.state()
    clock = 1e-3 * (before.sequence - first) / (time.monotonic() - start)
    trigger(safety)
    after = at_rest(arm)
    safety.close()
    seconds = 1e-3 * (after.sequence - before.sequence - 100)
    way = float(np.linalg.norm(after.position - before.position))
    speed = float(np.linalg.norm(before.linear_velocity))
    return {"speed_m_s": speed, "way_mm": 1e3 * way, "seconds": seconds, "arm_clock": clock}


EVENTS: dict[str, Callable[[FrankaArm], Callable[[SafetyThread], None]]] = {
    "silence": lambda arm: lambda safety: None,
    "stop": lambda arm: lambda safety: safety.stop("bench"),
    "brake of the driver": lambda arm: lambda safety: arm.stop(),
}
"""Events while the arm moves, by name."""


def measure(tries: int) -> dict[str, dict[str, float]]:
    """Return all figures."""
    results: dict[str, dict[str, float]] = {}
    with simulated_arm():
        with connected(STEPS[0]) as arm:
            found = np.percentile(latency(arm, settings(STEPS[0]), tries), (50, 95, 99)) * 1e3
            results["target to first motion"] = {
                f"p{q}_ms": float(ms) for q, ms in zip((50, 95, 99), found, strict=True)
            }
        for step in STEPS:
            with connected(step) as arm:
                for name, make in EVENTS.items():
                    results[f"{name} at {step * RATE:g} m/s"] = event(arm, settings(step), make(arm))
    return results


def show(results: dict[str, dict[str, float]]) -> None:
    """Print a table."""
    table = Table("what", "figure", "value", title="arm and guard on franky-sim, without camera and ROS")
    for what, figures in results.items():
        for name, value in figures.items():
            table.add_row(what, name, f"{value:.3g}")
    Console().print(table)


def main() -> int:
    """Print the table and the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tries", type=int, default=50, help="motions to take the latency from")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    results: Any = measure(options.tries)
    show(results)
    write(results, options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
