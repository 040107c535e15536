"""Atomic, versioned checkpoints: safetensors and JSON with a manifest of hashes; nothing in them is executed.

`checkpoints/checkpoint_000007/` holds `agent.safetensors` (the agent's state dict), `rng.safetensors` (the global
generators of PyTorch), `state.json` (learner, schedule, replay index, metrics position) and `manifest.json`. A
folder of that name is always whole: it is written as `.checkpoint_000007.part`, synced, renamed, and its parent synced.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from moto_ros.errors import MotoError, remedy, require_readable
from moto_ros.files import canonical, read_json, sha256_of, sync_file, sync_folder

SCHEMA = 1
"""Number of the format; raised when an older reader would misread it."""

AGENT, RNG, STATE, MANIFEST = "agent.safetensors", "rng.safetensors", "state.json", "manifest.json"
CONTENTS = (AGENT, RNG, STATE)
SCHEDULE = "conductor"
"""Entry of the state file that holds the schedule; the name is of earlier versions, whose checkpoints still load."""

WRITTEN = {*CONTENTS, MANIFEST}
NAME = re.compile(r"checkpoint_([0-9]{6,})")


@dataclass(frozen=True)
class Identity:
    """Identity of weights: the agent's name, the digest of its settings, and those of older versions."""

    agent: str
    digest: str
    earlier: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was loaded, and why newer ones were refused."""

    path: Path
    number: int
    agent: dict[str, Tensor]
    rng: dict[str, Tensor]
    state: dict[str, Any]
    refused: list[str] = field(default_factory=list)


class CheckpointFolder:
    """Writes and reads the checkpoints of one run and keeps the newest `keep`."""

    def __init__(self, path: Path, identity: Identity, keep: int = 3) -> None:
        self.path = path
        self.identity = identity
        self.keep = keep

    def numbers(self) -> list[int]:
        """Return the numbers of the checkpoints on disk, oldest first; MotoError when they may not be read."""
        return numbers(self.path)

    def folder(self, number: int) -> Path:
        """Return the folder of a checkpoint."""
        return self.path / f"checkpoint_{number:06d}"

    def save(self, agent: Mapping[str, Tensor], state: Mapping[str, Any]) -> Path:
        """Write the next checkpoint and drop the oldest; on any failure the existing ones stay as they are.

        Raises MotoError when the disk is full, and when a tensor of the agent is not finite: that is never saved.
        """
        require_finite(agent)
        target = self.folder(max(self.numbers(), default=0) + 1)
        part = self.path / f".{target.name}.part"
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._write(part, agent, state)
            part.rename(target)
            sync_folder(self.path)
        except (OSError, SafetensorError) as error:
            shutil.rmtree(part, ignore_errors=True)
            raise MotoError(
                f"{target}: cannot write the checkpoint ({error}); the earlier ones are intact; "
                f"{remedy(error) if isinstance(error, OSError) else 'free disk space'} and run the same command again"
            ) from error
        self._drop_oldest()
        return target

    def _write(self, part: Path, agent: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        save_file(storable(agent), part / AGENT)
        save_file(global_rng(), part / RNG)
        (part / STATE).write_text(canonical(dict(state)), encoding="utf-8")
        manifest = {
            "schema": SCHEMA,
            "agent": self.identity.agent,
            "digest": self.identity.digest,
            "written": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "sha256": {name: sha256_of(part / name) for name in CONTENTS},
        }
        (part / MANIFEST).write_text(canonical(manifest), encoding="utf-8")
        for name in (*CONTENTS, MANIFEST):
            sync_file(part / name)
        sync_folder(part)

    def _drop_oldest(self) -> None:
        """Remove all but the newest `keep`; a folder in which a person has put something stays whole."""
        for number in self.numbers()[: -self.keep]:
            folder = self.folder(number)
            if folder.is_symlink() or not folder.is_dir() or not {path.name for path in folder.iterdir()} <= WRITTEN:
                continue
            shutil.rmtree(folder, ignore_errors=True)

    def load(self) -> Checkpoint | None:
        """Return the newest whole checkpoint, walking back over damaged ones; None when there is none at all.

        Raises MotoError when all are damaged, or when the newest whole one is of another agent, preset or schema.
        """
        refused: list[str] = []
        for number in reversed(self.numbers()):
            reason = damage(self.folder(number))
            if reason:
                refused.append(f"{self.folder(number).name}: {reason}")
                continue
            return self._read(number, refused)
        if refused:
            raise MotoError(
                f"{self.path}: no checkpoint is whole ({'; '.join(refused)}); "
                "restore one from a copy, or start again with --fresh"
            )
        return None

    def _read(self, number: int, refused: list[str]) -> Checkpoint:
        folder = self.folder(number)
        check_manifest(folder, self.identity)
        agent, rng = load_file(folder / AGENT), load_file(folder / RNG)
        return Checkpoint(folder, number, agent, rng, read_json(folder / STATE), refused)


def numbers(path: Path) -> list[int]:
    """Return the numbers of the checkpoints in a folder, oldest first; MotoError when they may not be read."""
    require_readable(path)
    found = (NAME.fullmatch(folder.name) for folder in path.glob("checkpoint_*"))
    return sorted(int(name[1]) for name in found if name)


def damage(folder: Path) -> str:
    """Return what is wrong with the files of a checkpoint, by the hashes of its manifest; empty when intact.

    Raises MotoError when they may not be read: that is no damage, and an older one must not take the place.
    """
    for path in (folder, *(folder / name for name in (*CONTENTS, MANIFEST))):
        require_readable(path)
    try:
        expected = read_json(folder / MANIFEST).get("sha256")
        if not isinstance(expected, dict) or set(expected) != set(CONTENTS):
            return f"{MANIFEST} does not list {', '.join(CONTENTS)}"
        wrong = [name for name in CONTENTS if sha256_of(folder / name) != expected[name]]
    except (OSError, MotoError) as error:
        return str(error)
    return f"{', '.join(wrong)} differs from its sha256 in {MANIFEST}" if wrong else ""


def check_manifest(folder: Path, identity: Identity) -> None:
    """Raise MotoError when a checkpoint is of another schema, agent or preset."""
    manifest = read_json(folder / MANIFEST)
    found_digest = manifest.get("digest")
    for name, found, expected in (
        ("schema", manifest.get("schema"), SCHEMA),
        ("agent", manifest.get("agent"), identity.agent),
        ("settings digest", identity.digest if found_digest in identity.earlier else found_digest, identity.digest),
    ):
        if found != expected:
            raise MotoError(
                f"{folder}: {name} is {found}, expected {expected}; use the agent, preset and moto_ros version that "
                "wrote it, or a new run folder"
            )


def require_finite(tensors: Mapping[str, Tensor]) -> None:
    """Raise MotoError, naming the first tensor that holds NaN or infinity."""
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise MotoError(
                f"agent: tensor '{name}' holds NaN or infinity, expected finite numbers; the last checkpoint is kept: "
                "look at the data, or lower the learning rate in a new run"
            )


def storable(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors as safetensors wants them: detached, on the CPU, contiguous, none sharing memory."""
    return {name: _alone(tensors[name].detach().cpu().contiguous()) for name in sorted(tensors)}


def _alone(tensor: Tensor) -> Tensor:
    whole = tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
    return tensor if whole else tensor.clone()


def global_rng() -> dict[str, Tensor]:
    """Return the state of PyTorch's global generators as uint8 tensors."""
    found = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        found |= {f"cuda.{index}": state for index, state in enumerate(torch.cuda.get_rng_state_all())}
    return found


def restore_global_rng(states: Mapping[str, Tensor]) -> None:
    """Restore what `global_rng` returned; GPU states only where there is that GPU."""
    torch.set_rng_state(states["cpu"])
    for index in range(torch.cuda.device_count()):
        if f"cuda.{index}" in states:
            torch.cuda.set_rng_state(states[f"cuda.{index}"], index)
