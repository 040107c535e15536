"""Why a run does not improve: figures of its metrics, and what to do, the first that applies on top.

docs/no_improvement.md explains each finding; a test holds both equal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from moto_ros.agents.interface import BASE, POLICY
from moto_ros.report.history import History
from moto_ros.training.metrics import Row
from moto_ros.training.statistics import Interval, wilson

FEW = 5
"""Episodes of a kind below which nothing is said of it."""
BLIND_AUC = 0.65
"""Area under the ROC curve below which critics do not tell success from failure; 0.5 is chance."""
FEW_EDITS, MANY_EPISODES = 0.02, 15
"""Share of edited steps that is next to none, and episodes after which it should be more."""
UNKNOWN_RANK = 0.95
"""Rank of the mean uncertainty among that on recorded data above which an arm is where nothing was recorded."""
HELD = 0.05
"""Gradient norm of the objective over the prior's below which the policy stays where the prior holds it."""
OPTIMISM = 0.3
"""How far the predicted chance of success may be above what is achieved."""


@dataclass(frozen=True)
class Finding:
    """What is wrong and what to do, a sentence each; `name` is its heading in docs/no_improvement.md."""

    name: str
    what: str
    do: str

    def text(self) -> str:
        """Return both sentences."""
        return f"{self.what} {self.do}"


@dataclass(frozen=True)
class Figures:
    """What the findings are judged by. None where a run does not have it."""

    episodes: int
    by_arm: dict[str, Interval]
    auc: float | None
    edited: float | None
    rank: float | None
    predicted: float | None
    """Mean predicted chance of success at the first action of training episodes."""
    balance: float | None = None
    """Gradient norm of what the policy is to achieve, over that of what keeps it where it is; newest updates."""

    @property
    def success(self) -> Interval | None:
        """Return the success of all training episodes."""
        if not self.by_arm:
            return None
        solved = round(sum(rate.mean * rate.n for rate in self.by_arm.values()))
        return wilson(solved, sum(rate.n for rate in self.by_arm.values()))


def auc(solved: Sequence[float], failed: Sequence[float]) -> float | None:
    """Return the chance that a solved episode has a higher value than a failed one (area under the ROC curve)."""
    if not solved or not failed:
        return None
    difference = np.asarray(solved)[:, None] - np.asarray(failed)[None]
    return float(np.mean((difference > 0) + 0.5 * (difference == 0)))


def figures_of(history: History) -> Figures:
    """Return the figures of a run's training episodes in which nobody helped: help says nothing of the policy."""
    online = [row for row in history.online if not row.get("human_share")]
    return Figures(
        episodes=len(online),
        by_arm={arm: _rate([row for row in online if _arm(row) == arm]) for arm in dict.fromkeys(map(_arm, online))},
        auc=auc(*(_values(online, "success_probability_mean", success=solved) for solved in (1, 0))),
        edited=_mean([row for row in online if _arm(row) == POLICY][-MANY_EPISODES:], "edited"),
        rank=_mean(online, "uncertainty_rank"),
        predicted=_mean(online[-2 * FEW :], "success_probability"),
        balance=_balance(history.of("update", phase="policy")[-FEW:]),
    )


def _arm(row: Row) -> str:
    return str(row.get("arm") or POLICY)


def _rate(rows: Sequence[Row]) -> Interval:
    return wilson(sum(int(row["success"]) for row in rows), len(rows))


def _values(rows: Sequence[Row], name: str, success: int) -> list[float]:
    return [float(row[name]) for row in rows if row.get(name) is not None and int(row["success"]) == success]


def _mean(rows: Sequence[Row], name: str) -> float | None:
    known = [float(row[name]) for row in rows if row.get(name) is not None]
    return sum(known) / len(known) if known else None


def _balance(rows: Sequence[Row]) -> float | None:
    objective, prior = _mean(rows, "objective_norm"), _mean(rows, "prior_norm")
    return objective / prior if objective is not None and prior else None


def never_succeeds(found: Figures) -> Finding | None:
    """Training has not succeeded once."""
    if found.success is None or found.success.n < FEW or found.success.mean > 0:
        return None
    return Finding(
        "No episode succeeds",
        f"None of {found.success.n} training episodes reached success, so there is nothing to learn from.",
        "Record five more demonstrations from the start states where it fails, or take over by hand until it succeeds.",
    )


def never_fails(found: Figures) -> Finding | None:
    """Training has not failed once."""
    if found.success is None or found.success.n < FEW or found.success.mean < 1:
        return None
    return Finding(
        "No episode fails",
        f"All of {found.success.n} training episodes reached success, so there is nothing left to gain here.",
        "Vary the start states as much as the task will, or stop.",
    )


def few_episodes(found: Figures) -> Finding | None:
    """There are too few episodes to say anything."""
    if found.episodes >= 2 * FEW:
        return None
    shown = "" if found.success is None else f"; the rate of success is between {_range(found.success)}"
    return Finding(
        "Too few episodes",
        f"Only {found.episodes} training episodes have been run{shown}.",
        "Go on: with ten episodes a rate of success is known to about 30 points.",
    )


def critics_are_blind(found: Figures) -> Finding | None:
    """The predicted chance of success says nothing of the outcome."""
    if found.auc is None or found.auc >= BLIND_AUC:
        return None
    return Finding(
        "The critics do not tell success from failure",
        f"The predicted chance of success is hardly higher where episodes succeed (AUC {found.auc:.2f}, chance 0.50).",
        "Look whether the cameras show what decides, and whether rewards are right; then allow more online updates.",
    )


def edits_hurt(found: Figures) -> Finding | None:
    """The policy that learns is worse than the base policy."""
    base, policy = found.by_arm.get(BASE), found.by_arm.get(POLICY)
    if base is None or policy is None or min(base.n, policy.n) < FEW or policy.mean >= base.mean:
        return None
    return Finding(
        "The base policy does better",
        f"The policy that learns succeeds in {policy.percent()}, the base policy in {base.percent()}.",
        "Nothing is lost, as the better one is published; for what to change see docs/no_improvement.md.",
    )


def no_edits(found: Figures) -> Finding | None:
    """The critics choose the base policy's action nearly always."""
    if found.edited is None or found.episodes < MANY_EPISODES or found.edited >= FEW_EDITS:
        return None
    return Finding(
        "The base policy's action is nearly always chosen",
        f"Only {100 * found.edited:.1f} % of the steps were edited in the last episodes.",
        "Raise agent.explore_std or agent.edit_limit, or take over by hand where it fails, so that there is something "
        "better to choose.",
    )


def unknown_states(found: Figures) -> Finding | None:
    """The arm is where nothing was recorded."""
    if found.rank is None or found.rank < UNKNOWN_RANK:
        return None
    return Finding(
        "The arm is where nothing was recorded",
        f"The mean uncertainty is above {100 * found.rank:.0f} % of that on recorded data.",
        "Record demonstrations from these states; check that camera, light and scene are as they were.",
    )


def optimistic(found: Figures) -> Finding | None:
    """Values promise more than is achieved."""
    if found.predicted is None or found.success is None or found.predicted <= found.success.mean + OPTIMISM:
        return None
    return Finding(
        "Values promise too much",
        f"Success is predicted with {100 * found.predicted:.0f} % at the start, and achieved in "
        f"{found.success.percent()}.",
        "Allow more online updates; with MOTO's edits, raise agent.edit_monte_carlo.",
    )


def held_by_prior(found: Figures) -> Finding | None:
    """The prior's gradient outweighs the objective's."""
    if found.balance is None or found.balance >= HELD:
        return None
    return Finding(
        "The prior holds the policy where it is",
        f"The gradient of what the policy is to achieve is {100 * found.balance:.1f} % of the prior's.",
        "Lower agent.beta (agent.edit_penalty with agent.policy:=edit) tenfold, or use preset quick.",
    )


CHECKS: tuple[Callable[[Figures], Finding | None], ...] = (
    never_succeeds,
    never_fails,
    few_episodes,
    critics_are_blind,
    edits_hurt,
    unknown_states,
    optimistic,
    held_by_prior,
    no_edits,
)
"""What may be found, the more serious first."""


def diagnose(found: Figures) -> list[Finding]:
    """Return what applies, the most serious first."""
    return [finding for check in CHECKS if (finding := check(found)) is not None]


def _range(rate: Interval) -> str:
    return f"{100 * rate.low:.0f} and {100 * rate.high:.0f} %"
