"""Curves over a run: success, returns, losses, uncertainty."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from moto_ros.report.history import History, ScalarHistory, column, rate_of
from moto_ros.report.intervention_curves import draw_quantiles
from moto_ros.report.page import counted
from moto_ros.report.style import (
    FAILURE,
    INK,
    MUTED,
    OFFLINE,
    OFFLINE_BAND,
    ONLINE,
    PAPER,
    RUNS,
    SUCCESS,
    UNCERTAINTY,
    WARM,
    WIDTH,
    draw_probability,
    page,
    styled,
)
from moto_ros.training.metrics import Row
from moto_ros.training.statistics import moving_average

LONG_LABEL = 30
"""Characters of a label above which two do not fit side by side."""
WINDOW = 10
"""Online episodes in a moving average."""

MIN_EPISODES = 5
"""Online episodes before a moving average is drawn: the mean of fewer is noise."""

MAX_PANELS = 12
UPDATES = "gradient updates"


def draw_boundary(axis: Axes, history: History, *, labels: bool = False) -> None:
    """Shade the offline phase and mark where it ends."""
    axis.set_xlim(0, max(history.updates, 1) * 1.02)
    if not history.boundary:
        return
    axis.axvspan(0, history.boundary, color=OFFLINE_BAND, zorder=0)
    axis.axvline(history.boundary, color=OFFLINE, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    if labels:
        transform = axis.get_xaxis_transform()
        style: dict[str, Any] = {"transform": transform, "fontsize": 8.5, "color": MUTED, "va": "top"}
        axis.text(history.boundary / 2, 0.98, "offline", ha="center", **style)
        if history.online:
            axis.text((history.boundary + history.updates) / 2, 0.98, "online", ha="center", **style)


def draw_evaluations(axis: Axes, rows: Sequence[Row], positions: Sequence[float], color: str) -> None:
    """Draw success rates in % with their Wilson intervals."""
    rates = [rate_of(row) for row in rows]
    mean = np.asarray([100 * rate.mean for rate in rates])
    error = np.abs([[100 * rate.low for rate in rates], [100 * rate.high for rate in rates]] - mean)
    axis.errorbar(positions, mean, yerr=error, fmt="none", ecolor=color, elinewidth=1.6, capsize=4, zorder=5)
    axis.plot(positions, mean, "o", color=color, markersize=8, markeredgecolor=PAPER, markeredgewidth=1.5, zorder=6)
    right = axis.get_xlim()[1]
    for x, y in zip(positions, mean, strict=True):
        shift, side = ((8, 6), "left") if x < 0.9 * right else ((-8, 6), "right")
        axis.annotate(f"{y:.0f} %", (x, y), shift, textcoords="offset points", ha=side, fontsize=9, weight="bold")


@styled
def learning_curve(history: History) -> Figure:
    """Draw success over gradient updates: evaluations with intervals, online episodes, the offline boundary."""
    figure, (axis,) = page(3.3)
    draw_boundary(axis, history, labels=True)
    _draw_online_success(axis, history)
    rows = history.evaluations
    if rows:
        draw_evaluations(axis, rows, [row["updates"] for row in rows], WARM)
        axis.plot([], [], "o", color=WARM, label=f"evaluation of {rows[-1]['n']} episodes")
    axis.set(xlabel=UPDATES, ylabel="success (%)", ylim=(-5, 118), yticks=range(0, 101, 20))
    _mark_episodes(axis, history.online)
    handles, _ = axis.get_legend_handles_labels()
    if handles:
        figure.legend(loc="outside lower center", ncols=2, columnspacing=1.2)
    return figure


def recent_mean(values: np.ndarray) -> np.ndarray:
    """Return the mean over the last `WINDOW` values, from the `MIN_EPISODES`-th value on."""
    return moving_average(list(values), WINDOW)[MIN_EPISODES - 1 :]


def _draw_online_success(axis: Axes, history: History) -> None:
    if not history.online:
        return
    x, success = column(history.online, "updates"), column(history.online, "success")
    axis.plot(x, np.where(success > 0, 101.5, -1.5), "|", color=ONLINE, markersize=5, alpha=0.55)
    label = f"online, mean of the last {WINDOW} episodes"
    axis.plot(x[MIN_EPISODES - 1 :], 100 * recent_mean(success), color=ONLINE, label=label)


def _mark_episodes(axis: Axes, online: Sequence[Row]) -> None:
    """Number the online episodes along the top."""
    if len(online) < 2:
        return
    step = max(1, round(len(online) / 6 / 5) * 5)
    shown = [*range(0, len(online), step)]
    top = axis.twiny()
    top.set_xlim(axis.get_xlim())
    top.set_xticks([online[index]["updates"] for index in shown], [str(index) for index in shown])
    top.set_xlabel("online episode", color=MUTED, fontsize=9)
    top.tick_params(labelsize=8, labelcolor=MUTED, length=3)
    top.grid(False)
    top.spines[["top", "right"]].set_visible(False)


@styled
def paired_outcomes(history: History) -> Figure:
    """Draw each evaluation as a row of squares; a column is one start state, the same in all rows."""
    rows = history.evaluations
    longest = max(len(row["outcomes"]) for row in rows)
    side = (WIDTH - 1.7) / (longest + 6)
    figure, (axis,) = page(0.15 + side * (len(rows) + 0.2))
    axis.set_aspect("equal")
    for line, row in enumerate(rows):
        _draw_outcomes(axis, row, line)
    axis.set(xlim=(-0.6, longest + 5.4), ylim=(len(rows) - 0.4, -0.6), xticks=[], xlabel="")
    axis.set_yticks(
        range(len(rows)), [evaluation_label(row, row.get("arm", "") if history.arms else "") for row in rows]
    )
    axis.grid(False)
    axis.spines[:].set_visible(False)
    axis.tick_params(length=0)
    return figure


def _draw_outcomes(axis: Axes, row: Row, line: int) -> None:
    for index, outcome in enumerate(row["outcomes"]):
        color = SUCCESS if outcome else FAILURE
        axis.add_patch(Rectangle((index - 0.42, line - 0.42), 0.84, 0.84, facecolor=color, edgecolor="none"))
    text = f"{row['successes']} of {row['n']}"
    axis.text(len(row["outcomes"]) + 0.2, line, text, va="center", weight="bold", fontsize=9.5)


def evaluation_label(row: Row, arm: str = "") -> str:
    """Return when an evaluation was done, and by which `arm` if one is given."""
    when = "after offline phase" if row["after"] == 0 else f"after {row['after']} online episodes"
    return f"{when}, {arm}" if arm else when


@styled
def returns(history: History) -> Figure:
    """Draw returns of online episodes, with those of the demonstrations as reference."""
    figure, (axis,) = page(2.9)
    values, success = column(history.online, "return"), column(history.online, "success")
    episodes = np.arange(len(values))
    for reached, color, label in ((1, SUCCESS, "successful"), (0, MUTED, "not successful")):
        chosen = success == reached
        axis.plot(episodes[chosen], values[chosen], "o", color=color, markersize=4.5, alpha=0.75, label=label)
    axis.plot(episodes[MIN_EPISODES - 1 :], recent_mean(values), color=ONLINE, label=f"mean of the last {WINDOW}")
    if history.demonstrations:
        mean = float(column(history.demonstrations, "return").mean())
        label = f"demonstrations, mean of {len(history.demonstrations)}"
        axis.axhline(mean, color=OFFLINE, linestyle=(0, (4, 3)), linewidth=1.2, label=label)
    axis.set(xlabel="online episode", ylabel="return (sum of rewards)")
    figure.legend(loc="outside lower center", ncols=2, columnspacing=1.2)
    return figure


@styled
def losses(history: History) -> Figure:
    """Draw every loss of every phase over gradient updates, one panel each."""
    named = [(phase, name) for phase, name in history.scalars() if name.endswith("loss")][:MAX_PANELS]
    return _panels(history, [history.scalar(*one) for one in named], ONLINE)


@styled
def diagnostics(history: History) -> Figure:
    """Draw every other scalar over gradient updates, one panel each."""
    named = [(phase, name) for phase, name in history.scalars() if not name.endswith("loss")]
    shown = [one for one in named if "uncertainty" not in one[1]][:MAX_PANELS]
    return _panels(history, [history.scalar(*one) for one in shown], RUNS[5])


def _panels(history: History, series: Sequence[ScalarHistory], color: str) -> Figure:
    rows = max(1, -(-len(series) // 3))
    figure, axes = page(1.5 * rows + 0.3, rows, 3)
    for axis, one in zip(axes, series, strict=False):
        draw_boundary(axis, history)
        axis.plot(one.updates, one.values, color=color, linewidth=1.3)
        axis.set_title(f"{one.phase}: {one.name.replace('_', ' ')}", fontsize=7.5)
        axis.tick_params(labelsize=7)
        axis.locator_params(axis="x", nbins=4)
    for axis in axes[len(series) :]:
        axis.set_visible(False)
    figure.supxlabel(UPDATES, fontsize=9)
    return figure


@styled
def uncertainty(history: History) -> Figure:
    """Draw the model's disagreement: in imagination and on data over updates, and when acting.

    Beside it, where known, the chance of success that the policy estimates at the start of each online episode.
    """
    figure, (axis,) = page(2.9)
    draw_boundary(axis, history, labels=True)
    found = [history.scalar(*one) for one in history.scalars() if "uncertainty" in one[1]]
    for color, one in zip((UNCERTAINTY, RUNS[1], RUNS[5], RUNS[3]), found, strict=False):
        axis.plot(one.updates, one.values, color=color, label=f"{one.phase}: {one.name.replace('_', ' ')}")
    acting = [row for row in history.online if row.get("uncertainty") is not None]
    if acting:
        x, values = column(acting, "updates"), column(acting, "uncertainty")
        axis.plot(x, values, "o", color=INK, markersize=3.5, alpha=0.6, label="acting: mean of an episode")
    draw_quantiles(axis, history)
    axis.set(xlabel=UPDATES, ylabel="uncertainty u (latent units)")
    axis.set_ylim(bottom=0)
    axis.margins(y=0.15)
    if has_probability(history.online):
        draw_probability(axis, column(history.online, "updates"), column(history.online, "success_probability"), ".")
    if axis.get_legend_handles_labels()[0]:
        figure.legend(loc="outside lower center", ncols=2)
    return figure


def has_probability(online: Sequence[Row]) -> bool:
    """Return whether the policy estimated the probability of success in any of the episodes."""
    return bool(np.isfinite(column(online, "success_probability")).any())


@styled
def compared_curves(groups: dict[str, list[History]]) -> Figure:
    """Draw success over online episodes: thin lines for runs, the mean over seeds of each group thick."""
    figure, (axis,) = page(3.4)
    for color, (label, runs) in zip(RUNS * len(groups), groups.items(), strict=False):
        _draw_group(axis, label, runs, color)
    axis.set(xlabel="online episodes learned from", ylabel="success (%)", ylim=(-4, 104), yticks=range(0, 101, 20))
    _, labels = axis.get_legend_handles_labels()
    if labels:
        figure.legend(loc="outside lower center", ncols=2 if max(map(len, labels)) <= LONG_LABEL else 1)
    return figure


def _draw_group(axis: Axes, label: str, runs: Sequence[History], color: str) -> None:
    curves = [100 * recent_mean(column(run.online, "success")) for run in runs if len(run.online) >= MIN_EPISODES]
    for curve in curves:
        axis.plot(range(MIN_EPISODES, MIN_EPISODES + len(curve)), curve, color=color, linewidth=0.9, alpha=0.35)
    if curves:
        length = min(len(curve) for curve in curves)
        mean = np.mean([curve[:length] for curve in curves], axis=0)
        axis.plot(
            range(MIN_EPISODES, MIN_EPISODES + length),
            mean,
            color=color,
            label=f"{label}, {counted(len(curves), 'seed')}",
        )
    for run in runs:
        after, rates = column(run.evaluations, "after"), 100 * column(run.evaluations, "success_rate")
        axis.plot(after, rates, "o", color=color, markersize=6, markeredgecolor=PAPER, zorder=5)
