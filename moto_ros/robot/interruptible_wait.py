"""How a job that moves the arm waits: with a time-out, and for no longer than it may go on. No ROS."""

from __future__ import annotations

import time
from collections.abc import Callable

LOOK = 0.05
"""Seconds between two questions whether a wait may go on."""


class Interrupted(Exception):  # noqa: N818 - not an error
    """The job must not go on; the text is one sentence: why, and what to do."""


class InterruptibleWait:
    """Sleeps for a job; `interrupted` says why it must not go on, nothing while it may."""

    def __init__(
        self,
        interrupted: Callable[[], str],
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        """Take the clock from outside, so that tests need not wait."""
        self._interrupted, self.now, self._sleep = interrupted, now, sleep

    def check(self) -> None:
        """Raise Interrupted where the job must not go on."""
        why = self._interrupted()
        if why:
            raise Interrupted(why)

    def pause(self, seconds: float) -> None:
        """Sleep. Raises Interrupted."""
        end = self.now() + seconds
        self.check()
        while (left := end - self.now()) > 0.0:
            self._sleep(min(left, LOOK))
            self.check()

    def until(self, condition: Callable[[], bool], timeout: float) -> bool:
        """Wait for a condition; return whether it came within `timeout` seconds. Raises Interrupted."""
        end = self.now() + timeout
        while not condition():
            if self.now() >= end:
                return False
            self.pause(min(LOOK, end - self.now()))
        return True
