"""Clock mapping of a Franka arm: times of its clock as stamps of the system clock, without network jitter."""

from __future__ import annotations

OFFSET_GAIN = 0.02
"""Gain of the offset for a later arrival; an earlier one, which was delayed less, replaces the offset."""

CLOCK_JUMP = 50_000_000
"""ns; a larger difference means that a clock was set, not jitter."""


class RobotClock:
    """Estimates the offset between the arm's clock and the system's from the measurements with the smallest delay."""

    def __init__(self) -> None:
        """Start without an offset."""
        self._offset: int | None = None
        self._newest = 0

    def stamp(self, robot: int, arrival: int) -> int:
        """Return when a measurement was made, ns of the system clock; never later than `arrival`, never backwards.

        `robot`: ns of the arm's clock, `arrival`: ns of the system clock when it was read.
        """
        offset = arrival - robot
        if self._offset is None or offset < self._offset or offset - self._offset > CLOCK_JUMP:
            self._offset = offset
        else:
            self._offset += round(OFFSET_GAIN * (offset - self._offset))
        self._newest = max(self._newest, min(robot + self._offset, arrival))
        return self._newest
