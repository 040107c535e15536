"""Interface of an arm driver: implement it to support another arm.

Frames are REP-103/105: poses in the arm's base frame, quaternions x y z w, SI units. Stamps are nanoseconds of the
system clock (`time.time_ns`), which is also the ROS clock of a node on hardware. Only `connect`, `move_joints`
and `recover` may block; they return or raise within their time-outs.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Protocol

import numpy as np


class FaultKind(Enum):
    """Kinds of fault, by how to recover from them."""

    REFLEX = "reflex"  # the arm touched something, or a torque limit was exceeded
    SELF_COLLISION = "self collision"
    JOINT_LIMIT = "joint limit"
    COMMUNICATION = "communication violation"  # the 1 kHz exchange was too late
    CONNECTION = "lost connection"
    FROZEN = "frozen state"  # states arrive, but they are old
    OTHER = "fault"


class ArmFault(Exception):  # noqa: N818 - the field's word
    """A fault of the arm or its connection; the text is one sentence: what happened and what to do."""

    def __init__(self, kind: FaultKind, sentence: str) -> None:
        super().__init__(sentence)
        self.kind = kind


class Control(Enum):
    """Control modes: the meaning of a target."""

    CARTESIAN = "cartesian"  # impedance tracking of an end-effector pose
    JOINT = "joint"  # impedance tracking of joint positions
    JOINT_VELOCITY = "joint_velocity"  # joint velocities


@dataclass(frozen=True)
class ArmState:
    """One measurement; arrays are float64 and not shared with the driver."""

    stamp: int  # ns, when it was measured
    sequence: int  # counts up with every new measurement of the arm itself
    joint_position: np.ndarray  # (n,) rad
    joint_velocity: np.ndarray  # (n,) rad/s
    joint_effort: np.ndarray  # (n,) external torque, N m
    position: np.ndarray  # (3,) end effector, m
    quaternion: np.ndarray  # (4,) end effector, x y z w
    linear_velocity: np.ndarray  # (3,) m/s
    angular_velocity: np.ndarray  # (3,) rad/s
    force: np.ndarray  # (3,) external, N
    torque: np.ndarray  # (3,) external, N m


@dataclass(frozen=True)
class Target:
    """The next target: only the fields of the control mode are set, with or without the velocities."""

    position: np.ndarray | None = None  # (3,) m, with `quaternion`
    quaternion: np.ndarray | None = None  # (4,) x y z w
    linear_velocity: np.ndarray | None = None  # (3,) m/s at which `position` moves, for a driver that extrapolates
    angular_velocity: np.ndarray | None = None  # (3,) rad/s, the same for `quaternion`
    joint_position: np.ndarray | None = None  # (n,) rad
    joint_velocity: np.ndarray | None = None  # (n,) rad/s


class Gripper(Protocol):
    """Two fingers. These calls begin motions and return at once; none delays the arm's control."""

    @property
    def width(self) -> float:
        """Return the newest measured distance between the fingers, m. Never blocks; raises ArmFault."""

    @property
    def busy(self) -> bool:
        """Return whether a motion is running or pending."""

    def move(self, width: float) -> None:
        """Begin to open or close to `width` (m)."""

    def grasp(self, force: float) -> None:
        """Begin to close with `force` (N) until something is held."""

    def home(self) -> None:
        """Begin to find the end stops."""

    def stop(self) -> None:
        """End any motion."""


class Arm(Protocol):
    """One arm with its controller."""

    joint_names: tuple[str, ...]
    chain: tuple[tuple[float, float, float], ...]
    """Denavit-Hartenberg parameters after Craig of each joint: a (m), d (m), alpha (rad). The tool is measured."""

    def connect(self) -> None:
        """Open the connection and set thresholds and limits. Raises ArmFault, saying what to check."""

    @property
    def gripper(self) -> Gripper | None:
        """Return the gripper, None without one."""

    def state(self) -> ArmState:
        """Return the newest measurement. Never blocks. Raises ArmFault as soon as the driver knows of a fault."""

    def measured(self) -> ArmState | None:
        """Return the newest measurement, also during a fault; None before the first. Never blocks, never raises."""

    def start(self, control: Control) -> None:
        """Begin control; the first target is the measured pose (joint velocity: zero)."""

    def follow(self, target: Target) -> None:
        """Replace the target; the driver interpolates. Only after `start`. Never blocks. Raises ArmFault."""

    def stop(self) -> None:
        """Brake and end control, if there is any. Never raises for an arm that has stopped by itself."""

    def move_joints(self, positions: np.ndarray, speed: float, timeout: float) -> None:
        """Move to joint positions (n,) rad at `speed` (share of the limits, 0 to 1); ends control first.

        Returns when there; raises ArmFault after a fault, after `timeout` seconds, and when `stop` is called meanwhile.
        """

    def recover(self) -> None:
        """Clear a fault that can be cleared, reconnect after a lost connection. Raises ArmFault if it cannot."""

    def close(self) -> None:
        """Stop and close the connection."""
