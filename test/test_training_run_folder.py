"""Running the same command twice resumes, or says in one sentence why it cannot."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from training_support import CloneSettings

from moto_ros.errors import MotoError
from moto_ros.training.run_folder import RunFolder
from moto_ros.training.settings import TrainerSettings, configuration


def test_the_same_configuration_resumes_and_notes_the_session(tmp_path: Path) -> None:
    """Running the same command again would crash on the existing folder."""
    run, facts = RunFolder(tmp_path / "run"), configuration(TrainerSettings(), "clone", CloneSettings())
    assert run.open(facts, seed=0) is False
    assert run.open(facts, seed=0) is True
    sessions = run.identity()["sessions"]
    assert len(sessions) == 2
    assert {"torch", "numpy", "moto_ros"} <= set(sessions[0]["versions"])


def test_another_configuration_is_refused_with_what_differs(tmp_path: Path) -> None:
    """Two runs would be mixed in one folder."""
    run, agent = RunFolder(tmp_path / "run"), CloneSettings()
    run.open(configuration(TrainerSettings(seed=1), "clone", agent), seed=1)
    with pytest.raises(MotoError, match=r"agent.rate is 0.5 here and 0.01 in the run; trainer.seed is 2 here and 1"):
        run.open(configuration(TrainerSettings(seed=2), "clone", replace(agent, rate=0.5)), seed=2)


def test_how_it_runs_may_change_between_sessions(tmp_path: Path) -> None:
    """A run could not be prolonged, or resumed on a machine with more cores."""
    run, agent = RunFolder(tmp_path / "run"), CloneSettings()
    run.open(configuration(TrainerSettings(threads=1), "clone", agent), seed=0)
    longer = TrainerSettings(threads=4, online_episodes=100, device="cpu")
    assert run.open(configuration(longer, "clone", replace(agent, online_episodes=7)), seed=0)


def test_an_old_run_is_set_aside_not_deleted(tmp_path: Path) -> None:
    """--fresh would destroy somebody's data."""
    run = RunFolder(tmp_path / "run")
    run.create()
    (run.logs / "note").write_text("mine")
    aside = run.set_aside()
    assert aside is not None
    assert (aside / "logs" / "note").read_text() == "mine"
    assert not run.path.exists()


def test_a_second_trainer_is_kept_out(tmp_path: Path) -> None:
    """Two trainers would write the same checkpoints."""
    run = RunFolder(tmp_path / "run")
    with run.locked(), pytest.raises(MotoError, match="in use by process"), RunFolder(tmp_path / "run").locked():
        pass
    with run.locked():
        pass


def test_a_folder_that_cannot_be_made_gives_one_sentence(tmp_path: Path) -> None:
    """A path below a file would end in a traceback."""
    (tmp_path / "file").write_text("")
    with pytest.raises(MotoError, match="choose another path"):
        RunFolder(tmp_path / "file" / "run").create()


def test_other_data_is_refused_once_the_run_has_noted_its_own(tmp_path: Path) -> None:
    """A run would go on under another rule or other cameras as if it had been so from its beginning."""
    run, facts = RunFolder(tmp_path / "run"), configuration(TrainerSettings(), "clone", CloneSettings())
    run.open(facts, seed=0)  # as a version before did: nothing is noted
    assert run.open(facts, seed=0, data={"prior_rule": "all", "cameras": ("wrist",), "checkpoint": ""})
    assert run.open(facts, seed=0, data={"prior_rule": "all", "cameras": ("wrist",), "checkpoint": ""})
    assert run.open(facts, seed=0), "what is not said is not compared"
    with pytest.raises(MotoError, match="prior_rule is success_at_end here and all in the run"):
        run.open(facts, seed=0, data={"prior_rule": "success_at_end", "cameras": ("wrist",)})


def test_only_a_run_is_set_aside(tmp_path: Path) -> None:
    """`--fresh --run ~/project` would move away somebody's project."""
    project = tmp_path / "project"
    (project / "config").mkdir(parents=True)
    (project / "thesis.tex").write_text("mine")
    with pytest.raises(MotoError, match=r"holds thesis.tex and no identity.json"):
        RunFolder(project).set_aside()
    assert (project / "thesis.tex").read_text() == "mine"
