"""Clock mapping from a camera to this computer: stamps are the time of exposure, not of reading the frame."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from moto_ros.contract.stamps import NSEC_PER_SEC

WINDOW = 10 * NSEC_PER_SEC
"""ns over which the offset is the minimum: some frame in it is quick, and a drift of 100 ppm is small in it."""

JUMP_AHEAD = NSEC_PER_SEC // 20
"""ns by which a frame may be quicker than all before; beyond it the clock has jumped."""

JUMP_BEHIND = NSEC_PER_SEC // 2
"""ns by which a frame may be slower than the quickest one; beyond it a jump of the clock is suspected."""

CONFIRM_TIME = NSEC_PER_SEC
"""ns for which frames must stay slow to confirm a jump: a busy computer catches up, a changed clock does not."""

WRAP = 2**32 * 1000
"""ns after which the 32-bit microsecond counters of cameras wrap around."""

WRAP_SLACK = 60 * NSEC_PER_SEC
"""ns within which a step back by WRAP is the counter wrapping around, not a jump."""


@dataclass(frozen=True)
class Stamped:
    """When a frame was exposed, in ns of the system clock, and whether the clocks have jumped against each other."""

    stamp: int
    jumped: bool = False


class DeviceClock:
    """Maps one camera's clock to the system clock by the smallest recent delay; stamps never go backwards.

    arrival = exposure + offset + delay: the delay is never negative, so the smallest difference seen is the offset plus
    the smallest delay. The offset of a camera that reports a synchronised clock is 0 as long as that difference can be
    a delay.
    """

    def __init__(self) -> None:
        """Start without an offset."""
        self._last_stamp = 0
        self.restart()

    def restart(self) -> None:
        """Forget the camera's clock, after the camera was opened again; stamps still never go backwards."""
        self._differences: deque[tuple[int, int]] = deque()  # (arrival, difference), both rising
        self._last_device: int | None = None
        self._since: int | None = None
        self._wrapped = 0
        self._slow_since: int | None = None
        self._slow: deque[tuple[int, int]] = deque()

    def stamp(self, device: int, arrival: int, synchronised: bool = False) -> Stamped:
        """Return when a frame was exposed; `device` is 0 for a camera without a clock, then it is `arrival` (ns)."""
        if not device:
            return Stamped(self._forward(arrival))
        device = self._unwrap(device)
        self._since = arrival if self._since is None else self._since
        jumped = self._take(device, arrival)
        offset = self._offset(synchronised)
        return Stamped(self._forward(min(device + offset, arrival)), jumped)

    def _unwrap(self, device: int) -> int:
        device += self._wrapped
        if self._last_device is not None and abs(self._last_device - device - WRAP) < WRAP_SLACK:
            self._wrapped += WRAP
            device += WRAP
        return device

    def _take(self, device: int, arrival: int) -> bool:
        """Add a frame to those that the offset is taken from; return whether the clocks have jumped."""
        back = self._last_device is not None and device < self._last_device
        self._last_device = device
        difference = arrival - device
        smallest = self._differences[0][1] if self._differences else difference
        if back or difference < smallest - JUMP_AHEAD:
            self._start_over(deque([(arrival, difference)]))
            return back or self._is_settled(arrival)
        if difference > smallest + JUMP_BEHIND:
            return self._on_slow_frame(arrival, difference)
        self._slow_since = None
        _add(self._differences, arrival, difference)
        return False

    def _is_settled(self, arrival: int) -> bool:
        """Whether the camera has run for long enough to be judged: its first frames may all be slow."""
        return self._since is not None and abs(arrival - self._since) > CONFIRM_TIME

    def _on_slow_frame(self, arrival: int, difference: int) -> bool:
        """Return whether frames have been slow for long enough to confirm a jump of the clock."""
        if self._slow_since is None:
            self._slow_since, self._slow = arrival, deque()
        _add(self._slow, arrival, difference)
        if arrival - self._slow_since < CONFIRM_TIME:
            return False
        self._start_over(self._slow)
        return True

    def _start_over(self, differences: deque[tuple[int, int]]) -> None:
        self._differences, self._slow_since, self._slow = differences, None, deque()

    def _offset(self, synchronised: bool) -> int:
        smallest = self._differences[0][1]
        return 0 if synchronised and 0 <= smallest < NSEC_PER_SEC else smallest

    def _forward(self, stamp: int) -> int:
        self._last_stamp = max(stamp, self._last_stamp + 1)
        return self._last_stamp


def _add(differences: deque[tuple[int, int]], arrival: int, difference: int) -> None:
    """Keep the sliding minimum: its values rise from front to back, the front is the minimum of the window."""
    while differences and differences[-1][1] >= difference:
        differences.pop()
    differences.append((arrival, difference))
    while differences[0][0] < arrival - WINDOW:
        differences.popleft()
