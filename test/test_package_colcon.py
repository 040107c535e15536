"""`colcon test`: each package brings its own tests, and they are run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("colcon_core", reason="colcon is not installed")

ROOT = Path(__file__).resolve().parents[1]

PARTS = {"moto_msgs": (), "moto_ros": ("-k", "test_package_manifest"), "moto_sim": ("-k", "test_sim_world")}
"""Package -> pytest's arguments for a quick part of its tests."""


def colcon(folder: Path, package: str, *pytest_args: str) -> str:
    """Run a package's tests with colcon; return its output."""
    if not (ROOT / "build" / package).is_dir():
        pytest.skip(f"{package} is not built: make build")
    command = [sys.executable, "-m", "colcon", "--log-base", str(folder / "log"), "test", "--merge-install"]
    command += ["--base-paths", ".", "moto_msgs", "sim", "--packages-select", package]
    command += ["--test-result-base", str(folder), "--event-handlers", "console_direct+"]
    # Without the options of the run that this test belongs to.
    environment = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
    command += ["--return-code-on-test-failure", "--pytest-args", *pytest_args]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("package", PARTS)
def test_colcon_runs_the_packages_own_tests(package: str, tmp_path: Path) -> None:
    """Breaks trust in a green CI: 0 tests, and "OK"."""
    said = colcon(tmp_path, package, *PARTS[package])
    assert sum(map(int, re.findall(r"(\d+) passed", said))) > 5, said


@pytest.mark.slow
def test_no_test_is_run_by_two_packages_and_none_by_none(tmp_path: Path) -> None:
    """Breaks CI's time, or its trust: the simulator's tests twice, or not at all."""
    there = {
        name
        for path in (ROOT / "test").glob("test_sim_*.py")
        for name in re.findall(r"^def (test_\w+)\(", path.read_text(), re.MULTILINE)
    }
    assert set(re.findall(r"::(test_\w+)", colcon(tmp_path, "moto_sim", "--collect-only", "-q"))) == there
    files = set(re.findall(r"(test_\w+\.py)::", colcon(tmp_path, "moto_ros", "--collect-only", "-q")))
    assert [name for name in files if name.startswith("test_sim_")] == []
    assert len(files) > 50  # a file whose packages are not installed shows no tests
