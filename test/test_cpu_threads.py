"""Learning keeps its speed beside other programs: how many CPU threads it takes, and how they wait for each other."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")

from moto_ros.cpu_threads import OPENMP_WAITING, openmp_environment
from moto_ros.experiments.engine import ProcessJob
from moto_ros.systems.bringup import resolve

pytestmark = pytest.mark.sim


@pytest.fixture(autouse=True)
def nothing_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away what the person who runs the tests has set."""
    for name in OPENMP_WAITING:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("system", ["pretrain", "finetune"])
@pytest.mark.parametrize(("preset", "threads"), [("quick", 1), ("ci", 1), ("paper", 0)])
def test_small_models_learn_with_one_thread_and_large_ones_with_every_core(
    system: str, preset: str, threads: int
) -> None:
    """Breaks a run beside a browser: threads that wait for each other learn a thirtieth as fast."""
    found = resolve(system, {"preset": preset, "run": "somewhere"})
    trainer = next(process for process in found.processes if process.node == "trainer")
    assert trainer.parameters["threads"] == threads


def test_the_processes_of_systems_and_benchmarks_wait_asleep() -> None:
    """Breaks larger models beside other programs: their threads would spin while one of them waits for a core."""
    wanted = openmp_environment()
    assert wanted["GOMP_SPINCOUNT"] == "1000"
    assert wanted.items() <= resolve("finetune", {"run": "somewhere"}).environment.items()
    assert wanted.items() <= ProcessJob("a", (), threads=2, log=Path("log")).environment().items()


def test_a_persons_own_choice_of_waiting_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks tuning of a machine: a variable that was set on purpose would be overwritten."""
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    assert openmp_environment() == {}
    assert not openmp_environment().keys() & resolve("finetune", {"run": "somewhere"}).environment.keys()


def test_the_openmp_library_that_torch_brings_takes_the_setting() -> None:
    """Breaks silently with another build of PyTorch: the variable would be ignored, and learning slow down again."""
    environment = os.environ | openmp_environment() | {"OMP_DISPLAY_ENV": "VERBOSE"}
    command = [sys.executable, "-c", "import torch"]
    shown = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stderr
    if "GOMP" not in shown:
        pytest.skip("this PyTorch does not use GNU OpenMP")
    assert "GOMP_SPINCOUNT = '1000'" in shown, shown
