"""Where a suite keeps everything, and which of its runs are finished."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path, PurePath
from typing import Any

from moto_ros.agents.registry import AGENTS
from moto_ros.config import Spec, present_names, specs
from moto_ros.errors import MotoError
from moto_ros.experiments.suite import Cell, TaskSettings, settings_of
from moto_ros.files import canonical, read_json, write_durably
from moto_ros.training.run_folder import differences
from moto_ros.training.settings import TrainerSettings


class SuiteFolder:
    """The names in a suite's folder; making one does not touch the disk."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.results_file = self.path / "results.jsonl"
        self.figures = self.path / "figures"
        self.page_file = self.path / "report.html"

    def run(self, cell: Cell) -> Path:
        """Return the run folder of a cell."""
        return self.path / "cells" / cell.id

    def description(self, cell: Cell) -> Path:
        """Return the file that describes a cell to its process."""
        return self.run(cell) / "cell.json"

    def results(self, cell: Cell) -> Path:
        """Return the rows of a cell."""
        return self.run(cell) / "results.jsonl"

    def progress(self, cell: Cell) -> Path:
        """Return the file in which a cell's process says how far it is."""
        return self.run(cell) / "progress.json"

    def log(self, cell: Cell) -> Path:
        """Return what a cell's process printed."""
        return self.run(cell) / "cell.log"

    def _finished(self, cell: Cell) -> Path:
        return self.run(cell) / "finished.json"

    def data(self, cell: Cell) -> Path:
        """Return the demonstrations of a cell: the same folder for every cell that learns from the same."""
        what = [cell.task_values, cell.data, cell.data_seed, cell.only_successful]
        # A learner is watched to the end of its set; a longer one is made anew, so its sets are kept apart.
        what += [cell.demonstrations] if cell.data == "medium_replay" else []
        key = hashlib.sha256(canonical({"data": what}).encode()).hexdigest()[:8]
        return self.path / "data" / f"{cell.task}-s{cell.data_seed}-{key}"

    def describe(self, cell: Cell) -> Path:
        """Write what a cell's process needs; MotoError when its folder holds a run of other data or settings."""
        path = self.description(cell)
        if path.exists() and _shape(found := read_cell(path)) != _shape(cell):
            wrong = "; ".join(differences(_shape(found), _shape(cell)))
            raise MotoError(f"{path.parent} holds another run: {wrong}; choose another --output, or remove that folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        write_durably(path, canonical(asdict(cell)))
        return path

    def finish(self, cell: Cell) -> None:
        """Note that a cell is complete as it is described."""
        write_durably(self._finished(cell), canonical(asdict(cell)))

    def is_finished(self, cell: Cell) -> bool:
        """Return whether a cell ran to its end with these very settings; one that now asks for more is not."""
        path = self._finished(cell)
        return path.exists() and _work(read_cell(path)) == _work(cell)


def _work(cell: Cell) -> dict[str, Any]:
    """Return what a finished run has done: its description without how it was computed."""
    return _described(cell, lambda spec: not spec.operational)


def _shape(cell: Cell) -> dict[str, Any]:
    """Return what a run must share with what its folder holds to resume: not how it is computed, nor how long."""
    return _described(cell, lambda spec: spec.shapes_run)


def _described(cell: Cell, counts: Callable[[Spec], bool]) -> dict[str, Any]:
    """Return a run's description by flat names: of its parameters those that count, and those that are unknown."""
    values: dict[str, Any] = json.loads(canonical(asdict(cell)))
    for group, known in _groups(cell).items():
        items = values.pop(f"{group}_values").items()
        values |= {f"{group}.{name}": value for name, value in items if name not in known or counts(known[name])}
    return values


def _groups(cell: Cell) -> dict[str, dict[str, Spec]]:
    """Return the parameters that a run's description holds, by group."""
    agent = settings_of(cell.agent) if cell.agent in AGENTS else {}
    return {"task": specs(TaskSettings), "agent": agent, "trainer": specs(TrainerSettings)}


def _renamed(cell: Cell) -> Cell:
    """Return a run that an earlier version described, with the present names of its parameters."""
    groups = {f"{group}_values": known.values() for group, known in _groups(cell).items()}
    renamed = {name: present_names(known, getattr(cell, name), cell.id, warn=None) for name, known in groups.items()}
    return replace(cell, **renamed)


def read_cell(path: Path) -> Cell:
    """Read what `SuiteFolder.describe` wrote."""
    values = read_json(path)
    try:
        cell = _renamed(Cell(**values))
    except (TypeError, AttributeError) as error:
        raise MotoError(f"{path}: not the description of a run ({error}); start it by `moto benchmark`") from error
    for name in (cell.id, cell.task):  # they become names of folders
        if not isinstance(name, str) or PurePath(name).name != name:
            raise MotoError(f"{path}: names '{name}', expected a name without '/'; start it by `moto benchmark`")
    return cell
