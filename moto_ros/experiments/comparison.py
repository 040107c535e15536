"""The methods of a suite compared, task by task: success with intervals, offline and after online episodes."""

from __future__ import annotations

from collections.abc import Sequence

from moto_ros.experiments.table import Results, RunResults
from moto_ros.report.comparison import number_range, percent
from moto_ros.report.page import Table
from moto_ros.training.metrics import Row
from moto_ros.training.statistics import Interval, wilson

HEADER = ("task, method", "offline, %", "online, %", "online, each seed", "online episodes", "seeds x episodes")
SHARES = ("best share offline, %", "best share online, %")

NOTE = (
    "Success without drawn actions, [Wilson's 95 % interval] over all evaluation episodes of all seeds: it says how "
    "well these policies are known, not how much another seed may differ; for that see each seed. "
    "Online: the newest evaluation."
)
SHARES_NOTE = "Best share: elements complete at an episode's best moment, interquartile mean over seeds."


def comparison(results: Results) -> Table:
    """Return a line for each task, number of demonstrations and method; missing runs are named."""
    shares = scored(results)
    lines = [
        line(results, task, method, count, shares=shares)
        for task in results.tasks
        for count in results.demonstrations
        for method in results.methods
        if results.of(method=method, task=task, demonstrations=count) or count == results.usual
    ]
    header = HEADER + (SHARES if shares else ())
    return Table("Every task", header, lines, note=f"{NOTE} {SHARES_NOTE}" if shares else NOTE)


def scored(results: Results) -> bool:
    """Return whether figures show another score than the rate of success."""
    return any(one["score"] != one["success_rate"] for run in results.runs for one in run.evaluations)


def line(results: Results, task: str, method: str, count: int, *, shares: bool) -> tuple[str, ...]:
    """Return one line of the table."""
    runs = results.of(method=method, task=task, demonstrations=count)
    before = [one for run in runs if (one := run.at(0)) is not None]
    after = [run.last for run in runs if run.last["after"] > 0]
    name = f"{task}, {count} demonstrations, {method}" if len(results.demonstrations) > 1 else f"{task}, {method}"
    columns = (
        name,
        percent(pooled(before)),
        percent(pooled(after)),
        " ".join(f"{100 * one['success_rate']:.0f}" for one in after),
        number_range([one["after"] for one in after]),
        size(runs, before, after),
    )
    if not shares:
        return columns
    scores = results.success(method, 0, task, count), results.final(method, task, count)
    return (*columns, *map(percent, scores))


def pooled(rows: Sequence[Row]) -> Interval | None:
    """Return the success rate over the episodes of several evaluations, with Wilson's interval; None without any."""
    return wilson(sum(row["successes"] for row in rows), sum(row["n"] for row in rows)) if rows else None


def size(runs: Sequence[RunResults], before: Sequence[Row], after: Sequence[Row]) -> str:
    """Return how many seeds and episodes are behind a line, for both stages where they differ."""
    stages = {f"{len(rows)} x {number_range([row['n'] for row in rows])}" for rows in (before, after) if rows}
    if len(stages) > 1:
        return f"{len(before)} and {len(after)} x {number_range([row['n'] for row in (*before, *after)])}"
    return stages.pop() if runs and stages else "0"
