"""Autonomous motions of resets and retreats: planned joint motions, and slow straight lines. No ROS."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from moto_ros.robot.envelope import clip_lead, clip_turn
from moto_ros.robot.interface import Arm, ArmFault, Control, FaultKind, Target
from moto_ros.robot.interruptible_wait import InterruptibleWait
from moto_ros.robot.kinematics import Pose, measured
from moto_ros.robot.limits import RobotSettings
from moto_ros.robot.motion_profile import Bounds, next_velocity

TARGET_PERIOD = 0.01
"""Seconds between two targets of a straight motion."""

GOAL_TOLERANCE = 0.015
"""m; a straight motion ends this close to its goal: impedance control does not overcome all friction."""

STANDSTILL_SPEED = 0.02
"""m/s and rad/s below which the arm counts as standing still."""

SETTLE_TIMEOUT = 2.0
"""Seconds to wait for the arm to stand still."""


@dataclass
class StraightMotion:
    """A straight motion: pose and velocity of its target."""

    position: np.ndarray
    rotation: Rotation
    velocity: np.ndarray
    spin: np.ndarray

    @classmethod
    def begin(cls, pose: Pose) -> StraightMotion:
        """Return the motion that begins at rest at a pose."""
        return cls(pose.position.copy(), pose.rotation, np.zeros(3), np.zeros(3))


class Mover:
    """Moves an arm. Every motion may raise ArmFault and Interrupted, and leaves the arm stopped."""

    def __init__(self, settings: RobotSettings, arm: Arm, wait: InterruptibleWait) -> None:
        """Take a connected arm."""
        self._settings, self._arm, self._wait = settings, arm, wait

    def joints(self, positions: np.ndarray, timeout: float) -> None:
        """Move to joint positions (n,) rad, at the speed of resets."""
        self._wait.check()
        self._arm.move_joints(positions, self._settings.reset_speed, timeout)
        self._wait.check()
        self.settle()

    def straight(self, goal: Pose, speed: float, timeout: float) -> None:
        """Move along a line at `speed` (m/s)."""
        try:
            self._arm.start(Control.CARTESIAN)
            self._follow_line(goal, speed, timeout)
        finally:
            self._arm.stop()
        self.settle()

    def pose(self) -> Pose:
        """Return the measured pose."""
        return measured(self._arm.state())

    def settle(self) -> None:
        """Wait until the arm stands still."""

        def stands() -> bool:
            state = self._arm.state()
            speeds = float(np.linalg.norm(state.linear_velocity)), float(np.abs(state.joint_velocity).max())
            return max(speeds) < STANDSTILL_SPEED

        self._wait.until(stands, SETTLE_TIMEOUT)

    def _follow_line(self, goal: Pose, speed: float, timeout: float) -> None:
        settings = self._settings
        linear = Bounds(speed, settings.translation_acceleration)
        angular = Bounds(settings.rotation_speed / 2, settings.rotation_acceleration)
        begun = last = self._wait.now()
        motion = StraightMotion.begin(self.pose())
        while not self._arrived(goal, motion):
            self._wait.pause(TARGET_PERIOD)
            now = self._wait.now()
            if now - begun > timeout:
                sentence = f"robot: not at its goal after {timeout:g} s; remove what blocks it, then reset again"
                raise ArmFault(FaultKind.OTHER, sentence)
            dt, pose = min(now - last, 2 * TARGET_PERIOD), self.pose()
            # Move the target, at most by the lead ahead of the measured pose.
            motion.velocity = next_velocity(motion.velocity, goal.position - motion.position, 0.0, dt, linear)
            motion.spin = next_velocity(
                motion.spin, (goal.rotation * motion.rotation.inv()).as_rotvec(), 0.0, dt, angular
            )
            position = motion.position + motion.velocity * dt
            rotation = Rotation.from_rotvec(motion.spin * dt) * motion.rotation
            motion.position = clip_lead(position, pose.position, settings.translation_lead)
            motion.rotation = clip_turn(rotation, pose.rotation, settings.rotation_lead)
            self._arm.follow(Target(position=motion.position.copy(), quaternion=motion.rotation.as_quat()))
            last = now

    def _arrived(self, goal: Pose, motion: StraightMotion) -> bool:
        """Return whether the target is at the goal, and the arm within its tolerance."""
        target_arrived = float(np.linalg.norm(goal.position - motion.position)) < GOAL_TOLERANCE / 10
        arm_arrived = float(np.linalg.norm(goal.position - self._arm.state().position)) < GOAL_TOLERANCE
        return target_arrived and arm_arrived
