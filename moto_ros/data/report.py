"""Counts of an assembler's messages: how many were used, and why others were left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from moto_ros.data.pool import MessagePool

Usage = set[tuple[str, int]]
"""Messages that are part of a step: topic (`state`, `camera/<name>`) and stamp, or `action`/`reward` and step."""


@dataclass(frozen=True)
class AssemblyReport:
    """Counts of messages, and one sentence for each kind of problem.

    used: in a step; unmatched: stamped within an episode, but in no step; early, late: stamped before the first or
    after the last observation, or a step after the end; duplicate: received again; foreign: of another episode; bad:
    undecodable, misshapen or not finite; clipped: actions outside [-1, 1]; ignored: of a camera not in the layout.
    """

    counts: dict[str, int]
    problems: list[str] = field(default_factory=list)


def tally(pool: MessagePool, usages: list[Usage]) -> Counter[str]:
    """Count the messages of a pool by category, given those that each episode used."""
    counts = Counter({name: pool.counts[name] for name in ("received", "duplicate", "bad", "clipped", "ignored")})
    counts.update(unmatched=0, early=0, late=0)
    counts["used"] = sum(len(usage) for usage in usages)
    ranges = sorted(found for usage in usages if (found := _time_range(usage)))
    used = set().union(*usages)
    for topic, stamps in _stamps(pool):
        for stamp in stamps if ranges else ():
            if (topic, stamp) not in used:
                counts[_category(stamp, ranges)] += 1
    return counts


def _time_range(usage: Usage) -> tuple[int, int] | None:
    times = [stamp for topic, stamp in usage if topic == "state"]
    return (min(times), max(times)) if times else None


def _stamps(pool: MessagePool) -> Iterable[tuple[str, list[int]]]:
    yield "state", pool.states.stamps
    for camera, track in pool.frames.items():
        yield f"camera/{camera}", track.stamps


def _category(stamp: int, ranges: list[tuple[int, int]]) -> str:
    if any(first <= stamp <= last for first, last in ranges):
        return "unmatched"
    return "early" if stamp < ranges[0][0] else "late"
