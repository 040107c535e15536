"""Control modes of a Franka arm: the motion of the driver that follows the target in each, and its brake.

The impedance motions run in the driver's 1 kHz thread and pull towards the newest target with a force that grows with
the error up to a limit, so that a target that is far away cannot throw the arm. They keep the last target
indefinitely: the safety supervisor stops them. A joint velocity expires by itself, here and in the driver.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import franky
import numpy as np

from moto_ros.robot.franka_settings import FrankaSettings
from moto_ros.robot.interface import ArmState, Control, Target

TARGET_TIMEOUT = 0.1
"""Seconds without a new target after which its velocity counts as zero."""

VELOCITY_DURATION = 300
"""ms for which the driver keeps a joint velocity without a new one, e.g. when this process is stopped."""


def torque_brake() -> Any:
    """Return a motion that damps all joints to rest, N m s/rad; the driver's default brakes over twice the distance."""
    return franky.TorqueStopMotion(damping=np.array([40.0] * 4 + [10.0] * 3), ramp_duration=0.05)


class Steering:
    """A motion of the driver that follows a target, and its brake."""

    brake: Callable[[], Any] = staticmethod(torque_brake)
    """Creates the driver's motion that brakes and ends this one."""

    finite = False
    """Whether the motion ends by itself."""

    motion: Any
    stopped = False

    def seed(self, state: franky.RobotState) -> None:
        """Set the first target to the measured pose, if the driver does not."""

    def follow(self, target: Target, measured: ArmState) -> None:
        """Replace the target, if this motion has one."""

    def tick(self, robot: franky.Robot) -> None:
        """Do periodic work, in the connection's thread."""


class CartesianSteering(Steering):
    """Impedance tracking of an end-effector pose."""

    def __init__(self, settings: FrankaSettings) -> None:
        """Take stiffness and force limits from the settings."""
        self.motion = franky.CartesianImpedanceTrackingMotion(
            translational_stiffness=settings.translational_stiffness,
            rotational_stiffness=settings.rotational_stiffness,
            translational_error_clip=np.full(3, settings.translational_error_clip),
            rotational_error_clip=np.full(3, settings.rotational_error_clip),
            lower_joint_limits=np.array(settings.joint_low),
            upper_joint_limits=np.array(settings.joint_high),
        )

    def seed(self, state: franky.RobotState) -> None:
        """Set the first target to the measured pose."""
        self.motion.set_reference(franky.CartesianReference(state.O_T_EE))

    def follow(self, target: Target, measured: ArmState) -> None:
        """Replace the pose and its velocity, without which damping would hold the arm back."""
        zero = np.zeros(3)
        linear, angular = (zero if v is None else v for v in (target.linear_velocity, target.angular_velocity))
        pose = franky.Affine(target.position, target.quaternion)
        self.motion.set_reference(franky.CartesianReference(pose, franky.Twist(linear, angular)))


class JointSteering(Steering):
    """Impedance tracking of joint positions."""

    def __init__(self, settings: FrankaSettings) -> None:
        """Take the stiffness from the settings."""
        self._clip = np.array(settings.joint_error_clip)
        self.motion = franky.JointImpedanceTrackingMotion(
            stiffness=np.array(settings.joint_stiffness),
            lower_joint_limits=np.array(settings.joint_low),
            upper_joint_limits=np.array(settings.joint_high),
        )

    def seed(self, state: franky.RobotState) -> None:
        """Set the first target to the measured joint positions."""
        self.motion.set_reference(franky.JointReference(q=state.q))

    def follow(self, target: Target, measured: ArmState) -> None:
        """Replace the joint positions, within `joint_error_clip` of the measured ones."""
        error = np.clip(np.asarray(target.joint_position) - measured.joint_position, -self._clip, self._clip)
        self.motion.set_reference(franky.JointReference(q=measured.joint_position + error))


class VelocitySteering(Steering):
    """Joint velocities; between two of them the driver plans within its limits of acceleration and jerk."""

    brake = franky.JointVelocityStopMotion

    def __init__(self, settings: FrankaSettings) -> None:
        """Begin at rest; no joint exceeds `joint_speed`."""
        self._limit = settings.joint_speed
        self._velocity, self._velocity_at = np.zeros(7), -np.inf
        self._sent, self._renewed = np.zeros(7), time.monotonic()
        self.motion = self._motion()

    def follow(self, target: Target, measured: ArmState) -> None:
        """Replace the joint velocity."""
        self._velocity = np.clip(np.asarray(target.joint_velocity), -self._limit, self._limit)
        self._velocity_at = time.monotonic()

    def tick(self, robot: franky.Robot) -> None:
        """Send the driver a velocity that is new or about to expire."""
        now = time.monotonic()
        velocity = self._velocity if now - self._velocity_at < TARGET_TIMEOUT else np.zeros(7)
        if not np.array_equal(velocity, self._sent) or now - self._renewed > VELOCITY_DURATION / 3000:
            self._sent, self._renewed = velocity, now
            robot.move(self._motion(), asynchronous=True)

    def _motion(self) -> Any:
        return franky.JointVelocityMotion(self._sent, duration=franky.Duration(VELOCITY_DURATION))


class JointMove(Steering):
    """A planned motion to joint positions, which ends there."""

    brake, finite = franky.JointStopMotion, True

    def __init__(self, positions: np.ndarray, speed: float) -> None:
        """Plan with the share `speed` (0 to 1) of the driver's limits."""
        factor = franky.RelativeDynamicsFactor(speed)
        self.motion = franky.JointMotion(franky.JointState(positions), relative_dynamics_factor=factor)


def steering_for(control: Control, settings: FrankaSettings) -> Steering:
    """Return a fresh steering; the driver takes each motion once."""
    if control is Control.CARTESIAN:
        return CartesianSteering(settings)
    return JointSteering(settings) if control is Control.JOINT else VelocitySteering(settings)
