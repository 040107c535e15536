"""Figure of an agent with several arms: success of each over the online episodes."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from moto_ros.report.history import History, column, rate_of
from moto_ros.report.style import OFFLINE, PAPER, RUNS, page, styled
from moto_ros.training.statistics import wilson


@styled
def success_by_arm(history: History) -> Figure:
    """Draw the success rate so far of each arm with its Wilson interval, and evaluations as squares."""
    figure, (axis,) = page(2.9)
    for color, arm in zip((OFFLINE, *RUNS), history.arms, strict=False):
        _draw_training(axis, history, arm, color)
        _draw_evaluations(axis, history, arm, color)
    axis.set(xlabel="online episode", ylabel="success (%)", ylim=(-4, 104), yticks=range(0, 101, 20))
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def _draw_training(axis: Axes, history: History, arm: str, color: str) -> None:
    solved = history.arm_outcomes(arm)
    if not solved:
        return
    rates = [wilson(sum(solved[:n]), n) for n in range(1, len(solved) + 1)]
    mean, low, high = (
        100 * np.array(values) for values in zip(*((rate.mean, rate.low, rate.high) for rate in rates), strict=True)
    )
    episodes = [number for number, (acted, _) in enumerate(history.outcomes, 1) if acted == arm]
    axis.plot(episodes, mean, ".-", color=color, label=f"{arm}, training so far (n = {len(solved)})")
    axis.fill_between(episodes, low, high, color=color, alpha=0.15, linewidth=0)


def _draw_evaluations(axis: Axes, history: History, arm: str, color: str) -> None:
    rows = [row for row in history.evaluations if row.get("arm") == arm]
    if not rows:
        return
    after, mean, rates = column(rows, "after"), 100 * column(rows, "success_rate"), [rate_of(row) for row in rows]
    error = np.abs([[100 * rate.low for rate in rates], [100 * rate.high for rate in rates]] - mean)
    axis.errorbar(after, mean, yerr=error, fmt="none", ecolor=color, elinewidth=1.4, capsize=3, zorder=5)
    label = f"{arm}, evaluations (n = {rows[-1]['n']})"
    axis.plot(after, mean, "s", color=color, markersize=7, markeredgecolor=PAPER, zorder=6, label=label)
