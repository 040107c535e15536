"""The workspace box that a person defines by guiding the arm, and how it is written to a robot's parameter file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from moto_ros.errors import MotoError, read_text, unwritable

LOW, HIGH = "box_low", "box_high"
"""Names of the box's corners in a robot's parameter file."""

MIN_EDGE = 0.02
"""Shortest edge of a box, m: if it is shorter, the arm was not guided along that axis."""


class GuidedBox:
    """The bounding box of all positions of the end effector."""

    def __init__(self) -> None:
        """Start without positions."""
        self._low, self._high = np.full(3, np.inf), np.full(3, -np.inf)
        self.count = 0

    def add(self, position: Sequence[float]) -> None:
        """Add a position (3,) m in the base frame; one that is not finite is ignored."""
        point = np.asarray(position, float)
        if np.isfinite(point).all():
            self._low, self._high = np.minimum(self._low, point), np.maximum(self._high, point)
            self.count += 1

    def corners(self, margin: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the lowest and the highest corner (3,) m, `margin` m inside. MotoError for an empty box."""
        low, high = self._low + margin, self._high - margin
        if not self.count or (high - low < MIN_EDGE).any():
            raise MotoError(
                f"workspace: the end effector was guided through {self.describe()}, expected at least "
                f"{MIN_EDGE + 2 * margin:g} m along each axis, with a margin of {margin:g} m; guide it to every corner"
            )
        return low.round(3), high.round(3)

    def describe(self) -> str:
        """Return the box in words, without a margin."""
        if not self.count:
            return "no position at all"
        axes = zip("xyz", self._low, self._high, strict=True)
        return ", ".join(f"{axis} {low:.3f} to {high:.3f} m" for axis, low, high in axes)


def write_box(source: Path, target: Path, corners: tuple[np.ndarray, np.ndarray], force: bool = False) -> None:
    """Copy the robot's file `source` to `target` with the box's corners in it; all else, and each comment, stays.

    MotoError when `target` exists, unless `force`, or when `source` is not a robot's parameter file.
    """
    if target.exists() and not force:
        raise MotoError(f"{target} exists and is kept; give another --output, or --force to overwrite it")
    text = read_text(source)
    for name, corner in zip((LOW, HIGH), corners, strict=True):
        text = _with(text, name, [float(value) for value in corner], source)
    part = target.with_name(f".{target.name}.part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(target)  # in one step: `target` may be `source`
    except OSError as error:
        raise unwritable(target, error) from error


def _with(text: str, name: str, value: list[float], source: Path) -> str:
    """Return a parameter file's text in which `name` has `value`, in place of what it had, or as its first entry."""
    entry = f"{name}: {value}"
    changed, count = re.subn(rf"(?m)^(\s*){name}:[^#\n]*?(\s+#.*)?$", rf"\g<1>{entry}\g<2>", text)
    if not count:
        changed, count = re.subn(r"(?m)^(\s*)ros__parameters:[^\n]*\n", rf"\g<0>\g<1>  {entry}\n", text, count=1)
    if not count:
        raise MotoError(f"{source}: no 'ros__parameters:', expected a robot's parameter file; give another --robot")
    return changed
