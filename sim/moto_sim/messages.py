"""Converts a world's snapshot to the robot state message."""

from __future__ import annotations

from collections.abc import Sequence

from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point

from moto_msgs.msg import RobotState
from moto_ros.contract.frames import BASE_FRAME
from moto_ros.robot.state_message import fill_state, fill_vector
from moto_sim.snapshot import Snapshot


def robot_state(snapshot: Snapshot, joint_names: Sequence[str], stamp: Time, mode: int, fault: str) -> RobotState:
    """Return the robot state message of a snapshot."""
    message = RobotState(joint_names=list(joint_names), mode=mode, fault=fault)
    message.header.stamp, message.header.frame_id = stamp, BASE_FRAME
    message.gripper_width = float(snapshot.gripper_width)
    fill_state(message, snapshot.arm_state())
    message.objects = [fill_vector(Point(), position) for position in snapshot.objects]
    message.goals = [fill_vector(Point(), position) for position in snapshot.goals]
    return message
