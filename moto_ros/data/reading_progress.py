"""How far the reading of bags is, said now and then: thousands of bags, or a large one, take minutes."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

MIB = 2**20


class ReadingProgress:
    """Says how far the reading of `total` bags is, at most once in `interval` seconds; nothing of a short one."""

    def __init__(self, say: Callable[[str], None], total: int, interval: float = 10.0) -> None:
        self._say, self._total, self._interval = say, total, interval
        self._last = time.monotonic()
        self._number, self._name, self._bytes = 0, "", 0

    def begin(self, bag: Path) -> None:
        """Note that the next bag is read."""
        self._number, self._name, self._bytes = self._number + 1, bag.name, 0
        self._speak()

    def message(self, size: int) -> None:
        """Note a message of `size` bytes of this bag."""
        self._bytes += size
        self._speak()

    def _speak(self) -> None:
        now = time.monotonic()
        if now - self._last >= self._interval:
            self._last = now
            where = f"bag {self._number} of {self._total}, {self._name}"
            self._say(f"reads {where}: {self._bytes / MIB:.0f} MiB of messages")
