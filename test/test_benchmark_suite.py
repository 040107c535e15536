"""Suites: what a file says becomes the runs a user expects, and what is wrong is refused before anything starts."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from moto_ros.agents.registry import AGENTS
from moto_ros.config import config_folder
from moto_ros.errors import MotoError
from moto_ros.experiments.figures import COLORS
from moto_ros.experiments.suite import chosen, read_method, read_suite, runs_of
from moto_ros.experiments.suite_folder import SuiteFolder, read_run
from moto_ros.files import canonical, read_json

MINIMAL = """/**:
  ros__parameters:
    tasks: [drawer_open, metaworld/hammer-v3]
    methods: ["MOTO: moto", "MOTO, no prior: moto behaviour_prior:=false"]
    seeds: [0, 1]
    demonstrations: [5, 10]
    preset: ci
    offline_updates: 7
    task: {max_steps: 33}
"""


def suite_file(folder: Path, text: str = MINIMAL) -> str:
    path = folder / "mine.yaml"
    path.write_text(text)
    return str(path)


def test_a_suite_is_every_combination_with_an_id_of_its_own(tmp_path: Path) -> None:
    """Breaks the comparison: a run would be missing, or two would share a folder."""
    found = runs_of(read_suite(suite_file(tmp_path)))
    assert len(found) == len({run.id for run in found}) == 2 * 2 * 2 * 2
    assert [run.seed for run in found] == [0] * 8 + [1] * 8


def test_every_agent_gets_the_same_budget_task_and_data(tmp_path: Path) -> None:
    """Breaks fairness: one row would learn longer, or from other demonstrations, than the next."""
    found = [run for run in runs_of(read_suite(suite_file(tmp_path))) if (run.task, run.seed) == ("drawer_open", 0)]
    assert {run.agent_values["offline_model_updates"] for run in found} == {7}
    assert {run.agent_values["offline_policy_updates"] for run in found} == {7}
    assert {run.agent_values["behaviour_prior"] for run in found} == {True, False}
    assert {run.task_values["max_steps"] for run in found} == {33}
    assert len({SuiteFolder(tmp_path).data(run) for run in found}) == 1


@pytest.mark.parametrize("name", sorted(path.stem for path in (config_folder() / "suites").glob("*.yaml")))
def test_a_shipped_suite_can_be_read(name: str) -> None:
    """Breaks the command of the documentation."""
    assert runs_of(read_suite(name))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("moto behaviour_prior", "dreamer behaviour_prior", "method 'MOTO, no prior': agent 'dreamer' is unknown"),
        ("behaviour_prior:=false", "behavior_prior:=false", "has no setting 'behavior_prior'"),
        ("preset: ci", "preset: huge", "has none of this name"),
        ("drawer_open", "drawer_opne", "no file"),
        ("max_steps: 33", "steps: 33", "unknown parameter 'steps'"),
        ("demonstrations: [5, 10]", "demonstrations: [0]", "'demonstrations'"),
        ('"MOTO: moto", ', '"MOTO, no prior: moto", ', "each label once"),
    ],
)
def test_what_is_wrong_in_a_suite_is_said_before_anything_starts(tmp_path: Path, old: str, new: str, said: str) -> None:
    """Breaks a night of computing: the mistake would come to light in the run that is last."""
    with pytest.raises(MotoError, match=said):
        read_suite(suite_file(tmp_path, MINIMAL.replace(old, new)))


def test_the_users_parameters_and_choices_hold(tmp_path: Path) -> None:
    """Breaks trying out: -p and --methods would be ignored."""
    file = suite_file(tmp_path)
    suite = read_suite(file, ["online_episodes:=3", "task.max_steps:=9", "agent.horizon:=4"])
    found = runs_of(chosen(suite, tasks=["hammer-v3"], methods=["moto no prior"], seeds=[7]))
    assert [(run.task, run.seed, run.demonstrations) for run in found] == [
        ("hammer-v3", 7, 5),
        ("hammer-v3", 7, 10),
    ]
    assert {run.agent_values["online_episodes"] for run in found} == {3}
    assert {run.agent_values["horizon"] for run in found} == {4}
    assert {run.task_values["max_steps"] for run in found} == {9}
    with pytest.raises(MotoError, match="task 'reach' is not in the suite"):
        chosen(suite, tasks=["reach"], methods=[], seeds=[])


@pytest.mark.parametrize("name", sorted(path.stem for path in (config_folder() / "suites").glob("*.yaml")))
def test_each_method_of_a_shipped_suite_is_another_one(name: str) -> None:
    """Breaks a comparison: two lines of one colour, or an ablation of something that its method does not have."""
    suite = read_suite(name)
    assert len(suite.methods) <= len(COLORS)
    for run in runs_of(suite):
        if run.agent == "moto" and run.agent_values["policy"] == "edit":
            switches = [run.agent_values[one] for one in ("uncertainty", "behaviour_prior", "value_expansion")]
            assert switches == [True] * 3, f"{run.method} switches off what does not act"


@pytest.mark.parametrize("suite", sorted(path.stem for path in (config_folder() / "suites").glob("*.yaml")))
def test_each_row_of_each_shipped_suite_can_be_chosen_alone(suite: str) -> None:
    """Breaks `moto benchmark quick3 --methods "behaviour cloning"`: a setting for MOTO would fit no agent."""
    whole = read_suite(suite)
    for method in whole.methods:
        assert {run.method for run in runs_of(chosen(whole, tasks=[], methods=[method.label], seeds=[]))} == {
            method.label
        }


@pytest.mark.parametrize("text", ["moto", "label:", "label: horizon:=3"])
def test_a_row_that_names_no_agent_is_refused(text: str) -> None:
    with pytest.raises(MotoError, match="expected 'label: agent"):
        read_method(text, "suite")


def test_a_folder_with_another_run_is_refused_and_one_that_asks_for_more_goes_on(tmp_path: Path) -> None:
    """Breaks the results: runs of two settings would be mixed in one folder, or a longer one would start again."""
    folder, first = SuiteFolder(tmp_path / "out"), runs_of(read_suite(suite_file(tmp_path)))[0]
    assert read_run(folder.describe(first)) == read_run(folder.describe(first))
    folder.finish(first)
    assert folder.is_finished(first)
    assert folder.is_finished(runs_of(read_suite(suite_file(tmp_path), ["threads:=3", "checkpoint_every:=9.0"]))[0])
    longer = runs_of(read_suite(suite_file(tmp_path), ["online_episodes:=9"]))[0]
    assert not folder.is_finished(longer)
    folder.describe(longer)
    other = runs_of(read_suite(suite_file(tmp_path), ["task.max_steps:=34"]))[0]
    with pytest.raises(MotoError, match=r"task.max_steps is 34 here and 33 in the run"):
        folder.describe(other)


def described_before(folder: SuiteFolder, name: str, **then: object) -> None:
    """Leave a run's descriptions as a version wrote them that had fewer parameters, and other defaults."""
    for file in folder.run_folder(next(run for run in runs_of(read_suite(name)))).glob("*.json"):
        values = json.loads(file.read_text()) | then
        del values["sampled_twin"], values["task_values"]["success_steps"]
        del values["agent_values"]["steps_after_success"]
        file.write_text(json.dumps(values))


def test_a_run_described_before_a_parameter_existed_is_the_same_run(tmp_path: Path) -> None:
    """Breaks old folders: what was computed would be refused, computed again, or learn from other demonstrations."""
    name = suite_file(tmp_path)
    folder, run = SuiteFolder(tmp_path / "out"), runs_of(read_suite(name))[0]
    folder.describe(run)
    folder.finish(run)
    described_before(folder, name)
    old = read_run(folder.description(run))
    assert (old.sampled_twin, run.sampled_twin) == (True, False)
    assert folder.data(old) == folder.data(run)
    assert folder.is_finished(run)
    folder.describe(run)
    assert not read_run(folder.description(run)).sampled_twin, "further evaluations are as the suite now says"
    held = runs_of(read_suite(name, ["task.success_steps:=3"]))[0]
    with pytest.raises(MotoError, match=r"task.success_steps is 3 here and unset in the run"):
        folder.describe(held)


def test_a_folder_keeps_the_priors_rule_that_it_was_begun_with_unless_the_suite_names_one(tmp_path: Path) -> None:
    """Breaks old folders: runs of a suite that names no rule would be refused, or half of them learn by another."""
    name, folder = suite_file(tmp_path), SuiteFolder(tmp_path / "out")
    suite = read_suite(name)
    assert {run.prior_rule for run in runs_of(folder.as_begun(suite))} == {"success_prefix"}
    folder.describe(runs_of(suite)[0])
    described_before(folder, name, prior_rule="success_at_end")
    begun = runs_of(folder.as_begun(suite))
    assert {run.prior_rule for run in begun} == {"success_at_end"}
    folder.describe(begun[0])
    named = folder.as_begun(read_suite(name, ["prior_rule:=success_prefix"]))
    with pytest.raises(MotoError, match="prior_rule is success_prefix here and success_at_end in the run"):
        folder.describe(runs_of(named)[0])


def test_a_task_says_to_a_suite_for_how_many_steps_success_must_hold(tmp_path: Path) -> None:
    """Breaks the comparison with the robot: the benchmark's episodes would end where the episode node's do not."""
    task = tmp_path / "hold.yaml"
    task.write_text(
        "/**:\n  ros__parameters: {world: metaworld/hammer-v3, action_size: 4}\n"
        "episode:\n  ros__parameters: {success_steps: 4, max_steps: 70}\n"
    )
    text = MINIMAL.replace("drawer_open, metaworld/hammer-v3", str(task)).replace("    task: {max_steps: 33}\n", "")
    (values,) = {
        (run.task_values["success_steps"], run.task_values["max_steps"])
        for run in runs_of(read_suite(suite_file(tmp_path, text)))
    }
    assert values == (4, 70)


def test_a_row_may_see_the_task_differently(tmp_path: Path) -> None:
    """Breaks a suite of mixed agents: one whose decoder takes 64 pixels could not run beside one that takes 84."""
    text = MINIMAL.replace("behaviour_prior:=false", "behaviour_prior:=false task.image_size:=32")
    found = [run for run in runs_of(read_suite(suite_file(tmp_path, text))) if run.task == "drawer_open"]
    assert {run.method: run.task_values["image_size"] for run in found} == {"MOTO": 64, "MOTO, no prior": 32}
    assert not any(name.startswith("task") for run in found for name in run.agent_values)


def test_a_suite_with_former_names_is_that_with_the_present_ones(tmp_path: Path) -> None:
    """Breaks suites of one's own after an update of moto_ros."""
    new = MINIMAL.replace("behaviour_prior:=false", "lambda_:=0.5") + "    agent: {model_bc_scale: 2.0}\n"
    old = new.replace("lambda_", "mix").replace("model_bc_scale", "bc_in_model").replace("methods:", "rows:")
    wanted = runs_of(read_suite(suite_file(tmp_path, new), ["agent.actor_ema:=0.5"]))
    assert runs_of(read_suite(suite_file(tmp_path, old), ["agent.average:=0.5"])) == wanted
    assert {run.agent_values["lambda_"] for run in wanted} == {0.95, 0.5}
    assert {(run.agent_values["model_bc_scale"], run.agent_values["actor_ema"]) for run in wanted} == {(2.0, 0.5)}
    with pytest.raises(MotoError, match=r"parameters: parameter 'agent\.actor_ema' is given under two names"):
        read_suite(suite_file(tmp_path, new), ["agent.average:=0.5", "agent.actor_ema:=0.5"])


def test_a_run_that_was_described_under_former_names_is_the_same_run(tmp_path: Path) -> None:
    """Breaks a benchmark after an update: what was computed would be refused, or be computed once more."""
    folder, run = SuiteFolder(tmp_path / "out"), runs_of(read_suite(suite_file(tmp_path)))[0]
    folder.describe(run)
    folder.finish(run)
    for file in folder.run_folder(run).glob("*.json"):
        text = file.read_text()
        assert '"lambda_"' in text
        file.write_text(
            text.replace('"lambda_"', '"mix"').replace('"actor_ema"', '"average"').replace('"method"', '"row"')
        )
    assert folder.is_finished(run)
    folder.describe(run)


@pytest.mark.parametrize("agent", ["fowm", "bc", "iql"])
def test_a_run_from_before_a_parameter_existed_is_the_same_run(tmp_path: Path, agent: str) -> None:
    """Breaks a benchmark after an update: runs of every agent with an encoder would be refused."""
    text = MINIMAL.replace('"MOTO: moto"', f'"it: {agent} encoder:=published"')
    folder, run = SuiteFolder(tmp_path / "out"), runs_of(read_suite(suite_file(tmp_path, text)))[0]
    folder.describe(run)
    folder.finish(run)
    for file in folder.run_folder(run).glob("*.json"):
        found = read_json(file)
        assert found["agent_values"].pop("encoder") == "published"
        file.write_text(canonical(found))
    assert folder.is_finished(run)
    folder.describe(run)
    other = text.replace("encoder:=published", "encoder:=map")
    with pytest.raises(MotoError, match=r"agent\.encoder is map here and unset in the run"):
        folder.describe(runs_of(read_suite(suite_file(tmp_path, other)))[0])


OWN_AGENT = """
from dataclasses import dataclass
from moto_ros.config import REQUIRED, parameter
from training_support import CloneAgent, CloneSettings


@dataclass(frozen=True, kw_only=True)
class OwnSettings(CloneSettings):
    mix: float = parameter(REQUIRED, "a name that a setting of MOTO had", formerly="blend")


class OwnAgent(CloneAgent):
    name, settings_class = "own", OwnSettings
"""


@pytest.fixture
def own_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return an agent that is not registered, as "module:class"."""
    (tmp_path / "own_agent.py").write_text(OWN_AGENT)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "own_agent", raising=False)
    return "own_agent:OwnAgent"


def test_former_names_and_preset_are_those_of_the_agent_that_a_method_names(tmp_path: Path, own_agent: str) -> None:
    """Breaks an agent of one's own: its setting would be renamed as MOTO's was, or its preset fail for what is set."""
    text = MINIMAL.replace("MOTO, no prior: moto behaviour_prior:=false", f"own: {own_agent}/defaults batch:=2")
    with pytest.raises(MotoError, match=r"suite 'mine', method 'own': parameter 'mix' .* is missing; set it"):
        read_suite(suite_file(tmp_path, text))
    found = runs_of(read_suite(suite_file(tmp_path, text + "    agent: {mix: 0.5}\n")))
    assert {run.agent_values["lambda_"] for run in found if run.method == "MOTO"} == {0.5}
    own = [run.agent_values for run in found if run.method == "own"]
    assert {(one["mix"], one["batch"], one["offline_clone_updates"]) for one in own} == {(0.5, 2, 7)}


def test_only_the_agents_of_a_suite_are_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks every suite where another installed package cannot be imported."""
    (tmp_path / "broken_agent.py").write_text("raise RuntimeError('no licence')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(AGENTS.lines, "broken", "broken_agent:Agent")
    assert runs_of(read_suite(suite_file(tmp_path), ["agent.horizon:=4"]))
    with pytest.raises(MotoError, match=r"importing broken_agent failed \(RuntimeError: no licence\)"):
        read_method("it: broken", "suite")


def test_a_setting_that_no_agent_of_the_suite_has_is_refused(tmp_path: Path) -> None:
    for text, overrides in ((MINIMAL + "    agent: {heads: 3}\n", []), (MINIMAL, ["agent.heads:=3"])):
        with pytest.raises(MotoError, match=r"no agent of the suite has the setting 'heads'; fix agent\.heads"):
            read_suite(suite_file(tmp_path, text), overrides)


def test_a_folder_cannot_make_the_program_import_what_it_names(tmp_path: Path, own_agent: str) -> None:
    """Breaks security: results that somebody sends would execute on the computer of whoever looks at them."""
    folder, run = SuiteFolder(tmp_path / "out"), runs_of(read_suite(suite_file(tmp_path)))[0]
    folder.describe(run)
    folder.finish(run)
    for file in folder.run_folder(run).glob("*.json"):
        file.write_text(canonical(read_json(file) | {"agent": own_agent}))
    assert not folder.is_finished(run)
    assert read_run(folder.description(run)).agent == own_agent
    with pytest.raises(MotoError, match=f"agent is moto here and {own_agent} in the run"):
        folder.describe(run)
    assert "own_agent" not in sys.modules


def test_settings_of_an_agent_that_the_user_named_get_their_present_names(tmp_path: Path, own_agent: str) -> None:
    """Breaks a benchmark of an agent of one's own, once a setting of it has another name."""
    text = MINIMAL.replace("MOTO: moto", f"own: {own_agent}/defaults mix:=0.5")
    folder, run = SuiteFolder(tmp_path / "out"), runs_of(read_suite(suite_file(tmp_path, text)))[0]
    file = folder.describe(run)
    file.write_text(file.read_text().replace('"mix"', '"blend"'))
    folder.describe(run)
