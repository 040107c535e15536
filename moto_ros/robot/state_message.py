"""Fills moto_msgs/RobotState from a measurement of an arm, as a message of rclpy or of a bag writer. No ROS."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from moto_ros.robot.interface import ArmState


def fill_state(message: Any, state: ArmState, array: Callable[[np.ndarray], Any] = np.ndarray.tolist) -> None:
    """Write joints, pose, twist and wrench of `state` into `message`; `array` makes the message's list type."""
    for name in ("joint_position", "joint_velocity", "joint_effort"):
        setattr(message, name, array(getattr(state, name)))
    for target, values in (
        (message.ee_pose.position, state.position),
        (message.ee_pose.orientation, state.quaternion),
        (message.ee_twist.linear, state.linear_velocity),
        (message.ee_twist.angular, state.angular_velocity),
        (message.ee_wrench.force, state.force),
        (message.ee_wrench.torque, state.torque),
    ):
        fill_vector(target, values)


def fill_vector(target: Any, values: np.ndarray) -> Any:
    """Write numbers (3,) or (4,) into x, y, z and w of a geometry message; return it."""
    for axis, value in zip("xyzw", values.tolist(), strict=False):
        setattr(target, axis, value)
    return target
