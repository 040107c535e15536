"""Section of a run's report: success of each arm of an agent that has several, the floor and what learning added."""

from __future__ import annotations

from moto_ros.report.arm_curves import success_by_arm
from moto_ros.report.history import History, rate_of
from moto_ros.report.page import Section, Table, picture
from moto_ros.training.arm_bandit import ArmBandit, ArmOutcome
from moto_ros.training.statistics import wilson

NONE = "none"


def arm_section(history: History) -> Section:
    """Return success by arm, a row each, in training and in the newest evaluation; empty with only one arm."""
    section = Section("Success by arm")
    if not history.arms:
        return section
    outcomes = [ArmOutcome(arm, solved) for arm, solved in history.outcomes]
    bandit = ArmBandit(history.arms)
    beliefs, better = bandit.beliefs(outcomes), bandit.better(outcomes)
    rows = []
    for arm in history.arms:
        solved = history.arm_outcomes(arm)
        evaluated = [row for row in history.evaluations if row.get("arm") == arm]
        newest = f"{rate_of(evaluated[-1]).percent()}, {_moment(evaluated[-1]['after'])}" if evaluated else NONE
        trained = wilson(sum(solved), len(solved)).percent() if solved else NONE
        rows.append((arm, trained, f"{100 * beliefs[arm].mean:.0f} %", newest))
    note = (
        f"The better arm is {better}. Wilson 95 % intervals; training episodes that a person helped in count as not "
        "solved. Expected now: the mean of what is known, where older results of an arm that learns count less."
    )
    header = ("arm", "training episodes", "expected now", "newest evaluation")
    section.tables.append(Table("The base stays as it was cloned; the policy learns", header, rows, note=note))
    caption = (
        "Success rate of each arm over the training episodes so far, with Wilson 95 % bands; squares: evaluations."
    )
    path = history.run.plots / "success_by_arm.png"
    section.pictures.append(picture(success_by_arm(history), path, "Success by arm", caption))
    return section


def _moment(after: int) -> str:
    return f"after {after} online episodes"
