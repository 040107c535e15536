"""Two processes in one folder: the second is refused with one sentence, and a killed one holds nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from moto_ros import locks
from moto_ros.data.bag_folder import BagFolder
from moto_ros.errors import MotoError
from moto_ros.systems.bringup import resolve
from moto_ros.training.run_folder import RunFolder

ROOT = Path(__file__).resolve().parents[1]
HELD = {"trainer": ".lock", "recorder": "bags/.recorder.lock", "system": "config/finetune/.lock"}

HOLDER = """
    import sys, time
    from pathlib import Path
    from moto_ros import locks
    path = Path(sys.argv[1])
    path.parent.mkdir(parents=True, exist_ok=True)
    held = locks.acquire(path)
    print("held", flush=True)
    time.sleep(300)
"""


def holder(path: Path) -> subprocess.Popen[str]:
    """Start a process that holds a lock."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", textwrap.dedent(HOLDER), str(path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


@pytest.fixture(params=HELD)
def other(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Return another process that writes to the run folder."""
    process = holder(tmp_path / "run" / HELD[request.param])
    yield process
    process.kill()
    process.wait()


def test_a_second_system_is_refused_before_it_writes_anything_and_starts_after_a_kill(
    tmp_path: Path, other: subprocess.Popen[str]
) -> None:
    """Its parameter files would replace those of the run in progress, and its nodes mix with the others'."""
    run = tmp_path / "run"
    system = resolve("finetune", {"run": str(run)})
    with pytest.raises(MotoError, match=rf"{run}(/bags)?: in use by process {other.pid}"):
        system.write_parameters()
    assert not list(run.rglob("*.yaml"))
    other.send_signal(signal.SIGKILL)
    other.wait()
    system.write_parameters()
    assert list(run.rglob("*.yaml"))


def test_a_run_in_progress_is_not_set_aside(tmp_path: Path, other: subprocess.Popen[str]) -> None:
    """--fresh would move the folder away under the running trainer."""
    with pytest.raises(MotoError, match=f"in use by process {other.pid}"):
        RunFolder(tmp_path / "run").set_aside()
    assert (tmp_path / "run").is_dir()


def test_a_second_recorder_is_refused_until_the_first_is_killed(tmp_path: Path) -> None:
    process = holder(tmp_path / locks.RECORDER_LOCK)
    with pytest.raises(MotoError, match=f"in use by process {process.pid}"):
        BagFolder(tmp_path)
    process.kill()
    process.wait()
    BagFolder(tmp_path).release()


def test_a_folder_that_cannot_be_written_to_is_said(tmp_path: Path) -> None:
    (tmp_path / locks.RUN_LOCK).mkdir()  # also for root, whom no permission stops
    with pytest.raises(MotoError, match="choose another folder"), RunFolder(tmp_path).locked():
        pass


def test_the_systems_of_one_process_follow_each_other(tmp_path: Path) -> None:
    """`moto finetune` records, then fine-tunes; a launch file may be included twice."""
    for name in ("record", "finetune", "finetune"):
        resolve(name, {"run": str(tmp_path / "run")}).write_parameters()


def test_a_system_may_start_again_where_its_folder_was_moved_away(tmp_path: Path) -> None:
    system = resolve("pretrain", {"run": str(tmp_path / "run")})
    system.write_parameters()
    (tmp_path / "run").rename(tmp_path / "moved")
    system.write_parameters()
    assert (tmp_path / "run" / "config" / "pretrain" / "trainer.yaml").is_file()


def test_bags_of_evaluations_stay_inside_the_folder_of_bags(tmp_path: Path) -> None:
    for name in ("../elsewhere", "/tmp", "..", ""):
        with pytest.raises(MotoError, match="evaluation_folder is"):
            BagFolder(tmp_path, name)
