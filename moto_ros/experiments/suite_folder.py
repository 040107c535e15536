"""Where a suite keeps everything, and which of its runs are finished."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path, PurePath
from typing import Any

from moto_ros.agents.registry import AGENTS
from moto_ros.config import Spec, present_names, specs
from moto_ros.errors import MotoError
from moto_ros.experiments.suite import Suite, SuiteRun, TaskSettings, settings_of
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

    def run_folder(self, run: SuiteRun) -> Path:
        """Return the folder of a run."""
        return self.path / "cells" / run.id

    def description(self, run: SuiteRun) -> Path:
        """Return the file that describes a run to its process."""
        return self.run_folder(run) / "cell.json"

    def results(self, run: SuiteRun) -> Path:
        """Return the file with the rows of a run."""
        return self.run_folder(run) / "results.jsonl"

    def progress(self, run: SuiteRun) -> Path:
        """Return the file in which a run's process reports its progress."""
        return self.run_folder(run) / "progress.json"

    def log(self, run: SuiteRun) -> Path:
        """Return the file with what a run's process printed."""
        return self.run_folder(run) / "cell.log"

    def _finished(self, run: SuiteRun) -> Path:
        return self.run_folder(run) / "finished.json"

    def data(self, run: SuiteRun) -> Path:
        """Return the demonstrations of a run: the same folder for every run that learns from the same."""
        what = [_since_added(run.task_values, specs(TaskSettings)), run.data, run.data_seed, run.only_successful]
        # A replay set is all that an agent has done while it learned: a longer one is another set.
        what += [run.demonstrations] if run.data == "medium_replay" else []
        key = hashlib.sha256(canonical({"data": what}).encode()).hexdigest()[:8]
        return self.path / "data" / f"{run.task}-s{run.data_seed}-{key}"

    def as_begun(self, suite: Suite) -> Suite:
        """Return the suite with the prior's rule that the folder's runs were begun with, where its file sets none."""
        rules = set()
        for path in () if "prior_rule" in suite.given else sorted(self.path.glob("cells/*/cell.json")):
            with contextlib.suppress(MotoError):  # said of the run when it is asked for
                rules.add(read_run(path).prior_rule)
        if len(rules) != 1:
            return suite
        return replace(suite, settings=replace(suite.settings, prior_rule=rules.pop()))

    def describe(self, run: SuiteRun) -> Path:
        """Write what a run's process needs; MotoError when its folder holds a run of other data or settings."""
        path = self.description(run)
        if path.exists() and _shape(found := read_run(path)) != _shape(run):
            wrong = "; ".join(differences(_shape(found), _shape(run)))
            raise MotoError(f"{path.parent} holds another run: {wrong}; choose another --output, or remove that folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        write_durably(path, canonical(asdict(run)))
        return path

    def finish(self, run: SuiteRun) -> None:
        """Note that a run is complete as it is described."""
        write_durably(self._finished(run), canonical(asdict(run)))

    def is_finished(self, run: SuiteRun) -> bool:
        """Return whether a run ran to its end with exactly these settings; one that now asks for more is not."""
        path = self._finished(run)
        return path.exists() and _work(read_run(path)) == _work(run)


def _work(run: SuiteRun) -> dict[str, Any]:
    """Return what a finished run has done: its description without how it was computed."""
    return _described(run, lambda spec: not spec.operational)


def _shape(run: SuiteRun) -> dict[str, Any]:
    """Return what a run must share with what its folder holds to resume: not how it is computed, nor how long."""
    return _described(run, lambda spec: spec.shapes_run)


def _described(run: SuiteRun, counts: Callable[[Spec], bool]) -> dict[str, Any]:
    """Return a run's description by flat names: of its parameters those that count, and those that are unknown.

    Left out is what is measured beside the run, and a parameter with the value that says what runs did before it.
    """
    values: dict[str, Any] = json.loads(canonical(asdict(replace(run, sampled_twin=True))))
    for group, known in _groups(run).items():
        items = _since_added(values.pop(f"{group}_values"), known).items()
        values |= {f"{group}.{name}": value for name, value in items if name not in known or counts(known[name])}
    return values


def _since_added(values: Mapping[str, Any], known: Mapping[str, Spec]) -> dict[str, Any]:
    """Return the parameters but for those whose value says what runs did before the parameter existed."""
    before = {name: spec.before for name, spec in known.items() if spec.before is not None}
    return {name: value for name, value in values.items() if name not in before or value != before[name]}


def _groups(run: SuiteRun) -> dict[str, dict[str, Spec]]:
    """Return the parameters that a run's description holds, by group."""
    agent = settings_of(run.agent) if run.agent in AGENTS else {}
    return {"task": specs(TaskSettings), "agent": agent, "trainer": specs(TrainerSettings)}


def _renamed(run: SuiteRun) -> SuiteRun:
    """Return a run that an earlier version described, with the present names of its parameters."""
    groups = {f"{group}_values": known.values() for group, known in _groups(run).items()}
    renamed: dict[str, Any] = {
        name: present_names(known, getattr(run, name), run.id, warn=None) for name, known in groups.items()
    }
    return replace(run, **renamed)


def read_run(path: Path) -> SuiteRun:
    """Read what `SuiteFolder.describe` wrote."""
    values = read_json(path)
    if "row" in values:  # as earlier versions wrote
        values["method"] = values.pop("row")
    try:
        run = _renamed(SuiteRun(**values))
    except (TypeError, AttributeError) as error:
        raise MotoError(f"{path}: not the description of a run ({error}); start it by `moto benchmark`") from error
    for name in (run.id, run.task):  # they become names of folders
        if not isinstance(name, str) or PurePath(name).name != name:
            raise MotoError(f"{path}: names '{name}', expected a name without '/'; start it by `moto benchmark`")
    return run
