"""Commanded actions, rewards and episode marks of bags that were not recorded by this program."""

from __future__ import annotations

from typing import Any

import numpy as np

from moto_ros.data.fields import flatten, select
from moto_ros.data.layout import StepLayout, TopicMap
from moto_ros.errors import MotoError

GUESSES = ("values", "data", "twist", "pose", "points.0.positions", "position", "velocity")
"""Fields that hold the command in Float64MultiArray, TwistStamped, PoseStamped, JointTrajectory and JointState."""


def command(message: Any, topics: TopicMap, layout: StepLayout) -> np.ndarray:
    """Return a foreign action as float32 (A,) in units of `action_low`..`action_high` mapped to [-1, 1], not clipped.

    Raises MotoError where the fields are absent, of another size, or not finite.
    """
    numbers = _chosen(message, topics.action_fields) if topics.action_fields else _guessed(message)
    if numbers is None:
        fields = list(topics.action_fields) or "a field that is known to hold a command"
        raise MotoError(f"action: the message has no {fields}; set action_fields to where its numbers are")
    if len(numbers) != layout.action_size:
        expected = layout.action_size
        raise MotoError(f"action: has {len(numbers)} numbers, expected {expected}; set action_size or action_fields")
    if not np.isfinite(numbers).all():
        raise MotoError("action: holds NaN or infinity, expected finite numbers; it is left out")
    low, high = _limits(topics.action_low, -1.0, layout), _limits(topics.action_high, 1.0, layout)
    return (2.0 * (numbers - low) / (high - low) - 1.0).astype(np.float32)


def _chosen(message: Any, paths: tuple[str, ...]) -> np.ndarray | None:
    found = [numbers for path in paths if (numbers := select(message, path)) is not None]
    return np.concatenate(found) if len(found) == len(paths) else None


def _guessed(message: Any) -> np.ndarray | None:
    found = (select(message, path) for path in GUESSES)
    return next((numbers for numbers in found if numbers is not None and len(numbers)), flatten(message))


def _limits(values: tuple[float, ...], default: float, layout: StepLayout) -> np.ndarray:
    if len(values) not in (0, 1, layout.action_size):
        raise MotoError(f"action_low/action_high: {len(values)} numbers, expected 1 or {layout.action_size}; mend them")
    return np.broadcast_to(np.array(values or (default,)), (layout.action_size,))


def check_limits(topics: TopicMap, layout: StepLayout) -> None:
    """Refuse limits of a wrong length or order before any message is read."""
    low, high = _limits(topics.action_low, -1.0, layout), _limits(topics.action_high, 1.0, layout)
    if not (low < high).all():
        raise MotoError(f"action_low {low.tolist()} is not below action_high {high.tolist()}; mend them")


def scalar(message: Any) -> float:
    """Return the number of a std_msgs message, e.g. a reward; MotoError where it has none."""
    numbers = select(message, "data") if hasattr(message, "data") else select(message, "value")
    if numbers is None or len(numbers) != 1 or not np.isfinite(numbers).all():
        raise MotoError("reward: the message holds no finite number, expected std_msgs/Float32 or moto_msgs/Reward")
    return float(numbers[0])


def mark(message: Any) -> str:
    """Return what a foreign episode topic says, as text; empty means no episode (false, 0 or an empty text)."""
    data = getattr(message, "data", None)
    if data is None:
        raise MotoError("episode: the message has no field 'data', expected std_msgs/Bool, Int32 or String")
    return str(data) if data else ""
