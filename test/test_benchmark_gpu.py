"""The entry for a machine with a GPU, run for real on this one's CPU with small presets."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.sim, pytest.mark.slow]

SCRIPT = Path(__file__).resolve().parents[1] / "bench" / "gpu.sh"
SMALL = ["--device", "cpu", "--size", "ci", "--seconds", "0.05", "--suite", "ci", "--tasks", "drawer_open"]
SMALL += ["--precision", "float32", "--switch", "--jobs", "1"]
MEASURED = ("machine", "moto", "fowm", "profile", "frames")
UNFINISHED = 75


def call(out: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run a slice as a user does, without wheels: everything is there already."""
    # FOWM's compiled planner takes a minute of its compiler here.
    variables = os.environ | {"PYTHON": sys.executable, "TORCHDYNAMO_DISABLE": "1"}
    command = ["bash", str(SCRIPT), "no_wheels", str(out), *SMALL, *options]
    return subprocess.run(command, capture_output=True, text=True, env=variables, check=False, timeout=280)


def stamps(out: Path) -> dict[str, int]:
    """Return when each measurement was written."""
    return {name: (out / f"{name}.json").stat().st_mtime_ns for name in MEASURED}


def test_a_second_slice_goes_on_where_the_first_one_ended(tmp_path: Path) -> None:
    """Breaks an evening on a lent GPU: what was measured or trained is done again, or the slice never ends."""
    first = call(tmp_path, "--slice", "26")
    assert first.returncode in (0, UNFINISHED), first.stderr
    done = {path.stem for path in tmp_path.glob("*.json")}
    before = {name: (tmp_path / f"{name}.json").stat().st_mtime_ns for name in done}
    second = call(tmp_path, "--slice", "270", "--", "--rows", "moto")
    assert second.returncode in (0, UNFINISHED), second.stderr
    assert "there already" in second.stdout
    after = stamps(tmp_path)
    assert {name: after[name] for name in done} == before
    assert json.loads((tmp_path / "moto.json").read_text())["moto"]["float32"]["updates_per_s"]["policy"] > 0
    assert json.loads((tmp_path / "fowm.json").read_text())["fowm"]["float32"]["plan"]["p95_ms"] > 0
    assert json.loads((tmp_path / "frames.json").read_text())["frames_per_s"]["1"] > 0
    assert len((tmp_path / "ci" / "results.jsonl").read_text().splitlines()) == 3


def test_a_machine_that_lacks_modules_and_wheels_is_told_so(tmp_path: Path) -> None:
    """Breaks the first minute on another machine: pip looking for a network that is not there."""
    bare = tmp_path / "python"
    bare.write_text("#!/bin/sh\nexit 1\n")
    bare.chmod(0o755)
    variables = os.environ | {"PYTHON": str(bare)}
    command = ["bash", str(SCRIPT), str(tmp_path / "wheels"), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, env=variables, check=False)
    assert done.returncode == 1
    assert "expected one with wheels" in done.stderr
