"""Breaks "fine-tune the policy I cloned": a run of agent `bc` as the base policy of MOTO and FOWM."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from agents_data import SPACES, RandomData

from moto_ros.agents.common.base_policy import BasePolicySettings, cloned_policy
from moto_ros.agents.interface import BASE, BASE_PHASE, ActRequest, Agent, Spaces
from moto_ros.agents.registry import agent_settings, make_agent
from moto_ros.config import build, part
from moto_ros.errors import MotoError
from moto_ros.nodes.learning_settings import data_part
from moto_ros.policy.checkpoint_policy import is_cloned, load_base
from moto_ros.systems.bringup import resolve
from moto_ros.systems.preflight import check
from moto_ros.training.checkpoint import SCHEDULE, CheckpointFolder
from moto_ros.training.run_folder import RunFolder
from moto_ros.training.run_schedule import Offline, RunSchedule
from moto_ros.training.settings import TrainerSettings, agent_identity, budget_of, configuration

SIZES = {"encoder": "map", "latent_size": 8, "conv_channels": 8, "hidden": 16, "heads": 3, "state_units": 128}
SIZES |= {"fusion": "project", "normalise": True, "batch": 4}
BASE_SIZES = {"base_latent_size": 8, "base_channels": 8, "base_hidden": 16, "base_heads": 3}
AGENTS = {
    "moto": {"policy": "edit", "stoch": 6, "deter": 16, "hidden": 16, "conv_depth": 2, "head_units": 16},
    "fowm": {
        "base_policy": "cloned",
        "encoder": "map",
        "latent_size": 8,
        "hidden": 16,
        "conv_channels": 8,
        "plan": False,
    },
}


def cloned(folder: Path, *, average: float = 0.5, **changes: object) -> Agent:
    """Return an agent `bc` that has learned a little, and save its checkpoint."""
    settings = build(agent_settings("bc"), SIZES | {"actor_ema": average} | changes, "test")
    agent = make_agent("bc", SPACES, settings, 3)
    for _ in range(4):
        agent.update("policy", RandomData())
    folder.mkdir(parents=True, exist_ok=True)
    state = {SCHEDULE: {"published": 1}, "replay": {"joints": {"state": ["a", "b"]}}}
    CheckpointFolder(folder / "checkpoints", agent_identity("bc", settings)).save(agent.state_dict(), state)
    return agent


def fine_tuned(name: str, **changes: object) -> Agent:
    settings = build(agent_settings(name), AGENTS[name] | BASE_SIZES | changes, "test")
    return make_agent(name, SPACES, settings, 0)


def action(agent: Agent, arm: str = "") -> torch.Tensor:
    seen = {name: tensor[:, 0] for name, tensor in RandomData(seed=5).batch("all", 2, 2).items()}
    return agent.act(seen, agent.start(2), ActRequest(sample=False, arm=arm)).action


@pytest.mark.parametrize("name", AGENTS)
@pytest.mark.parametrize("average", [0.0, 0.5])
def test_the_base_arm_acts_as_the_cloned_policy(name: str, average: float, tmp_path: Path) -> None:
    """Another policy than the one that the user cloned would be fine-tuned."""
    known = cloned(tmp_path, average=average)
    agent = fine_tuned(name)
    assert not torch.equal(action(agent, BASE), action(known))
    assert is_cloned(tmp_path)
    assert load_base(tmp_path, agent) == ("a", "b")
    assert torch.equal(action(agent, BASE), action(known))


def _is_weight(name: str) -> bool:
    """Whether a tensor of a checkpoint is a weight of the copy's newest network; statistics are copied."""
    return name.startswith("copy/newest.") and "normaliser" not in name


def test_the_copy_goes_on_from_what_was_taken(tmp_path: Path) -> None:
    """The first round of updates would replace the policy that the user cloned by a few fresh steps."""
    known, agent = cloned(tmp_path), fine_tuned("moto", online_base_updates=1, base_ema=0.998)
    load_base(tmp_path, agent)
    agent.update("base", RandomData(sources=("all", "online", "failed")))
    moved = (action(agent) - action(known)).abs().max()
    newest = {name: tensor for name, tensor in agent.state_dict().items() if _is_weight(name)}
    average = {name: agent.state_dict()[name.replace("newest.", "average.module.")] for name in newest}
    before = cloned_policy(known.state_dict())
    steps = [(newest[name] - before[name.removeprefix("copy/newest.")]).abs().sum() for name in newest]
    taken = [(average[name] - before[name.removeprefix("copy/newest.")]).abs().sum() for name in newest]
    assert 0 < sum(map(float, taken)) < 0.01 * sum(map(float, steps))
    assert 0 < float(moved) < 1e-2


def test_a_policy_that_saw_something_else_of_the_same_size_is_refused(tmp_path: Path) -> None:
    """Another camera's picture would be taken for the one that the policy knows."""
    quick = resolve("finetune", {"agent": "bc", "run": str(tmp_path / "cloned")}).settings()["trainer"]
    known = make_agent("bc", Spaces((64, 64, 3), 4, 4), quick.agent, 0)
    folder = CheckpointFolder(tmp_path / "cloned" / "checkpoints", agent_identity("bc", quick.agent))
    saved = folder.save(known.state_dict(), {})
    shaping = configuration(part(quick, TrainerSettings), "bc", quick.agent)
    RunFolder(tmp_path / "cloned").open(shaping, 0, data=data_part(quick) | {"cameras": ("other",)})
    for path in (tmp_path / "cloned", saved):
        given = {"run": str(tmp_path / "run"), "checkpoint": str(path)}
        with pytest.raises(MotoError, match=r"cameras is \['agent'\] here and \['other'\] in the run; clone it again"):
            check(resolve("finetune", given), records=True)


def test_the_offline_phase_learns_all_but_the_base(tmp_path: Path) -> None:
    """The cloned policy would be trained over, also by a run that was resumed."""
    agent = fine_tuned("moto")
    budget = budget_of(TrainerSettings(), agent.settings, agent.phases)
    schedule = RunSchedule(TrainerSettings(), budget, agent.arms)
    schedule.base_given()
    resumed = RunSchedule(TrainerSettings(), budget, agent.arms)
    resumed.load_state(schedule.state())
    for one in (schedule, resumed):
        first = one.next()
        assert isinstance(first, Offline)
        assert set(first.updates) == {"model", "policy"}
    assert BASE_PHASE in agent.phases


def test_sizes_that_differ_are_said_and_nothing_is_taken(tmp_path: Path) -> None:
    cloned(tmp_path, hidden=32)
    agent = fine_tuned("fowm")
    before = action(agent, BASE)
    with pytest.raises(MotoError, match=r"checkpoint_000001: tensor 'heads\..*' is .*, expected .*"):
        load_base(tmp_path, agent)
    assert torch.equal(action(agent, BASE), before)


@pytest.mark.parametrize(("name", "change"), [("moto", {"policy": "imagined"}), ("fowm", {"base_policy": "none"})])
def test_an_agent_without_a_base_policy_says_so(name: str, change: dict[str, object], tmp_path: Path) -> None:
    cloned(tmp_path)
    with pytest.raises(MotoError, match=f"agent {name} keeps no base policy with these settings"):
        load_base(tmp_path, fine_tuned(name, **change))


@pytest.mark.parametrize(("preset", "fits"), [("fowm_quick", True), ("fowm_paper", False)])
def test_a_cloned_policy_is_looked_at_before_anything_is_recorded(preset: str, fits: bool, tmp_path: Path) -> None:
    """Costs minutes: ten demonstrations would be recorded first, and then the trainer would refuse."""
    agent, size = preset.split("_")
    quick = resolve("finetune", {"agent": "bc", "run": str(tmp_path / "cloned")}).settings()["trainer"]
    spaces = Spaces((64, 64, 3), 4, 4)
    known = make_agent("bc", spaces, quick.agent, 0)
    CheckpointFolder(tmp_path / "cloned" / "checkpoints", agent_identity("bc", quick.agent)).save(
        known.state_dict(), {}
    )
    given = {"agent": agent, "preset": size, "run": str(tmp_path / "run"), "checkpoint": str(tmp_path / "cloned")}
    system = resolve("finetune", given)
    if fits:
        check(system, records=True)
    else:
        with pytest.raises(MotoError, match="keeps no base policy with these settings; give a checkpoint of its own"):
            check(system, records=True)


def test_the_sizes_of_both_quick_presets_fit() -> None:
    """Breaks the one argument: the presets are what users clone with."""
    defaults = BasePolicySettings()
    quick = resolve("finetune", {"agent": "bc"}).settings()["trainer"].agent
    assert (quick.hidden, quick.heads) == (defaults.base_hidden, defaults.base_heads)
    assert quick.latent_size == defaults.base_encoder.latent_size
