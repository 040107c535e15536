"""Clocks of a bag's topics: stamps that jump relative to the log time, and topics stamped by different clocks."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import pairwise
from statistics import median

from moto_ros.contract.stamps import NSEC_PER_SEC
from moto_ros.data.layout import Problems
from moto_ros.data.track import Received, Track

MAX_STEP_BACK = NSEC_PER_SEC // 2
"""Largest step back of stamps (ns), from one message to the next, that is no jump: delays of publishers differ."""

MIN_JUMP = NSEC_PER_SEC
"""Smallest gain (ns) of stamps on the log time, from one message to the next, that is a jump."""

MIN_JUMP_INTERVALS = 10
"""The same in median intervals, for topics of low rate in a simulation that is faster than real time."""

MIN_RUN = 3
"""Messages with stamps of another clock that make a jump; fewer are outliers."""

SAME_JUMP = NSEC_PER_SEC
"""ns of log time within which jumps of several topics are one."""

REPORTED_OFFSET, MAX_OFFSET = NSEC_PER_SEC, 5 * NSEC_PER_SEC
"""ns between two topics' stamps, logged at the same moment: above the first it is reported, above the second nothing is
paired, since no camera or arm is logged this late."""

MIN_DATE = 100_000_000
"""Seconds: larger stamps count from 1970, smaller ones from the start of a simulation or computer."""


@dataclass
class Jump:
    """A moment at which stamps jump: log time (ns) by source, and by how much (ns)."""

    cuts: dict[str, int]
    amount: int

    @property
    def logged(self) -> int:
        """Return when the first source jumps."""
        return min(self.cuts.values())

    def cut(self, source: str) -> int:
        """Return the log time from which on a source's samples are those after the jump."""
        return self.cuts.get(source, self.logged)


def segments(sources: dict[str, Track], problems: Problems) -> list[dict[str, Track]]:
    """Return the samples of every source, cut where stamps jump, in the order of their log times.

    Outliers are left out. Without a jump it is one segment. Samples without a log time count as logged when stamped.
    """
    entries = {name: _entries(track) for name, track in sources.items()}
    jumps: list[Jump] = []
    for name in entries:
        entries[name], found = _steady(name, entries[name], problems)
        jumps = _joined(jumps, name, found)
    begin = min((found[0].logged for found in entries.values() if found), default=0)
    for jump in jumps:
        text = f"stamps of {', '.join(jump.cuts)} jump by {jump.amount / NSEC_PER_SEC:+.3f} s"
        problems.add("jump", f"{text}, {(jump.logged - begin) / NSEC_PER_SEC:.3f} s into the bag; steps are cut there")
    return [_segment(entries, before, after) for before, after in zip([None, *jumps], [*jumps, None], strict=True)]


def _entries(track: Track) -> list[Received]:
    known = track.received or [Received(stamp, stamp, track[stamp]) for stamp in track.stamps]
    return sorted(known, key=lambda entry: (entry.logged, entry.time))


def _steady(name: str, entries: list[Received], problems: Problems) -> tuple[list[Received], list[tuple[int, int]]]:
    """Return a source's samples without outliers, and log time and amount of its jumps."""
    runs = _runs(entries)
    kept: list[list[Received]] = []
    longest_first = sorted(runs, key=len, reverse=True)
    for run in [run for run in longest_first if len(run) >= MIN_RUN] or longest_first[:1]:
        if all(run[-1].logged < other[0].logged or other[-1].logged < run[0].logged for other in kept):
            kept.append(run)
    kept.sort(key=lambda run: run[0].logged)
    steady = [entry for run in kept for entry in run]
    outliers = len(entries) - len(steady)
    if outliers:
        first = next(run[0] for run in runs if all(run is not other for other in kept))
        near = min(steady, key=lambda entry: abs(entry.logged - first.logged))
        text = f"{name}: {outliers} of {len(entries)} messages have other stamps than those around them"
        problems.add(f"outlier/{name}", f"{text} ({_gain(near, first) / NSEC_PER_SEC:+.3f} s); they are left out")
    return steady, [(b[0].logged, _gain(a[-1], b[0])) for a, b in pairwise(kept)]


def _runs(entries: list[Received]) -> list[list[Received]]:
    """Divide samples into runs of steady stamps; a sample that fits an earlier run belongs to it."""
    steps = [abs(b.time - a.time) for a, b in pairwise(entries)]
    ahead = max(MIN_JUMP, MIN_JUMP_INTERVALS * median(steps) if steps else 0)
    runs: list[list[Received]] = []
    for entry in entries:
        for run in runs[: -MIN_RUN - 1 : -1]:
            if entry.time - run[-1].time >= -MAX_STEP_BACK and _gain(run[-1], entry) <= ahead:
                run.append(entry)
                break
        else:
            runs.append([entry])
    return runs


def _gain(before: Received, after: Received) -> int:
    """Return the gain of the stamps on the log time (ns)."""
    return (after.time - before.time) - (after.logged - before.logged)


def _joined(jumps: list[Jump], name: str, found: list[tuple[int, int]]) -> list[Jump]:
    for logged, amount in found:
        same = next((j for j in jumps if name not in j.cuts and abs(j.logged - logged) <= SAME_JUMP), None)
        if same is None:
            jumps.append(Jump({name: logged}, amount))
        else:
            same.cuts[name] = logged
    return sorted(jumps, key=lambda jump: jump.logged)


def _segment(entries: dict[str, list[Received]], before: Jump | None, after: Jump | None) -> dict[str, Track]:
    tracks = {name: Track() for name in entries}
    for name, found in entries.items():
        for entry in found:
            if (before is None or entry.logged >= before.cut(name)) and (
                after is None or entry.logged < after.cut(name)
            ):
                tracks[name].receive(entry.time, entry.sample, entry.logged)
    return tracks


def clocks_too_far_apart(segment: dict[str, Track], problems: Problems) -> bool:
    """Return whether two sources of a segment are stamped by clocks more than `MAX_OFFSET` apart.

    An offset above `REPORTED_OFFSET` is reported, with the first and the last stamp of each source.
    """
    found = {name: track for name, track in segment.items() if len(track)}
    if not found:
        return False
    name, clock = max(found.items(), key=lambda entry: (entry[0] == "state", len(entry[1])))
    offsets = {other: _offset(track, clock) for other, track in found.items() if other != name}
    worst = max(offsets, key=lambda other: abs(offsets[other]), default=name)
    offset = offsets.get(worst, 0)
    if abs(offset) <= REPORTED_OFFSET:
        return False
    text = f"{worst} is stamped {_seconds(abs(offset))} {'behind' if offset < 0 else 'ahead of'} {name}"
    times = ", ".join(
        f"{other} from {when(track.stamps[0])} to {when(track.stamps[-1])}" for other, track in found.items()
    )
    hint = "set the clocks alike and record again, or set topics.stamp_source to log"
    lost = "no steps are made from them" if abs(offset) > MAX_OFFSET else "they are used as stamped"
    problems.add("clocks", f"{text} when both are logged ({times}); {lost}: {hint}")
    return abs(offset) > MAX_OFFSET


def _offset(track: Track, clock: Track) -> int:
    """Return by how much a source's stamps are ahead of another's that were logged at the same moments (ns)."""
    entries, others = _entries(track), _entries(clock)
    logged = [entry.logged for entry in others]
    near = [others[min(bisect_left(logged, entry.logged), len(others) - 1)] for entry in entries]
    return round(median(_gain(other, entry) for other, entry in zip(near, entries, strict=True)))


def _seconds(nanoseconds: int) -> str:
    return (
        f"{nanoseconds / NSEC_PER_SEC:.1f} s"
        if nanoseconds < MIN_DATE * NSEC_PER_SEC
        else f"{nanoseconds / NSEC_PER_SEC / 86400:.0f} days"
    )


def when(stamp: int) -> str:
    """Return a stamp as text: a date in UTC, or seconds where it does not count from 1970."""
    if not MIN_DATE <= stamp // NSEC_PER_SEC < 253_000_000_000:
        return f"{stamp / NSEC_PER_SEC:.3f} s"
    moment = datetime.fromtimestamp(stamp // NSEC_PER_SEC, timezone.utc)
    return f"{moment:%Y-%m-%d %H:%M:%S}.{stamp % NSEC_PER_SEC // 1_000_000:03d}"


def retime(name: str, track: Track, by_log: bool, problems: Problems) -> None:
    """Stamp samples with stamp 0 by their log time, and report it; with `by_log` every sample."""
    unstamped = sum(not entry.stamp for entry in track.received)
    if not by_log and not unstamped:
        return
    entries, track.received = track.received, []
    track.samples, track.stamps = {}, []
    for entry in entries:
        track.receive(entry.logged if by_log else entry.time, entry.sample, entry.logged)
    if not by_log:
        text = f"{name}: {unstamped} of {len(entries)} messages have stamp 0, which is not a valid time"
        problems.add(f"stamp/{name}", f"{text}; their log time is used")
