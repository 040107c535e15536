"""Curves of interventions: steps of people and of the guard by episode, and the uncertainty that the guard uses."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from moto_ros.data.records import GUARDS
from moto_ros.report.history import History, column
from moto_ros.report.style import INK, OFFLINE, RUNS, UNCERTAINTY, WARM, page, styled

MARKED_PERCENTILES = (50, 90, 99)
"""Percentiles of the uncertainty on recorded data that figures draw as lines."""


def draw_quantiles(axis: Axes, history: History) -> None:
    """Draw lines at the marked quantiles of the uncertainty on recorded data."""
    for percent in MARKED_PERCENTILES if history.quantiles else ():
        value = history.quantiles[percent]
        axis.axhline(value, color=OFFLINE, linewidth=0.9, linestyle=(0, (1, 2)), zorder=1)
        transform = axis.get_yaxis_transform()
        axis.text(0.995, value, f"{percent} % of recorded", transform=transform, ha="right", va="bottom", fontsize=7)


@styled
def shares(history: History) -> Figure:
    """Draw the fraction of steps that a person chose, and that the guard changed, by online episode."""
    figure, (axis,) = page(2.6)
    rows, episodes = history.online, np.arange(len(history.online))
    axis.bar(episodes, 100 * column(rows, "human_share"), color=WARM, label="chosen by a person", width=0.8)
    steps = np.maximum(column(rows, "steps"), 1)
    for color, name in zip((UNCERTAINTY, RUNS[2], RUNS[4]), GUARDS[1:], strict=True):
        values = 100 * np.nan_to_num(column(rows, f"guard_{name}")) / steps
        if values.any():
            axis.plot(episodes, values, "o", color=color, markersize=4, label=f"{name} by the uncertainty guard")
    axis.set(xlabel="online episode", ylabel="steps (%)", ylim=(0, 104))
    figure.legend(loc="outside lower center", ncols=2)
    return figure


@styled
def distribution(history: History) -> Figure:
    """Draw the distribution of the uncertainty on recorded data, and the means of online episodes on it."""
    figure, (axis,) = page(2.4)
    values = np.asarray(history.quantiles)
    axis.plot(
        values, np.linspace(0, 100, len(values)), color=UNCERTAINTY, label="recorded data, after the offline phase"
    )
    means = column(history.online, "uncertainty")
    means = means[np.isfinite(means)]
    if len(means):
        ranks = 100 * np.interp(means, values, np.linspace(0, 1, len(values)))
        axis.plot(means, ranks, "o", color=INK, markersize=3.5, alpha=0.6, label="online episodes, mean of each")
    axis.set(xlabel="uncertainty u", ylabel="share below (%)", ylim=(-2, 102))
    figure.legend(loc="outside lower center", ncols=2)
    return figure
