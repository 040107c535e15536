"""Updates per second by CPU threads and waiting at barriers, alone and beside busy processes: a table and JSON.

OpenMP's threads spin at a barrier by default. Beside another busy process one of them waits for a core while the others
spin, so that learning may slow down far more than by its share of the machine.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

WAITING = {"default": {}, "brief": {"GOMP_SPINCOUNT": "1000"}, "passive": {"OMP_WAIT_POLICY": "PASSIVE"}}
"""Environment variables of each way to wait at a barrier; GNU OpenMP's default spins for some milliseconds."""


@dataclass(frozen=True)
class Result:
    """Updates per second of one preset beside `busy` processes, and the share of what it would fairly get."""

    preset: str
    phase: str
    threads: int
    waiting: str
    busy: int
    rate: float
    of_fair_share: float


def fair_share(cores: int, threads: int, busy: int) -> float:
    """Return the fraction of its speed alone that remains if every runnable thread gets the same processor time."""
    alone = min(threads, cores)
    return threads * min(1.0, cores / (threads + busy)) / alone


@contextlib.contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """Keep `count` processes busy with one thread each."""
    started = [multiprocessing.get_context("spawn").Process(target=_spin, daemon=True) for _ in range(count)]
    for process in started:
        process.start()
    time.sleep(1.0 if started else 0.0)
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.join()


def _spin() -> None:
    while True:
        pass


def rates(preset: str, threads: int, waiting: Mapping[str, str], seconds: float) -> dict[str, float]:
    """Return updates/s by phase, measured in a process of its own: OpenMP reads its variables when it is loaded."""
    script = Path(__file__).with_name("bench_learning.py")
    command = [sys.executable, str(script), "--presets", preset, "--threads", str(threads), "--seconds", str(seconds)]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_", "MKL_"))}
    environment = kept | {"OMP_NUM_THREADS": str(threads)} | dict(waiting)
    done = subprocess.run(command, env=environment, capture_output=True, encoding="utf-8", check=False)
    if done.returncode:
        sys.exit(f"bench_learning.py {preset} ended with status {done.returncode}: {done.stderr[-500:]}")
    found: dict[str, float] = json.loads(done.stdout)["learning"]["presets"][0]["updates_per_s"]
    return found


def measure(preset: str, threads: int, waiting: str, busy: list[int], seconds: float) -> list[Result]:
    """Measure one preset alone, then beside each number of busy processes."""
    cores = len(os.sched_getaffinity(0))
    results: list[Result] = []
    alone: dict[str, float] = {}
    for count in sorted({0, *busy}):
        with busy_processes(count):
            found = rates(preset, threads, WAITING[waiting], seconds)
        alone = alone or found
        for phase, rate in found.items():
            share = rate / (alone[phase] * fair_share(cores, threads, count))
            results.append(Result(preset, phase, threads, waiting, count, rate, share))
            print(f"{preset} {phase} {threads} {waiting} {count}: {rate:.2f}/s, {share:.2f}", file=sys.stderr)
    return results


def show(results: list[Result]) -> None:
    """Print the table."""
    table = Table(title=f"updates/s on {len(os.sched_getaffinity(0))} cores; in brackets: of the fair share")
    counts = sorted({one.busy for one in results})
    for heading in ("preset", "phase", "threads", "waiting", *(f"beside {count} busy" for count in counts)):
        table.add_column(heading)
    for key in dict.fromkeys((one.preset, one.phase, one.threads, one.waiting) for one in results):
        row = [one for one in results if (one.preset, one.phase, one.threads, one.waiting) == key]
        table.add_row(*map(str, key), *(f"{one.rate:.2f} ({one.of_fair_share:.0%})" for one in row))
    Console(file=sys.stderr).print(table)


def main() -> None:
    """Measure, print the table to stderr and JSON to stdout."""
    cores = len(os.sched_getaffinity(0))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--presets", nargs="+", default=["moto_imagined"], help="names of files in config/agents")
    parser.add_argument("--threads", type=int, nargs="+", default=sorted({1, cores}), help="CPU threads")
    parser.add_argument("--waiting", nargs="+", default=list(WAITING), choices=WAITING, help="at OpenMP's barriers")
    parser.add_argument("--busy", type=int, nargs="+", default=[0, 1, 2], help="busy processes beside")
    parser.add_argument("--seconds", type=float, default=5.0, help="time for each phase of each preset [s]")
    parser.add_argument("--json", type=Path, help="also write the JSON to this file")
    options = parser.parse_args()
    results = [
        one
        for preset in options.presets
        for threads in options.threads
        for waiting in options.waiting
        if threads > 1 or waiting == options.waiting[0]  # one thread has no barrier
        for one in measure(preset, threads, waiting, options.busy, options.seconds)
    ]
    show(results)
    text = json.dumps({"threads": [asdict(one) for one in results]})
    print(text)
    if options.json is not None:
        options.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
