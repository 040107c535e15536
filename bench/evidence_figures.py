"""Draw the figures of docs/evidence that no other command draws: python bench/evidence_figures.py."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from moto_ros.report.style import DPI, MUTED, ONLINE, RUNS, page, styled
from moto_ros.training.statistics import wilson

EVIDENCE = Path(__file__).resolve().parents[1] / "docs" / "evidence"


def rows(name: str, trial: str = "") -> list[dict[str, Any]]:
    """Return the JSON lines of a file, those of one trial where it is named."""
    found = [json.loads(line) for line in (EVIDENCE / name).read_text(encoding="utf-8").splitlines()]
    return [row for row in found if not trial or row.get("trial") == trial]


def bars(axis: Axes, groups: Sequence[str], series: dict[str, Sequence[float]]) -> None:
    """Draw one bar a group and series side by side, with a legend."""
    width = 0.8 / len(series)
    for index, (color, (label, heights)) in enumerate(zip(RUNS, series.items(), strict=False)):
        axis.bar(np.arange(len(groups)) + (index + 0.5) * width - 0.4, heights, width, color=color, label=label)
    axis.set_xticks(range(len(groups)), groups)
    axis.legend(fontsize=8)


@styled
def stopping() -> None:
    """Draw how far the hand moves on after silence, the guard's stop and the driver's brake, by speed."""
    found = [row for row in rows("arm.jsonl", "Hold and stop") if "speed" in row]
    figure, (axis,) = page(2.6)
    names = {"silence": "silence", "stop of the guard": "stop of the guard", "brake of the driver": "brake"}
    for color, (name, label) in zip(RUNS, names.items(), strict=False):
        way = [float(row[name].split()[0]) for row in found]
        axis.plot([float(row["speed"].split()[0]) for row in found], way, "o-", color=color, label=label)
    axis.set(xlabel="speed (m/s)", ylabel="distance to standstill (mm)", ylim=(0, None))
    axis.legend(fontsize=8)
    figure.savefig(EVIDENCE / "arm_stopping.png", dpi=DPI)


@styled
def threads() -> None:
    """Draw updates per second of MOTO's world model alone and beside busy processes, by threads and waiting."""
    figure, (axis,) = page(2.6)
    series: dict[str, Sequence[float]] = {}
    for count, waiting in ((1, "default"), (2, "default"), (2, "brief"), (2, "passive")):
        wanted = {"preset": "moto_quick", "phase": "model", "threads": count, "waiting": waiting}
        found = [row for row in rows("threads.jsonl") if all(row[name] == value for name, value in wanted.items())]
        label = "1 thread" if count == 1 else f"2 threads, {waiting} waiting"
        series[label] = [row["rate"] for row in sorted(found, key=lambda row: row["busy"])]
    bars(axis, ("alone", "beside 1 process", "beside 2 processes"), series)
    axis.set(ylabel="model updates/s")
    figure.savefig(EVIDENCE / "threads.png", dpi=DPI)


@styled
def planning() -> None:
    """Draw how many times faster than the published code FOWM plans and learns."""
    found = rows("fowm_speed_trials.jsonl", "Against the published code, at the published sizes")
    found = [row for row in found if "times faster" in row]
    figure, (axis,) = page(2.9)
    labels: list[str] = []
    for row in found:
        compiled = row["what"].startswith("the same")
        labels.append(f"{labels[-1]}, compile" if compiled else row["what"].split(" (")[0].replace("`", ""))
    factors = [float(row["times faster"]) for row in found]
    axis.barh(range(len(found)), factors, color=ONLINE)
    axis.set_yticks(range(len(found)), labels, fontsize=7.5)
    axis.invert_yaxis()
    axis.axvline(1, color=MUTED, linewidth=1)
    axis.set(xlabel="times faster than the published code")
    figure.savefig(EVIDENCE / "fowm_speed.png", dpi=DPI)


@styled
def settings() -> None:
    """Draw success of nine runs of quick3 with the settings of MOTO that were tried, with Wilson intervals."""
    found = [row for row in rows("moto_trials.jsonl") if "window-open" in row and "plate-slide" in row]
    figure, (axis,) = page(2.9)
    for offset, color, label, part in ((-0.12, MUTED, "offline", 0), (0.12, ONLINE, "after 20 episodes", 1)):
        for index, row in enumerate(found):
            cells = [row[name].split(";")[part].split() for name in row if name.split(",")[0] in TASKS]
            solved = [int(text) for cell in cells for text in cell if text != "-"]
            rate = wilson(sum(solved), 20 * len(solved))
            low, high = 100 * (rate.mean - rate.low), 100 * (rate.high - rate.mean)
            name = label if index == 0 else None
            axis.errorbar(index + offset, 100 * rate.mean, [[low], [high]], fmt="o", color=color, capsize=4, label=name)
    axis.set_xticks(range(len(found)), [row["what"].replace(" (`quick` now)", "").replace("`", "") for row in found])
    axis.tick_params(axis="x", labelsize=8)
    axis.set(ylabel="success (%), 95 % interval", ylim=(0, 100))
    axis.legend(fontsize=8, loc="lower right")
    figure.savefig(EVIDENCE / "moto_settings.png", dpi=DPI)


TASKS = ("drawer-open", "window-open", "plate-slide")

if __name__ == "__main__":
    for draw in (stopping, threads, planning, settings):
        draw()
