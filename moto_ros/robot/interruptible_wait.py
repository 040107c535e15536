"""Interruptible waits, with time-outs, for the jobs that move the arm. No ROS."""

from __future__ import annotations

import time
from collections.abc import Callable

POLL_PERIOD = 0.05
"""Seconds between two checks whether a wait is interrupted."""


class Interrupted(Exception):  # noqa: N818 - not an error
    """The job must not continue; the text is one sentence: why, and what to do."""


class InterruptibleWait:
    """Sleeps for a job; `interrupted` returns why the job must not continue, or nothing."""

    def __init__(
        self,
        interrupted: Callable[[], str],
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        """`now` and `sleep` are arguments so that tests need not wait."""
        self._interrupted, self.now, self._sleep = interrupted, now, sleep

    def check(self) -> None:
        """Raise Interrupted if the job must not continue."""
        why = self._interrupted()
        if why:
            raise Interrupted(why)

    def pause(self, seconds: float) -> None:
        """Sleep. Raises Interrupted."""
        end = self.now() + seconds
        self.check()
        while (left := end - self.now()) > 0.0:
            self._sleep(min(left, POLL_PERIOD))
            self.check()

    def until(self, condition: Callable[[], bool], timeout: float) -> bool:
        """Wait for a condition; return whether it held within `timeout` seconds. Raises Interrupted."""
        end = self.now() + timeout
        while not condition():
            if self.now() >= end:
                return False
            self.pause(min(POLL_PERIOD, end - self.now()))
        return True
