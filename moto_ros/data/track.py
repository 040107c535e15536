"""Samples of one topic by their stamp."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from typing import NamedTuple

import numpy as np


class Received(NamedTuple):
    """A sample of a bag: its own stamp (0: it has none) and its log time, in ns."""

    logged: int
    stamp: int
    sample: np.ndarray

    @property
    def time(self) -> int:
        """Return the stamp, or the log time of a sample without one."""
        return self.stamp or self.logged


class Track:
    """Samples by stamp (ns), in any order of arrival; one sample a stamp.

    `received` are those with a known time of receipt, in order of arrival.
    """

    def __init__(self) -> None:
        self.samples: dict[int, np.ndarray] = {}
        self.stamps: list[int] = []
        self.received: list[Received] = []

    def __contains__(self, stamp: int) -> bool:
        return stamp in self.samples

    def __getitem__(self, stamp: int) -> np.ndarray:
        return self.samples[stamp]

    def __len__(self) -> int:
        return len(self.stamps)

    def add(self, stamp: int, sample: np.ndarray) -> bool:
        """Add a sample; return False for a stamp that is already there.

        Which of two different samples with one stamp is kept does not depend on their order.
        """
        if stamp not in self.samples:
            self.samples[stamp] = sample
            insort(self.stamps, stamp)
            return True
        self.samples[stamp] = min(self.samples[stamp], sample, key=_order)
        return False

    def receive(self, stamp: int, sample: np.ndarray, received_ns: int | None) -> bool:
        """Add a sample with its time of receipt; where that is known, stamp 0 means no stamp."""
        if received_ns is not None:
            self.received.append(Received(received_ns, stamp, sample))
        return self.add(stamp, sample) or (stamp == 0 and received_ns is not None)

    def newest(self, until: int, tolerance: int) -> int | None:
        """Return the newest stamp not after `until` and at most `tolerance` ns before it; None if there is none."""
        index = bisect_right(self.stamps, until)
        return self.stamps[index - 1] if index and until - self.stamps[index - 1] <= tolerance else None

    def after(self, stamp: int) -> bool:
        """Whether there is a sample at or after `stamp`, so that no newer one can follow for that time."""
        return bool(self.stamps) and self.stamps[-1] >= stamp

    def between(self, start: int, stop: int) -> list[int]:
        """Return the stamps in [start, stop)."""
        return self.stamps[bisect_left(self.stamps, start) : bisect_left(self.stamps, stop)]


def _order(sample: np.ndarray) -> bytes:
    return sample.tobytes()
