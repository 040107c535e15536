"""The folder of a suite: its files by name, the descriptions of its runs, and which are finished."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path, PurePath
from typing import Any

from moto_ros.agents.registry import specs_of_stored
from moto_ros.config import Spec, compared_values, present_names, specs
from moto_ros.errors import MotoError
from moto_ros.experiments.suite import Suite, SuiteRun, TaskSettings
from moto_ros.files import canonical, read_json, write_durably
from moto_ros.training.run_folder import differences
from moto_ros.training.settings import TrainerSettings


class SuiteFolder:
    """The paths in a suite's folder; making one does not touch the disk."""

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
        """Return the log file of a run's process."""
        return self.run_folder(run) / "cell.log"

    def _finished(self, run: SuiteRun) -> Path:
        return self.run_folder(run) / "finished.json"

    def data(self, run: SuiteRun) -> Path:
        """Return the demonstrations of a run: the same folder for every run that learns from the same."""
        task = compared_values(run.task_values, specs(TaskSettings), lambda _: True)
        what = [task, run.data, run.data_seed, run.only_successful]
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
        known = known_settings(run, run.agent)
        asked = _shape(run, known)
        if path.exists() and (there := _shape(read_run(path, run.agent), known)) != asked:
            wrong = "; ".join(differences(there, asked))
            raise MotoError(f"{path.parent} holds another run: {wrong}; choose another --output, or remove that folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        write_durably(path, canonical(asdict(run)))
        return path

    def finish(self, run: SuiteRun) -> None:
        """Note that a run is complete as it is described."""
        write_durably(self._finished(run), canonical(asdict(run)))

    def is_finished(self, run: SuiteRun) -> bool:
        """Return whether a run ran to its end with exactly these settings; one that now asks for more is not."""
        path, known = self._finished(run), known_settings(run, run.agent)
        return path.exists() and _work(read_run(path, run.agent), known) == _work(run, known)


Known = dict[str, dict[str, Spec]]
"""The parameters in a run's description, by group: "task", "agent", "trainer"."""


def known_settings(run: SuiteRun, agent: str = "") -> Known:
    """Return the parameters in a run's description; see `specs_of_stored` about `agent`, which the user named."""
    return {
        "task": specs(TaskSettings),
        "agent": specs_of_stored(run.agent, named=agent),
        "trainer": specs(TrainerSettings),
    }


def _work(run: SuiteRun, known: Known) -> dict[str, Any]:
    """Return what a finished run has done: its description without how it was computed."""
    return _described(run, known, lambda spec: not spec.operational)


def _shape(run: SuiteRun, known: Known) -> dict[str, Any]:
    """Return what a run must share with what its folder holds to resume: not how it is computed, nor how long."""
    return _described(run, known, lambda spec: spec.shapes_run)


def _described(run: SuiteRun, known: Known, compares: Callable[[Spec], bool]) -> dict[str, Any]:
    """Return a run's description by flat names, with those of its settings by which runs are compared.

    The sampled twin is left out: it is measured beside the run.
    """
    values: dict[str, Any] = json.loads(canonical(asdict(replace(run, sampled_twin=True))))
    for group, parameters in known.items():
        compared = compared_values(values.pop(f"{group}_values"), parameters, compares)
        values |= {f"{group}.{name}": value for name, value in compared.items()}
    return values


def read_run(path: Path, agent: str = "") -> SuiteRun:
    """Read what `SuiteFolder.describe` wrote, with the present names of parameters; MotoError for anything else.

    Settings of an agent that is not registered keep their names, but for `agent`, which the user named.
    """
    values = read_json(path)
    if "row" in values:  # as earlier versions wrote
        values["method"] = values.pop("row")
    try:
        run = SuiteRun(**values)
        known = known_settings(run, agent)
        renamed: Any = {f"{group}_values": _present(run, group, known[group]) for group in known}
        run = replace(run, **renamed)
    except (TypeError, AttributeError) as error:
        raise MotoError(f"{path}: not the description of a run ({error}); start it by `moto benchmark`") from error
    for name in (run.id, run.task):  # they become names of folders
        if not isinstance(name, str) or PurePath(name).name != name:
            raise MotoError(f"{path}: names '{name}', expected a name without '/'; start it by `moto benchmark`")
    return run


def _present(run: SuiteRun, group: str, known: dict[str, Spec]) -> dict[str, Any]:
    return present_names(known.values(), getattr(run, f"{group}_values"), run.id, warn=None)
