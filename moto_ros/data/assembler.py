"""Assembles messages into the steps of an episode: the one assembler for live topics, bag replay and bag files."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from moto_ros.data.episode import Episode
from moto_ros.data.layout import Problems, StepLayout
from moto_ros.data.pool import MessagePool
from moto_ros.data.records import UNKNOWN_SOURCE, Action, PhaseRecord, Reward
from moto_ros.data.report import AssemblyReport, Usage, tally
from moto_ros.errors import MotoError

MAX_STEPS = 100_000
"""An episode with more steps is damaged."""

TERMINAL = ("failure", "success")
"""Outcomes of an episode that the task itself has ended; after any other it could have gone on."""


@dataclass(frozen=True)
class Observed:
    """Stamps (ns) of an observation's parts, and which parts are missing."""

    state: int
    cameras: dict[str, int]
    missing: list[str]


class EpisodeAssembler:
    """Collects the messages of one episode and turns them into steps.

    The result is a function of the set of messages: their order of arrival and repetitions do not matter. Action k
    names the stamps of observation k; reward k + 1 has the stamp of the robot state of observation k + 1, which alone
    identifies the last one, T. Of a camera that is not named, the newest frame is taken that is not newer than the
    robot state and at most the pairing tolerance older; where stamps may differ, a control period more is allowed:
    nothing waits for a better frame at the end of an episode, and without a frame the whole episode would be lost.
    """

    def __init__(self, layout: StepLayout, episode: int | None = None, pool: MessagePool | None = None) -> None:
        """Assemble episode number `episode`; None: the only one in the messages."""
        self.layout = layout
        self.pool = pool or MessagePool(layout)
        self.problems = Problems()
        self._episode = episode
        self.used: Usage = set()

    def add(self, role: str, message: Any, received_ns: int | None = None) -> None:
        """Take a message in the role `camera/<name>`, `state`, `action`, `reward`, `episode` or `health`."""
        self.pool.add(role, message, received_ns)

    @property
    def episode(self) -> int:
        """Return the number of the episode; MotoError where it was not given and is not unique."""
        if self._episode is not None:
            return self._episode
        found = self.pool.episodes()
        if len(found) != 1:
            raise MotoError(f"messages of episodes {found} were seen, expected those of one; name the episode")
        return found[0]

    @property
    def phase(self) -> PhaseRecord | None:
        """Return the ended state of the episode if it was received, else its latest known state."""
        return self.pool.phases.get(self.episode)

    @property
    def ended(self) -> bool:
        """Whether the end of the episode was received."""
        if self._episode is None and len(self.pool.episodes()) != 1:
            return False
        return self.phase is not None and self.phase.ended

    @property
    def _actions(self) -> dict[int, Action]:
        return self.pool.actions.get(self.episode, {})

    @property
    def _rewards(self) -> dict[int, Reward]:
        return self.pool.rewards.get(self.episode, {})

    @property
    def _steps(self) -> int | None:
        return self.phase.steps if self.phase is not None and self.phase.ended else None

    @property
    def _slack(self) -> int:
        tolerance = self.layout.tolerance_ns
        return tolerance + self.layout.period_ns if tolerance else 0

    def missing(self) -> list[str]:
        """Return what is still needed for the whole episode, e.g. "step 12: image of camera agent"; empty: complete."""
        steps = self._steps if self.ended else None
        if steps is None:
            return ["the end of the episode"]
        if not 1 <= steps <= MAX_STEPS:
            return [f"steps: the episode ended after {steps}, expected 1 to {MAX_STEPS}"]
        missing = [text for k in range(steps + 1) for text in self._missing_at(k, steps)]
        return missing + self._awaited_frames(steps)

    def _missing_at(self, k: int, steps: int) -> list[str]:
        missing = [] if k == steps or k in self._actions else [f"step {k}: action"]
        if k and k not in self._rewards:
            missing.append(f"step {k}: reward")
        return missing + self._observed(k).missing

    def _awaited_frames(self, steps: int) -> list[str]:
        """Return cameras that may still send a newer frame for the last observation; actions name those before."""
        reward = self._rewards.get(steps)
        late = [] if reward is None else [c for c, track in self.pool.frames.items() if not track.after(reward.stamp)]
        return [f"step {steps}: image of camera {camera} at or after the last robot state" for camera in late]

    def _observed(self, k: int) -> Observed:
        """Find the parts of observation k."""
        action = None if self._steps is not None and k >= self._steps else self._actions.get(k)
        reward = self._rewards.get(k)
        if action is not None:
            return self._named(k, action.state_stamp, dict(action.camera_stamps))
        if reward is not None:
            return self._named(k, reward.stamp, {})
        return Observed(0, {}, [f"step {k}: robot state (nothing names its stamp)"])

    def _named(self, k: int, state: int, named: dict[str, int]) -> Observed:
        cameras: dict[str, int] = {}
        missing = [] if state in self.pool.states else [f"step {k}: robot state"]
        for camera, track in self.pool.frames.items():
            stamp = named[camera] if camera in named else track.newest(state, self._slack)
            if stamp is None or stamp not in track:
                missing.append(f"step {k}: image of camera {camera}")
            else:
                cameras[camera] = stamp
        return Observed(state, cameras, missing)

    def assemble(self) -> Episode:
        """Return the whole episode; MotoError, saying what is missing, when it is not complete."""
        missing = self.missing()
        if missing:
            more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
            name = "?" if self._episode is None else self._episode
            raise MotoError(f"episode {name} is incomplete: {'; '.join(missing[:3])}{more}; read its bag, or wait")
        return self._build(0, self._steps or 0, 0, 0)

    def parts(self, reward_source: str = "topic") -> list[Episode]:
        """Return what was recorded of the episode: one Episode for each run of steps without a gap, in order.

        `reward_source` is `TopicMap.reward_source`. Gaps, a missing end and missing rewards go to the report.
        """
        rewarded = bool(self._rewards)
        steps = [k for k in sorted(self._actions) if self._is_complete(k, rewarded)]
        runs = [[k for _, k in run] for _, run in groupby(enumerate(steps), key=lambda pair: pair[1] - pair[0])]
        lost = self._note_gaps(steps, len(runs))
        if not rewarded and reward_source == "topic":
            self.problems.add("reward", f"episode {self.episode}: has no rewards; zeros are used, or set reward_source")
        episodes = [self._build(run[0], run[-1] + 1, part, lost) for part, run in enumerate(runs)]
        return [_relabelled(found, reward_source, found is episodes[-1], self.phase) for found in episodes]

    def _is_complete(self, k: int, rewarded: bool) -> bool:
        """Whether step k is complete: both observations, the action and its reward."""
        inside = self._steps is None or k < self._steps
        has_reward = k + 1 in self._rewards or not rewarded
        return inside and has_reward and not self._observed(k).missing and not self._observed(k + 1).missing

    def _note_gaps(self, steps: list[int], parts: int) -> int:
        """Report which steps are incomplete, and return how many."""
        known = max([-1, *(k for k in self._actions if self._steps is None or k < self._steps)]) + 1
        expected = known if self._steps is None else min(self._steps, MAX_STEPS)
        if self._steps is None:
            text = f"episode {self.episode}: its end is not recorded; {len(steps)} complete steps are used"
            self.problems.add("end", text)
        elif len(steps) < expected:
            first = next(k for k in range(expected) if k >= len(steps) or steps[k] != k)
            missing = [*self._missing_at(first, expected), *self._missing_at(first + 1, expected)]
            text = f"episode {self.episode}: {expected - len(steps)} of {expected} steps are incomplete"
            kept = f"{parts} parts are kept" if parts > 1 else "the rest is kept" if parts else "nothing is kept"
            self.problems.add("gap", f"{text} ({missing[0] if missing else f'step {first}'}); {kept}")
        return expected - len(steps)

    def _build(self, first: int, last: int, part: int, lost: int) -> Episode:
        """Stack observations `first`..`last`, all complete, with the actions and rewards between them."""
        seen = [self._observed(k) for k in range(first, last + 1)]
        actions = [self._actions[k] for k in range(first, last)]
        rewards = [self._rewards.get(k) for k in range(first + 1, last + 1)]
        self._use(seen, first, last)
        blank = np.zeros(self.layout.action_size, np.float32)
        return Episode(
            images={camera: self._stack(camera, seen) for camera in self.layout.cameras},
            proprio=np.stack([self.pool.states[found.state] for found in seen]),
            action=np.stack([blank, *(action.values for action in actions)]),
            reward=np.array([0.0, *(0.0 if reward is None else reward.value for reward in rewards)], np.float32),
            success=np.array([False, *(reward is not None and reward.success for reward in rewards)]),
            is_terminal=self._terminal(rewards, last),
            stamps=np.array([found.state for found in seen], np.int64),
            info=self._info(actions, first, part) | {"lost_steps": lost},
            source=np.array([UNKNOWN_SOURCE, *(action.source_number for action in actions)], np.uint8),
            guard=np.array([0, *(action.guard for action in actions)], np.uint8),
        )

    def _stack(self, camera: str, seen: list[Observed]) -> np.ndarray:
        return np.stack([self.pool.frames[camera][found.cameras[camera]] for found in seen])

    def _terminal(self, rewards: list[Reward | None], last: int) -> np.ndarray:
        """Return where no future exists: by its reward, and where failure or success ended the episode."""
        terminal = np.array([False, *(reward is not None and reward.terminal for reward in rewards)])
        if last == self._steps and self.phase is not None and self.phase.outcome in TERMINAL:
            terminal[-1] = True
        return terminal

    def _info(self, actions: list[Action], first: int, part: int) -> dict[str, str | int | float | bool]:
        phase = self.phase
        return {
            "id": self.episode,
            "part": part,
            "first_step": first,
            "purpose": phase.purpose if phase else "",
            "outcome": phase.outcome if phase and phase.ended else "none",
            "reason": phase.reason if phase and phase.ended else "",
            "source": "+".join(sorted({action.source for action in actions})),
            "policy_version": max(action.policy_version for action in actions),
            "arm": next((action.arm for action in actions if action.arm), ""),
            "faults": self.pool.incidents.count(robot=True),
            "camera_gaps": self.pool.incidents.count(robot=False),
        }

    def _use(self, seen: list[Observed], first: int, last: int) -> None:
        for found in seen:
            self.used.add(("state", found.state))
            self.used |= {(f"camera/{camera}", stamp) for camera, stamp in found.cameras.items()}
        self.used |= {("action", k) for k in range(first, last)}
        self.used |= {("reward", k) for k in range(first + 1, last + 1)}

    @property
    def report(self) -> AssemblyReport:
        """Return how many messages were used, and why others were not."""
        counts = tally(self.pool, [self.used])
        counts.update(self.strays())
        return AssemblyReport(dict(counts), self.pool.problems.sentences() + self.problems.sentences())

    def strays(self) -> Counter[str]:
        """Count actions and rewards of other episodes, and those of this one after its end."""
        number = self._episode if self._episode is not None else next(iter(self.pool.episodes()), -1)
        actions, rewards = self.pool.actions, self.pool.rewards
        foreign = sum(len(steps) for episode, steps in actions.items() if episode != number)
        foreign += sum(len(steps) for episode, steps in rewards.items() if episode != number)
        last = self._steps if self.ended and self._steps is not None else MAX_STEPS
        late = sum(k >= last for k in actions.get(number, ())) + sum(k > last for k in rewards.get(number, ()))
        return Counter(foreign=foreign, late=late)


def _relabelled(episode: Episode, reward_source: str, last: bool, phase: PhaseRecord | None) -> Episode:
    """Apply the configured rule where rewards do not come from their topic."""
    if reward_source == "topic":
        return episode
    episode.reward[:], episode.success[:] = 0.0, False
    solved = phase is None or phase.outcome in ("none", "success")
    if reward_source == "success_at_end" and last and solved:
        episode.reward[-1] = 1.0
        episode.success[-1] = episode.is_terminal[-1] = True
    return episode
