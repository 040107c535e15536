"""A world's snapshot and frames as the messages that robot and camera nodes publish."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point, Pose, Quaternion, Twist, Vector3, Wrench
from sensor_msgs.msg import CameraInfo

from moto_msgs.msg import RobotState
from moto_ros.camera.interface import Intrinsics as Calibration
from moto_ros.ros import convert
from moto_sim.renderer import SimIntrinsics
from moto_sim.snapshot import Snapshot

BASE_FRAME = "base"


def robot_state(snapshot: Snapshot, joint_names: Sequence[str], stamp: Time, mode: int, fault: str) -> RobotState:
    """Return the robot state message of a snapshot."""
    message = RobotState(joint_names=list(joint_names), mode=mode, fault=fault)
    message.header.stamp, message.header.frame_id = stamp, BASE_FRAME
    message.joint_position = snapshot.joint_position.tolist()
    message.joint_velocity = snapshot.joint_velocity.tolist()
    message.joint_effort = snapshot.joint_effort.tolist()
    x, y, z, w = snapshot.ee_quaternion.tolist()
    message.ee_pose = Pose(position=_point(snapshot.ee_position), orientation=Quaternion(x=x, y=y, z=z, w=w))
    linear, angular = _vector(snapshot.ee_linear_velocity), _vector(snapshot.ee_angular_velocity)
    message.ee_twist = Twist(linear=linear, angular=angular)
    message.ee_wrench = Wrench(force=_vector(snapshot.wrench[:3]), torque=_vector(snapshot.wrench[3:]))
    message.gripper_width = float(snapshot.gripper_width)
    message.objects, message.goals = ([_point(p) for p in found] for found in (snapshot.objects, snapshot.goals))
    return message


def _point(values: np.ndarray) -> Point:
    x, y, z = values.tolist()
    return Point(x=x, y=y, z=z)


def _vector(values: np.ndarray) -> Vector3:
    x, y, z = values.tolist()
    return Vector3(x=x, y=y, z=z)


def camera_info(found: SimIntrinsics, shape: tuple[int, int], camera: str) -> CameraInfo:
    """Return the calibration of an ideal pinhole camera without distortion; its stamp is set when it is sent."""
    height, width = shape
    calibrated = Calibration(width, height, found.fx, found.fy, found.cx, found.cy)
    return convert.camera_info(calibrated, convert.optical_frame(camera))
