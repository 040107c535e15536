"""Overhead of the harness in a benchmark run: processor time of one run by its use; a table and JSON."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "sim")]

from moto_sim.benchmark import cell as cell_module  # noqa: E402

from moto_ros.agents.moto.agent import MotoAgent  # noqa: E402
from moto_ros.data.replay import ReplayStore  # noqa: E402
from moto_ros.experiments.suite import read_suite, runs_of  # noqa: E402
from moto_ros.experiments.suite_folder import SuiteFolder  # noqa: E402
from moto_ros.training import session as session_module  # noqa: E402

LIMIT = 5.0
"""Share of a run that the harness may take, %."""

START = "import moto_sim.benchmark.cell"
SMALL = (
    "update_share:=0.1",
    "online_episodes:=3",
    "evaluation_every:=3",
    "evaluation_episodes:=3",
    "demonstrations:=[2]",
)
"""A run of a minute or two instead of ten; its updates, steps and frames have their full size."""


class Stopwatch:
    """Processor time spent inside functions, those within one another counted once, for the outermost."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._inside = False

    @contextlib.contextmanager
    def on(self, owner: Any, method: str, label: str) -> Iterator[None]:
        """Time every call of a method while the block runs."""
        original = getattr(owner, method)
        setattr(owner, method, self._timed(original, label))
        try:
            yield
        finally:
            setattr(owner, method, original)

    def _timed(self, function: Callable[..., Any], label: str) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **named: Any) -> Any:
            if self._inside:
                return function(*arguments, **named)
            self._inside, start = True, time.process_time()
            try:
                return function(*arguments, **named)
            finally:
                self._inside = False
                self.seconds[label] = self.seconds.get(label, 0.0) + time.process_time() - start

        return wrapped


def measure(suite: str, overrides: list[str]) -> dict[str, float]:
    """Run the first run of a suite; return seconds of processor time by their use."""
    watch = Stopwatch()
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder, run = SuiteFolder(name), runs_of(read_suite(suite, overrides))[0]
        folder.describe(run)
        runner = cell_module.Runner(run, folder)
        world = type(runner.world)
        for owner, method, label in (
            (cell_module, "demonstrations", "demonstrations"),
            (session_module, "make_agent", "building the agent, imports of PyTorch included"),
            (MotoAgent, "update", "updates, drawing of batches included"),
            (MotoAgent, "act", "acting"),
            (world, "step", "world"),
            (world, "reset", "world"),
            (world, "render", "rendering"),
            (session_module.TrainingRun, "save", "checkpoints"),
            (session_module.TrainingRun, "_picture", "pictures for the report"),
            (ReplayStore, "add", "storing episodes"),
        ):
            stack.enter_context(watch.on(owner, method, label))
        start = time.process_time()
        runner.run()
        total = time.process_time() - start
        runner.close()
    return watch.seconds | {"harness": total - sum(watch.seconds.values()), "total": total}


def start_time() -> float:
    """Return how long a process of a run needs before it begins, s: the minimum of three."""
    command = [sys.executable, "-c", START]
    variables = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "sim"), *sys.path])}
    found = []
    for _ in range(3):
        start = time.perf_counter()
        subprocess.run(command, check=True, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        found.append(time.perf_counter() - start)
    return min(found)


def show(seconds: dict[str, float], starting: float) -> None:
    """Print the table."""
    table = Table("what", "CPU s", "%", title="One benchmark run", title_justify="left")
    for label, spent in seconds.items():
        table.add_row(label, f"{spent:.1f}", f"{100 * spent / seconds['total']:.1f}")
    Console(file=sys.stderr).print(table)
    share = 100 * seconds["harness"] / seconds["total"]
    print(f"harness: {share:.1f} %, at most {LIMIT:g} % wanted; starting: {starting:.1f} s a run", file=sys.stderr)


def main() -> int:
    """Measure, print the table to stderr and JSON to stdout."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--suite", default="quick3", help="suite whose first run is measured, made shorter")
    parser.add_argument("-p", "--parameter", action="append", default=[], metavar="NAME:=VALUE")
    parser.add_argument("--json", type=Path, help="also write the JSON to this file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    seconds, starting = measure(options.suite, [*SMALL, *options.parameter]), start_time()
    show(seconds, starting)
    text = json.dumps({"benchmark": {"seconds": seconds, "start_s": starting}}, indent=1)
    print(text)
    if options.json is not None:
        options.json.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
