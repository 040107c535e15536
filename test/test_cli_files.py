"""Files that may not be read or written: one sentence with file, reason and what to do, and the rest is done."""

from __future__ import annotations

import json
import os
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from support.bags import Recipe, lockstep_episode, write_bag
from support.weak import bound_by_permissions, moto, run, run_weak

from moto_ros.config import write_parameters
from moto_ros.errors import MotoError, require_writable, sentence
from moto_ros.files import canonical, write_durably
from moto_ros.training.checkpoint import CheckpointFolder, Identity
from moto_ros.training.metrics import MetricsLog
from moto_ros.training.run_folder import RunFolder

NOWHERE = Path("/proc/none/file")
"""A file whose folder nobody can make, not even root."""

READ = """
import sys
from pathlib import Path
from moto_ros.data.layout import StepLayout, TopicMap
from moto_ros.data.replay import ReplayStore
from moto_ros.data.bag_library import BagLibrary
bags, work = Path(sys.argv[1]), Path(sys.argv[2])
layout = StepLayout(cameras=("agent", "wrist"), image_size=16)
library = BagLibrary(bags, layout)
store = ReplayStore(work, 2**24)
print([bag.name for bag, _ in library.demonstrations(bags, TopicMap(), store)])
print(*library.left_out, sep="\\n")
"""


@pytest.fixture
def locked() -> Iterator[list[Path]]:
    """Take files and folders that may not be read or written, and let them be removed again in the end."""
    paths: list[Path] = []
    yield paths
    for path in paths:
        path.chmod(0o755)


def lock(path: Path, locked: list[Path], mode: int = 0) -> Path:
    """Take every permission from a file or folder, or leave it `mode`."""
    locked.insert(0, path)
    path.chmod(mode)
    return path


def two_bags(folder: Path) -> tuple[Path, Path]:
    """Write two bags of one episode each."""
    bags = folder / "one", folder / "two"
    for number, bag in enumerate(bags):
        write_bag(bag, lockstep_episode(Recipe(number, 5)))
    return bags


def refused(said: str, path: Path) -> bool:
    """Tell whether a text says of a file that it may not be read, and what to do, and nothing of damage."""
    text = " ".join(said.split())
    reason = f"{path}: cannot be read (Permission denied); change its owner or permissions"
    return reason in text and not any(word in text for word in ("damaged", "record it again", "Traceback"))


@pytest.mark.parametrize("part", ["file", "folder"])
def test_a_bag_that_may_not_be_read_is_named_and_the_others_are_shown(
    tmp_path: Path, locked: list[Path], part: str
) -> None:
    """One bag of somebody else hid every other."""
    one, _ = two_bags(tmp_path)
    path = lock(one if part == "folder" else one / "one_0.mcap", locked)
    done = run_weak(moto("bag", "info", str(tmp_path)), environment={"COLUMNS": "400"})
    assert refused(done.stdout, path), done.stdout
    assert "2 bags" in done.stdout
    assert "1 episodes" in done.stdout
    assert done.stderr == ""
    assert done.returncode == 1


def test_an_sqlite_bag_that_may_not_be_read_is_not_called_damaged(tmp_path: Path, locked: list[Path]) -> None:
    path = tmp_path / "bag.db3"
    sqlite3.connect(path).close()
    path.write_bytes(b"")
    done = run_weak(moto("bag", "info", "--json", str(lock(path, locked))))
    (facts,) = json.loads(done.stdout)
    assert refused(" ".join(facts["problems"]), path), facts


def test_training_takes_the_bags_that_it_may_read_and_names_the_others(tmp_path: Path, locked: list[Path]) -> None:
    one, _ = two_bags(tmp_path / "bags")
    path = lock(one / "one_0.mcap", locked)
    done = run_weak([sys.executable, "-c", READ, str(tmp_path / "bags"), str(tmp_path / "work")])
    names, *left_out = done.stdout.splitlines()
    assert names == "['two']", done.stderr
    assert refused("\n".join(left_out), path)


def test_a_bag_that_may_not_be_read_is_not_recovered(tmp_path: Path, locked: list[Path]) -> None:
    """The recorder would have put an empty bag in its place."""
    one, _ = two_bags(tmp_path)
    path = one / "one_0.mcap"
    before = path.read_bytes()
    (one / "metadata.yaml").unlink()
    lock(path, locked)
    code = "import sys; from pathlib import Path; from moto_ros.data.recover import recover_all; "
    done = run_weak([sys.executable, "-c", f"{code}print(recover_all(Path(sys.argv[1])))", str(tmp_path)])
    assert done.stdout == "{}\n", done.stderr
    path.chmod(0o644)
    assert path.read_bytes() == before


def finished_run(path: Path) -> Path:
    """Write the least that is a run, with what a figure of losses needs."""
    run_folder = RunFolder(path)
    run_folder.open({"trainer.seed": 0}, seed=0)
    log = MetricsLog(run_folder.metrics_file)
    for number in range(3):
        row = {"time": 1.0 + number, "kind": "update", "updates": number, "env_steps": 0, "episode": 0}
        log.write(row | {"round": "offline", "phase": "model", "loss": 1.0})
    log.close()
    return path


def test_the_report_of_somebody_elses_run_is_written_elsewhere(tmp_path: Path, locked: list[Path]) -> None:
    """A colleague's run could not be looked at: the pictures went into its folder, whatever --output said."""
    run_path = finished_run(tmp_path / "theirs")
    for folder in (run_path / "plots", run_path):
        folder.mkdir(exist_ok=True)
        lock(folder, locked, 0o555)
    here = run_weak(moto("report", str(run_path)))
    assert here.returncode == 1
    (line,) = here.stderr.splitlines()
    assert line.startswith(f"error: {run_path / 'report.html'}: cannot be written (Permission denied); give --output")
    elsewhere = run_weak(moto("report", str(run_path), "--output", str(tmp_path / "mine" / "page.html")))
    assert elsewhere.stderr == ""
    assert "data:image/png" in (tmp_path / "mine" / "page.html").read_text(encoding="utf-8")
    assert list((run_path / "plots").iterdir()) == []


@pytest.mark.parametrize("output", [NOWHERE, Path("/proc"), Path("/dev/null/report.html")])
def test_a_report_that_cannot_be_written_is_one_sentence(tmp_path: Path, output: Path) -> None:
    done = run(moto("report", str(finished_run(tmp_path / "run")), "--output", str(output)))
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: {output}: cannot be written (")
    assert line.partition("; ")[2]


@pytest.mark.ros
@pytest.mark.sim
@pytest.mark.parametrize("words", [["record"], ["finetune"], ["up", "record"]])
def test_a_run_folder_that_cannot_be_written_is_one_sentence_before_a_node_starts(words: list[str]) -> None:
    done = run(moto(*words, "--run", str(NOWHERE)))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"error: {NOWHERE}/")
    assert "cannot be written (No such file or directory); check the path" in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert "Start" not in done.stdout


@pytest.mark.sim
def test_a_suites_folder_that_cannot_be_written_is_one_sentence() -> None:
    done = run(moto("benchmark", "ci", "--output", str(NOWHERE)))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: /proc/none")
    assert "Traceback" not in done.stderr + done.stdout


@pytest.mark.ros
@pytest.mark.sim
@pytest.mark.parametrize("option", ["--task", "--preset"])
@pytest.mark.parametrize("part", ["file", "folder"])
def test_a_parameter_file_that_may_not_be_read_is_one_sentence(
    tmp_path: Path, locked: list[Path], option: str, part: str
) -> None:
    path = tmp_path / "mine.yaml"
    if part == "folder":
        path.mkdir()
    else:
        path.write_text("/**:\n", encoding="utf-8")
        lock(path, locked)
    done = run_weak(moto("pretrain", option, str(path)), cwd=tmp_path)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    reason = "Is a directory" if part == "folder" else "Permission denied"
    assert line.startswith(f"error: {path}: cannot be read ({reason}); expected a ROS parameter file; ")


@pytest.mark.ros
@pytest.mark.sim
def test_a_box_is_not_guided_for_a_file_that_cannot_be_written() -> None:
    """After five minutes at the arm, the box was lost."""
    done = run(moto("workspace", "--listen", "--output", str(NOWHERE)))
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: {NOWHERE}: cannot be written")
    assert done.stdout == ""


SAVED = {"weight": torch.ones(2)}
LOAD = """
import sys
from pathlib import Path
from moto_ros.errors import MotoError
from moto_ros.training.checkpoint import CheckpointFolder, Identity
try:
    CheckpointFolder(Path(sys.argv[1]), Identity("moto", "x")).load()
except MotoError as error:
    print(error)
"""


def test_a_checkpoint_that_may_not_be_read_is_not_taken_for_damaged(tmp_path: Path, locked: list[Path]) -> None:
    """An older one would take its place, and the newest work be written over."""
    folder = CheckpointFolder(tmp_path / "checkpoints", Identity("moto", "x"))
    folder.save(SAVED, {})
    newest = folder.save(SAVED, {})
    for path in (newest / "agent.safetensors", newest, folder.path):
        lock(path, locked)
        done = run_weak([sys.executable, "-c", LOAD, str(folder.path)])
        assert refused(done.stdout, path), (path, done.stdout, done.stderr)
        path.chmod(0o755)


def test_a_full_disk_is_said_with_the_file(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log._handle = os.open("/dev/full", os.O_WRONLY)
    with pytest.raises(MotoError, match=r"metrics\.jsonl: cannot be written \(No space left on device\); free disk"):
        log.write({"kind": "note"})


@pytest.mark.parametrize(
    "write",
    [
        lambda path: write_parameters(path, "/moto/trainer", {}),
        lambda path: write_durably(path, canonical({})),
        lambda path: MetricsLog(path),
        require_writable,
    ],
    ids=["parameters", "durable file", "metrics", "check"],
)
@pytest.mark.parametrize("path", [NOWHERE, Path("/dev/null/file"), Path("/proc")])
def test_whatever_is_written_says_where_and_why_it_cannot_be(write: object, path: Path) -> None:
    with pytest.raises(MotoError, match=rf"^{path}: cannot be written \(.+\); "):
        write(path)  # type: ignore[operator]


def test_the_last_resort_names_the_file_the_reason_and_what_to_do() -> None:
    with pytest.raises(FileNotFoundError) as missing:
        Path("/none/a").read_text(encoding="utf-8")
    with pytest.raises(FileNotFoundError) as renamed:
        Path("/none/a").rename("/none/b")
    assert sentence(missing.value) == ("/none/a: cannot be read or written (No such file or directory); check the path")
    assert sentence(renamed.value).startswith("/none/a -> /none/b: cannot be read or written (")
    with pytest.raises(ConnectionRefusedError):
        sentence(ConnectionRefusedError(111, "Connection refused"))


@pytest.mark.parametrize("words", [["report", "run"], ["bag", "info", "bag"], ["doctor", "--quick"]])
def test_a_current_folder_that_was_deleted_is_one_sentence(tmp_path: Path, words: list[str]) -> None:
    """Importing torch ended the process in words about its own library."""
    (tmp_path / "gone").mkdir()
    done = run(["sh", "-c", 'cd "$0" && rmdir "$0" && exec "$@"', str(tmp_path / "gone"), *moto(*words)])
    assert done.stderr.splitlines()[-1].startswith("error: the current folder is not there any more")
    assert done.returncode == 1


def test_permissions_bind_where_these_tests_say_so(tmp_path: Path, locked: list[Path]) -> None:
    """Root without its power: otherwise the tests above would test nothing."""
    path = tmp_path / "file"
    path.write_text("x", encoding="utf-8")
    lock(path, locked)
    assert run([*bound_by_permissions(), "cat", str(path)]).returncode != 0
