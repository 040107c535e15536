"""From the arm's own clock to the system clock, without the jitter of the network."""

from __future__ import annotations

FOLLOW = 0.02
"""Share of a later arrival that moves the offset; an earlier one, which was delayed less, moves it at once."""

STEP = 50_000_000
"""ns: a difference beyond that is another clock, not jitter."""


class RobotClock:
    """Keeps the offset between the arm's clock and the system's, as the least delayed measurements show it."""

    def __init__(self) -> None:
        """Start without an offset."""
        self._offset: int | None = None
        self._newest = 0

    def stamp(self, robot: int, arrival: int) -> int:
        """Return when a measurement was made, ns of the system clock; never later than `arrival`, never backwards.

        `robot`: ns of the arm's clock, `arrival`: ns of the system clock when it was read.
        """
        offset = arrival - robot
        if self._offset is None or offset < self._offset or offset - self._offset > STEP:
            self._offset = offset
        else:
            self._offset += round(FOLLOW * (offset - self._offset))
        self._newest = max(self._newest, min(robot + self._offset, arrival))
        return self._newest
