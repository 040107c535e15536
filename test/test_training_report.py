"""The report shows the results of a run from its folder alone, at any stage."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from training_support import PointWorld, play_with, store_maker

from moto_ros.agents.interface import Spaces
from moto_ros.agents.moto.config import MotoSettings
from moto_ros.config import write_parameters
from moto_ros.errors import MotoError
from moto_ros.files import canonical, read_json
from moto_ros.report import curves
from moto_ros.report.history import History
from moto_ros.report.report import write_report
from moto_ros.training import offline_runner
from moto_ros.training.artifacts import read_arrays
from moto_ros.training.metrics import MetricsLog, read_metrics
from moto_ros.training.run_folder import RunFolder
from moto_ros.training.session import TrainingRun
from moto_ros.training.settings import TrainerSettings

SEEN = Spaces(image=(64, 64, 3), proprio=2, action=2)
AGENT = MotoSettings(
    stoch=4,
    deter=8,
    hidden=8,
    conv_depth=2,
    head_units=8,
    head_layers=1,
    proprio_units=8,
    ensemble=3,
    critics=2,
    batch=2,
    length=5,
    horizon=3,
    offline_model_updates=4,
    offline_policy_updates=4,
    online_model_updates=1,
    online_policy_updates=1,
    online_episodes=3,
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a small, finished run with pictures."""
    path = tmp_path_factory.mktemp("runs") / "window_seed0"
    settings = TrainerSettings(evaluation_episodes=2, log_every=2)
    session = TrainingRun.open(RunFolder(path), "moto", AGENT, settings, SEEN, store_maker(path, camera=True))
    world = PointWorld(camera=True)
    for index in range(3):
        session.add_demonstration(world.play(world.expert, index, 2_000_000 + index), None)
    offline_runner.run(session, play_with(session, camera=True))
    session.close()
    values = {"world": "metaworld/window-open-v3", "policy.explore": "always"}
    write_parameters(path / "config" / "finetune" / "policy.yaml", "/arm/policy", values)
    return path


@pytest.fixture(scope="module")
def page(finished: Path) -> Path:
    """Return its page."""
    return write_report([finished])


def text_of(page: Path) -> str:
    """Return what a reader sees: tags and inlined pictures left out."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page.read_text()))


def copy_of(run: Path, target: Path, rows: int | None = None, **changed: Any) -> Path:
    """Copy a run as another one: only its first `rows` rows, some settings changed."""
    shutil.copytree(run, target)
    folder = RunFolder(target)
    identity = read_json(folder.identity_file)
    identity["configuration"] |= changed
    identity["seed"] = identity["configuration"]["trainer.seed"]
    folder.identity_file.write_text(canonical(identity))
    log = MetricsLog(folder.metrics_file)
    log.rewind(log.rows if rows is None else rows)
    log.close()
    return target


def test_the_page_needs_nothing_but_itself(finished: Path, page: Path) -> None:
    """Sent to a phone, the page would have no pictures."""
    content = page.read_text()
    assert page == finished / "report.html"
    assert not re.search(r'(src|href)="(?!data:)', content)
    assert not re.search(r"https?://|<script|@import", content)
    pictures = re.findall(r'<img src="data:image/png;base64,([^"]+)"', content)
    assert len(pictures) == 11


def test_the_page_says_what_was_measured(finished: Path, page: Path) -> None:
    """A reader would not know n, the interval, the seed, versions or settings behind a number."""
    text = text_of(page)
    (before, after) = (row for row in read_metrics(finished / "metrics.jsonl") if row["kind"] == "evaluation")
    assert f"{100 * before['success_rate']:.0f} % 95 % [{100 * before['low']:.0f}," in text
    assert f"{after['successes']} of" in text or f"{100 * after['success_rate']:.0f} %" in text
    for expected in (
        "seed 0",
        "n = 2",
        "same 2 start states",
        "torch",
        "agent.horizon 3",
        "3 episodes",
        "moto_ros",
        "window-open-v3",
        "Uncertainty on recorded data",
    ):
        assert expected in text
    assert "evaluations (sampled actions)" in text
    assert "One seed" in text


def test_the_chance_of_success_is_shown_beside_the_uncertainty_where_it_is_known(
    finished: Path, tmp_path: Path
) -> None:
    """A reader would see how unsure the policy is, and not whether it expects to succeed."""
    told = "the chance of success that the policy estimates at"
    assert told not in text_of(write_report([finished], tmp_path / "without.html"))
    run = copy_of(finished, tmp_path / "with")
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    rows = [row | ({"success_probability": 0.5} if row.get("purpose") == "training" else {}) for row in lines]
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    arrays = read_arrays(run / "plots" / "rollout_000003.npz")
    arrays["success_probability"] = np.linspace(0.2, 0.9, len(arrays["uncertainty"]))
    np.savez_compressed(run / "plots" / "rollout_000003.npz", **arrays)
    text = text_of(write_report([run]))
    assert f"{told} the start of each online episode" in text
    assert text.count(f"{told} each step") == 1
    old, new = (cv2.imread(str(folder / "plots" / "rollout_000003.png")) for folder in (finished, run))
    assert old.shape == new.shape
    assert not np.array_equal(old, new)
    known = [axis.lines[0].get_ydata() for axis in curves.uncertainty(History(run)).axes[1:]]
    assert np.array_equal(known, [[50.0] * 3])


def test_figures_are_files_too_and_show_something(finished: Path, page: Path) -> None:
    """A slide or a README could not use the figures, or they would be blank."""
    assert page.exists()
    names = ("learning_curve", "outcomes", "returns", "losses", "uncertainty", "prediction_000003", "rollout_000003")
    for name in names:
        image = cv2.imread(str(finished / "plots" / f"{name}.png"))
        assert image is not None, name
        assert image.std() > 3, name
        assert image.shape[1] > 900, name


@pytest.mark.parametrize("rows", [0, 5, 9])
def test_an_unfinished_run_has_a_page_that_says_so(finished: Path, tmp_path: Path, rows: int) -> None:
    """The report of a run that was stopped would crash, or hide that it was stopped."""
    text = text_of(write_report([copy_of(finished, tmp_path / "part", rows)]))
    assert "Online learning did" in text
    assert "No finished evaluation after online episodes." in text
    assert ("The offline phase did 0 of 8 updates." in text) == (rows == 0)


def test_seeds_and_ablations_are_told_apart(finished: Path, tmp_path: Path) -> None:
    """An ablation would be averaged with the real thing."""
    runs = [
        finished,
        copy_of(finished, tmp_path / "seed1", **{"trainer.seed": 1}),
        copy_of(finished, tmp_path / "bare", **{"agent.behaviour_prior": False}),
    ]
    page = write_report(runs, tmp_path / "all.html")
    text = text_of(page)
    assert "3 runs" in text
    assert re.search(r"moto 2 \d", text)
    assert re.search(r"no behaviour prior 1 \d", text)
    assert "mean of 2 seeds" in text


def test_a_folder_without_a_run_is_one_sentence(tmp_path: Path) -> None:
    """A mistyped folder would end in a traceback."""
    with pytest.raises(MotoError, match=r"no identity\.json, expected a run folder"):
        write_report([tmp_path])


def test_an_agent_without_a_camera_has_a_page(tmp_path: Path) -> None:
    """Proprioception alone would crash the report."""
    spaces, settings = replace(SEEN, image=None), TrainerSettings(evaluation_episodes=1)
    session = TrainingRun.open(RunFolder(tmp_path), "moto", AGENT, settings, spaces, store_maker(tmp_path))
    offline_runner.run(session, play_with(session))
    session.close()
    assert "No open-loop prediction" in text_of(write_report([tmp_path]))


def test_a_file_that_is_no_report_is_not_overwritten(finished: Path, tmp_path: Path) -> None:
    """`--output thesis.html` would replace a user's file; a report is replaced by the newer one."""
    (tmp_path / "thesis.html").write_text("<!doctype html><title>My thesis</title>")
    with pytest.raises(MotoError, match="not a report of moto_ros"):
        write_report([finished], tmp_path / "thesis.html")
    assert "My thesis" in (tmp_path / "thesis.html").read_text()
    for _ in range(2):
        assert write_report([finished], tmp_path / "report.html").is_file()
