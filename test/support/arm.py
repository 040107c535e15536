"""An arm in memory on a virtual clock: reaches its targets at once, and fails when told to."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from moto_ros.config import build
from moto_ros.robot.franka_settings import FrankaSettings
from moto_ros.robot.interface import ArmFault, ArmState, Control, FaultKind, Target
from moto_ros.robot.kinematics import FRANKA, Pose, last_joint

TOOL = Pose(np.array([0.0, 0.0, 0.2104]), Rotation.from_rotvec([0.0, 0.0, -np.pi / 4]))
"""Flange and hand of a Franka arm, in the last joint's frame."""

GIVEN = {"host": "nowhere", "box_low": (0.3, -0.3, 0.05), "box_high": (0.65, 0.3, 0.6), "safe_height": 0.4}


def robot_settings(**changes: Any) -> FrankaSettings:
    """Return settings of an arm with a box, and changes."""
    values: Mapping[str, Any] = GIVEN | changes
    return build(FrankaSettings, values, "test")


class VirtualClock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        """Return the time in seconds."""
        return self.time

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.time += seconds


class MemoryGripper:
    """A hand that is where it was told to be."""

    def __init__(self) -> None:
        self.width, self.busy = 0.08, False
        self.told: list[str] = []

    def move(self, width: float) -> None:
        self.width = width
        self.told.append("move")

    def grasp(self, force: float) -> None:
        self.width = 0.0
        self.told.append("grasp")

    def home(self) -> None:
        self.told.append("home")

    def stop(self) -> None:
        self.told.append("stop")


class MemoryArm:
    """Follows as far as `share` of the way per target; `calls` says what it was asked for."""

    chain = FRANKA
    joint_names = tuple(f"joint{number}" for number in range(1, 8))

    def __init__(self, settings: FrankaSettings, share: float = 1.0) -> None:
        self.settings, self.share = settings, share
        self.gripper: MemoryGripper | None = MemoryGripper()
        self.fault: ArmFault | None = None
        self.incurable = 0  # attempts to recover that fail
        self.frozen = False  # measures nothing new
        self.control: Control | None = None
        self.calls: list[str] = []
        self.targets: list[Target] = []
        home = last_joint(settings.home, FRANKA) @ TOOL
        still = np.zeros(3)
        zeros = np.zeros(7)
        self._state = ArmState(
            0,
            0,
            np.array(settings.home),
            zeros,
            zeros,
            home.position,
            home.rotation.as_quat(),
            still,
            still,
            still,
            still,
        )

    def connect(self) -> None:
        self.calls.append("connect")

    def state(self) -> ArmState:
        if self.fault is not None:
            raise self.fault
        self.place()
        return self._state

    def measured(self) -> ArmState | None:
        return self._state

    def place(self, **changes: Any) -> None:
        """Measure again, with another result than before."""
        if self.frozen:
            return
        sequence = self._state.sequence + 1
        self._state = dataclasses.replace(self._state, sequence=sequence, stamp=sequence * 10_000_000, **changes)

    def start(self, control: Control) -> None:
        self.calls.append("start")
        self.control = control

    def follow(self, target: Target) -> None:
        assert self.control is not None, "followed without control"
        self.targets.append(target)
        state = self._state
        if target.position is not None:
            assert target.quaternion is not None
            position = state.position + self.share * (target.position - state.position)
            self.place(position=position, quaternion=np.array(target.quaternion))
        elif target.joint_position is not None:
            joints = state.joint_position + self.share * (target.joint_position - state.joint_position)
            self.place(joint_position=joints)

    def stop(self) -> None:
        self.calls.append("stop")
        self.control = None

    def move_joints(self, positions: np.ndarray, speed: float, timeout: float) -> None:
        self.calls.append("move_joints")
        self.control = None
        if self.fault is not None:
            raise self.fault
        pose = last_joint(positions, FRANKA) @ TOOL
        self.place(joint_position=np.array(positions), position=pose.position, quaternion=pose.rotation.as_quat())

    def recover(self) -> None:
        self.calls.append("recover")
        if self.incurable > 0:
            self.incurable -= 1
            raise self.fault or ArmFault(FaultKind.OTHER, "arm: cannot be recovered")
        self.fault = None

    def close(self) -> None:
        self.calls.append("close")
