"""Assembles messages without step numbers into steps: for bags that other programs recorded."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby, pairwise

import numpy as np

from moto_ros.contract.stamps import NSEC_PER_SEC
from moto_ros.data.assembler import MAX_STEPS
from moto_ros.data.clocks import clocks_too_far_apart, retime, segments, when
from moto_ros.data.episode import Episode
from moto_ros.data.layout import Problems
from moto_ros.data.pool import MessagePool
from moto_ros.data.report import Usage
from moto_ros.data.track import Track


@dataclass(frozen=True)
class EpisodeInterval:
    """One episode's time: observations and actions stamped in [start, stop), in nanoseconds."""

    number: int
    start: int
    stop: int


@dataclass(frozen=True)
class Segment:
    """Samples between two jumps of the stamps: of observations, commands, rewards and episode marks."""

    seen: dict[str, Track]
    commands: Track
    rewards: Track
    marks: Track

    @property
    def logged(self) -> int:
        """Return the time from the first to the last log time of observations and commands (ns)."""
        times = [entry.logged for track in (*self.seen.values(), self.commands) for entry in track.received]
        return max(times) - min(times) if times else 0


class TickAssembler:
    """Cuts time into ticks of the control period, from the first complete observation on.

    Observation k holds the newest sample of every topic that is not newer than tick k and at most the pairing tolerance
    older. Action k is the newest command stamped in [tick k, tick k + 1): a command with the observation's own stamp
    was computed from that observation. A tick without a complete observation or without a command cuts the episode
    into parts, and so does a jump of the stamps. Where a stamp is 0 the log time is used.
    """

    def __init__(self, pool: MessagePool) -> None:
        self.pool, self.layout, self.problems = pool, pool.layout, Problems()
        self.used: Usage = set()
        self._mark, self._number = "", -1

    def parts(self) -> list[Episode]:
        """Return one Episode for each run of steps without a gap; what is left out is reported in `problems`."""
        found: dict[int, list[Episode]] = {}
        whole: dict[int, bool] = {}
        for segment in self._segments():
            for interval in self._intervals(segment):
                made = self._parts_of(segment, interval)
                found.setdefault(interval.number, []).extend(made)
                whole[interval.number] = bool(made)
        for number, episodes in found.items():
            for part, episode in enumerate(episodes):
                episode.info["part"] = part
            if episodes and self.pool.topics.reward_source == "success_at_end":
                self._succeed(number, episodes[-1], whole[number])
        return [episode for episodes in found.values() for episode in episodes]

    def _succeed(self, number: int, last: Episode, whole: bool) -> None:
        if whole:
            last.reward[-1] = 1.0
            last.success[-1] = last.is_terminal[-1] = True
        else:
            text = f"episode {number}: no complete step follows the last jump of its stamps"
            self.problems.add("end", f"{text}, so that it ends without success")

    def _segments(self) -> list[Segment]:
        """Return the recorded samples, cut where stamps jump, without segments too short for a step."""
        pool, by_log = self.pool, self.pool.topics.stamp_source == "log"
        states = {"state": pool.states} if len(pool.states) or not self.layout.proprio else self._fields()
        seen = {f"camera/{camera}": track for camera, track in pool.frames.items()} | states
        others = {"action": pool.commands, "reward": pool.foreign_rewards, "episode": pool.marks}
        for name, track in (seen | others).items():
            retime(name, track, by_log, self.problems)
        found = [
            Segment({name: tracks[name] for name in seen}, *(tracks[name] for name in others))
            for tracks in segments(seen | others, self.problems)
        ]
        return [segment for segment in found if segment.logged >= self.layout.period_ns] or found[:1]

    def _fields(self) -> dict[str, Track]:
        return {name: self.pool.fields[name] for name in self.layout.proprio}

    def _intervals(self, segment: Segment) -> list[EpisodeInterval]:
        whole = [EpisodeInterval(0, 0, 2**63 - 1)]
        if self.pool.topics.episode_source == "whole_bag":
            return whole
        if not len(self.pool.marks):
            text = "episodes: no message tells them apart, so the whole bag is one; set episode_topic or episode_source"
            self.problems.add("episode", text)
            return whole
        carried = [(0, self._mark)] if self._mark else []
        marks = carried + [(stamp, str(segment.marks[stamp])) for stamp in segment.marks.stamps]
        runs = [(name, next(run)[0]) for name, run in groupby(marks, key=lambda mark: mark[1])]
        stops = [start for _, start in runs[1:]] + [2**63 - 1]
        found = []
        for (name, start), stop in zip(runs, stops, strict=True):
            self._number += bool(name) and not (carried and start == 0)
            self._mark = name
            if name:
                found.append(EpisodeInterval(self._number, start, stop))
        return found

    def _parts_of(self, segment: Segment, interval: EpisodeInterval) -> list[Episode]:
        ticks = self._ticks(segment, interval)
        steps = [k for k in range(len(ticks) - 1) if self._is_complete(segment, ticks, k)]
        runs = [[k for _, k in run] for _, run in groupby(enumerate(steps), key=lambda pair: pair[1] - pair[0])]
        self._note_gaps(segment, interval, ticks, steps)
        return [self._build(segment, interval, ticks[run[0] : run[-1] + 2]) for run in runs]

    def _ticks(self, segment: Segment, interval: EpisodeInterval) -> list[int]:
        """Return the ticks of an episode: from the first complete observation to the last sample of the slowest."""
        stamps = {name: track.between(interval.start, interval.stop) for name, track in segment.seen.items()}
        commands = segment.commands.between(interval.start, interval.stop)
        absent = [name for name, found in (stamps | {"action": commands}).items() if not found]
        tracks = segment.seen | {"action": segment.commands}
        if clocks_too_far_apart(tracks | ({"episode": segment.marks} if absent else {}), self.problems):
            return []
        if absent:
            text = (
                f"episode {interval.number}: has no usable message for {', '.join(absent)}; map its topic, see bag info"
            )
            self.problems.add("absent", text)
            return []
        first, last = max(found[0] for found in stamps.values()), min(found[-1] for found in stamps.values())
        last = min(last + self.layout.tolerance_ns, interval.stop - 1, commands[-1] + self.layout.period_ns)
        count = 1 + int(max(0, last - first) * self.layout.control_rate / NSEC_PER_SEC)
        if count < 2:
            times = ", ".join(f"{n} from {when(t.stamps[0])} to {when(t.stamps[-1])}" for n, t in tracks.items())
            text = f"episode {interval.number}: its topics share less than a control period"
            self.problems.add("short", f"{text} ({times}); record them at the same time")
        if count > MAX_STEPS:
            text = f"episode {interval.number}: has {count - 1} steps, of which the first {MAX_STEPS - 1} are used"
            self.problems.add("long", f"{text}; set episode_topic to tell episodes apart, or lower control_rate")
        return [first + round(k * NSEC_PER_SEC / self.layout.control_rate) for k in range(min(count, MAX_STEPS))]

    def _is_complete(self, segment: Segment, ticks: list[int], k: int) -> bool:
        seen = all(self._observed(track, ticks[at]) is not None for track in segment.seen.values() for at in (k, k + 1))
        return seen and bool(segment.commands.between(ticks[k], ticks[k + 1]))

    def _observed(self, track: Track, tick: int) -> int | None:
        return track.newest(tick, self.layout.tolerance_ns)

    def _note_gaps(self, segment: Segment, interval: EpisodeInterval, ticks: list[int], steps: list[int]) -> None:
        lost = max(0, len(ticks) - 1) - len(steps)
        if not lost:
            return
        counts = {name: len(self._unseen(track, ticks)) for name, track in segment.seen.items()}
        counts["action"] = sum(not segment.commands.between(a, b) for a, b in pairwise(ticks))
        worst = max(counts, key=lambda name: counts[name])
        text = f"episode {interval.number}: {lost} of {len(ticks) - 1} steps are left out"
        hint = self._hint(segment, worst, ticks)
        self.problems.add("gap", f"{text}, at {counts[worst]} of them {worst} has no sample in time; {hint}")

    def _unseen(self, track: Track, ticks: list[int]) -> list[int]:
        return [tick for tick in ticks if self._observed(track, tick) is None]

    def _hint(self, segment: Segment, worst: str, ticks: list[int]) -> str:
        """Return advice: a setting, unless the topic pauses for too long for any."""
        track = segment.commands if worst == "action" else segment.seen[worst]
        pause = max((b - a for a, b in pairwise([*track.stamps, ticks[-1]])), default=0)
        if pause > NSEC_PER_SEC:
            return f"it pauses for up to {pause / NSEC_PER_SEC:.1f} s"
        if worst == "action":
            return "lower control_rate"
        return (
            f"raise pairing_tolerance (up to {pause / NSEC_PER_SEC:.3f} s between its messages) or lower control_rate"
        )

    def _build(self, segment: Segment, interval: EpisodeInterval, ticks: list[int]) -> Episode:
        self._note_repeats(segment, ticks)
        self._use(segment, ticks)
        reward = self._reward(segment, ticks)
        return Episode(
            images={camera: self._rows(segment.seen[f"camera/{camera}"], ticks) for camera in self.pool.frames},
            proprio=self._proprio(segment, ticks),
            action=self._action(segment, ticks),
            reward=reward,
            success=reward > 0,
            is_terminal=np.zeros(len(ticks), bool),
            stamps=np.array(ticks, np.int64),
            info={"id": interval.number, "part": 0, "purpose": "demonstration", "outcome": "none", "source": "foreign"},
        )

    def _use(self, segment: Segment, ticks: list[int]) -> None:
        for name, track in segment.seen.items():
            topic = name if name.startswith("camera/") else "state"
            self.used |= {(topic, stamp) for tick in ticks if (stamp := self._observed(track, tick)) is not None}

    def _rows(self, track: Track, ticks: list[int]) -> np.ndarray:
        return np.stack([track[stamp] for tick in ticks if (stamp := self._observed(track, tick)) is not None])

    def _proprio(self, segment: Segment, ticks: list[int]) -> np.ndarray:
        if not self.layout.proprio:
            return np.zeros((len(ticks), 0), np.float32)
        states = [track for name, track in segment.seen.items() if not name.startswith("camera/")]
        return np.concatenate([self._rows(track, ticks) for track in states], axis=1)

    def _action(self, segment: Segment, ticks: list[int]) -> np.ndarray:
        commands = segment.commands
        newest = [commands.between(a, b)[-1] for a, b in pairwise(ticks)]
        return np.stack([np.zeros(self.layout.action_size, np.float32), *(commands[stamp] for stamp in newest)])

    def _reward(self, segment: Segment, ticks: list[int]) -> np.ndarray:
        rewards, samples = np.zeros(len(ticks), np.float32), segment.rewards
        if self.pool.topics.reward_source != "topic":
            return rewards
        if not len(self.pool.foreign_rewards):
            self.problems.add("reward", "reward: no message is there, so zeros are used; set reward_source to choose")
        for k, (start, stop) in enumerate(pairwise(ticks), 1):
            found = samples.between(start + 1, stop + 1)
            rewards[k] = samples[found[-1]] if found else 0.0
        return rewards

    def _note_repeats(self, segment: Segment, ticks: list[int]) -> None:
        for camera in self.pool.frames:
            stamps = [self._observed(segment.seen[f"camera/{camera}"], tick) for tick in ticks]
            repeats = sum(a == b for a, b in pairwise(stamps))
            if repeats:
                text = f"camera {camera}: {repeats} of {len(ticks)} observations repeat the frame before"
                self.problems.add(f"repeat/{camera}", f"{text}; lower control_rate to the camera's rate")
