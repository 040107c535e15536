"""Uncertainty guard: slows down or stops the robot, or asks for a person, while the policy is uncertain. No ROS."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import IntEnum

from moto_ros.config import parameter


class Verdict(IntEnum):
    """Verdict on an action; Action.GUARD_*."""

    NONE = 0
    SLOWED = 1
    HELD = 2
    ASKED = 3


VERDICTS = {"off": Verdict.NONE, "slow": Verdict.SLOWED, "hold": Verdict.HELD, "ask": Verdict.ASKED}


@dataclass(frozen=True)
class UncertaintyRules:
    """When a policy counts as uncertain, and what the guard does then."""

    uncertainty_action: str = parameter(
        "off",
        "while the policy is uncertain: do nothing, slow down, stand still, or stand still until a person has helped",
        choices=tuple(VERDICTS),
    )
    uncertainty_quantile: float = parameter(
        0.95, "the policy is uncertain above this quantile of the uncertainty on recorded data", low=0.0, high=1.0
    )
    uncertainty_steps: int = parameter(
        3, "steps in a row above the quantile after which the guard acts", unit="steps", low=1
    )
    uncertainty_speed: float = parameter(0.3, "speed when slowed down, as a share of the policy's", low=0.0, high=1.0)


class UncertaintyGuard:
    """Judges each proposal by its rank among the uncertainties on recorded data.

    `counts` are steps by verdict, and those whose rank was unknown.
    """

    def __init__(self, rules: UncertaintyRules) -> None:
        """Start without a verdict."""
        self._rules = rules
        self.counts: Counter[str] = Counter()
        self.begin()

    def begin(self) -> None:
        """Start an episode, or again after a person has helped."""
        self._streak = 0
        self.verdict = Verdict.NONE

    def judge(self, rank: float) -> Verdict:
        """Return the verdict on an action of this rank; an unknown rank (NaN) counts as certain."""
        if self._rules.uncertainty_action == "off":
            return Verdict.NONE
        self._streak = self._streak + 1 if rank > self._rules.uncertainty_quantile else 0
        self.counts["rank_unknown"] += rank != rank
        # After it has asked for a person, the guard waits for one even if the policy is certain again.
        if self.verdict is not Verdict.ASKED:
            uncertain = self._streak >= self._rules.uncertainty_steps
            self.verdict = VERDICTS[self._rules.uncertainty_action] if uncertain else Verdict.NONE
        self.counts[self.verdict.name.lower()] += self.verdict is not Verdict.NONE
        return self.verdict

    def sentence(self) -> str:
        """Return one sentence while the guard intervenes, or cannot because ranks are unknown."""
        if self.verdict is Verdict.NONE:
            unknown = self.counts["rank_unknown"]
            why = "the policy has no quantiles of recorded data; train offline with this version first"
            return f"the uncertainty guard has no effect: {why}" if unknown else ""
        share, steps = self._rules.uncertainty_quantile, self._rules.uncertainty_steps
        uncertain = f"the policy is uncertain: above {share:.0%} of recorded data for {steps} steps"
        done = {Verdict.SLOWED: "slowed down", Verdict.HELD: "stands still"}
        return f"{uncertain}; {done.get(self.verdict, 'waits for a person: take over, or call operator/let_go')}"
