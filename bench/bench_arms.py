"""What a run ends with when a bandit chooses between the cloned policy and one that learns: a table and JSON.

Simulated: an episode is one draw with the success rate of the arm that acts. No robot, no learning, one second a run of
thousands.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from result import write
from rich.console import Console
from rich.table import Table

from moto_ros.agents.interface import BASE, POLICY
from moto_ros.training.arm_bandit import ArmBandit, ArmOutcome

BASE_RATE = 0.68
EPISODES = 50


@dataclass(frozen=True)
class Case:
    """The success rate of the policy in each episode; its rate at the end is that of the last one."""

    name: str
    rate: Callable[[int], float]


@dataclass(frozen=True)
class Ending:
    """Means over simulated runs: success at the end and while training, and the share of episodes by the policy."""

    case: str
    runs: int
    policy: float
    ends_with: float
    standard_error: float
    training: float
    by_policy: float


def steady(rate: float) -> Case:
    """Return the case of a policy that keeps its rate."""
    return Case(f"{rate:.0%} all the time", lambda episode: rate)


CASES = (
    *(steady(rate) for rate in (0.38, 0.58, 0.68, 0.78, 0.90)),
    Case("falls from 75% to 20% at episode 35", lambda episode: 0.75 if episode < 35 else 0.20),
    Case("grows from 60% to 85%", lambda episode: 0.60 + 0.25 * episode / (EPISODES - 1)),
)


def simulate(case: Case, runs: int, base_rate: float = BASE_RATE, episodes: int = EPISODES) -> Ending:
    """Return how `runs` runs end."""
    chosen = solved = by_policy = 0
    for seed in range(runs):
        bandit, luck = ArmBandit((BASE, POLICY), seed), np.random.default_rng([seed, 1]).random(episodes)
        outcomes: list[ArmOutcome] = []
        for episode in range(episodes):
            arm = bandit.choose(episode, outcomes).arm
            rate = base_rate if arm == BASE else case.rate(episode)
            outcomes.append(ArmOutcome(arm, bool(luck[episode] < rate)))
        chosen += bandit.better(outcomes) == POLICY
        solved += sum(outcome.success for outcome in outcomes)
        by_policy += sum(outcome.arm == POLICY for outcome in outcomes)
    share, gain = chosen / runs, case.rate(episodes - 1) - base_rate
    error = abs(gain) * (share * (1 - share) / runs) ** 0.5
    total = runs * episodes
    return Ending(
        case.name, runs, case.rate(episodes - 1), base_rate + gain * share, error, solved / total, by_policy / total
    )


def main() -> None:
    """Simulate every case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=2000, help="simulated runs of each case")
    parser.add_argument("--json", type=Path, help="also write the JSON to this file")
    options = parser.parse_args()
    table = Table(title=f"base at {BASE_RATE:.0%}, {EPISODES} episodes, {options.runs} runs")
    for heading in ("policy", "ends with", "standard error", "while training", "episodes by the policy"):
        table.add_column(heading)
    found = [simulate(case, options.runs) for case in CASES]
    for one in found:
        cells = (one.ends_with, one.standard_error, one.training, one.by_policy)
        table.add_row(one.case, *(f"{100 * value:.1f} %" for value in cells))
    Console(file=sys.stderr).print(table)
    write({"arms": [asdict(one) for one in found]}, options.json)


if __name__ == "__main__":
    main()
