"""Whole runs of a benchmark on a simulated world: resumed after a kill, never repeated, honest about failures."""

from __future__ import annotations

import importlib.util
import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("metaworld", reason="Meta-World is not installed")

from moto_sim.benchmark import cell
from moto_sim.benchmark.cell import BenchmarkRun
from moto_sim.rollout import NoisyExpert

from moto_ros.cli.main import main
from moto_ros.data.bag_reader import read_episodes
from moto_ros.data.success_end import first_success
from moto_ros.errors import MotoError
from moto_ros.experiments.engine import LocalEngine, make_engine, slots, start
from moto_ros.experiments.progress import read_progress
from moto_ros.experiments.suite import read_suite, runs_of
from moto_ros.experiments.suite_folder import SuiteFolder, read_run
from moto_ros.experiments.suite_runner import SuiteRunner
from moto_ros.training.metrics import read_metrics
from moto_ros.training.run_schedule import RunEpisode

pytestmark = [pytest.mark.sim, pytest.mark.slow]

ONE_METHOD = ["--methods", "moto"]
TIMES = ("wall_s", "commit", "versions", "machine")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a suite that ran without interruption."""
    folder = tmp_path_factory.mktemp("whole")
    assert main(["benchmark", "ci", "--output", str(folder), *ONE_METHOD]) == 0
    return folder


def results(folder: Path) -> list[dict[str, Any]]:
    """Return the rows of a suite without what differs between two equal runs."""
    lines = (folder / "results.jsonl").read_text().splitlines()
    return [{name: value for name, value in json.loads(line).items() if name not in TIMES} for line in lines]


def test_one_command_gives_rows_page_and_bags_of_demonstrations(whole: Path) -> None:
    """Breaks the evidence: an evaluation that is not there, or data that nobody can look at."""
    rows = results(whole)
    assert [row["after"] for row in rows] == [0, 1, 2]
    assert all(row["score"] == row["success_rate"] for row in rows)
    assert all(row["n"] == len(row["predicted"]) == 2 for row in rows)
    assert all(row["sampled"] is None for row in rows), "each evaluation episode is played once"
    assert [len(row["online"]["success"]) for row in rows] == [0, 1, 1]
    assert rows[-1]["env_steps"] == 30
    assert rows[-1]["updates"] == 10 + 2 * 4
    assert (whole / "report.html").stat().st_size > 10_000
    assert len(list(whole.glob("data/*/episode_*/metadata.yaml"))) == 2


def test_demonstrations_that_leave_nothing_to_imitate_are_said_in_the_runs_log(whole: Path) -> None:
    """Breaks what is concluded: a row named MOTO that learned without its prior would look like a fair one."""
    log = (whole / "cells" / "drawer_open--moto--d2--s0" / "cell.log").read_text()
    assert "warning: prior_rule 'success_prefix': leaves none of 2 episodes to imitate (0 of them reach success)" in log


def test_evaluations_are_played_again_by_sampled_actions_where_asked_which_changes_no_other_number(
    whole: Path, tmp_path: Path
) -> None:
    """Breaks the evidence: what the mode achieves would depend on whether the sampled actions are looked at, too."""
    assert main(["benchmark", "ci", "--output", str(tmp_path), *ONE_METHOD, "-p", "sampled_twin:=true"]) == 0
    rows = results(tmp_path)
    assert all(row["sampled"]["n"] == len(row["sampled"]["outcomes"]) == row["n"] == 2 for row in rows)
    assert [row | {"sampled": None} for row in rows] == results(whole)
    assert "drawn ones from the same start states" in (tmp_path / "report.html").read_text()
    assert "drawn ones from the same start states" not in (whole / "report.html").read_text()


@pytest.mark.parametrize(
    ("parameters", "ends", "hold"),
    [
        ([], False, 1),
        (["task.success_steps:=2"], True, 2),
        (["agent.steps_after_success:=5"], True, 1),
        (["agent.steps_after_success:=0", "task.success_steps:=3"], True, 3),
    ],
)
def test_episodes_end_at_success_where_task_or_agent_say_so(
    parameters: list[str], ends: bool, hold: int, tmp_path: Path
) -> None:
    """Breaks patience: what follows success is played and not learned from; or a task's hold is not kept."""
    run = runs_of(read_suite("ci", [*parameters, "task.max_steps:=60", "task.expert_noise:=0.0"]))[0]
    runner = BenchmarkRun(run, SuiteFolder(tmp_path))
    expert: Any = NoisyExpert(0.0, np.random.default_rng(0))
    episode = runner._collect(expert, RunEpisode(7, "evaluation", 0, sample=False))
    runner.close()
    assert episode.succeeded
    assert (len(episode) < 60, bool(episode.is_terminal[-1])) == (ends, ends)
    assert not ends or first_success(episode.success, hold) == len(episode)


def test_demonstrations_end_at_the_step_limit_whatever_an_earlier_versions_bag_says(whole: Path) -> None:
    """Breaks learning: the last row of a demonstration that holds its success would be the end of the world."""
    description = next(whole.glob("cells/*moto--*/cell.json"))
    runner = BenchmarkRun(read_run(description), SuiteFolder(whole))
    layout = runner.task
    bag = next(whole.glob("data/*/episode_*"))
    (recorded,) = read_episodes(bag, layout).episodes
    assert recorded.info["outcome"] == "time_limit"
    said = replace(recorded, is_terminal=np.arange(len(recorded.reward)) == len(recorded))
    cache = SimpleNamespace(read=lambda *_: ([said], []))
    session: Any = SimpleNamespace(store=SimpleNamespace(cache=cache))
    (taken,) = cell._episodes(session, bag, layout)
    assert not taken.is_terminal.any()


def test_a_finished_run_is_never_run_again(whole: Path) -> None:
    """Breaks patience: adding one seed would repeat all others."""
    metrics = next(whole.glob("cells/*/metrics.jsonl"))
    before = metrics.stat().st_mtime_ns
    assert main(["benchmark", "ci", "--output", str(whole), *ONE_METHOD]) == 0
    assert metrics.stat().st_mtime_ns == before


def test_a_killed_run_goes_on_and_gives_the_same_results(whole: Path, tmp_path: Path) -> None:
    """Breaks long runs: a power cut would cost the run, or change its numbers."""
    runner = SuiteRunner([runs_of(read_suite("ci"))[0]], SuiteFolder(tmp_path))
    run = next(iter(runner.runs.values()))
    job = runner.job(run)
    process = start(job)
    wait_for_updates(process, runner.folder.progress(run), 10)
    process.kill()
    process.wait()
    assert not runner.folder.is_finished(run)
    outcome = runner.run(LocalEngine(1))
    assert outcome.finished == [run.id], runner.problem(outcome)
    assert results(tmp_path) == results(whole)
    rows = read_metrics(runner.folder.run_folder(run) / "metrics.jsonl")
    assert sum(row["kind"] == "evaluation" for row in rows) == 3


def wait_for_updates(process: subprocess.Popen[bytes], progress: Path, updates: int) -> None:
    """Wait until a run has done this many updates."""
    end = time.monotonic() + 120
    while read_progress(progress).done < updates:
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < end, "the run never said how far it is"
        time.sleep(0.05)


def test_a_run_that_fails_is_named_with_its_reason_and_the_others_are_kept(
    whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Breaks a night of computing: one bad run would take the others with it, or fail without a word."""
    arguments = ["benchmark", "ci", "--output", str(whole), "--methods", "moto", "moto no uncertainty"]
    broken = whole / "cells" / "drawer_open--moto_no_uncertainty--d2--s0" / "identity.json"
    broken.parent.mkdir(parents=True)
    broken.write_text('{"schema": 99}')
    assert main(arguments) == 1
    assert "1 run failed: drawer_open--moto_no_uncertainty--d2--s0 (" in capsys.readouterr().err
    assert len(results(whole)) == 3


def test_as_many_runs_as_fit_but_at_least_one() -> None:
    """Breaks the machine: more runs than memory; or nothing would ever start."""
    assert slots(threads=10_000, memory=0.1) == 1
    assert slots(threads=1, memory=1e6) == 1


def test_an_engine_that_is_not_installed_is_said() -> None:
    """Breaks a cluster's first try: an import error in place of what to install."""
    if importlib.util.find_spec("ray") is not None:
        pytest.skip("Ray is installed")
    with pytest.raises(MotoError, match="Ray is not installed"):
        make_engine("ray", jobs=0, threads=1, memory=1.0)


def test_stopping_leaves_no_process_behind(tmp_path: Path) -> None:
    """Breaks the machine: runs would go on in secret after Ctrl-C."""
    runner = SuiteRunner([runs_of(read_suite("ci"))[0]], SuiteFolder(tmp_path))
    outcome = runner.run(LocalEngine(1), seconds=3.0)
    assert outcome.stopped == list(runner.runs)
    assert not running_with(str(tmp_path))


def running_with(text: str) -> list[str]:
    """Return the command lines of processes that name `text`."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if text in words and "moto_sim.benchmark.cell" in words:
            found.append(words)
    return found


ENDS = {signal.SIGTERM: 143, signal.SIGKILL: -signal.SIGKILL}


@pytest.mark.parametrize("number", ENDS)
def test_a_benchmark_that_ends_ends_its_runs(tmp_path: Path, number: signal.Signals) -> None:
    """Breaks a cluster's job that is cancelled, and `timeout`: its runs would go on, unseen, on machines of others."""
    command = [sys.executable, "-m", "moto_ros.cli.main", "benchmark", "ci", "--output", str(tmp_path), *ONE_METHOD]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for_updates(process, SuiteFolder(tmp_path).progress(runs_of(read_suite("ci"))[0]), 1)
    assert running_with(str(tmp_path))
    process.send_signal(number)
    assert process.wait(90) == ENDS[number]
    end = time.monotonic() + 90
    while number == signal.SIGKILL and running_with(str(tmp_path)) and time.monotonic() < end:
        time.sleep(0.1)  # they notice it themselves
    assert not running_with(str(tmp_path))


def test_one_option_makes_the_bags_and_runs_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Breaks making data once for several machines: it would take a whole run to get it."""
    assert main(["benchmark", "ci", "--output", str(tmp_path), "--data"]) == 0
    assert len(list(tmp_path.glob("data/*/episode_*/metadata.yaml"))) == 2
    assert not list(tmp_path.glob("cells/*/metrics.jsonl"))
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("bags: ")]
    assert Path(line.removeprefix("bags: ")).is_dir()
