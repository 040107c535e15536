"""Runs the processes of a suite's runs on this machine, as many at once as fit; or shards them over a Ray cluster."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from moto_ros.cpu_threads import openmp_environment
from moto_ros.errors import MotoError
from moto_ros.stopping import as_parent

WORKER = "moto_sim.benchmark.cell"
"""Module whose process is one run; by name, so that nothing here needs a simulator."""

POLL_PERIOD = 0.5
"""Time between two polls of the processes, s."""

GRACE = 60.0
"""Time that a run has to save its work when it is asked to stop, s."""

STOPPED = 75
GIB = 2**30


@dataclass(frozen=True)
class ProcessJob:
    """A process to run: its name, its arguments, the threads it takes, and where its output goes."""

    name: str
    arguments: tuple[str, ...]
    threads: int
    log: Path

    def command(self) -> list[str]:
        """Return the command line."""
        return [sys.executable, "-m", WORKER, *self.arguments]

    def environment(self) -> dict[str, str]:
        """Return what its process adds to the environment."""
        threads = {"OMP_NUM_THREADS": str(self.threads), "MKL_NUM_THREADS": str(self.threads)}
        return threads | openmp_environment() | as_parent()


OnPoll = Callable[[Sequence[str]], bool]
"""Takes the names of the jobs that run; returns whether all shall stop now."""


class Engine(Protocol):
    """Runs jobs."""

    def run(self, jobs: Sequence[ProcessJob], on_poll: OnPoll) -> Generator[tuple[str, int], None, None]:
        """Yield name and exit status of each job that ended; `on_poll` is called repeatedly meanwhile."""
        ...


def slots(threads: int, memory: float) -> int:
    """Return how many runs of this many threads and this much memory (GiB) fit on this machine now; at least one."""
    cores = len(os.sched_getaffinity(0))
    return max(1, min(cores // threads, int(available_memory() // memory)))


def available_memory() -> float:
    """Return the memory that is free for new processes, GiB."""
    lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    found = next((line for line in lines if line.startswith("MemAvailable")), None)
    if found is None:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    return int(found.split()[1]) * 1024 / GIB


class LocalEngine:
    """Processes of this machine; when the caller leaves, those that run get time to save their work."""

    def __init__(self, slots: int) -> None:
        self._slots = slots

    def run(self, jobs: Sequence[ProcessJob], on_poll: OnPoll) -> Generator[tuple[str, int], None, None]:
        """Yield name and exit status of each job that ended."""
        waiting, running = list(jobs), dict[str, subprocess.Popen[bytes]]()
        try:
            while waiting or running:
                while waiting and len(running) < self._slots:
                    job = waiting.pop(0)
                    running[job.name] = start(job)
                yield from _ended(running)
                if on_poll(list(running)):
                    return
                time.sleep(POLL_PERIOD if running else 0.0)
        finally:
            _stop(running)


def start(job: ProcessJob) -> subprocess.Popen[bytes]:
    """Start a job's process in a session of its own, so that Ctrl-C reaches it through its parent only."""
    job.log.parent.mkdir(parents=True, exist_ok=True)
    with job.log.open("ab") as log:
        variables = os.environ | job.environment()
        return subprocess.Popen(
            job.command(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=variables,
            start_new_session=True,
        )


def _ended(running: dict[str, subprocess.Popen[bytes]]) -> Iterator[tuple[str, int]]:
    for name, process in list(running.items()):
        status = process.poll()
        if status is not None:
            del running[name]
            yield name, status


def _stop(running: dict[str, subprocess.Popen[bytes]]) -> None:
    for process in running.values():
        process.terminate()
    end = time.monotonic() + GRACE
    for process in running.values():
        try:
            process.wait(max(0.1, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class RayEngine:
    """Jobs as tasks of a Ray cluster whose machines share the suite's folder."""

    def __init__(self, memory: float) -> None:
        """Join the cluster that RAY_ADDRESS names, or a local one; MotoError where Ray is not installed."""
        try:
            self._ray: Any = importlib.import_module("ray")
        except ModuleNotFoundError as error:
            raise MotoError(
                "engine 'ray': Ray is not installed, expected the extra moto_ros[ray]; install it"
            ) from error
        self._memory = memory
        self._ray.init(ignore_reinit_error=True)

    def run(self, jobs: Sequence[ProcessJob], on_poll: OnPoll) -> Generator[tuple[str, int], None, None]:
        """Yield name and exit status of each job that ended."""
        remote = self._ray.remote(_run_to_end)
        options = {"memory": int(self._memory * GIB), "max_retries": 0}
        tasks = {remote.options(num_cpus=job.threads, **options).remote(job): job.name for job in jobs}
        try:
            while tasks:
                ready, _ = self._ray.wait(list(tasks), timeout=POLL_PERIOD)
                for task in ready:
                    yield tasks.pop(task), self._ray.get(task)
                if on_poll(list(tasks.values())):
                    return
        finally:
            for task in tasks:
                self._ray.cancel(task)


def _run_to_end(job: ProcessJob) -> int:
    """Run a job to its end; where Ray cancels it (an exception in here), stop its process as on this machine."""
    process = start(job)
    try:
        return process.wait()
    finally:
        if process.poll() is None:
            _stop({job.name: process})


ENGINES = ("local", "ray")


def make_engine(name: str, *, jobs: int, threads: int, memory: float) -> Engine:
    """Return an engine; `jobs` at once on this machine, 0 for as many as fit."""
    if name == "ray":
        return RayEngine(memory)
    return LocalEngine(jobs or slots(threads, memory))
