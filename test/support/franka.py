"""A Franka arm on a simulated server, with the settings that are shipped for it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from moto_ros.config import build, read_parameters, shipped, specs
from moto_ros.robot.franka_arm import FrankaArm
from moto_ros.robot.franka_settings import FrankaSettings
from moto_ros.robot.interface import ArmFault, ArmState, Control, Target
from support.franky_server import FrankyServer

HOME = np.array([0.0, -0.785398, 0.0, -2.356194, 0.0, 1.570796, 0.785398])
TICK = 0.005
"""Seconds between targets of the safety thread."""


def robot_settings(address: str, **changed: Any) -> FrankaSettings:
    """Return the settings for franky-sim on `address`, some changed (dots in names as two underscores)."""
    values = read_parameters(shipped("robots", "franky_sim"), "franka")
    values |= {"host": address} | {name.replace("__", "."): value for name, value in changed.items()}
    known = specs(FrankaSettings)
    return build(FrankaSettings, {name: value for name, value in values.items() if name in known}, "test")


@contextlib.contextmanager
def franka_arm(server: FrankyServer, **changed: Any) -> Iterator[FrankaArm]:
    """Yield a connected arm; closed afterwards."""
    arm = FrankaArm(robot_settings(server.address, **changed))
    arm.connect()
    try:
        yield arm
    finally:
        arm.close()


def at_home(arm: FrankaArm) -> ArmState:
    """Bring the arm to its start pose, and return its state there."""
    arm.move_joints(HOME, 0.5, 60.0)
    at_rest(arm)
    return arm.state()


def at_rest(arm: FrankaArm, timeout: float = 30.0) -> ArmState:
    """Wait until no joint moves; return the state."""
    end = time.monotonic() + timeout
    while np.abs(arm.state().joint_velocity).max() > 0.005:
        assert time.monotonic() < end, "the arm does not come to rest"
        time.sleep(0.01)
    return arm.state()


def pause(arm: FrankaArm, seconds: float) -> ArmState:
    """Wait by the arm's own clock, which is slower than ours where the machine is busy; return the state."""
    begun, end = arm.state().sequence, time.monotonic() + 20.0 + 20.0 * seconds
    while arm.state().sequence - begun < 1000 * seconds:
        assert time.monotonic() < end, "the simulated arm hardly moves on; the machine is too busy"
        time.sleep(TICK)
    return arm.state()


def in_control(arm: FrankaArm, control: Control) -> ArmState:
    """Start control, give it time to begin, and return the state."""
    arm.start(control)
    return pause(arm, 0.3)


def follow(arm: FrankaArm, target: Callable[[float], Target], seconds: float) -> None:
    """Send targets as the safety thread does: `target(share)` of the passed share of the arm's time, 0 to 1."""
    start = arm.state().sequence
    while (passed := 1e-3 * (arm.state().sequence - start)) < seconds:
        arm.follow(target(passed / seconds))
        time.sleep(TICK)
    arm.follow(target(1.0))


def along_x(state: ArmState, distance: float) -> Callable[[float], Target]:
    """Return a straight way from `state` along x, m."""
    way = np.array([distance, 0.0, 0.0])
    return lambda share: Target(position=state.position + share * way, quaternion=state.quaternion)


def fault_of(arm: FrankaArm, timeout: float) -> tuple[ArmFault, float]:
    """Wait for the fault that `state` raises; return it and after how many seconds it came."""
    start = time.monotonic()
    while time.monotonic() < start + timeout:
        try:
            arm.state()
        except ArmFault as fault:
            return fault, time.monotonic() - start
        time.sleep(0.001)
    raise AssertionError(f"no fault within {timeout:g} s")
