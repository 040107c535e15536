"""Figure of an agent with several arms: success of each over the online episodes."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from moto_ros.report.history import History, column, rate_of
from moto_ros.report.style import OFFLINE, PAPER, RUNS, page, styled
from moto_ros.training.statistics import wilson


@styled
def success_by_arm(history: History) -> Figure:
    """Draw the success rate so far of each arm with its Wilson interval, and evaluations as squares."""
    figure, (axis,) = page(2.9)
    for color, arm in zip((OFFLINE, *RUNS), history.arms, strict=False):
        outcomes = history.arm_outcomes(arm)
        rates = [wilson(sum(solved), len(solved)) for solved in (outcomes[: n + 1] for n in range(len(outcomes)))]
        episodes = [number for number, row in enumerate(history.online, 1) if row.get("arm") == arm]
        axis.plot(episodes, [100 * rate.mean for rate in rates], ".-", color=color, label=f"{arm}, training so far")
        low, high = (
            ([100 * bound for bound in bounds] for bounds in zip(*((r.low, r.high) for r in rates), strict=True))
            if rates
            else ([], [])
        )
        axis.fill_between(episodes, low, high, color=color, alpha=0.15, linewidth=0)
        evaluated = [row for row in history.evaluations if row.get("arm") == arm]
        if evaluated:
            mean = 100 * column(evaluated, "success_rate")
            found = [rate_of(row) for row in evaluated]
            error = np.abs([[100 * rate.low for rate in found], [100 * rate.high for rate in found]] - mean)
            x = column(evaluated, "after")
            axis.errorbar(x, mean, yerr=error, fmt="none", ecolor=color, elinewidth=1.4, capsize=3, zorder=5)
            style: dict[str, Any] = {"color": color, "markersize": 7, "markeredgecolor": PAPER, "zorder": 6}
            axis.plot(x, mean, "s", label=f"{arm}, evaluations", **style)
    axis.set(xlabel="online episode", ylabel="success (%)", ylim=(-4, 104), yticks=range(0, 101, 20))
    figure.legend(loc="outside lower center", ncols=2)
    return figure
