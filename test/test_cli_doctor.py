"""`moto doctor` says what is there, what is missing and what to do, also where things are broken."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from rich.console import Console

from moto_ros.cli.checks import machine, python, ros
from moto_ros.cli.checks.finding import Level, good, note
from moto_ros.cli.doctor import _table
from moto_ros.ros.startup import middleware_of
from moto_ros.systems.transport import PROFILE_FILE

ROOT = Path(__file__).resolve().parents[1]
DOCTOR = [sys.executable, "-m", "moto_ros.cli.main", "doctor"]


def doctor(*options: str, **changed: str) -> subprocess.CompletedProcess[str]:
    """Run the doctor in a process of its own, with environment variables changed."""
    environment = {**os.environ, "COLUMNS": "200", **changed}
    return subprocess.run([*DOCTOR, *options], env=environment, capture_output=True, text=True, check=False)


def findings(done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, Any]]:
    """Return the doctor's JSON by subject."""
    return {finding["subject"]: finding for finding in json.loads(done.stdout)}


@pytest.mark.ros
@pytest.mark.sim
def test_on_a_machine_that_has_everything_nothing_is_missing() -> None:
    done = doctor("--json")
    assert [finding for finding in findings(done).values() if finding["level"] == "missing"] == []
    assert done.returncode == 0
    assert {"Python", "ROS 2", "moto_msgs", "Middleware", "Rendering", "Disk"} <= set(findings(done))


@pytest.mark.ros
def test_without_the_built_workspace_it_says_so_and_exits_1() -> None:
    """The commonest mistake: the workspace was not entered."""
    done = doctor("--json", "--quick", PYTHONPATH=f"{ROOT}:{ROOT / 'sim'}")
    assert findings(done)["moto_msgs"]["level"] == "missing"
    assert "tools/enter.sh" in findings(done)["moto_msgs"]["advice"]
    assert done.returncode == 1


@pytest.mark.ros
@pytest.mark.parametrize(("mode", "fault"), [("", "images"), ("DEFAULT", "images"), ("LARGE_DATA", "never connect")])
def test_a_transport_that_loses_images_or_nodes_is_pointed_out(
    monkeypatch: pytest.MonkeyPatch, mode: str, fault: str
) -> None:
    monkeypatch.setenv("FASTDDS_BUILTIN_TRANSPORTS", mode)
    for name in PROFILE_FILE:
        monkeypatch.delenv(name, raising=False)
    found = ros._transport()
    assert found.level is Level.NOTE
    assert fault in found.found
    assert all(f"{name}=" in found.advice for name in PROFILE_FILE)


@pytest.mark.ros
@pytest.mark.parametrize("name", PROFILE_FILE)
def test_a_profile_file_is_a_transport_that_is_well(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "mine.xml")
    assert ros._transport().level is Level.OK


def test_the_table_shows_every_finding_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    """Advice in square brackets must not vanish as markup."""
    Console(width=200).print(_table([note("Extras", "none", "pip install moto_ros[sim]"), good("Disk", "12 GiB")]))
    shown = capsys.readouterr().out
    assert "pip install moto_ros[sim]" in shown
    assert "12 GiB" in shown


@pytest.mark.ros
def test_a_command_to_copy_is_printed_on_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks whoever pastes it: a table breaks a long path into pieces."""
    for name in PROFILE_FILE:
        monkeypatch.delenv(name, raising=False)
    done = doctor("--quick", COLUMNS="80", FASTDDS_BUILTIN_TRANSPORTS="DEFAULT")
    transport = findings(doctor("--quick", "--json", FASTDDS_BUILTIN_TRANSPORTS="DEFAULT"))["Transport"]
    assert f"Transport: {transport['advice']}" in done.stdout.splitlines()


@pytest.mark.parametrize("order", ["{log}\n{name}\n", "{name}\n{log}\n"])
def test_what_the_middleware_logs_is_not_taken_for_its_name(order: str) -> None:
    """Breaks who looks for a fault: a complaint of Fast DDS, on its standard output, was shown as its name."""
    log = "\x1b[31;1m[\x1b[37;1mRTPS_PARTICIPANT\x1b[31;1m Error] \x1b[37mWrong value\x1b[m"
    name, logged = middleware_of(order.format(log=log, name="rmw_fastrtps_cpp"))
    assert name == "rmw_fastrtps_cpp"
    assert logged == ["[RTPS_PARTICIPANT Error] Wrong value"]


def test_a_wrong_version_is_missing_with_what_is_needed() -> None:
    (found,) = python._requirement(Requirement("numpy<0.1"))
    assert found.level is Level.MISSING
    assert "<0.1" in found.advice


def test_an_absent_package_is_missing_with_how_to_get_it() -> None:
    (found,) = python._requirement(Requirement("no-such-package>=2"))
    assert (found.level, found.found) == (Level.MISSING, "not installed")
    assert "pip install 'no-such-package>=2'" in found.advice


def test_a_full_disk_is_pointed_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(machine, "DISK_NEEDED", 2**80)
    assert machine._disk(tmp_path).level is Level.NOTE


def test_small_shared_memory_is_pointed_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a container with docker's 64 MB, images between nodes get lost."""
    monkeypatch.setattr(machine, "SHARED_NEEDED", 2**80)
    found = machine._shared_memory()
    assert found.level is Level.NOTE
    assert "--shm-size" in found.advice


def test_a_frame_that_cannot_be_rendered_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "FRAME", "raise SystemExit('no EGL device')")
    pytest.importorskip("moto_sim", reason="moto_sim is not installed")
    found = machine._rendering()
    assert (found.level, found.found) == (Level.MISSING, "no EGL device")
    assert "MUJOCO_GL" in found.advice
