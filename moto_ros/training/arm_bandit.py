"""Which policy acts a training episode, and which is the better one: a bandit over an agent's arms. No ROS.

The first arm, the base, stays as it was after the offline phase; the others learn. The base acts the first
`warm_up_episodes` episodes and every fourth one after them. In all others Thompson sampling decides: the success rate
of each arm is drawn from what is known of it, and the highest draw acts. The base's successes and failures count
alike, however old. Those of an arm that learns count 0.95 times as much after each training episode, since it is
another policy after each round of updates.

The better arm acts in evaluations and is what a run ends with. It is the base, unless an arm that learns is ahead of
it by more than a near tie. `docs/algorithms.md` has what this gives in simulated runs.

Only training episodes count. Results of evaluations do not: an evaluation measures what was chosen before it, it acts
without exploring (so its rates are higher than those of training), and each repeats the same start states. Counted,
they would favour the arm that was evaluated more often, and the last one could overturn the choice that it measures.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from moto_ros.errors import MotoError

BASE_EVERY = 4
"""One training episode of this many is the base's."""

FORGETTING = 0.95
"""Factor of the counts of an arm that learns, for each later training episode."""

PRIOR_EPISODES = 1.0
"""Weight, in episodes, of the assumption that an arm that learns is as good as the base: it begins as a copy of it."""

OPTIMISM = 2.0
"""Successes credited to the draws of an arm that learns: tried more often, it is judged better at the end."""

NEAR_TIE = 0.25
"""Lead in success rate, in standard deviations of the difference, within which two arms count as equally good."""

STREAM = 2
"""Tells the draws of the bandit from others of the same run seed."""


@dataclass(frozen=True)
class ArmOutcome:
    """A training episode: which arm acted, and whether it solved the task without a person's help."""

    arm: str
    success: bool


@dataclass(frozen=True)
class ArmChoice:
    """Which arm acts, and why, in a few words."""

    arm: str
    reason: str = ""


@dataclass(frozen=True)
class Belief:
    """What is known of an arm's success rate: a Beta distribution."""

    alpha: float
    beta: float

    @property
    def mean(self) -> float:
        """Return the expected success rate."""
        return self.alpha / (self.alpha + self.beta)

    @property
    def variance(self) -> float:
        """Return the variance of the success rate."""
        return self.mean * (1.0 - self.mean) / (self.alpha + self.beta + 1.0)


class ArmBandit:
    """Chooses among `arms` by the outcomes of a run; holds no state, so equal questions have equal answers."""

    def __init__(self, arms: Sequence[str], seed: int = 0, warm_up_episodes: int = 5) -> None:
        """Take an agent's arms, from the one that stays to the newest, and the seed of the run."""
        self.arms = tuple(arms)
        self._seed, self._warm_up = seed, warm_up_episodes

    @property
    def base(self) -> str:
        """Return the arm that stays as it is."""
        return self.arms[0]

    def choose(self, episode: int, outcomes: Iterable[ArmOutcome], pinned: str = "") -> ArmChoice:
        """Return which arm acts training episode number `episode`, from 0; `outcomes` are those known so far."""
        if pinned:
            return ArmChoice(pinned, "pinned")
        if len(self.arms) == 1:
            return ArmChoice(self.base)
        if episode < self._warm_up:
            return ArmChoice(self.base, "warm-up")
        if (episode + 1) % BASE_EVERY == 0:
            return ArmChoice(self.base, "every fourth")
        return self._drawn(episode, self.beliefs(outcomes))

    def _drawn(self, episode: int, beliefs: dict[str, Belief]) -> ArmChoice:
        generator = np.random.default_rng(np.random.SeedSequence([self._seed, STREAM, episode]))
        credit = {self.base: 0.0}
        draws = {
            arm: float(generator.beta(belief.alpha + credit.get(arm, OPTIMISM), belief.beta))
            for arm, belief in beliefs.items()
        }
        best = max(draws, key=lambda arm: draws[arm])  # of equal ones the first, the base
        other = max(draw for arm, draw in draws.items() if arm != best)
        return ArmChoice(best, f"drawn: {draws[best]:.2f} against {other:.2f}")

    def better(self, outcomes: Iterable[ArmOutcome]) -> str:
        """Return the better arm, by the outcomes known so far; near ties are the base's."""
        beliefs = self.beliefs(outcomes)
        base = beliefs[self.base]
        ahead = [arm for arm, belief in beliefs.items() if _is_ahead(belief, base)]
        return max(ahead, key=lambda arm: beliefs[arm].mean, default=self.base)

    def beliefs(self, outcomes: Iterable[ArmOutcome]) -> dict[str, Belief]:
        """Return what is known of each arm; outcomes of other arms only pass time."""
        learning = self.arms[1:]
        solved, failed = dict.fromkeys(self.arms, 0.0), dict.fromkeys(self.arms, 0.0)
        for outcome in outcomes:
            for arm in learning:
                solved[arm] *= FORGETTING
                failed[arm] *= FORGETTING
            counted = solved if outcome.success else failed
            if outcome.arm in counted:
                counted[outcome.arm] += 1.0
        base = Belief(1.0 + solved[self.base], 1.0 + failed[self.base])
        prior = PRIOR_EPISODES * base.mean, PRIOR_EPISODES * (1.0 - base.mean)
        return {self.base: base} | {arm: Belief(prior[0] + solved[arm], prior[1] + failed[arm]) for arm in learning}


def _is_ahead(belief: Belief, base: Belief) -> bool:
    """Whether an arm is ahead of the base by more than a near tie."""
    return belief.mean - base.mean > NEAR_TIE * math.sqrt(belief.variance + base.variance)


def check_arm(arm: str, arms: Sequence[str], source: str) -> None:
    """Raise MotoError, naming `source`, unless `arm` is one of `arms` or empty."""
    if arm and arm not in arms:
        raise MotoError(
            f"{source} is '{arm}', expected an arm of the agent: {', '.join(arms)}; name one, or leave it empty"
        )
