"""The fields of the robot state that may be part of an observation: sizes, and where messages hold them."""

from __future__ import annotations

from typing import NamedTuple


class ProprioField(NamedTuple):
    """A field: how many numbers it has (0: one a joint), and its paths; the first that a message has is used."""

    size: int
    paths: tuple[str, ...]


PROPRIO_FIELDS: dict[str, ProprioField] = {
    "ee_position": ProprioField(3, ("ee_pose.position", "pose.position")),
    "ee_quaternion": ProprioField(4, ("ee_pose.orientation", "pose.orientation")),
    "ee_linear_velocity": ProprioField(3, ("ee_twist.linear", "twist.linear")),
    "ee_angular_velocity": ProprioField(3, ("ee_twist.angular", "twist.angular")),
    "gripper_width": ProprioField(1, ("gripper_width",)),
    "joint_position": ProprioField(0, ("joint_position", "position")),
    "joint_velocity": ProprioField(0, ("joint_velocity", "velocity")),
    "joint_effort": ProprioField(0, ("joint_effort", "effort")),
    "wrench": ProprioField(6, ("ee_wrench", "wrench")),
    "object_position": ProprioField(3, ("objects.0",)),
    "goal_position": ProprioField(3, ("goals.0",)),
}
"""In m, rad, s, N and N m, quaternions x y z w; paths in moto_msgs/RobotState, sensor_msgs/JointState,
geometry_msgs/PoseStamped, TwistStamped and WrenchStamped."""
