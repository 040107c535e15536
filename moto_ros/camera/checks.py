"""Checks of every camera frame before it is used: repeated, lost, late, frozen, or out of order."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from moto_ros.camera.clock import DeviceClock
from moto_ros.camera.interface import Frame

COMPARE_STRIDE = 8
"""Every how many pixels two frames are compared first: frames of a working sensor differ in these already."""

RESTART_FRAMES = 3
"""Frames in a row with older, rising numbers after which the camera counts as restarted."""


@dataclass
class CameraCounts:
    """Counts of one camera since the node started."""

    frames: int = 0  # accepted
    lost: int = 0  # missing in the camera's own numbers
    late: int = 0
    repeated: int = 0
    frozen: int = 0
    out_of_order: int = 0
    clock_jumps: int = 0
    wrong_rate: int = 0  # windows of time, not frames
    overwritten: int = 0  # accepted, but replaced by a newer one before they could be sent
    reconnects: int = 0

    def named(self, prefix: str) -> dict[str, object]:
        """Return the counts by name, each after `prefix`."""
        return {prefix + field.name: getattr(self, field.name) for field in fields(self)}


class FrameChecks:
    """Takes the frames of one camera in order of arrival; rejects old ones, counts and reports what is wrong."""

    def __init__(self, late_after: float, frozen_after: int) -> None:
        """A frame is late after `late_after` s, a camera frozen after `frozen_after` equal frames (0: never)."""
        self._late_after, self._frozen_after = late_after, frozen_after
        self.counts = CameraCounts()
        self._clock = DeviceClock()
        self.restart()

    def restart(self) -> None:
        """Forget earlier frames, after the camera was opened again; counts and the order of stamps stay."""
        self._clock.restart()
        self._last: Frame | None = None
        self._suspect: Frame | None = None
        self._suspects = 0
        self._same = 0
        self.delay = 0.0
        self.problem = ""

    def take(self, frame: Frame) -> int | None:
        """Return the frame's stamp (ns of the system clock), None for one that must not be used.

        `problem` then says what is wrong with the newest frame, `delay` how old it was at its arrival in s.
        """
        if self._rejects(frame):
            return None
        self._count_lost(frame)
        self._compare(frame)
        stamped = self._clock.stamp(frame.device_time, frame.arrival, frame.synchronised)
        self.counts.clock_jumps += stamped.jumped
        self.delay = max(0.0, (frame.arrival - stamped.stamp) * 1e-9)
        self.counts.late += self.delay > self._late_after
        self.counts.frames += 1
        self._last, self._suspects = frame, 0
        self.problem = self._problem()
        return stamped.stamp

    def _rejects(self, frame: Frame) -> bool:
        last = self._last
        if last is None:
            return False
        if frame.number == last.number or (frame.device_time and frame.device_time == last.device_time):
            self.counts.repeated += 1
            return True
        # A frame whose clock alone, or whose number alone, has jumped back is a new one.
        if frame.number < last.number and (not frame.device_time or frame.device_time < last.device_time):
            return not self._has_restarted(frame)
        return False

    def _has_restarted(self, frame: Frame) -> bool:
        """Return whether a frame with an older number is from a camera that has restarted, and not an old frame."""
        newer = self._suspect is None or frame.number > self._suspect.number
        self._suspects = self._suspects + 1 if newer and self._suspects else 1
        self._suspect = frame
        if self._suspects < RESTART_FRAMES:
            self.counts.out_of_order += 1
            return False
        return True

    def _count_lost(self, frame: Frame) -> None:
        if self._last is not None:
            self.counts.lost += max(0, frame.number - self._last.number - 1)

    def _compare(self, frame: Frame) -> None:
        same = self._last is not None and same_pixels(frame.colour, self._last.colour)
        self._same = self._same + 1 if same else 0
        self.counts.frozen += same

    def _problem(self) -> str:
        if self._frozen_after and self._same >= self._frozen_after:
            return f"{self._same + 1} frames have the same pixels; check what covers the camera, or plug it in again"
        if self.delay > self._late_after:
            late = f"frames are {self.delay:.3f} s old when they arrive, expected at most {self._late_after:g} s"
            return f"{late}; check what keeps the computer or USB busy"
        return ""


def same_pixels(one: np.ndarray, other: np.ndarray) -> bool:
    """Return whether two frames are equal; a few of their pixels are compared first."""
    return np.array_equal(
        one[::COMPARE_STRIDE, ::COMPARE_STRIDE], other[::COMPARE_STRIDE, ::COMPARE_STRIDE]
    ) and np.array_equal(one, other)
