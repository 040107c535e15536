"""The RobotState message of a reading of the arm."""

from __future__ import annotations

from collections.abc import Sequence

from moto_msgs.msg import RobotState
from moto_ros.robot.safety import ArmReading
from moto_ros.robot.state_message import fill_state
from moto_ros.ros.convert import to_time


def robot_state(seen: ArmReading, joint_names: Sequence[str], frame: str) -> RobotState:
    """Return the robot state message; its stamp is that of the measurement."""
    message = RobotState(joint_names=list(joint_names), mode=int(seen.mode), fault=seen.fault)
    message.header.stamp, message.header.frame_id = to_time(seen.state.stamp), frame
    message.episode, message.step = seen.episode, seen.step
    message.gripper_width = float(seen.width)
    fill_state(message, seen.state)
    return message
