"""A world's snapshot and frames as the messages that robot and camera nodes publish."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point, Pose, Quaternion, Twist, Vector3, Wrench
from sensor_msgs.msg import CameraInfo, CompressedImage

from moto_msgs.msg import RobotState
from moto_ros.errors import MotoError
from moto_ros.ros.convert import to_bytes
from moto_sim.renderer import Intrinsics
from moto_sim.snapshot import Snapshot

BASE_FRAME = "base"


def optical_frame(camera: str) -> str:
    """Return the frame of a camera's images (REP-103: z forward, x right, y down)."""
    return f"{camera}_optical_frame"


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
    return message


def _point(values: np.ndarray) -> Point:
    x, y, z = values.tolist()
    return Point(x=x, y=y, z=z)


def _vector(values: np.ndarray) -> Vector3:
    x, y, z = values.tolist()
    return Vector3(x=x, y=y, z=z)


def jpeg_message(pixels: np.ndarray, stamp: Time, frame: str, quality: int) -> CompressedImage:
    """Return uint8 (H, W, 3) RGB pixels as a JPEG message; raise MotoError when OpenCV cannot encode them."""
    done, data = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise MotoError(f"{frame}: OpenCV cannot encode a {pixels.shape} image as JPEG; publish raw images")
    message = CompressedImage(format="rgb8; jpeg compressed bgr8", data=to_bytes(data))
    message.header.stamp, message.header.frame_id = stamp, frame
    return message


def camera_info(intrinsics: Intrinsics, shape: tuple[int, int], camera: str) -> CameraInfo:
    """Return the calibration of an ideal pinhole camera without distortion; its stamp is set when it is sent."""
    fx, fy, cx, cy = intrinsics.fx, intrinsics.fy, intrinsics.cx, intrinsics.cy
    message = CameraInfo(height=shape[0], width=shape[1], distortion_model="plumb_bob", d=[0.0] * 5)
    message.header.frame_id = optical_frame(camera)
    message.k = [fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0]
    message.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    message.p = [fx, 0.0, cx, 0.0, 0.0, fy, cy, 0.0, 0.0, 0.0, 1.0, 0.0]
    return message
