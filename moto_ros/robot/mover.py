"""Motions of the robot's own, for resets and retreats: planned ones by joints, and straight, slow ones. No ROS."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from moto_ros.robot.envelope import clip_lead, clip_turn
from moto_ros.robot.glide import Bounds, steer
from moto_ros.robot.interface import Arm, ArmFault, ArmState, Control, FaultKind, Target
from moto_ros.robot.interruptible_wait import InterruptibleWait
from moto_ros.robot.kinematics import Pose, measured
from moto_ros.robot.limits import RobotSettings

TICK = 0.01
"""Seconds between two targets on a straight way."""

NEAR = 0.015
"""m from its goal at which a straight way has ended: impedance control leaves some to friction."""

SLOW = 0.02
"""m/s and rad/s that count as standing still."""

SETTLE = 2.0
"""Seconds that the arm gets to come to rest."""


@dataclass
class StraightMotion:
    """A straight way: where its target is, and how fast."""

    position: np.ndarray
    rotation: Rotation
    velocity: np.ndarray
    spin: np.ndarray

    @classmethod
    def begin(cls, pose: Pose) -> StraightMotion:
        """Return the way that begins at rest at a pose."""
        return cls(pose.position.copy(), pose.rotation, np.zeros(3), np.zeros(3))


class Mover:
    """Moves an arm that nobody else moves. Every motion raises ArmFault and Interrupted, and leaves the arm stopped."""

    def __init__(self, settings: RobotSettings, arm: Arm, patience: InterruptibleWait) -> None:
        """Take a connected arm."""
        self._settings, self._arm, self._patience = settings, arm, patience

    def joints(self, positions: np.ndarray, timeout: float) -> None:
        """Move to joint positions (n,) rad, at the speed of resets."""
        self._patience.check()
        self._arm.move_joints(positions, self._settings.reset_speed, timeout)
        self._patience.check()
        self.rest()

    def straight(self, goal: Pose, speed: float, timeout: float) -> None:
        """Move along a line at `speed` (m/s)."""
        try:
            self._arm.start(Control.CARTESIAN)
            self._follow_line(goal, speed, timeout)
        finally:
            self._arm.stop()
        self.rest()

    def pose(self) -> Pose:
        """Return the measured pose."""
        return measured(self._arm.state())

    def rest(self) -> None:
        """Wait until the arm stands still."""
        self._patience.until(lambda: _still(self._arm.state()), SETTLE)

    def _follow_line(self, goal: Pose, speed: float, timeout: float) -> None:
        begun = last = self._patience.now()
        way = StraightMotion.begin(self.pose())
        while not self._there(goal, way):
            self._patience.pause(TICK)
            now = self._patience.now()
            if now - begun > timeout:
                raise ArmFault(
                    FaultKind.OTHER, f"robot: not at its goal after {timeout:g} s; see what holds it, then reset again"
                )
            self._arm.follow(self._advance(way, goal, speed, min(now - last, 2 * TICK)))
            last = now

    def _there(self, goal: Pose, way: StraightMotion) -> bool:
        at_goal = float(np.linalg.norm(goal.position - way.position)) < NEAR / 10
        near = float(np.linalg.norm(goal.position - self._arm.state().position)) < NEAR
        return at_goal and near

    def _advance(self, way: StraightMotion, goal: Pose, speed: float, dt: float) -> Target:
        settings, there = self._settings, self.pose()
        ways = Bounds(speed, settings.translation_acceleration)
        turns = Bounds(settings.rotation_speed / 2, settings.rotation_acceleration)
        way.velocity = steer(way.velocity, goal.position - way.position, 0.0, dt, ways)
        way.spin = steer(way.spin, (goal.rotation * way.rotation.inv()).as_rotvec(), 0.0, dt, turns)
        way.position = clip_lead(way.position + way.velocity * dt, there.position, settings.translation_lead)
        turned = Rotation.from_rotvec(way.spin * dt) * way.rotation
        way.rotation = clip_turn(turned, there.rotation, settings.rotation_lead)
        return Target(position=way.position.copy(), quaternion=way.rotation.as_quat())


def _still(state: ArmState) -> bool:
    return float(np.linalg.norm(state.linear_velocity)) < SLOW and float(np.abs(state.joint_velocity).max()) < SLOW
