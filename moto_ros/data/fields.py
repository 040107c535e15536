"""Numbers out of ROS messages by field path, alike for rclpy objects and for those of a bag reader."""

from __future__ import annotations

from typing import Any

import numpy as np

from moto_ros.data.layout import FIELD_SIZES, SECOND, StepLayout

STATE_PATHS: dict[str, tuple[str, ...]] = {
    "ee_position": ("ee_pose.position", "pose.position"),
    "ee_quaternion": ("ee_pose.orientation", "pose.orientation"),
    "ee_linear_velocity": ("ee_twist.linear", "twist.linear"),
    "ee_angular_velocity": ("ee_twist.angular", "twist.angular"),
    "gripper_width": ("gripper_width",),
    "joint_position": ("joint_position", "position"),
    "joint_velocity": ("joint_velocity", "velocity"),
    "joint_effort": ("joint_effort", "effort"),
    "wrench": ("ee_wrench", "wrench"),
    "object_position": ("objects.0",),
    "goal_position": ("goals.0",),
}
"""Where moto_msgs/RobotState, sensor_msgs/JointState, geometry_msgs/PoseStamped, TwistStamped and WrenchStamped keep
each proprioception field; the first path that a message has is taken."""

PARTS = (("x", "y", "z", "w"), ("x", "y", "z"), ("force", "torque"), ("linear", "angular"))
"""Members of the geometry messages that flatten into a vector, in order."""


def nanoseconds(stamp: Any) -> int:
    """Return a ROS time or duration in nanoseconds."""
    return int(stamp.sec) * SECOND + int(stamp.nanosec)


def message_stamp(message: Any, received_ns: int | None) -> int | None:
    """Return the header's stamp in nanoseconds; without a header, the time of receipt (None where unknown)."""
    header = getattr(message, "header", None)
    return received_ns if header is None else nanoseconds(header.stamp)


def select(message: Any, path: str) -> np.ndarray | None:
    """Return the numbers at a path, e.g. `twist.linear` or `points.0.positions`: float64 (n,), or None if absent."""
    value = message
    for part in path.split("."):
        value = _member(value, part)
        if value is None:
            return None
    return flatten(value)


def _member(value: Any, part: str) -> Any:
    if not part.isdigit():
        return getattr(value, part, None)
    sized = hasattr(value, "__getitem__") and int(part) < len(value)
    return value[int(part)] if sized else None


def flatten(value: Any) -> np.ndarray | None:
    """Return a number, an array or a geometry message as float64 (n,); None for anything else."""
    for members in PARTS:
        if all(hasattr(value, member) for member in members):
            return _concatenate([flatten(getattr(value, member)) for member in members])
    if isinstance(value, str) or hasattr(value, "__slots__") or hasattr(value, "__dataclass_fields__"):
        return None
    numbers = np.asarray(value)
    return numbers.astype(np.float64).reshape(-1) if numbers.dtype.kind in "biuf" else None


def _concatenate(parts: list[np.ndarray | None]) -> np.ndarray | None:
    known = [part for part in parts if part is not None]
    return np.concatenate(known) if len(known) == len(parts) else None


def state_fields(message: Any, layout: StepLayout) -> tuple[dict[str, np.ndarray], str]:
    """Return the fields of `layout.proprio` that a state message brings, each float32, and what is wrong.

    A message without any of the fields gives an empty dict and an empty sentence.
    """
    found: dict[str, np.ndarray] = {}
    for name in layout.proprio:
        numbers = next((n for path in STATE_PATHS[name] if (n := select(message, path)) is not None), None)
        if numbers is None:
            continue
        numbers, sentence = _checked(name, numbers, message, layout)
        if sentence:
            return {}, sentence
        found[name] = numbers.astype(np.float32)
    return found, ""


def _checked(name: str, numbers: np.ndarray, message: Any, layout: StepLayout) -> tuple[np.ndarray, str]:
    expected = FIELD_SIZES[name] or layout.joint_count
    if FIELD_SIZES[name] == 0:
        numbers = _named_joints(numbers, message, layout)
    if len(numbers) != expected:
        hint = "; set joint_count or joint_names" if FIELD_SIZES[name] == 0 else ""
        return numbers, f"field {name} has {len(numbers)} numbers, expected {expected}{hint}"
    if not np.isfinite(numbers).all():
        return numbers, f"field {name} holds {numbers[~np.isfinite(numbers)][0]}, expected finite numbers"
    return numbers, ""


def _named_joints(numbers: np.ndarray, message: Any, layout: StepLayout) -> np.ndarray:
    """Return the entries of the configured joints, whatever order the message has them in."""
    if not layout.joint_names:
        return numbers
    order = list(getattr(message, "joint_names", None) or getattr(message, "name", None) or ())
    places = [order.index(joint) for joint in layout.joint_names if joint in order]
    return numbers[[place for place in places if place < len(numbers)]]
