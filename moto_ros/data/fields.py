"""Reads numbers from ROS messages by field path, from rclpy objects and from those of a bag reader."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from moto_ros.contract.stamps import to_nanoseconds
from moto_ros.data.joints import STATE, JointOrder, Names, can_name, names_in, positions
from moto_ros.data.layout import StepLayout
from moto_ros.data.proprio_fields import PROPRIO_FIELDS
from moto_ros.errors import MotoError

PARTS = (
    *(("x", "y", "z", "w"), ("x", "y", "z"), ("position", "orientation"), ("translation", "rotation")),
    *(("force", "torque"), ("linear", "angular"), ("x", "y", "theta")),
)
"""Members of the geometry messages that flatten into a vector, in order."""

JOINT_ARRAYS = (
    *("position", "velocity", "effort", "positions", "velocities", "accelerations", "displacements", "values"),
    *("values_dot", "joint_position", "joint_velocity", "joint_effort"),
)
"""Arrays with one entry a named joint, or empty."""

UNNAMED = "points"
"""Lists whose entries are points in time, not joints, although the message names joints."""

Arrange = Callable[[str, Names], list[int]]
"""Maps the field in which a message names joints, and the names, to the indices of the expected joints, in order."""


def message_stamp(message: Any, received_ns: int | None) -> int | None:
    """Return the header's stamp in nanoseconds; without a header, the time of receipt (None where unknown)."""
    header = getattr(message, "header", None)
    return received_ns if header is None else to_nanoseconds(header.stamp)


def select(message: Any, path: str, arrange: Arrange | None = None) -> np.ndarray | None:
    """Return the numbers at a path, e.g. `twist.linear` or `points.0.positions`: float64 (n,), or None if absent.

    With `arrange`, arrays of named joints are put in its order, and an index into one counts in that order. Raises
    MotoError where there are more or fewer numbers than names.
    """
    value, named, owner, names = message, "", "", Names()
    parts = path.split(".")
    for index, part in enumerate(parts):
        here = names_in(value)
        if here:
            owner, names = ".".join(parts[:index]), here
        if _is_index(part) and arrange is not None and names and named != UNNAMED and _size(value) == len(names):
            value, names = _entry(value, arrange(owner, names), int(part)), Names()
        else:
            value = _member(value, part)
        named = part
        if value is None:
            return None
    if arrange is not None and names and named != UNNAMED and (size := _size(value)) is not None:
        if size == len(names):
            value = [value[index] for index in arrange(owner, names)]
        elif size and named in JOINT_ARRAYS:
            raise MotoError(f"field {path} has {size} numbers for {len(names)} names, expected one each")
    return flatten(value)


def _is_index(part: str) -> bool:
    return part.isdecimal() or part == "-1"


def _size(value: Any) -> int | None:
    return len(value) if hasattr(value, "__getitem__") and hasattr(value, "__len__") else None


def _entry(value: Any, order: list[int], index: int) -> Any:
    return value[order[index]] if index < len(order) else None


def _member(value: Any, part: str) -> Any:
    if not _is_index(part):
        return getattr(value, part, None)
    sized = hasattr(value, "__getitem__") and int(part) < len(value) > 0
    return value[int(part)] if sized else None


def flatten(value: Any) -> np.ndarray | None:
    """Return a number, an array, a geometry message or a list of these as float64 (n,); None for anything else."""
    for members in PARTS:
        if all(hasattr(value, member) for member in members):
            return _concatenate([flatten(getattr(value, member)) for member in members])
    if isinstance(value, str) or _is_message(value):
        return None
    if isinstance(value, list) and value and _is_message(value[0]):
        return _concatenate([flatten(entry) for entry in value])
    numbers = np.asarray(value)
    return numbers.astype(np.float64).reshape(-1) if numbers.dtype.kind in "biuf" else None


def _is_message(value: Any) -> bool:
    return hasattr(value, "__slots__") or hasattr(value, "__dataclass_fields__")


def _concatenate(parts: list[np.ndarray | None]) -> np.ndarray | None:
    known = [part for part in parts if part is not None]
    return np.concatenate(known) if len(known) == len(parts) else None


def state_fields(
    message: Any, layout: StepLayout, joints: JointOrder | None = None
) -> tuple[dict[str, np.ndarray], str]:
    """Return the fields of `layout.proprio` that a state message contains, each float32, and an error sentence.

    Joints are taken by name, in the order of `joints`; without one, the first usable message sets it. A
    message without any of the fields gives an empty dict and an empty sentence.
    """
    found: dict[str, np.ndarray] = {}
    joints = JointOrder() if joints is None else joints
    for name in layout.proprio:
        numbers = next((n for path in PROPRIO_FIELDS[name].paths if (n := select(message, path)) is not None), None)
        if numbers is None:
            continue
        try:
            found[name] = _checked(name, numbers, message, layout, joints).astype(np.float32)
        except MotoError as error:
            return {}, f"field {name} {error}"
    if any(PROPRIO_FIELDS[name].size == 0 for name in found) and (names := layout.joint_names or names_in(message)):
        joints.settle(STATE, names)
    return found, ""


def _checked(name: str, numbers: np.ndarray, message: Any, layout: StepLayout, joints: JointOrder) -> np.ndarray:
    expected = PROPRIO_FIELDS[name].size or layout.joint_count
    if PROPRIO_FIELDS[name].size == 0:
        numbers = _named_joints(numbers, message, layout, joints)
    if len(numbers) != expected:
        hint = "; set joint_count or joint_names" if PROPRIO_FIELDS[name].size == 0 else ""
        raise MotoError(f"has {len(numbers)} numbers, expected {expected}{hint}")
    if not np.isfinite(numbers).all():
        raise MotoError(f"holds {numbers[~np.isfinite(numbers)][0]}, expected finite numbers")
    return numbers


def _named_joints(numbers: np.ndarray, message: Any, layout: StepLayout, joints: JointOrder) -> np.ndarray:
    """Return the entries of the joints that are expected, in the expected order."""
    names = names_in(message)
    expected = joints.expected(STATE, layout.joint_names) or names
    if not expected or not len(numbers) or not can_name(message):
        return numbers
    found = positions(names, expected, STATE)
    if len(names) != len(numbers):
        raise MotoError(f"has {len(numbers)} numbers for {len(names)} names, expected one each")
    return numbers[found]
