"""Running the same command twice resumes, or says in one sentence why it cannot."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from training_support import SPACES, CloneSettings, store_maker

from moto_ros.agents.fowm.config import FowmSettings
from moto_ros.agents.registry import make_agent
from moto_ros.config import digest, flatten, specs
from moto_ros.errors import MotoError
from moto_ros.files import canonical, read_json
from moto_ros.policy.checkpoint_policy import load_policy
from moto_ros.report.history import History
from moto_ros.training.run_folder import RunFolder
from moto_ros.training.session import TrainingRun
from moto_ros.training.settings import TrainerSettings, agent_identity, configuration


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


FOWM = FowmSettings(latent_size=8, state_units=8, hidden=16, batch=4, plan_samples=8, plan_elites=4)


def open_fowm(path: Path, settings: FowmSettings) -> TrainingRun:
    return TrainingRun.open(RunFolder(path), "fowm", settings, TrainerSettings(), SPACES, store_maker(path))


def test_a_run_resumes_and_gives_its_weights_with_the_planner_compiled(tmp_path: Path) -> None:
    """A run begun on a laptop could not be continued on a machine where compiling pays."""
    first = open_fowm(tmp_path, FOWM)
    first.save()
    first.close()
    compiled = replace(FOWM, compile=True)
    second = open_fowm(tmp_path, compiled)
    second.close()
    assert second.resumed_from is not None
    assert second.digest == first.digest, "a policy would refuse the trainer's weights"
    actor = make_agent("fowm", SPACES, compiled, 7)
    weights = load_policy(tmp_path, actor, agent_identity("fowm", compiled)).tensors
    assert all(torch.equal(tensor, first.agent.weights()[name]) for name, tensor in weights.items())
    with pytest.raises(MotoError, match=r"agent\.hidden is 32 here and 16 in the run"):
        open_fowm(tmp_path, replace(FOWM, hidden=32))


@pytest.mark.parametrize("compiled", [False, True])
def test_a_run_of_a_version_with_other_names_resumes(tmp_path: Path, compiled: bool) -> None:
    """An update of moto_ros would refuse the runs and checkpoints of FOWM that people have.

    That version called actor_ema average, and compared how a plan is computed.
    """
    first = open_fowm(tmp_path, FOWM)
    manifest = first.save() / "manifest.json"
    first.close()
    new = {name for name, spec in specs(type(FOWM)).items() if spec.before is not None}
    values = {
        name: value for name, value in flatten(FOWM).items() if name not in {"online_episodes", "actor_ema", *new}
    }
    values |= {"compile": compiled, "average": FOWM.actor_ema}
    rewrite(manifest, digest=digest(values))
    file = first.run.identity_file
    kept = {name: value for name, value in read_json(file)["configuration"].items() if not name.startswith("agent.")}
    named = {f"agent.{name}": value for name, value in values.items()} | {"agent.name": "fowm"}
    rewrite(file, configuration=kept | named)
    second = open_fowm(tmp_path, FOWM)
    second.close()
    assert second.resumed_from is not None
    assert History(tmp_path).configuration == configuration(TrainerSettings(), "fowm", FOWM), "reports compare runs"
    with pytest.raises(MotoError, match=r"agent\.actor_ema is 0\.5 here and 0\.0 in the run; choose"):
        open_fowm(tmp_path, replace(FOWM, actor_ema=0.5))


def test_a_parameter_that_is_new_does_not_change_what_a_run_is(tmp_path: Path) -> None:
    """An update of moto_ros that adds a parameter would refuse every run and checkpoint that people have."""
    assert not any("encoder" in name for name in configuration(TrainerSettings(), "fowm", FOWM))
    first = open_fowm(tmp_path, FOWM)
    first.save()
    first.close()
    with pytest.raises(MotoError, match="encoder is map here and"):
        open_fowm(tmp_path, replace(FOWM, encoder="map"))


def rewrite(path: Path, **changes: object) -> None:
    """Change entries of a JSON file."""
    path.write_text(canonical(read_json(path) | changes))


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


def test_a_report_imports_nothing_that_a_run_folder_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks security: a run folder that somebody sends would execute on the computer that makes its report."""
    (tmp_path / "stranger.py").write_text("raise SystemExit('executed')")
    monkeypatch.syspath_prepend(str(tmp_path))
    run = RunFolder(tmp_path / "run")
    kept = configuration(TrainerSettings(), "stranger:Agent", CloneSettings())
    run.open(kept, seed=0)
    run.metrics_file.touch()
    assert History(run.path).configuration == kept
    with pytest.raises(MotoError, match=r"agent\.name is clone here and stranger:Agent in the run"):
        run.open(configuration(TrainerSettings(), "clone", CloneSettings()), seed=0)
    assert "stranger" not in sys.modules


@pytest.mark.parametrize("change", [{"configuration": []}, {"seed": None}, {"sessions": []}, {"schema": 2}])
def test_a_damaged_identity_is_one_sentence(tmp_path: Path, change: dict[str, object]) -> None:
    """Breaks the report of a copied folder: an exception in place of the file to restore."""
    run, facts = RunFolder(tmp_path / "run"), configuration(TrainerSettings(), "clone", CloneSettings())
    run.open(facts, seed=0)
    rewrite(run.identity_file, **change)
    for use in (lambda: History(run.path), lambda: run.open(facts, seed=0)):
        with pytest.raises(MotoError, match=rf"identity\.json: .*{next(iter(change))}.*, expected .*; "):
            use()
