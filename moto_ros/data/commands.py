"""Commanded actions, rewards and episode marks of bags that were not recorded by this program."""

from __future__ import annotations

from typing import Any

import numpy as np

from moto_ros.contract.stamps import to_nanoseconds
from moto_ros.data.fields import Arrange, flatten, select
from moto_ros.data.joints import ACTION, JointOrder, Names, can_name, positions
from moto_ros.data.layout import StepLayout, TopicMap
from moto_ros.errors import MotoError

KNOWN_COMMANDS = (
    *("std_msgs/Float64MultiArray", "std_msgs/Float32MultiArray", "std_msgs/Float64", "std_msgs/Float32"),
    *("geometry_msgs/Twist", "geometry_msgs/TwistStamped", "geometry_msgs/TwistWithCovarianceStamped"),
    *("geometry_msgs/Pose", "geometry_msgs/PoseStamped", "geometry_msgs/PoseWithCovarianceStamped"),
    *("geometry_msgs/Point", "geometry_msgs/PointStamped", "geometry_msgs/Pose2D", "geometry_msgs/VelocityStamped"),
    *("geometry_msgs/Vector3", "geometry_msgs/Vector3Stamped", "geometry_msgs/Quaternion"),
    *("geometry_msgs/QuaternionStamped", "geometry_msgs/Transform", "geometry_msgs/TransformStamped"),
    *("geometry_msgs/Wrench", "geometry_msgs/WrenchStamped", "geometry_msgs/Accel", "geometry_msgs/AccelStamped"),
    *("sensor_msgs/JointState", "sensor_msgs/MultiDOFJointState", "sensor_msgs/Joy"),
    *("trajectory_msgs/JointTrajectory", "trajectory_msgs/MultiDOFJointTrajectory"),
    *("control_msgs/JointJog", "control_msgs/GripperCommand", "control_msgs/MultiDOFCommand"),
)
"""Types that need no `action_fields`; nor do other types with the same fields."""

GUESSES = (
    *("values", "data", "transforms", "twist", "twist.twist", "pose", "pose.pose", "transform", "wrench", "accel"),
    *("point", "vector", "quaternion", "position", "velocity", "effort", "displacements", "velocities", "axes"),
)
"""Fields that hold the numbers of these types, unless the whole message does."""

POINT_GUESSES = ("positions", "velocities", "effort", "transforms")
"""Fields of a trajectory's point that hold the command."""


def command(message: Any, topics: TopicMap, layout: StepLayout, joints: JointOrder | None = None) -> np.ndarray:
    """Return a foreign action as float32 (A,) in units of `action_low`..`action_high` mapped to [-1, 1], not clipped.

    Numbers of named joints are put in the order of `joints`. Raises MotoError where the fields are absent, of another
    size, of other joints, or not finite.
    """
    joints, seen = JointOrder() if joints is None else joints, dict[str, Names]()

    def arrange(owner: str, names: Names) -> list[int]:
        role = f"{ACTION}/{owner}" if owner else ACTION
        expected = joints.expected(role, topics.action_names) or names
        seen[role] = expected
        return positions(names, expected, role)

    try:
        numbers = (
            _chosen(message, topics.action_fields, arrange) if topics.action_fields else _guessed(message, arrange)
        )
        if not seen and can_name(message) and (expected := joints.expected(ACTION, topics.action_names)):
            positions((), expected, ACTION)
    except MotoError as error:
        raise MotoError(f"action: {error}") from error
    if numbers is None:
        fields = ", ".join(topics.action_fields) or "field that is known to hold a command"
        raise MotoError(f"action: the message has no {fields}; set action_fields to where its numbers are")
    if len(numbers) != layout.action_size:
        expected_size = layout.action_size
        raise MotoError(
            f"action: has {len(numbers)} numbers, expected {expected_size}; set action_size or action_fields"
        )
    if not np.isfinite(numbers).all():
        raise MotoError("action: holds NaN or infinity, expected finite numbers; it is left out")
    for role, names in seen.items():
        joints.settle(role, names)
    low, high = _limits(topics.action_low, -1.0, layout), _limits(topics.action_high, 1.0, layout)
    return (2.0 * (numbers - low) / (high - low) - 1.0).astype(np.float32)


def _chosen(message: Any, paths: tuple[str, ...], arrange: Arrange) -> np.ndarray | None:
    found = [numbers for path in paths if (numbers := select(message, path, arrange)) is not None]
    return np.concatenate(found) if len(found) == len(paths) else None


def _guessed(message: Any, arrange: Arrange) -> np.ndarray | None:
    whole = flatten(message)
    if whole is not None:
        return whole
    ahead = f"points.{point_ahead(message)}"
    paths = (*(f"{ahead}.{field}" for field in POINT_GUESSES), *GUESSES)
    found = (select(message, path, arrange) for path in paths)
    return next((numbers for numbers in found if numbers is not None and len(numbers)), None)


def point_ahead(trajectory: Any) -> int:
    """Return the index of a trajectory's first point after its start, where the arm already is."""
    points = getattr(trajectory, "points", None) or ()
    times = [getattr(point, "time_from_start", None) for point in points]
    return next((index for index, time in enumerate(times) if time is not None and to_nanoseconds(time) > 0), 0)


def _limits(values: tuple[float, ...], default: float, layout: StepLayout) -> np.ndarray:
    if len(values) not in (0, 1, layout.action_size):
        raise MotoError(f"action_low/action_high: {len(values)} numbers, expected 1 or {layout.action_size}; fix them")
    return np.broadcast_to(np.array(values or (default,)), (layout.action_size,))


def check_limits(topics: TopicMap, layout: StepLayout) -> None:
    """Raise MotoError for limits of a wrong length or order."""
    low, high = _limits(topics.action_low, -1.0, layout), _limits(topics.action_high, 1.0, layout)
    if not (low < high).all():
        raise MotoError(f"action_low {low.tolist()} is not below action_high {high.tolist()}; fix them")


def scalar(message: Any) -> float:
    """Return the number of a std_msgs message, e.g. a reward; MotoError where it has none."""
    numbers = select(message, "data") if hasattr(message, "data") else select(message, "value")
    if numbers is None or len(numbers) != 1 or not np.isfinite(numbers).all():
        raise MotoError("reward: the message holds no finite number, expected std_msgs/Float32 or moto_msgs/Reward")
    return float(numbers[0])


def mark(message: Any) -> str:
    """Return the content of a foreign episode topic as text; empty means no episode (false, 0 or an empty text)."""
    data = getattr(message, "data", None)
    if data is None:
        raise MotoError("episode: the message has no field 'data', expected std_msgs/Bool, Int32 or String")
    return str(data) if data else ""
