"""Simulated worlds: control steps per second with and without rendering, frames, resets; a table and JSON."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "sim")]

from moto_sim.world import World, make_world  # noqa: E402

CASES = (
    ("metaworld/drawer-open-v3", 64),
    ("metaworld/drawer-open-v3", 224),
    ("metaworld/window-open-v3", 64),
    ("kitchen/mixed", 64),
)
TARGET = ("metaworld/drawer-open-v3", 64, 150.0)
"""World, image side in pixels, required frames per second on two cores without a GPU."""


@dataclass(frozen=True)
class Rate:
    """How often a second something ran: by the wall clock, and by the processor time that it took on all cores."""

    per_s: float
    per_cpu_s: float


def rate(work: Callable[[], Any], seconds: float) -> Rate:
    """Repeat `work` for about `seconds` and return its rate; the first call, which may load things, does not count."""
    work()
    count, wall, processor = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - wall < seconds:
        work()
        count += 1
    return Rate(count / (time.perf_counter() - wall), count / max(time.process_time() - processor, 1e-9))


def measure(name: str, side: int, seconds: float) -> dict[str, Rate]:
    """Return the rates of one world with `side` x `side` frames of the agent's camera."""
    world = make_world(name, side)
    world.reset(0)
    actions = np.random.default_rng(0).uniform(-1, 1, (1000, world.action_size)).astype(np.float32)
    steps = iter(range(10**9))
    step = partial(_step, world, actions, steps)
    works: dict[str, Callable[[], Any]] = {
        "step": step,
        "step and frame": lambda: (step(), world.render("agent")),
        "frame": lambda: world.render("agent"),
        "reset": lambda: world.reset(next(steps)),
    }
    rates = {what: rate(work, seconds) for what, work in works.items()}
    world.close()
    return rates


def _step(world: World, actions: np.ndarray, steps: Any) -> None:
    world.step(actions[next(steps) % len(actions)])


def show(results: dict[str, dict[str, Rate]]) -> None:
    """Print a table and how the target was met."""
    table = Table(title="Simulator: one process, CPU rendering where there is no GPU", title_justify="left")
    for heading in ("world", "what", "per second", "per second of CPU"):
        table.add_column(heading, justify="right" if heading.startswith("per") else "left")
    for case, rates in results.items():
        for what, found in rates.items():
            table.add_row(case, what, f"{found.per_s:,.1f}", f"{found.per_cpu_s:,.1f}")
        table.add_section()
    Console().print(table)
    name, side, wanted = TARGET
    print(
        f"{name} at {side} px: {results[_case(name, side)]['frame'].per_s:.0f} frames/s, expected {wanted:.0f} or more"
    )


def _case(name: str, side: int) -> str:
    return f"{name}, {side} px"


def main() -> int:
    """Run all; `--json FILE` also writes the figures there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="file for the results")
    parser.add_argument("--seconds", type=float, default=3.0, help="how long each figure is measured (s)")
    options = parser.parse_args()
    results = {_case(name, side): measure(name, side, options.seconds) for name, side in CASES}
    show(results)
    text = json.dumps({case: {what: asdict(one) for what, one in rates.items()} for case, rates in results.items()})
    print(text)
    if options.json:
        options.json.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
