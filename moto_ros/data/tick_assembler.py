"""From messages without step numbers to steps: the path for bags that were recorded by somebody else."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby, pairwise

import numpy as np

from moto_ros.data.assembler import MAX_STEPS
from moto_ros.data.episode import Episode
from moto_ros.data.layout import SECOND, Problems
from moto_ros.data.pool import MessagePool
from moto_ros.data.report import Usage
from moto_ros.data.track import Track


@dataclass(frozen=True)
class Span:
    """One episode's time: observations and actions stamped in [start, stop), in nanoseconds."""

    number: int
    start: int
    stop: int


class TickAssembler:
    """Cuts time into ticks of the control period, from the first complete observation on.

    Observation k has the newest sample of every topic that is not newer than tick k and at most the pairing tolerance
    older. Action k is the newest command stamped in [tick k, tick k + 1): one stamped like the observation was
    computed from it. A tick that lacks either cuts the episode into parts.
    """

    def __init__(self, pool: MessagePool) -> None:
        self.pool, self.layout, self.problems = pool, pool.layout, Problems()
        self.used: Usage = set()

    def parts(self) -> list[Episode]:
        """Return one Episode for each run of steps without a gap; what is left out goes to `problems`."""
        return [episode for span in self._spans() for episode in self._span_parts(span)]

    def _sources(self) -> dict[str, Track]:
        states = {"state": self.pool.states} if len(self.pool.states) or not self.layout.proprio else self._fields()
        return {f"camera/{camera}": track for camera, track in self.pool.frames.items()} | states

    def _fields(self) -> dict[str, Track]:
        return {name: self.pool.fields[name] for name in self.layout.proprio}

    def _spans(self) -> list[Span]:
        marks, whole = self.pool.marks, [Span(0, 0, 2**63 - 1)]
        if self.pool.topics.episode_source == "whole_bag":
            return whole
        if not len(marks):
            text = "episodes: no message tells them apart, so the whole bag is one; set episode_topic or episode_source"
            self.problems.add("episode", text)
            return whole
        runs = [(name, list(run)) for name, run in groupby(marks.stamps, key=lambda stamp: str(marks[stamp]))]
        stops = [run[0] for _, run in runs[1:]] + [2**63 - 1]
        named = [(run[0], stop) for (name, run), stop in zip(runs, stops, strict=True) if name]
        return [Span(number, start, stop) for number, (start, stop) in enumerate(named)]

    def _span_parts(self, span: Span) -> list[Episode]:
        ticks = self._ticks(span)
        steps = [k for k in range(len(ticks) - 1) if self._links(ticks, k)]
        runs = [[k for _, k in run] for _, run in groupby(enumerate(steps), key=lambda place: place[1] - place[0])]
        self._note_gaps(span, ticks, steps)
        episodes = [self._build(span, ticks[run[0] : run[-1] + 2], part) for part, run in enumerate(runs)]
        if episodes and self.pool.topics.reward_source == "success_at_end":
            episodes[-1].reward[-1], episodes[-1].success[-1] = 1.0, True
        return episodes

    def _ticks(self, span: Span) -> list[int]:
        """Return the ticks of an episode: from the first complete observation to the last sample of the slowest."""
        stamps = {name: track.between(span.start, span.stop) for name, track in self._sources().items()}
        commands = self.pool.commands.between(span.start, span.stop)
        absent = [name for name, found in (stamps | {"action": commands}).items() if not found]
        if absent:
            text = f"episode {span.number}: has no usable message for {', '.join(absent)}; map its topic, see bag info"
            self.problems.add("absent", text)
            return []
        first, last = max(found[0] for found in stamps.values()), min(found[-1] for found in stamps.values())
        last = min(last + self.layout.tolerance_ns, span.stop - 1, commands[-1] + self.layout.period_ns)
        count = 1 + int(max(0, last - first) * self.layout.control_rate / SECOND)
        return [first + round(k * SECOND / self.layout.control_rate) for k in range(min(count, MAX_STEPS))]

    def _links(self, ticks: list[int], k: int) -> bool:
        seen = all(
            self._observed(track, ticks[at]) is not None for track in self._sources().values() for at in (k, k + 1)
        )
        return seen and bool(self.pool.commands.between(ticks[k], ticks[k + 1]))

    def _observed(self, track: Track, tick: int) -> int | None:
        return track.newest(tick, self.layout.tolerance_ns)

    def _note_gaps(self, span: Span, ticks: list[int], steps: list[int]) -> None:
        lost = max(0, len(ticks) - 1) - len(steps)
        if not lost:
            return
        counts = {name: self._unseen(track, ticks) for name, track in self._sources().items()}
        commands = self.pool.commands
        counts["action"] = sum(not commands.between(a, b) for a, b in pairwise(ticks))
        worst = max(counts, key=lambda name: counts[name])
        hint = "lower control_rate" if worst == "action" else "raise pairing_tolerance or lower control_rate"
        text = f"episode {span.number}: {lost} of {len(ticks) - 1} steps are left out"
        self.problems.add("gap", f"{text}, at {counts[worst]} of them {worst} has no sample in time; {hint}")

    def _unseen(self, track: Track, ticks: list[int]) -> int:
        return sum(self._observed(track, tick) is None for tick in ticks)

    def _build(self, span: Span, ticks: list[int], part: int) -> Episode:
        self._note_repeats(ticks)
        self._use(ticks)
        reward = self._reward(ticks)
        return Episode(
            images={camera: self._rows(track, ticks) for camera, track in self.pool.frames.items()},
            proprio=self._proprio(ticks),
            action=self._action(ticks),
            reward=reward,
            success=reward > 0,
            is_terminal=np.zeros(len(ticks), bool),
            stamps=np.array(ticks, np.int64),
            info={"id": span.number, "part": part, "purpose": "demonstration", "outcome": "none", "source": "foreign"},
        )

    def _use(self, ticks: list[int]) -> None:
        for name, track in self._sources().items():
            topic = name if name.startswith("camera/") else "state"
            self.used |= {(topic, stamp) for tick in ticks if (stamp := self._observed(track, tick)) is not None}

    def _rows(self, track: Track, ticks: list[int]) -> np.ndarray:
        return np.stack([track[stamp] for tick in ticks if (stamp := self._observed(track, tick)) is not None])

    def _proprio(self, ticks: list[int]) -> np.ndarray:
        if not self.layout.proprio:
            return np.zeros((len(ticks), 0), np.float32)
        states = [track for name, track in self._sources().items() if not name.startswith("camera/")]
        return np.concatenate([self._rows(track, ticks) for track in states], axis=1)

    def _action(self, ticks: list[int]) -> np.ndarray:
        commands = self.pool.commands
        newest = [commands.between(a, b)[-1] for a, b in pairwise(ticks)]
        return np.stack([np.zeros(self.layout.action_size, np.float32), *(commands[stamp] for stamp in newest)])

    def _reward(self, ticks: list[int]) -> np.ndarray:
        rewards, paid = np.zeros(len(ticks), np.float32), self.pool.payments
        if self.pool.topics.reward_source != "topic":
            return rewards
        if not len(paid):
            self.problems.add(
                "reward", "reward: no message is there, so zeros are taken; set reward_source to say what holds"
            )
        for k, (start, stop) in enumerate(pairwise(ticks), 1):
            found = paid.between(start + 1, stop + 1)
            rewards[k] = paid[found[-1]] if found else 0.0
        return rewards

    def _note_repeats(self, ticks: list[int]) -> None:
        for camera, track in self.pool.frames.items():
            stamps = [self._observed(track, tick) for tick in ticks]
            repeats = sum(a == b for a, b in pairwise(stamps))
            if repeats:
                text = f"camera {camera}: {repeats} of {len(ticks)} observations repeat the frame before"
                self.problems.add(f"repeat/{camera}", f"{text}; lower control_rate to the camera's rate")
