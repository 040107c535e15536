"""Figures of a suite, each from the rows of its results alone; each names how many runs it shows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from moto_ros.experiments.table import Results, RunResults
from moto_ros.report.comparison import number_range
from moto_ros.report.page import counted
from moto_ros.report.style import INK, MUTED, OFFLINE, OFFLINE_BAND, PAPER, page, styled
from moto_ros.training.statistics import Interval, bootstrap

COLORS: tuple[str, ...] = (
    *("#0b7285", "#e8590c", "#5f3dc4", "#2f9e44", "#c2255c", "#1971c2", "#f08c00", "#495057", "#7f4f24", "#087f5b"),
    *("#d6336c", "#74b816", "#364fc7", "#868e96"),
)
EPISODES = "online episodes learned from"
SUCCESS = "success (%)"
OFFLINE_SHARE = 0.14
"""Width of the offline phase left of the boundary, as a share of the online episodes shown."""


def color_of(results: Results, method: str) -> str:
    """Return a method's colour, the same in every figure."""
    return COLORS[results.methods.index(method) % len(COLORS)]


def method_label(results: Results, method: str, task: str = "") -> str:
    """Return a method with its number of runs."""
    return f"{method} (n = {len(results.of(method=method, task=task))})"


def seeds_of(results: Results, task: str) -> str:
    """Return how many seeds of a task each method has, in words."""
    seeds = [len({run.seed for run in results.of(method=method, task=task)}) for method in results.methods]
    counts = [count for count in seeds if count]
    return counted(counts[0], "seed") if len(set(counts)) == 1 else f"{number_range(counts)} seeds"


@styled
def aggregate_curve(results: Results) -> Figure:
    """Draw the interquartile mean of success over all tasks and seeds, with its bootstrap band."""
    figure, (axis,) = page(4.0)
    _draw_curves(axis, results, "")
    axis.set_ylabel("success, interquartile mean (%)")
    _legend(figure, results)
    return figure


@styled
def task_curves(results: Results) -> Figure:
    """Draw success of every task over online episodes, a panel each."""
    lines = -(-len(results.tasks) // 2)
    figure, axes = page(2.0 * lines + 1.2, lines, 2)
    for axis, task in zip(axes, results.tasks, strict=False):
        _draw_curves(axis, results, task)
        axis.set_title(f"{task}, {seeds_of(results, task)}", fontsize=9)
        axis.xaxis.label.set_fontsize(8)
    for axis in axes[len(results.tasks) :]:
        axis.set_visible(False)
    _legend(figure, results)
    return figure


def _legend(figure: Figure, results: Results) -> None:
    handles = [_handle(results, method) for method in results.methods]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, fontsize=8)


def _handle(results: Results, method: str) -> object:
    axis = Figure().subplots()
    return axis.plot([], [], "o-", color=color_of(results, method), label=method_label(results, method))[0]


def _draw_curves(axis: Axes, results: Results, task: str) -> None:
    most = max((run.last["after"] for run in results.shown if run.task in (task or run.task,)), default=0)
    _draw_boundary(axis, max(most, 1))
    for method in results.methods:
        stages = results.stages(method, task)
        points = [results.success(method, after, task) for after in stages]
        found = [point for point in points if point is not None]
        if found:
            _draw_band(axis, stages, found, color_of(results, method))
    axis.set(xlabel=EPISODES, ylabel=SUCCESS, ylim=(-4, 104), yticks=range(0, 101, 25))
    axis.locator_params(axis="x", integer=True)


def _draw_boundary(axis: Axes, most: int) -> None:
    """Shade what lies before the first online episode; a point on the boundary is the offline policy."""
    start = -OFFLINE_SHARE * most
    axis.set_xlim(start, 1.03 * most)
    axis.axvspan(start, 0, color=OFFLINE_BAND, zorder=0)
    axis.axvline(0, color=OFFLINE, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    # Vertical: horizontal text is wider than the phase in a small panel, and covers the numbers of the axis.
    transform = axis.get_xaxis_transform()
    axis.text(
        start / 2, 0.5, "offline", ha="center", va="center", rotation=90, transform=transform, fontsize=7, color=MUTED
    )


def _draw_band(
    axis: Axes,
    places: Sequence[int],
    points: Sequence[Interval],
    color: str,
    line: str = "o-",
    label: str | None = None,
) -> None:
    mean, low, high = (100 * np.asarray([getattr(one, name) for one in points]) for name in ("mean", "low", "high"))
    axis.fill_between(places, low, high, color=color, alpha=0.15, linewidth=0)
    axis.plot(places, mean, line, color=color, markersize=4, markeredgecolor=PAPER, markeredgewidth=0.8, label=label)


@styled
def ablation_bars(results: Results) -> Figure:
    """Draw success of every method over all tasks: after the offline phase (pale), and at the newest evaluation."""
    methods = results.methods
    figure, (axis,) = page(0.42 * len(methods) + 1.1)
    for position, method in enumerate(methods):
        color = color_of(results, method)
        for shift, height, alpha, found in (
            (-0.19, 0.3, 0.4, results.success(method, 0)),
            (0.14, 0.36, 1.0, results.final(method)),
        ):
            if found is not None:
                _draw_bar(axis, position + shift, height, alpha, color, found)
    axis.set_yticks(range(len(methods)), [method_label(results, method) for method in methods], fontsize=8)
    axis.set_xlim(0, 104)
    figure.supxlabel("success, interquartile mean (%); pale: after the offline phase", fontsize=9)
    axis.invert_yaxis()
    axis.grid(axis="y", visible=False)
    return figure


def _draw_bar(axis: Axes, position: float, height: float, alpha: float, color: str, found: Interval) -> None:
    error = [[100 * max(found.mean - found.low, 0.0)], [100 * max(found.high - found.mean, 0.0)]]
    axis.barh(position, 100 * found.mean, height, color=color, alpha=alpha)
    axis.errorbar(100 * found.mean, position, xerr=error, fmt="none", ecolor=INK, elinewidth=1, capsize=2)


@styled
def demonstration_curve(results: Results) -> Figure:
    """Draw success over the number of demonstrations: after the offline phase (dashed), and at the end."""
    figure, (axis,) = page(3.4)
    counts = results.demonstrations
    for method in results.methods:
        for line, final in (("o--", False), ("o-", True)):
            found = {count: _at(results, method, count, final=final) for count in counts}
            points = {count: one for count, one in found.items() if one is not None}
            if points:
                label = f"{method} (n = {', '.join(str(one.n) for one in points.values())})" if final else None
                _draw_band(axis, list(points), list(points.values()), color_of(results, method), line, label)
    axis.set(xlabel="demonstrations (dashed: before any online episode)", ylabel=SUCCESS, ylim=(-4, 104), xticks=counts)
    figure.legend(loc="outside lower center", ncols=2, fontsize=8)
    return figure


def _at(results: Results, method: str, count: int, *, final: bool) -> Interval | None:
    if final:
        return results.final(method, demonstrations=count)
    return results.success(method, 0, demonstrations=count)


@styled
def uncertainty_decay(results: Results) -> Figure:
    """Draw the mean uncertainty of each online episode over that of the first ones: every run, and the mean."""
    figure, (axis,) = page(3.2)
    for method in with_uncertainty(results):
        curves = [curve for run in results.of(method=method) if (curve := relative_uncertainty(run)) is not None]
        color = color_of(results, method)
        for curve in curves:
            axis.plot(range(1, len(curve) + 1), curve, color=color, linewidth=0.7, alpha=0.3)
        length = min(map(len, curves))
        mean = np.mean([curve[:length] for curve in curves], axis=0)
        axis.plot(range(1, length + 1), mean, color=color, label=f"{method} (n = {len(curves)})")
    axis.axhline(1, color=OFFLINE, linewidth=1, linestyle=(0, (4, 3)))
    axis.set(xlabel="online episode", ylabel="uncertainty over its start")
    axis.set_ylim(bottom=0)
    axis.locator_params(axis="x", integer=True)
    figure.legend(loc="outside lower center", ncols=2, fontsize=8)
    return figure


FIRST = 3
"""Online episodes that uncertainty is compared with."""


def relative_uncertainty(run: RunResults) -> np.ndarray | None:
    """Return a run's uncertainty by online episode over its mean in the first ones; None where it has none."""
    uncertainty = run.online("uncertainty")
    start = float(np.mean(uncertainty[:FIRST])) if len(uncertainty) > FIRST else 0.0
    return uncertainty / start if np.isfinite(uncertainty).all() and start > 0 else None


def with_uncertainty(results: Results) -> list[str]:
    """Return the methods that have an uncertainty, in runs with the usual number of demonstrations."""
    found = {run.method for run in results.shown if relative_uncertainty(run) is not None}
    return [method for method in results.methods if method in found]


@styled
def return_prediction(results: Results) -> Figure:
    """Draw the return that critics predict at the start against the achieved one, one dot an evaluation."""
    figure, (axis,) = page(3.6)
    ends = [0.0]
    for method in results.methods:
        evaluations = [one for run in results.of(method=method) for one in run.evaluations if one["predicted"]]
        x, y = ([float(np.mean(one[name])) for one in evaluations] for name in ("achieved", "predicted"))
        if evaluations:
            label = f"{method} (n = {len(evaluations)} evaluations)"
            axis.plot(x, y, "o", color=color_of(results, method), alpha=0.6, markersize=5, label=label)
        ends += x + y
    axis.plot([min(ends), max(ends)], [min(ends), max(ends)], color=OFFLINE, linewidth=1, linestyle=(0, (4, 3)))
    axis.set(xlabel="achieved discounted return", ylabel="predicted by the critics")
    figure.legend(loc="outside lower center", ncols=1, fontsize=8)
    return figure


@styled
def model_error(results: Results) -> Figure:
    """Draw the error of open-loop predictions over their horizon: at the offline policy (dashed), and at the end."""
    figure, (axis,) = page(3.2)
    for method in results.methods:
        for line, pick in (("--", 0), ("-", -1)):
            curves = [run.evaluations[pick]["model_error"] for run in results.of(method=method)]
            curves = [curve for curve in curves if curve]
            if curves:
                length = min(map(len, curves))
                low_high = _over_runs([curve[:length] for curve in curves])
                label = f"{method} (n = {len(curves)})" if pick else None
                steps = range(1, length + 1)
                axis.plot(steps, low_high[0], line, color=color_of(results, method), label=label)
                axis.fill_between(steps, low_high[1], low_high[2], color=color_of(results, method), alpha=0.1)
    axis.set(
        xlabel="steps predicted open-loop (dashed: after the offline phase)",
        ylabel="squared error of a pixel",
    )
    axis.margins(y=0.15)
    axis.set_ylim(bottom=0)
    figure.legend(loc="outside lower center", ncols=2, fontsize=8)
    return figure


def _over_runs(curves: Sequence[Sequence[float]]) -> np.ndarray:
    """Return mean, low and high over runs at each step (3, steps)."""
    steps = np.asarray(curves).T
    found = [bootstrap(step, np.random.default_rng(0)) for step in steps]
    return np.asarray([[one.mean, one.low, one.high] for one in found]).T
