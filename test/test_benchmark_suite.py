"""Suites: what a file says becomes the runs a user expects, and what is wrong is refused before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from moto_ros.config import config_folder
from moto_ros.errors import MotoError
from moto_ros.experiments.suite import cells, chosen, read_row, read_suite
from moto_ros.experiments.suite_folder import SuiteFolder, read_cell

MINIMAL = """/**:
  ros__parameters:
    tasks: [drawer_open, metaworld/hammer-v3]
    rows: ["MOTO: moto", "MOTO, no prior: moto behaviour_prior:=false"]
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
    found = cells(read_suite(suite_file(tmp_path)))
    assert len(found) == len({cell.id for cell in found}) == 2 * 2 * 2 * 2
    assert [cell.seed for cell in found] == [0] * 8 + [1] * 8


def test_every_agent_gets_the_same_budget_task_and_data(tmp_path: Path) -> None:
    """Breaks fairness: one row would learn longer, or from other demonstrations, than the next."""
    found = [cell for cell in cells(read_suite(suite_file(tmp_path))) if (cell.task, cell.seed) == ("drawer_open", 0)]
    assert {cell.agent_values["offline_model_updates"] for cell in found} == {7}
    assert {cell.agent_values["offline_policy_updates"] for cell in found} == {7}
    assert {cell.agent_values["behaviour_prior"] for cell in found} == {True, False}
    assert {cell.task_values["max_steps"] for cell in found} == {33}
    assert len({SuiteFolder(tmp_path).data(cell) for cell in found}) == 1


@pytest.mark.parametrize("name", sorted(path.stem for path in (config_folder() / "suites").glob("*.yaml")))
def test_a_shipped_suite_can_be_read(name: str) -> None:
    """Breaks the command of the documentation."""
    assert cells(read_suite(name))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("moto behaviour_prior", "dreamer behaviour_prior", "row 'MOTO, no prior': agent 'dreamer' is unknown"),
        ("behaviour_prior:=false", "behavior_prior:=false", "has no setting 'behavior_prior'"),
        ("preset: ci", "preset: huge", "no file"),
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
    """Breaks trying out: -p and --rows would be ignored."""
    file = suite_file(tmp_path)
    suite = read_suite(file, ["online_episodes:=3", "task.max_steps:=9", "agent.horizon:=4"])
    found = cells(chosen(suite, tasks=["hammer-v3"], rows=["moto no prior"], seeds=[7]))
    assert [(cell.task, cell.seed, cell.demonstrations) for cell in found] == [
        ("hammer-v3", 7, 5),
        ("hammer-v3", 7, 10),
    ]
    assert {cell.agent_values["online_episodes"] for cell in found} == {3}
    assert {cell.agent_values["horizon"] for cell in found} == {4}
    assert {cell.task_values["max_steps"] for cell in found} == {9}
    with pytest.raises(MotoError, match="task 'reach' is not of the suite"):
        chosen(suite, tasks=["reach"], rows=[], seeds=[])


@pytest.mark.parametrize("suite", sorted(path.stem for path in (config_folder() / "suites").glob("*.yaml")))
def test_each_row_of_each_shipped_suite_can_be_chosen_alone(suite: str) -> None:
    """Breaks `moto benchmark quick3 --rows "behaviour cloning"`: a setting for MOTO would find no agent to be for."""
    whole = read_suite(suite)
    for row in whole.rows:
        assert {cell.row for cell in cells(chosen(whole, tasks=[], rows=[row.label], seeds=[]))} == {row.label}


@pytest.mark.parametrize("text", ["moto", "label:", "label: horizon:=3"])
def test_a_row_that_names_no_agent_is_refused(text: str) -> None:
    with pytest.raises(MotoError, match="expected 'label: agent"):
        read_row(text, "suite")


def test_a_folder_with_another_run_is_refused_and_one_that_asks_for_more_goes_on(tmp_path: Path) -> None:
    """Breaks the results: runs of two settings would be mixed in one folder, or a longer run would start anew."""
    place, first = SuiteFolder(tmp_path / "out"), cells(read_suite(suite_file(tmp_path)))[0]
    assert read_cell(place.describe(first)) == read_cell(place.describe(first))
    place.finish(first)
    assert place.is_finished(first)
    assert place.is_finished(cells(read_suite(suite_file(tmp_path), ["threads:=3", "checkpoint_every:=9.0"]))[0])
    longer = cells(read_suite(suite_file(tmp_path), ["online_episodes:=9"]))[0]
    assert not place.is_finished(longer)
    place.describe(longer)
    other = cells(read_suite(suite_file(tmp_path), ["task.max_steps:=34"]))[0]
    with pytest.raises(MotoError, match=r"task.max_steps is 34 here and 33 in the run"):
        place.describe(other)


def test_a_row_may_see_the_task_differently(tmp_path: Path) -> None:
    """Breaks a suite of mixed agents: one whose decoder takes 64 pixels could not run beside one that takes 84."""
    text = MINIMAL.replace("behaviour_prior:=false", "behaviour_prior:=false task.image_size:=32")
    found = [cell for cell in cells(read_suite(suite_file(tmp_path, text))) if cell.task == "drawer_open"]
    assert {cell.row: cell.task_values["image_size"] for cell in found} == {"MOTO": 64, "MOTO, no prior": 32}
    assert not any(name.startswith("task") for cell in found for name in cell.agent_values)


def test_a_suite_with_former_names_is_that_with_the_present_ones(tmp_path: Path) -> None:
    """Breaks suites of one's own after an update of moto_ros."""
    new = MINIMAL.replace("behaviour_prior:=false", "lambda_:=0.5") + "    agent: {model_bc_scale: 2.0}\n"
    old = new.replace("lambda_", "mix").replace("model_bc_scale", "bc_in_model")
    wanted = cells(read_suite(suite_file(tmp_path, new), ["agent.actor_ema:=0.5"]))
    assert cells(read_suite(suite_file(tmp_path, old), ["agent.average:=0.5"])) == wanted
    assert {cell.agent_values["lambda_"] for cell in wanted} == {0.95, 0.5}
    assert {(cell.agent_values["model_bc_scale"], cell.agent_values["actor_ema"]) for cell in wanted} == {(2.0, 0.5)}
    with pytest.raises(MotoError, match=r"parameters: parameter 'agent\.actor_ema' is given under two names"):
        read_suite(suite_file(tmp_path, new), ["agent.average:=0.5", "agent.actor_ema:=0.5"])


def test_a_run_that_was_described_under_former_names_is_the_same_run(tmp_path: Path) -> None:
    """Breaks a benchmark after an update: what was computed would be refused, or be computed once more."""
    place, cell = SuiteFolder(tmp_path / "out"), cells(read_suite(suite_file(tmp_path)))[0]
    place.describe(cell)
    place.finish(cell)
    for file in place.run(cell).glob("*.json"):
        text = file.read_text()
        assert '"lambda_"' in text
        file.write_text(text.replace('"lambda_"', '"mix"').replace('"actor_ema"', '"average"'))
    assert place.is_finished(cell)
    place.describe(cell)
