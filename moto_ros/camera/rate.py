"""Frame rate: measured over the last second, and compared with the requested one."""

from __future__ import annotations

from collections import deque


class RateMeter:
    """Frames per second over the last second."""

    WINDOW = 1.0

    def __init__(self) -> None:
        """Start without frames."""
        self._times: deque[float] = deque()

    def add(self, now: float) -> None:
        """Count a frame that came at `now` (s of a clock that only goes forward)."""
        self._times.append(now)
        self._forget(now)

    def rate(self, now: float) -> float:
        """Return the rate in Hz: between the frames of the last second, 0 with fewer than two."""
        self._forget(now)
        if len(self._times) < 2:
            return 0.0
        return (len(self._times) - 1) / max(self._times[-1] - self._times[0], 1e-9)

    def _forget(self, now: float) -> None:
        while self._times and self._times[0] < now - self.WINDOW:
            self._times.popleft()


class RateJudge:
    """Judges the rate over one window after the other; the first good one opens the start-up gate permanently."""

    def __init__(self, asked: float, tolerance: float, window: float) -> None:
        """Expect `asked` Hz, within the relative `tolerance`, over windows of `window` s."""
        self._asked, self._tolerance, self._window = asked, tolerance, window
        self.passed = False
        self.problem = ""
        self.restart()

    def restart(self) -> None:
        """Begin a new window, after a gap that is known."""
        self._start, self._frames = 0.0, 0

    def add(self, now: float) -> bool:
        """Count a frame that came at `now` (s); return whether a window ended now, and was wrong."""
        self._start = self._start if self._frames else now
        self._frames += 1
        elapsed = now - self._start
        if elapsed < self._window:
            return False
        self.problem = self._judged((self._frames - 1) / elapsed)
        self.passed = self.passed or not self.problem
        self._start, self._frames = now, 1
        return bool(self.problem)

    def _judged(self, rate: float) -> str:
        if abs(rate - self._asked) <= self._tolerance * self._asked:
            return ""
        return (
            f"comes at {rate:.1f} Hz, expected {self._asked:g} Hz within {100 * self._tolerance:g} %; "
            "use a USB 3 port, set a fixed exposure, or ask for a rate that it can keep"
        )
