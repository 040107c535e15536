"""The newest messages of several topics that belong together by their stamps."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from typing import Any

from moto_ros.contract.stamps import NSEC_PER_SEC
from moto_ros.data.fields import message_stamp
from moto_ros.data.layout import Problems, StepLayout

FRAMES_KEPT = 16
STATES_KEPT = 1024
"""Messages kept until an observation is complete: a second of states at 1 kHz, half a second of frames at 30 Hz."""

Paired = dict[str, tuple[int, Any]]
"""Stamp (ns) and message by role."""


class Pairing:
    """Pairs cameras and robot state within the tolerance of the layout, and returns no frame twice.

    A camera's message may be its image, or its calibration, which has the same stamp. `counts`: received; repeated:
    with the stamp of the message before; unstamped: with stamp 0; late: older than the message before; clock_jump:
    stamped more than a second before it, so that all are forgotten; stale: older than `max_age`;
    unpaired: newest messages further apart than the tolerance. `problems` describes them.
    """

    def __init__(self, layout: StepLayout) -> None:
        self.layout = layout
        self.topics = (*(f"camera/{camera}" for camera in layout.cameras), "state")
        self.counts: Counter[str] = Counter()
        self.problems = Problems()
        self._kept: dict[str, deque[tuple[int, Any]]] = {topic: deque(maxlen=FRAMES_KEPT) for topic in self.topics}
        self._kept["state"] = deque(maxlen=STATES_KEPT)
        self._returned: dict[str, int] = {}
        self._unpaired_at = -1

    def add(self, role: str, message: Any, received_ns: int | None = None) -> None:
        """Add a message in the role `camera/<name>` or `state`."""
        kept = self._kept.get(role)
        stamp = message_stamp(message, received_ns)
        if kept is None or stamp is None:
            self.counts["ignored"] += 1
            return
        self.counts["received"] += 1
        if kept and not stamp:  # the first may be from the start of a simulation
            self.counts["unstamped"] += 1
            text = f"{role}: stamps are 0, which is not a valid time, so messages cannot be paired"
            self.problems.add(f"stamp/{role}", f"{text}; have its driver stamp them, or relay it by the camera node")
            return
        if kept and stamp < kept[-1][0] - NSEC_PER_SEC:
            self._clock_jumped(role, kept[-1][0] - stamp)
        newest = kept[-1][0] if kept else -1
        if stamp > newest:
            kept.append((stamp, message))
        else:
            self.counts["repeated" if stamp == newest else "late"] += 1

    def _clock_jumped(self, role: str, back_ns: int) -> None:
        self.counts["clock_jump"] += 1
        self.problems.add(
            "clock",
            f"{role}: stamps jumped back by {back_ns / NSEC_PER_SEC:.3f} s; pairing starts again, check the clock",
        )
        self.forget()

    def forget(self) -> None:
        """Start again, e.g. after a reset: messages received before are not used."""
        for kept in self._kept.values():
            kept.clear()
        self._returned.clear()

    def take(self, after_ns: int = 0, now_ns: int | None = None) -> Paired | None:
        """Return the newest pairing of which no part was returned before, all of it stamped at or after `after_ns`.

        With `now_ns` pairings older than `max_age` are refused. None: there is no new pairing.
        """
        chosen = self._paired()
        if chosen is None:
            return None
        stamps = {topic: stamp for topic, (stamp, _) in chosen.items()}
        if min(stamps.values()) < after_ns or any(stamp <= self._returned.get(t, -1) for t, stamp in stamps.items()):
            return None
        if self._too_old(stamps.values(), now_ns):
            self.counts["stale"] += 1
            return None
        self._returned = stamps
        return chosen

    def _paired(self) -> Paired | None:
        """Return the newest message of each topic such that all stamps lie within the tolerance."""
        if not all(self._kept.values()):
            return None
        slowest = min(kept[-1][0] for kept in self._kept.values())
        chosen = self._within(slowest + self.layout.tolerance_ns)
        if chosen is None and slowest != self._unpaired_at:
            self._unpaired_at = slowest
            self.counts["unpaired"] += 1
            self._note_unpaired()
        return chosen

    def _note_unpaired(self) -> None:
        """Report the topics whose newest messages are too far apart: one of them has another clock."""
        newest = {topic: kept[-1][0] for topic, kept in self._kept.items()}
        first, last = min(newest, key=lambda topic: newest[topic]), max(newest, key=lambda topic: newest[topic])
        behind = newest[last] - newest[first]
        if behind > NSEC_PER_SEC:
            text = f"{first} is stamped {behind / NSEC_PER_SEC:.3f} s before {last}, expected at most"
            hint = "s, the pairing_tolerance; synchronise their clocks"
            self.problems.state("apart", f"{text} {self.layout.pairing_tolerance:g} {hint}")

    def _within(self, until: int) -> Paired | None:
        """Return the newest messages up to `until` whose stamps lie within the tolerance, or older ones that do."""
        found = {topic: _newest(kept, until) for topic, kept in self._kept.items()}
        chosen = {topic: pair for topic, pair in found.items() if pair is not None}
        if len(chosen) < len(self.topics):
            return None
        latest_allowed = min(stamp for stamp, _ in chosen.values()) + self.layout.tolerance_ns
        return chosen if max(stamp for stamp, _ in chosen.values()) <= latest_allowed else self._within(latest_allowed)

    def _too_old(self, stamps: Iterable[int], now_ns: int | None) -> bool:
        limit = round(self.layout.max_age * NSEC_PER_SEC)
        return bool(limit) and now_ns is not None and now_ns - min(stamps) > limit


def _newest(kept: deque[tuple[int, Any]], until: int) -> tuple[int, Any] | None:
    return next((pair for pair in reversed(kept) if pair[0] <= until), None)
