"""Where a run keeps everything: names, creation, identity, and the lock that keeps a second trainer out."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from moto_ros import __version__, locks
from moto_ros.config import Value
from moto_ros.errors import MotoError
from moto_ros.files import canonical, read_json, set_aside, write_durably
from moto_ros.training.settings import stored_configuration

SCHEMA = 1
STARTED = "%Y-%m-%dT%H:%M:%S%z"
"""Form of the time at which a session began."""

ENTRIES = (
    ("seed", int, "an integer"),
    ("configuration", dict, "settings by name"),
    ("sessions", list, "a list with one session or more"),
)
"""What `identity.json` holds beside its schema: name, type, and that in words."""

PACKAGES = ("numpy", "safetensors", "mujoco", "metaworld", "rosbags")


class RunFolder:
    """The names in a run folder; making one does not touch the disk."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.config = self.path / "config"
        self.bags = self.path / "bags"
        self.checkpoints = self.path / "checkpoints"
        self.tensorboard = self.path / "tensorboard"
        self.plots = self.path / "plots"
        self.logs = self.path / "logs"
        self.cache = self.path / "cache"
        self.metrics_file = self.path / "metrics.jsonl"
        self.report_file = self.path / "report.html"
        self.identity_file = self.path / "identity.json"

    def bag_folder(self, name: str) -> Path:
        """Return a sub-folder of the bags: `bags/offline` or `bags/online`."""
        return self.bags / name

    def create(self) -> None:
        """Make the folder and its fixed sub-folders; what is there stays."""
        folders = (self.config, self.bags, self.checkpoints, self.tensorboard, self.plots, self.logs, self.cache)
        try:
            for folder in folders:
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MotoError(
                f"{self.path}: cannot make the run folder ({error.strerror}); choose another path"
            ) from error

    def open(
        self,
        configuration: Mapping[str, Value],
        seed: int,
        plan: Mapping[str, Any] | None = None,
        data: Mapping[str, Value] | None = None,
    ) -> bool:
        """Create the folder, or open the run in it; return whether there was one, of the same configuration.

        `plan` is what this session plans to do (updates, episodes), noted for the report. `data` is what the run
        learns from; of it, what is empty here or was not noted by the run is not compared. Raises MotoError, saying
        what differs, when the folder holds a run of another configuration or of other data.
        """
        self.create()
        resumed = self.identity_file.exists()
        found = self._read() if resumed else _new_identity(configuration, seed)
        if resumed:
            self._check(found, configuration, data or {})
        found["data"] = {name: value for name, value in (data or {}).items() if value} | found.get("data", {})
        found["sessions"] = [*found["sessions"], describe_session() | {"plan": dict(plan or {})}]
        write_durably(self.identity_file, canonical(found))
        return resumed

    def check_configuration(self, configuration: Mapping[str, Value], data: Mapping[str, Value]) -> None:
        """Raise MotoError, saying what differs, when the folder holds a run of another configuration or data."""
        if self.identity_file.exists():
            self._check(self._read(), configuration, data)

    def identity(self) -> dict[str, Any]:
        """Return `identity.json`; MotoError when the folder holds no run."""
        if not self.identity_file.exists():
            raise MotoError(f"{self.path}: no identity.json, expected a run folder; give the folder of a run")
        return self._read()

    def _read(self) -> dict[str, Any]:
        """Return `identity.json`; MotoError where it is of another version, or damaged."""
        found = read_json(self.identity_file)
        if found.get("schema") != SCHEMA:
            raise MotoError(
                f"{self.identity_file}: schema {found.get('schema')}, expected {SCHEMA}; "
                "use the moto_ros version that wrote it, or choose a new run folder"
            )
        for name, kind, text in ENTRIES:
            if not isinstance(found.get(name), kind) or found[name] == []:
                raise MotoError(
                    f"{self.identity_file}: entry '{name}' is {str(found.get(name, 'missing'))[:80]}, expected {text}; "
                    "restore the file from a copy, or choose a new run folder"
                )
        return found

    def started(self) -> float:
        """Return when the run was first opened, s since 1970, rounded down to a second."""
        text = self.identity()["sessions"][0]["started"]
        return datetime.datetime.strptime(text, STARTED).timestamp()

    def _check(self, found: Mapping[str, Any], configuration: Mapping[str, Value], data: Mapping[str, Value]) -> None:
        known = found.get("data", {})
        asked = {name: value for name, value in data.items() if value and name in known}
        agent = str(configuration.get("agent.name", ""))
        stored = stored_configuration(found["configuration"], str(self.identity_file), agent=agent)
        wrong = differences(stored, configuration)
        wrong += differences({name: known[name] for name in asked}, asked)
        if wrong:
            raise MotoError(
                f"{self.path} holds a run of another configuration: {'; '.join(wrong)}; "
                f"{_former_preset(stored, configuration)}"
                "choose a new run folder, or pass --fresh to set the old one aside"
            )

    def set_aside(self) -> Path | None:
        """Rename an existing folder to `<name>.old-N` so that a fresh run can start; return the new name.

        Raises MotoError when a process writes to it, or when it holds something else than a run.
        """
        if not self.path.exists():
            return None
        self._require_run()
        for lock in (self.path / locks.RUN_LOCK, self.bags / locks.RECORDER_LOCK, *self.path.glob(locks.SYSTEM_LOCKS)):
            locks.refuse_if_held(lock)
        return set_aside(self.path)

    def _require_run(self) -> None:
        """Raise MotoError when the folder was not made by this program: it has no identity, but other files."""
        own = {path.name for path in vars(self).values()} | {locks.RUN_LOCK}
        foreign = sorted(path.name for path in self.path.iterdir() if path.name not in own)
        if foreign and not self.identity_file.exists():
            raise MotoError(
                f"{self.path}: holds {foreign[0]} and no identity.json, expected a run folder to set aside; move what "
                "is yours, or choose another run folder"
            )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for this process; MotoError when another trainer holds it. A killed one holds nothing."""
        self.create()
        with locks.acquire(self.path / locks.RUN_LOCK):
            yield


def differences(old: Mapping[str, Any], new: Mapping[str, Any], most: int = 4) -> list[str]:
    """Return one phrase per setting that differs, e.g. "trainer.seed is 1 here and 0 in the run"; the first few."""
    plain = json.loads(canonical(dict(new)))
    changed = [name for name in sorted(set(old) | set(plain)) if old.get(name) != plain.get(name)]
    phrases = [f"{name} is {plain.get(name, 'unset')} here and {old.get(name, 'unset')} in the run" for name in changed]
    return phrases[:most] + ([f"and {len(phrases) - most} more"] if len(phrases) > most else [])


def _former_preset(stored: Mapping[str, Any], asked: Mapping[str, Value]) -> str:
    """Return how to resume a run of MOTO's `quick` of earlier versions; empty for others."""
    imagined, edit = (str(one.get("agent.policy", "imagined")) for one in (stored, asked))
    if (stored.get("agent.name"), imagined, edit) != ("moto", "imagined", "edit"):
        return ""
    return "preset quick of earlier versions is preset imagined now: resume it with --preset imagined and --run; else "


def _new_identity(configuration: Mapping[str, Value], seed: int) -> dict[str, Any]:
    return {"schema": SCHEMA, "seed": seed, "configuration": dict(configuration), "sessions": []}


def describe_session() -> dict[str, Any]:
    """Return when and on what this process runs: versions, machine, git commit."""
    return {
        "started": time.strftime(STARTED),
        "versions": versions(),
        "machine": machine(),
        "commit": git_commit(Path(__file__).resolve().parents[2]),
    }


def versions() -> dict[str, str]:
    """Return the versions that a result depends on; absent packages are left out."""
    found = {"moto_ros": __version__, "python": platform.python_version(), "torch": torch.__version__}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    if "ROS_DISTRO" in os.environ:
        found["ros"] = os.environ["ROS_DISTRO"]
    return found


def machine() -> dict[str, str | int]:
    """Return what the numbers were measured on: operating system, processor, cores, memory (GiB), GPU."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**30
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": memory,
        "gpu": gpu,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor()
    )


def git_commit(source: Path) -> str:
    """Return the commit of a source tree, with "+" when files differ from it; empty outside a repository."""
    if not (source / ".git").exists():
        return ""
    try:
        commit = _git(source, "rev-parse", "--short=12", "HEAD")
        return commit + ("+" if _git(source, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return ""


def _git(source: Path, *arguments: str) -> str:
    command = ["git", "-C", str(source), *arguments]
    return subprocess.run(
        command, capture_output=True, check=True, timeout=10, encoding="utf-8", errors="replace"
    ).stdout.strip()
