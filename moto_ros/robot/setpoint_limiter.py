"""Setpoint limiter: moves the arm's target from the measured pose to the goal of an action, within limits. No ROS.

Each action moves the goal, clipped to the envelope; the target follows by a motion profile. After `restart` both are
the measured pose.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from scipy.spatial.transform import Rotation

from moto_ros.robot.actions import Move
from moto_ros.robot.envelope import Box, clip_lead, clip_tilt, clip_turn, tilt
from moto_ros.robot.interface import ArmState, Control, Target
from moto_ros.robot.kinematics import Kinematics
from moto_ros.robot.limits import RobotSettings
from moto_ros.robot.motion_profile import Bounds, clip_norm, next_velocity

SLACK = 1e-9
"""Differences up to this are rounding, not clipping."""


class Setpoint(ABC):
    """A target that moves to a goal."""

    remaining: float = 0.0  # s, until the target must reach the goal

    @abstractmethod
    def restart(self, state: ArmState) -> None:
        """Set target and goal to the measured pose."""

    @abstractmethod
    def aim(self, move: Move, state: ArmState, period: float) -> bool:
        """Move the goal, to be reached in `period` seconds; return whether the envelope clipped it."""

    @abstractmethod
    def advance(self, state: ArmState, dt: float) -> Target:
        """Advance by `dt` seconds and return the target."""

    def _time_left(self, dt: float) -> float:
        """Return the time to the goal before these `dt` seconds, and count them down."""
        left, self.remaining = self.remaining, max(self.remaining - dt, 0.0)
        return left


class CartesianSetpoint(Setpoint):
    """A pose of the end effector."""

    def __init__(self, settings: RobotSettings, home: Rotation) -> None:
        """Take the limits; `home`: the orientation at home."""
        self._settings, self._home = settings, home
        self._box = Box.of(settings.box_low, settings.box_high)
        self._linear = Bounds(settings.translation_speed, settings.translation_acceleration)
        self._angular = Bounds(settings.rotation_speed, settings.rotation_acceleration)

    def restart(self, state: ArmState) -> None:
        """Set target and goal to the measured pose."""
        self.position = self.goal = np.array(state.position)
        self.rotation = self.goal_rotation = Rotation.from_quat(state.quaternion)
        self._velocity, self._spin, self.remaining = np.zeros(3), np.zeros(3), 0.0

    def aim(self, move: Move, state: ArmState, period: float) -> bool:
        """Move the goal by a translation and a rotation in the base frame."""
        wanted = self.goal + move.translation
        turned = Rotation.from_rotvec(move.rotation) * self.goal_rotation
        settings, measured = self._settings, Rotation.from_quat(state.quaternion)
        self.goal = self._box.clip(clip_lead(wanted, state.position, settings.translation_lead))
        upright = clip_tilt(turned, self._home, settings.max_tilt)
        self.goal_rotation = clip_turn(upright, measured, settings.rotation_lead)
        self.remaining = period
        moved = float(np.abs(self.goal - wanted).max())
        return moved > SLACK or (self.goal_rotation * turned.inv()).magnitude() > 1e-6

    def advance(self, state: ArmState, dt: float) -> Target:
        """Advance towards the goal; never farther from the measured pose than the lead."""
        left, settings = self._time_left(dt), self._settings
        self._velocity = next_velocity(self._velocity, self.goal - self.position, left, dt, self._linear)
        turn = (self.goal_rotation * self.rotation.inv()).as_rotvec()
        self._spin = next_velocity(self._spin, turn, left, dt, self._angular)
        # A target that began outside the box or the cone moves no farther out.
        low, high = np.minimum(self._box.low, self.position), np.maximum(self._box.high, self.position)
        position = np.clip(self.position + self._velocity * dt, low, high)
        max_tilt = max(settings.max_tilt, tilt(self.rotation, self._home))
        rotation = clip_tilt(Rotation.from_rotvec(self._spin * dt) * self.rotation, self._home, max_tilt)
        self.position = clip_lead(position, state.position, settings.translation_lead)
        self.rotation = clip_turn(rotation, Rotation.from_quat(state.quaternion), settings.rotation_lead)
        return Target(
            position=self.position.copy(),
            quaternion=self.rotation.as_quat(),
            linear_velocity=self._velocity.copy(),
            angular_velocity=self._spin.copy(),
        )


class JointSetpoint(Setpoint):
    """Joint positions."""

    def __init__(self, settings: RobotSettings, kinematics: Kinematics) -> None:
        """Take the limits, and the kinematics of the hand."""
        self._settings, self._kinematics = settings, kinematics
        self._box = Box.of(settings.box_low, settings.box_high)
        self._bounds = Bounds(settings.joint_speed, settings.joint_acceleration, np.inf)

    def restart(self, state: ArmState) -> None:
        """Set target and goal to the measured joint positions."""
        self.joints = self.goal = np.array(state.joint_position)
        self._velocity, self.remaining = np.zeros_like(self.joints), 0.0

    def aim(self, move: Move, state: ArmState, period: float) -> bool:
        """Move the goal, unless that moves the hand out of the box or farther out."""
        wanted = self.goal + move.joints
        near = state.joint_position + clip_norm(wanted - state.joint_position, self._settings.joint_lead, self._bounds)
        goal = np.clip(near, self._settings.joint_low, self._settings.joint_high)
        leaves = leaves_box(self._box, self._kinematics, self.goal, goal)
        self.goal = self.goal if leaves else goal
        self.remaining = period
        return leaves or float(np.abs(goal - wanted).max()) > SLACK

    def advance(self, state: ArmState, dt: float) -> Target:
        """Advance towards the goal; never farther from the measured positions than the lead."""
        left = self._time_left(dt)
        self._velocity = next_velocity(self._velocity, self.goal - self.joints, left, dt, self._bounds)
        lead = self.joints + self._velocity * dt - state.joint_position
        self.joints = state.joint_position + clip_norm(lead, self._settings.joint_lead, self._bounds)
        return Target(joint_position=self.joints.copy())


class VelocitySetpoint(Setpoint):
    """Joint velocities; the driver applies its own acceleration limit in between."""

    def __init__(self, settings: RobotSettings, kinematics: Kinematics) -> None:
        """Take the limits, and the kinematics of the hand."""
        self._settings, self._kinematics = settings, kinematics
        self._box = Box.of(settings.box_low, settings.box_high)
        self._bounds = Bounds(settings.joint_speed, settings.joint_acceleration, np.inf)
        self._lookahead = settings.period + settings.joint_velocity_scale / settings.joint_acceleration

    def restart(self, state: ArmState) -> None:
        """Set target and goal to zero velocity."""
        self.velocity = self.goal = np.zeros_like(state.joint_velocity)
        self.remaining = 0.0

    def aim(self, move: Move, state: ArmState, period: float) -> bool:
        """Set the goal to new velocities."""
        self.goal = clip_norm(move.joints, self._settings.joint_speed, self._bounds)
        return float(np.abs(self.goal - move.joints).max()) > SLACK

    def advance(self, state: ArmState, dt: float) -> Target:
        """Accelerate towards the goal; stop before a limit is passed."""
        change = self._allowed(state) - self.velocity
        self.velocity = self.velocity + clip_norm(change, self._settings.joint_acceleration * dt, self._bounds)
        return Target(joint_velocity=self.velocity.copy())

    def _allowed(self, state: ArmState) -> np.ndarray:
        ahead = state.joint_position + self.goal * self._lookahead
        low, high = np.array(self._settings.joint_low), np.array(self._settings.joint_high)
        out = ((ahead < low) & (self.goal < 0.0)) | ((ahead > high) & (self.goal > 0.0))
        still = out.any() or leaves_box(self._box, self._kinematics, state.joint_position, ahead)
        return np.zeros_like(self.goal) if still else self.goal


def leaves_box(box: Box, kinematics: Kinematics, before: np.ndarray, after: np.ndarray) -> bool:
    """Return whether a motion between two joint positions moves the hand out of the box, or farther out."""
    outside = box.outside(kinematics.pose(after).position)
    return outside > max(box.outside(kinematics.pose(before).position), SLACK)


def setpoint_for(control: Control, settings: RobotSettings, kinematics: Kinematics) -> Setpoint:
    """Return a setpoint for a kind of control; `restart` it before use."""
    if control is Control.CARTESIAN:
        return CartesianSetpoint(settings, kinematics.pose(settings.home).rotation)
    if control is Control.JOINT:
        return JointSetpoint(settings, kinematics)
    return VelocitySetpoint(settings, kinematics)
