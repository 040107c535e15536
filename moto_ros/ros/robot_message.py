"""The RobotState message of a reading of the arm."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from geometry_msgs.msg import Point, Pose, Quaternion, Twist, Vector3, Wrench

from moto_msgs.msg import RobotState
from moto_ros.robot.safety import ArmReading
from moto_ros.ros.convert import to_time


def robot_state(seen: ArmReading, joint_names: Sequence[str], frame: str) -> RobotState:
    """Return the robot state message; its stamp is that of the measurement."""
    state = seen.state
    message = RobotState(joint_names=list(joint_names), mode=int(seen.mode), fault=seen.fault)
    message.header.stamp, message.header.frame_id = to_time(state.stamp), frame
    message.episode, message.step = seen.episode, seen.step
    message.joint_position = state.joint_position.tolist()
    message.joint_velocity = state.joint_velocity.tolist()
    message.joint_effort = state.joint_effort.tolist()
    x, y, z, w = state.quaternion.tolist()
    place = dict(zip("xyz", state.position.tolist(), strict=True))
    message.ee_pose = Pose(position=Point(**place), orientation=Quaternion(x=x, y=y, z=z, w=w))
    message.ee_twist = Twist(linear=_vector(state.linear_velocity), angular=_vector(state.angular_velocity))
    message.ee_wrench = Wrench(force=_vector(state.force), torque=_vector(state.torque))
    message.gripper_width = float(seen.width)
    return message


def _vector(values: np.ndarray) -> Vector3:
    x, y, z = values.tolist()
    return Vector3(x=x, y=y, z=z)
