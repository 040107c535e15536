"""Schedule of a fine-tuning run: which updates, episodes and evaluations come next; survives being killed. No ROS.

Offline updates, publish, evaluation; then for each online episode: run, update, publish, evaluation when due; done.
`next` returns what to do and has no effect; events report what was done. The state is plain JSON.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from moto_ros.agents.interface import BASE_PHASE, POLICY
from moto_ros.errors import MotoError
from moto_ros.training.arm_bandit import ArmBandit, ArmChoice, ArmOutcome, check_arm
from moto_ros.training.settings import TrainerSettings, UpdateBudget

EVALUATION_IDS = 1_000_000
DEMONSTRATION_IDS = 2_000_000
ROUND_IDS = 1_000
"""Ids reserved for one evaluation round, lost episodes included."""

PURPOSES = ("training", "evaluation", "demonstration")


@dataclass(frozen=True)
class Offline:
    """Do the offline phase: updates by phase name."""

    updates: dict[str, int]


@dataclass(frozen=True)
class RunEpisode:
    """Run one episode; with `sample`, its actions are drawn from the policy to explore.

    `arm` is which of the agent's policies acts, `arm_reason` why, in a few words; empty in runs of earlier versions.
    """

    id: int
    purpose: str
    seed: int
    sample: bool
    arm: str = ""
    arm_reason: str = ""


@dataclass(frozen=True)
class Update:
    """Do online round `round`: updates by phase name."""

    round: int
    updates: dict[str, int]


@dataclass(frozen=True)
class Publish:
    """Publish the weights as `version`."""

    version: int


@dataclass(frozen=True)
class Wait:
    """An episode runs; there is nothing else to do until it ends."""

    episode: int


@dataclass(frozen=True)
class Done:
    """The run is complete."""


Action = Offline | RunEpisode | Update | Publish | Wait | Done


@dataclass(frozen=True)
class EpisodeResult:
    """How an episode went: return (sum of rewards), steps, whether it succeeded, and which arm acted.

    `helped`: a person acted in some of its steps, so that its success is not the arm's.
    """

    id: int
    success: bool
    reward: float
    steps: int
    arm: str = ""
    helped: bool = False


@dataclass
class Evaluation:
    """One evaluation round: after how many online episodes, its results, episodes lost in it, and which arm acts."""

    after: int
    results: list[EpisodeResult] = field(default_factory=list)
    lost: int = 0
    arm: str = ""


@dataclass
class Position:
    """The progress of a run; all of it is saved."""

    offline_done: bool = False
    published: int = 0
    rounds: int = 0
    """Update rounds done."""
    steps: list[int] = field(default_factory=list)
    """Steps of each online episode learned from or waiting to be."""
    lost: int = 0
    """Training episodes that gave nothing; their ids are not used again."""
    lost_in_a_row: int = 0
    evaluations: list[Evaluation] = field(default_factory=list)
    running: RunEpisode | None = None
    outcomes: list[ArmOutcome] = field(default_factory=list)
    """Which arm acted in each training episode, and whether it solved the task."""
    first_arm: str = ""
    """Arm that acts in evaluations before the first outcome; empty: the base."""
    has_base: bool = False
    """Whether the base policy was given, so that the offline phase does not learn one."""


class RunSchedule:
    """Orders the phases of one run; owns episode ids and seeds, and chooses which of the agent's `arms` acts."""

    def __init__(self, settings: TrainerSettings, budget: UpdateBudget, arms: Sequence[str] = (POLICY,)) -> None:
        self.settings = settings
        self.budget = budget
        self.position = Position()
        self.bandit = ArmBandit(arms, settings.seed, settings.warm_up_episodes)
        self.pinned = settings.pinned_arm
        """Arm that a person wants to act in every episode; empty: chosen by results."""

    def next(self) -> Action:
        """Return what to do now; the same answer until an event changes the position."""
        if not self.position.offline_done:
            given = {BASE_PHASE} if self.position.has_base else set()
            return Offline({phase: n for phase, n in self.budget.offline.items() if phase not in given})
        if self.position.published < self.position.rounds + 1:
            return Publish(self.position.rounds + 1)
        return self._evaluate() or self._collect_or_update()

    def _evaluate(self) -> Action | None:
        position = self.position
        if position.rounds < len(position.steps) or self._training_runs() or not self._evaluation_due():
            return None
        return self._running_or(self._evaluation_episode())

    def _collect_or_update(self) -> Action:
        position = self.position
        waiting = position.rounds < len(position.steps)
        may_start = position.running is None and len(position.steps) < self.budget.online_episodes
        if waiting and not (may_start and self.settings.overlap and not self._evaluation_follows()):
            return self._update()
        if may_start:
            return self._training_episode()
        return self._running_or(Done())

    def _running_or(self, otherwise: Action) -> Action:
        running = self.position.running
        return otherwise if running is None else Wait(running.id)

    def _training_runs(self) -> bool:
        return self.position.running is not None and self.position.running.purpose == "training"

    def _update(self) -> Update:
        number, steps = self.position.rounds, self.position.steps
        return Update(number, self.budget.due(number, sum(steps[:number]), steps[number]))

    def _training_episode(self) -> RunEpisode:
        index = len(self.position.steps)
        seed = episode_seed(self.settings.seed, "training", index)
        choice = self.bandit.choose(index, self.position.outcomes, self.pinned)
        return RunEpisode(index + self.position.lost, "training", seed, True, choice.arm, choice.reason)

    def _evaluation_episode(self) -> RunEpisode:
        number, current = self._current_evaluation()
        index = len(current.results)
        id = EVALUATION_IDS + number * ROUND_IDS + index + current.lost
        seed, choice = episode_seed(self.settings.seed, "evaluation", index), self._evaluated_arm(current)
        return RunEpisode(id, "evaluation", seed, False, choice.arm, choice.reason)

    def _evaluated_arm(self, current: Evaluation) -> ArmChoice:
        """Return the arm that acts a round of evaluation: the better one at its beginning, for all of its episodes."""
        arm = self.better_arm()
        if current.arm and current.arm != arm:
            return ArmChoice(current.arm, "as the evaluation began")
        if self.pinned:
            return ArmChoice(arm, "pinned")
        if len(self.bandit.arms) == 1:
            return ArmChoice(arm)
        return ArmChoice(arm, "better arm" if self.position.outcomes else "before online learning")

    def better_arm(self) -> str:
        """Return the arm that acts where it matters: the pinned one, else the better one by training episodes.

        Before the first of these it is the base, or the arm that the run began with.
        """
        if self.pinned:
            return self.pinned
        outcomes, first = self.position.outcomes, self.position.first_arm
        return self.bandit.better(outcomes) if outcomes or first not in self.bandit.arms else first

    def pin(self, arm: str) -> None:
        """Have `arm` act in every episode from the next one on; empty: let results decide again.

        Raises MotoError for an arm that the agent does not have.
        """
        check_arm(arm, self.bandit.arms, "trainer.pinned_arm")
        self.pinned = arm

    def _current_evaluation(self) -> tuple[int, Evaluation]:
        """Return the evaluation of the present number of online episodes: an open one, or a new one not yet begun."""
        known, after = self.position.evaluations, self.position.rounds
        if known and known[-1].after == after:
            return len(known) - 1, known[-1]
        return len(known), Evaluation(after)

    def _evaluation_due(self) -> bool:
        wanted = self._wants_evaluation(self.position.rounds)
        return wanted and len(self._current_evaluation()[1].results) < self.settings.evaluation_episodes

    def _evaluation_follows(self) -> bool:
        """Whether the robot must stay free since an evaluation comes once all episodes are learned from."""
        return self._wants_evaluation(len(self.position.steps))

    def _wants_evaluation(self, episodes: int) -> bool:
        settings, every = self.settings, self.settings.evaluation_every
        if episodes == 0:
            return settings.evaluate_before
        if episodes >= self.budget.online_episodes:
            return settings.evaluate_after
        return every > 0 and episodes % every == 0

    def offline_ended(self) -> None:
        """Note that the offline phase is complete."""
        self.position.offline_done = True

    def starts_from(self, arm: str) -> None:
        """Note that a checkpoint takes the place of the offline phase, and which arm is its better one."""
        self.position.first_arm = arm
        self.offline_ended()

    def base_given(self) -> None:
        """Note that the base policy is not to be learned."""
        self.position.has_base = True

    def published(self, version: int) -> None:
        """Note that weights went out as `version`."""
        self.position.published = version

    def update_ended(self) -> None:
        """Note that the round asked for is complete."""
        self.position.rounds += 1

    def episode_started(self, episode: RunEpisode) -> None:
        """Note that an episode was accepted by the robot side."""
        self.position.running = episode

    def episode_ended(self, result: EpisodeResult) -> None:
        """Take in a usable episode; also one whose start was noted by an earlier process."""
        self.position.lost_in_a_row = 0
        if result.id >= EVALUATION_IDS:
            current = self._evaluation_of(result.id)
            current.arm = current.arm or result.arm
            current.results.append(result)
        else:
            self.position.steps.append(result.steps)
            self.position.outcomes.append(ArmOutcome(result.arm, result.success and not result.helped))
        self.position.running = None

    def episode_lost(self, id: int, reason: str) -> None:
        """Note that an episode gave nothing (aborted, discarded); it is run again under a new id and the same seed.

        Raises MotoError after `max_lost_episodes` in a row.
        """
        position = self.position
        position.running = None
        position.lost_in_a_row += 1
        if id >= EVALUATION_IDS:
            self._evaluation_of(id).lost += 1
        else:
            position.lost += 1
        if position.lost_in_a_row >= self.settings.max_lost_episodes:
            raise MotoError(
                f"episode {id}: {reason}; {position.lost_in_a_row} episodes in a row gave nothing, expected data; "
                "fix the robot side, then run the same command to resume"
            )

    def _evaluation_of(self, id: int) -> Evaluation:
        number, current = self._current_evaluation()
        if (id - EVALUATION_IDS) // ROUND_IDS != number:
            raise MotoError(f"episode {id}: of another evaluation round than {number}; leave it out of this run")
        if number == len(self.position.evaluations):
            self.position.evaluations.append(current)
        return current

    def evaluation_just_ended(self) -> Evaluation | None:
        """Return the evaluation whose last episode has just been taken in."""
        known = self.position.evaluations
        complete = known and len(known[-1].results) == self.settings.evaluation_episodes
        return known[-1] if complete and known[-1].after == self.position.rounds else None

    def state(self) -> dict[str, Any]:
        """Return the position as plain JSON values."""
        return asdict(self.position)

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restore what `state` returned. A running episode is kept: report how it ended, or that it was lost."""
        running = state["running"]
        evaluations = [_evaluation_from(saved) for saved in state["evaluations"]]
        rest = dict(state) | {
            "running": None if running is None else RunEpisode(**running),
            "evaluations": evaluations,
            "steps": list(state["steps"]),
            "outcomes": [ArmOutcome(**outcome) for outcome in state.get("outcomes", ())],
        }
        self.position = Position(**rest)


def _evaluation_from(saved: Mapping[str, Any]) -> Evaluation:
    results = [EpisodeResult(**result) for result in saved["results"]]
    return Evaluation(saved["after"], results, saved["lost"], saved.get("arm", ""))


def episode_seed(run_seed: int, purpose: str, index: int) -> int:
    """Return the start-state seed, uint32, of the index-th episode of a purpose; rounds of evaluation share theirs."""
    entropy = [run_seed, PURPOSES.index(purpose), index]
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint32)[0])
