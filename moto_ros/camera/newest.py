"""Queue of a camera's newest frames, between the thread that receives them and the one that reads them."""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")

DEPTH = 2
"""Items that may wait; the oldest is dropped."""


class Newest(Generic[T]):
    """A bounded queue that drops its oldest item for a newer one."""

    def __init__(self, depth: int = DEPTH) -> None:
        """Hold up to `depth` items."""
        self._items: deque[T] = deque(maxlen=depth)
        self._filled = threading.Condition()

    def put(self, item: T) -> bool:
        """Add an item; return whether the oldest one was dropped."""
        with self._filled:
            full = len(self._items) == self._items.maxlen
            self._items.append(item)
            self._filled.notify()
            return full

    def get(self, timeout: float) -> T | None:
        """Return the oldest item, None when there is none within `timeout` seconds."""
        with self._filled:
            self._filled.wait_for(lambda: bool(self._items), timeout)
            return self._items.popleft() if self._items else None

    def clear(self) -> None:
        """Forget all items."""
        with self._filled:
            self._items.clear()
