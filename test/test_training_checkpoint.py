"""Checkpoints are whole or absent: after a kill, on a full disk, with damaged files."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import torch

from moto_ros.errors import MotoError
from moto_ros.files import sha256_of
from moto_ros.training.checkpoint import CheckpointFolder, Identity, restore_global_rng

WHO = Identity("clone", "0123")
ROOT = Path(__file__).resolve().parents[1]


def tensors(value: float, size: int = 8) -> dict[str, torch.Tensor]:
    return {"weight": torch.full((size,), value), "steps": torch.tensor(7)}


def folder_of(path: Path, keep: int = 3, identity: Identity = WHO) -> CheckpointFolder:
    return CheckpointFolder(path / "checkpoints", identity, keep)


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    """A resumed run would go on from other weights."""
    folder = folder_of(tmp_path)
    transposed = torch.arange(6.0).view(2, 3).t()
    folder.save({"t": transposed, "part": torch.arange(10)[2:4]}, {"rounds": 3})
    found = folder.load()
    assert found is not None
    assert torch.equal(found.agent["t"], transposed)
    assert torch.equal(found.agent["part"], torch.tensor([2, 3]))
    assert found.state == {"rounds": 3}
    assert folder_of(tmp_path / "empty").load() is None


def test_the_global_generator_goes_on_where_it_was(tmp_path: Path) -> None:
    """An agent that draws from PyTorch's own generator would not resume to the bit."""
    folder = folder_of(tmp_path)
    folder.save(tensors(1), {})
    expected = torch.rand(3)
    torch.manual_seed(99)
    found = folder.load()
    assert found is not None
    restore_global_rng(found.rng)
    assert torch.equal(torch.rand(3), expected)


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    """A long run would fill the disk."""
    folder = folder_of(tmp_path, keep=2)
    for value in range(4):
        folder.save(tensors(value), {})
    assert folder.numbers() == [3, 4]
    assert sorted(path.name for path in folder.path.iterdir()) == ["checkpoint_000003", "checkpoint_000004"]


def test_what_a_person_keeps_among_the_checkpoints_stays(tmp_path: Path) -> None:
    """Only what this program has written is removed to save space."""
    folder = folder_of(tmp_path, keep=1)
    (folder.save(tensors(0), {}) / "notes.txt").write_text("the best one")
    for name in ("best", "checkpoint_best", "checkpoint_1", "checkpoint_000001_copy"):
        (folder.path / name).mkdir()
        (folder.path / name / "weights").write_text("mine")
    before = {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}
    for value in range(1, 4):
        folder.save(tensors(value), {})
    assert folder.numbers() == [1, 4]
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize("name", ["agent.safetensors", "state.json", "manifest.json", "rng.safetensors"])
@pytest.mark.parametrize("harm", ["cut", "flip", "remove"])
def test_a_damaged_checkpoint_is_refused_by_name_and_the_one_before_taken(tmp_path: Path, name: str, harm: str) -> None:
    """A run would resume from damaged weights, or not at all although an older checkpoint is good."""
    folder = folder_of(tmp_path)
    folder.save(tensors(1), {"rounds": 1})
    victim = folder.save(tensors(2), {"rounds": 2}) / name
    content = victim.read_bytes()
    if harm == "remove":
        victim.unlink()
    else:
        middle = len(content) // 2
        victim.write_bytes(content[:middle] if harm == "cut" else content[:middle] + b"\x00#" + content[middle + 2 :])
    found = folder.load()
    assert found is not None
    assert found.state == {"rounds": 1}
    assert name in found.refused[0]
    assert "checkpoint_000002" in found.refused[0]


def test_nothing_whole_left_is_said(tmp_path: Path) -> None:
    """A run with only damaged checkpoints would silently start from scratch."""
    folder = folder_of(tmp_path)
    (folder.save(tensors(1), {}) / "agent.safetensors").write_bytes(b"")
    with pytest.raises(MotoError, match="no checkpoint is whole"):
        folder.load()


@pytest.mark.parametrize(("who", "word"), [(Identity("fowm", "0123"), "agent"), (Identity("clone", "9"), "digest")])
def test_another_agent_or_preset_is_refused(tmp_path: Path, who: Identity, word: str) -> None:
    """Weights of one network would be poured into another."""
    folder_of(tmp_path).save(tensors(1), {})
    with pytest.raises(MotoError, match=f"{word} is .* expected"):
        folder_of(tmp_path, identity=who).load()


def test_another_schema_is_refused(tmp_path: Path) -> None:
    """An older program would misread a newer format."""
    folder = folder_of(tmp_path)
    manifest = folder.save(tensors(1), {}) / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"schema": 99}))
    with pytest.raises(MotoError, match="schema is 99, expected 1"):
        folder.load()


def test_same_content_same_hash(tmp_path: Path) -> None:
    """Two runs of one seed could not be compared by their files."""
    paths = [folder_of(tmp_path / name).save(tensors(1), {"rounds": 1}) for name in "ab"]
    for name in ("agent.safetensors", "state.json"):
        assert sha256_of(paths[0] / name) == sha256_of(paths[1] / name)


def test_a_full_disk_leaves_the_old_checkpoint(tmp_path: Path) -> None:
    """Running out of disk would destroy the run; RLIMIT_FSIZE makes writes fail as a full disk does."""
    folder = folder_of(tmp_path)
    folder.save(tensors(1), {"rounds": 1})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(MotoError, match="earlier ones are intact; free disk space"):
            folder.save(tensors(2, size=100_000), {"rounds": 2})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    found = folder.load()
    assert found is not None
    assert found.state == {"rounds": 1}
    assert [path.name for path in folder.path.iterdir()] == ["checkpoint_000001"]


def test_weights_that_are_not_finite_are_never_saved(tmp_path: Path) -> None:
    """An update whose loss was still finite may leave NaN weights; they would replace the good checkpoint."""
    folder = folder_of(tmp_path)
    folder.save(tensors(1), {"rounds": 1})
    with pytest.raises(MotoError, match="tensor 'weight' holds NaN"):
        folder.save(tensors(float("nan")), {"rounds": 2})
    assert folder.numbers() == [1]


SAVER = """
    import sys, torch
    from pathlib import Path
    from moto_ros.training.checkpoint import CheckpointFolder, Identity
    folder = CheckpointFolder(Path(sys.argv[1]) / "checkpoints", Identity("clone", "0123"))
    for value in range(100_000):
        folder.save({"weight": torch.full((50_000,), float(value))}, {"value": value})
        print(value, flush=True)
"""


def python(code: str, *arguments: str) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", textwrap.dedent(code), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def test_kill_9_while_saving_loses_nothing_that_was_saved(tmp_path: Path) -> None:
    """A kill in the middle of a save would leave no checkpoint, or a half one that is taken for whole."""
    waits = random.Random(0)
    for _ in range(3):
        saver = python(SAVER, str(tmp_path))
        assert saver.stdout is not None
        saver.stdout.readline()
        time.sleep(waits.uniform(0.05, 0.25))
        saver.send_signal(signal.SIGKILL)
        last = int((saver.stdout.read().split() or ["0"])[-1])
        saver.wait()
        found = folder_of(tmp_path).load()
        assert found is not None
        assert found.refused == []
        assert found.state["value"] >= last
        assert torch.equal(found.agent["weight"], torch.full((50_000,), float(found.state["value"])))


MEMORY = """
    import sys, psutil, torch
    from pathlib import Path
    from moto_ros.training.checkpoint import CheckpointFolder, Identity
    def rss():
        return psutil.Process().memory_info().rss / 2**20
    folder = CheckpointFolder(Path(sys.argv[1]) / "checkpoints", Identity("clone", "0123"))
    network = {str(i): torch.zeros(1_000_000) for i in range(30)}
    for tensor in network.values():
        tensor.fill_(1.0)
    if sys.argv[2] == "save":
        folder.save(network, {})
    else:
        found = folder.load()
        for name, tensor in network.items():
            tensor.copy_(found.agent[name])
        found.agent.clear()
    print(rss())
"""


def test_memory_after_resume_is_not_above_memory_before(tmp_path: Path) -> None:
    """A run that fitted into memory would not fit after a restart; 120 MB of weights make doubling visible."""
    used = []
    for mode in ("save", "load"):
        process = python(MEMORY, str(tmp_path), mode)
        used.append(float(process.communicate()[0]))
        assert process.returncode == 0
    assert used[1] < used[0] + 40
