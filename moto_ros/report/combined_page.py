"""The report of several runs: seeds are grouped, ablations compared."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from moto_ros.report import curves
from moto_ros.report.comparison import Group, group_rows, grouped, run_rows
from moto_ros.report.history import History
from moto_ros.report.missing_results import missing_results
from moto_ros.report.page import Picture, Section, Table, Tile, counted, duration, picture


def combined_page(histories: Sequence[History]) -> dict[str, Any]:
    """Return the template's values for several runs: seeds are grouped, ablations compared."""
    groups = grouped(histories)
    folder = histories[0].run.path.resolve().parent / "plots"
    summary = Table(
        "Mean over seeds" if len(groups) == 1 else "Ablations",
        ("setting", "seeds", "after offline", "after online", "gain", "online episodes"),
        group_rows(groups),
        note="Success in %, mean over seeds with the bootstrap 95 % interval over seeds (none with one seed).",
    )
    each = Table(
        "Every run",
        ("run", "seed", "after offline", "after online", "online episodes", "wall time"),
        [(*row[:-1], duration(float(row[-1]))) for row in run_rows(histories)],
        note="Success in % with Wilson's 95 % interval over the evaluation episodes of the run.",
    )
    missing = [point for one in histories for point in missing_results(one, named=True)]
    return {
        "title": f"{len(histories)} runs",
        "subtitle": " · ".join(group.label for group in groups),
        "tiles": combined_tiles(groups[0]),
        "sections": [
            Section("Success", pictures=[compared(groups, folder)], tables=[summary, each]),
            Section("What was not run", points=missing),
        ],
    }


def compared(groups: Sequence[Group], folder: Path) -> Picture:
    """Return the learning curves of all groups in one figure."""
    figure = curves.compared_curves({group.label: group.runs for group in groups})
    runs = sum(len(group.runs) for group in groups)
    caption = (
        f"Online success, moving average over {curves.WINDOW} episodes of each of {runs} runs (thin) and their mean "
        "(thick); dots are evaluations."
    )
    return picture(figure, folder / "compared_curves.png", "Learning curves", caption)


def combined_tiles(group: Group) -> list[Tile]:
    """Return the tiles of the reference setting."""
    cells = zip(("after the offline phase", "after online learning"), (group.before, group.after), strict=True)
    found = []
    for label, interval in cells:
        if interval is not None:
            detail = (
                f"mean of {counted(interval.n, 'seed')}, 95 % [{100 * interval.low:.0f}, {100 * interval.high:.0f}]"
            )
            tone = "offline" if "offline" in label else "online"
            found.append(Tile(f"success {label}", f"{100 * interval.mean:.0f} %", detail, tone))
    return found
