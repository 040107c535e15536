"""Breaks "fine-tune the policy I cloned": a run of agent `bc` as the base policy of MOTO and FOWM."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from agents_data import SPACES, RandomData

from moto_ros.agents.common.base_policy import BasePolicySettings
from moto_ros.agents.interface import BASE, BASE_PHASE, ActRequest, Agent, Spaces
from moto_ros.agents.registry import agent_settings, make_agent
from moto_ros.config import build
from moto_ros.errors import MotoError
from moto_ros.policy.checkpoint_policy import is_cloned, load_base
from moto_ros.systems.bringup import resolve
from moto_ros.systems.preflight import check
from moto_ros.training.checkpoint import SCHEDULE, CheckpointFolder
from moto_ros.training.run_schedule import Offline, RunSchedule
from moto_ros.training.settings import TrainerSettings, agent_identity, budget_of

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
    """Breaks patience: ten demonstrations would be recorded first, and then the trainer would refuse."""
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
        with pytest.raises(MotoError, match="keeps no base policy with these settings; choose its preset quick"):
            check(system, records=True)


def test_the_sizes_of_both_quick_presets_fit() -> None:
    """Breaks the one argument: the presets are what users clone with."""
    defaults = BasePolicySettings()
    quick = resolve("finetune", {"agent": "bc"}).settings()["trainer"].agent
    assert (quick.hidden, quick.heads) == (defaults.base_hidden, defaults.base_heads)
    assert quick.latent_size == defaults.base_encoder.latent_size
