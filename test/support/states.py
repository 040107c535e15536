"""Robot states of arms that are not there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from moto_msgs.msg import RobotState

JOINTS = 7


def state_message(stamp: Any, position: Sequence[float], joint: float = 0.0, **fields: Any) -> RobotState:
    """Return the state of an arm at rest: every joint at `joint` rad, the hand at `position` (x, y and perhaps z) m."""
    message = RobotState(joint_position=[joint] * JOINTS, **fields)
    message.joint_velocity = message.joint_effort = [0.0] * JOINTS
    message.header.stamp = stamp
    for axis, value in zip("xyz", position, strict=False):
        setattr(message.ee_pose.position, axis, float(value))
    return message
