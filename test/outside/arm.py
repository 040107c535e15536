"""An arm driver from outside the package: six joints, no gripper, joint control; simulated in memory."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from moto_ros.config import REQUIRED, parameter
from moto_ros.robot.driver import ArmDriver
from moto_ros.robot.interface import ArmState, Control, Target
from moto_ros.robot.kinematics import last_joint
from moto_ros.robot.limits import RobotSettings

JOINTS = 6
CHAIN = (
    (0.0, 0.1625, 0.0),
    (0.0, 0.0, np.pi / 2),
    (-0.425, 0.0, 0.0),
    (-0.3922, 0.1333, 0.0),
    (0.0, 0.0997, np.pi / 2),
    (0.0, 0.0996, -np.pi / 2),
)


@dataclass(frozen=True, kw_only=True)
class SixJointSettings(RobotSettings):
    """The parameters of this arm alone, and defaults for those of every arm."""

    port: str = parameter(REQUIRED, "serial port of the controller")
    control: str = parameter("joint", "what an action moves", choices=("joint",))
    action_axes: tuple[str, ...] = parameter(tuple(f"joint{n}" for n in range(1, 7)), "meaning of an action's entries")
    joint_low: tuple[float, ...] = parameter((-3.1,) * JOINTS, "lower limit of each joint", unit="rad")
    joint_high: tuple[float, ...] = parameter((3.1,) * JOINTS, "upper limit of each joint", unit="rad")
    home: tuple[float, ...] = parameter((0.0, -1.57, 1.57, -1.57, -1.57, 0.0), "joint positions at home", unit="rad")

    @property
    def title(self) -> str:
        """Return what messages call the arm."""
        return f"six-joint arm on {self.port}"


class SixJointArm(ArmDriver):
    """Reaches every target at once, and measures whenever its state is read."""

    settings_class: ClassVar[type[RobotSettings]] = SixJointSettings
    chain = CHAIN
    joint_names = ("shoulder_pan", "shoulder_lift", "elbow", "wrist_1", "wrist_2", "wrist_3")
    gripper = None

    def __init__(self, settings: SixJointSettings) -> None:
        """Start away from home, so that a reset moves it."""
        self._joints = np.array(settings.home) + 0.1
        self._sequence, self._connected = 0, False

    def connect(self) -> None:
        """Connect; this never fails."""
        self._connected = True

    def state(self) -> ArmState:
        """Return a new measurement."""
        self._sequence += 1
        pose, still, zeros = last_joint(self._joints, CHAIN), np.zeros(3), np.zeros(JOINTS)
        measured = (self._joints.copy(), zeros, zeros, pose.position, pose.rotation.as_quat(), still, still)
        return ArmState(time.time_ns(), self._sequence, *measured, still, still)

    def measured(self) -> ArmState | None:
        """Return a measurement once connected."""
        return self.state() if self._connected else None

    def start(self, control: Control) -> None:
        """Begin control at the measured pose."""

    def follow(self, target: Target) -> None:
        """Move to the target at once."""
        if target.joint_position is not None:
            self._joints = np.array(target.joint_position)

    def stop(self) -> None:
        """Stop; without a target it does not move anyway."""

    def move_joints(self, positions: np.ndarray, speed: float, timeout: float) -> None:
        """Move to the goal at once."""
        self._joints = np.array(positions)

    def recover(self) -> None:
        """Do nothing: there are no faults."""

    def close(self) -> None:
        """Disconnect."""
        self._connected = False
