"""Progress of reading bags, logged periodically: thousands of bags, or a large one, take minutes."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

MIB = 2**20


class ReadingProgress:
    """Logs the progress of reading `total` bags, at most once in `interval` seconds; nothing for a short reading."""

    def __init__(self, log: Callable[[str], None], total: int, interval: float = 10.0) -> None:
        self._log, self._total, self._interval = log, total, interval
        self._last = time.monotonic()
        self._number, self._name, self._bytes = 0, "", 0

    def begin(self, bag: Path) -> None:
        """Start the next bag."""
        self._number, self._name, self._bytes = self._number + 1, bag.name, 0
        self._log_if_due()

    def message(self, size: int) -> None:
        """Count a message of `size` bytes of this bag."""
        self._bytes += size
        self._log_if_due()

    def _log_if_due(self) -> None:
        now = time.monotonic()
        if now - self._last >= self._interval:
            self._last = now
            where = f"bag {self._number} of {self._total}, {self._name}"
            self._log(f"reads {where}: {self._bytes / MIB:.0f} MiB of messages")
