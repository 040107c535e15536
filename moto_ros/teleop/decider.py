"""Decides the action of a step from the policy's proposal and the person's input. No ROS."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from moto_ros.teleop.arbiter import Arbiter, Source
from moto_ros.teleop.human import Human
from moto_ros.teleop.operator_settings import OperatorSettings
from moto_ros.teleop.uncertainty_guard import UncertaintyGuard, Verdict


@dataclass(frozen=True)
class Decided:
    """An action to execute, float32 (A,), its source, and the verdict of the uncertainty guard."""

    values: np.ndarray
    source: Source
    verdict: Verdict = Verdict.NONE


class Decider:
    """The person decides if in control, else the policy under the uncertainty guard; their actions are blended.

    `counts` are the steps by source.
    """

    def __init__(self, settings: OperatorSettings, human: Human) -> None:
        """Decide for `human`."""
        self._settings, self._human = settings, human
        self._arbiter = Arbiter(settings, settings.action_size, human.gripper_entry)
        self.guard = UncertaintyGuard(settings)
        self.counts: Counter[str] = Counter()
        self.begin()

    def begin(self) -> None:
        """Start an episode."""
        self._human.begin()
        self._arbiter.begin(self._settings.gripper_start)
        self.guard.begin()

    def demonstrate(self, now: float) -> Decided:
        """Return the person's action; without input it has no motion."""
        return self._by(Source.HUMAN, self._human.action(now), Verdict.NONE)

    def answer(self, now: float, proposal: np.ndarray, rank: float) -> Decided:
        """Return the decision on a proposal, float32 (A,), whose uncertainty has `rank` on recorded data."""
        if self._human.control_source(now):
            self.guard.begin()  # the person has helped an uncertain policy
            return self.demonstrate(now)
        if self._human.gripper_entry is not None:
            self._human.hold_gripper(float(self._arbiter.last[self._human.gripper_entry]))
        verdict = self.guard.judge(rank)
        if verdict is Verdict.SLOWED:
            proposal = self._arbiter.slowed(proposal, self._settings.uncertainty_speed)
        elif verdict is not Verdict.NONE:
            proposal = self._arbiter.still()
        return self._by(Source.POLICY, proposal, verdict)

    def _by(self, source: Source, values: np.ndarray, verdict: Verdict) -> Decided:
        self.counts[f"steps_{source.name.lower()}"] += 1
        return Decided(self._arbiter.decide((source, verdict), values), source, verdict)
