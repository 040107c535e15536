"""Bad weights, checkpoints and data given to FOWM, behaviour cloning and IQL: one clear sentence, nothing lost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from training_support import SPACES, PointWorld, filled_store

from moto_ros.agents.interface import Spaces
from moto_ros.agents.registry import agent_settings, make_agent
from moto_ros.data.replay import ReplayStore
from moto_ros.errors import MotoError
from moto_ros.policy.checkpoint_policy import load_policy
from moto_ros.training.checkpoint import CheckpointFolder, Identity
from moto_ros.training.learner import Learner
from moto_ros.training.metrics import MetricsWriter
from moto_ros.training.run_folder import RunFolder
from moto_ros.training.settings import agent_identity

NAMES = ("fowm", "bc", "iql")
TINY: dict[str, object] = {"latent_size": 8, "state_units": 6, "hidden": 16, "batch": 6, "normalise": True}
PLAN = {"plan_samples": 12, "plan_policy_samples": 3, "plan_elites": 4, "plan_iterations": 2, "horizon": 3}


def make(name: str, seed: int = 0, spaces: Spaces = SPACES, **changes: object) -> Any:
    own = PLAN if name == "fowm" else {}
    return make_agent(name, spaces, agent_settings(name)(**(TINY | own | changes)), seed)


def equal(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def sentence(caught: pytest.ExceptionInfo[MotoError]) -> str:
    """Return the error message, which is one line."""
    assert "\n" not in str(caught.value)
    return str(caught.value)


def broken(kind: str, tensors: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    """Return tensors of which the one named is damaged in one way, or with an unknown one added."""
    if kind == "missing":
        return {key: value for key, value in tensors.items() if key != name}
    if kind == "unknown":
        return tensors | {"unknown_tensor": torch.zeros(1)}
    if kind == "shape":
        return tensors | {name: tensors[name][..., :-1]}
    if kind == "type":
        return tensors | {name: tensors[name].double()}
    return tensors | {name: torch.full_like(tensors[name], torch.nan)}


KINDS = ("missing", "unknown", "shape", "type", "NaN")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_weights_that_do_not_fit_are_rejected_and_nothing_changes(name: str, kind: str) -> None:
    """The robot would continue with a mixture of two policies."""
    agent = make(name, 1)
    before = agent.weights()
    bad = sorted(before)[-1]
    with pytest.raises(MotoError, match=f"weights of agent {name}") as caught:
        agent.load_weights(broken(kind, make(name, 2).weights(), bad))
    assert ("unknown_tensor" if kind == "unknown" else bad) in sentence(caught)
    assert equal(agent.weights(), before)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_a_checkpoint_that_does_not_fit_is_rejected_and_nothing_changes(name: str, kind: str) -> None:
    """The random streams stay too: the run continues as if nothing had been loaded."""
    agent = make(name, 1)
    before = agent.state_dict()
    bad = next(key for key in sorted(before) if key.startswith("optimizer/") and before[key].ndim == 2)
    with pytest.raises(MotoError, match=f"checkpoint of agent {name}") as caught:
        agent.load_state_dict(broken(kind, make(name, 2).state_dict(), bad))
    assert ("unknown_tensor" if kind == "unknown" else bad) in sentence(caught)
    assert equal(agent.state_dict(), before)


def test_iql_takes_the_target_heads_of_older_checkpoints() -> None:
    """A run of an earlier release would be rejected for a missing tensor."""
    older, agent = make("iql", 2).state_dict(), make("iql", 1)
    names = [name for name in older if name.startswith("network/slow_q.")]
    assert len(names) == len(list(agent.network.target_q.parameters()))
    agent.load_state_dict(older | {name: torch.full_like(older[name], 0.5) for name in names})
    assert all(bool((weight == 0.5).all()) for weight in agent.network.target_q.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_a_checkpoint_of_another_agent_preset_or_robot_is_rejected_and_nothing_changes(name: str) -> None:
    agent = make(name, 1)
    before = agent.state_dict()
    others = [make(other).state_dict() for other in NAMES if other != name]
    for state in (*others, make(name, hidden=20).state_dict(), make(name, spaces=Spaces(None, 5, 3)).state_dict()):
        with pytest.raises(MotoError, match=f"checkpoint of agent {name}") as caught:
            agent.load_state_dict(state)
        assert "use weights of the same" in sentence(caught)
    assert equal(agent.state_dict(), before)


@pytest.mark.parametrize("name", NAMES)
def test_acting_by_a_checkpoint_of_another_agent_or_preset_is_rejected_by_name(name: str, tmp_path: Path) -> None:
    other = NAMES[(NAMES.index(name) + 1) % len(NAMES)]
    agent = make(name)
    own, before = agent_identity(name, agent.settings), agent.state_dict()
    for folder, identity in (("agent", Identity(other, own.digest)), ("preset", Identity(name, "0123"))):
        CheckpointFolder(tmp_path / folder, identity).save(make(other).state_dict(), {"conductor": {"published": 1}})
        with pytest.raises(MotoError) as caught:
            load_policy(tmp_path / folder, agent, own)
        assert (other if folder == "agent" else "0123") in sentence(caught)
    assert equal(agent.state_dict(), before)


@pytest.fixture
def metrics(tmp_path: Path) -> Iterator[MetricsWriter]:
    with MetricsWriter(RunFolder(tmp_path / "run"), tensorboard=False) as opened:
        yield opened


def update(agent: Any, store: ReplayStore, metrics: MetricsWriter) -> None:
    """Do one update as the trainer does."""
    Learner(agent, store, metrics, 0).update(agent.phases[0])


@pytest.mark.parametrize("name", NAMES)
def test_learning_from_an_empty_store_is_an_error_and_resumes_with_the_first_episode(
    name: str, tmp_path: Path, metrics: MetricsWriter
) -> None:
    agent, store = make(name), ReplayStore(tmp_path / "cache")
    before = agent.state_dict()
    with pytest.raises(MotoError, match="replay: holds no episode of source 'all'; record some") as caught:
        update(agent, store, metrics)
    sentence(caught)
    assert equal(agent.state_dict(), before)
    world = PointWorld()
    store.add(world.play(world.expert, 0, 0), None, "online")
    update(agent, store, metrics)
    assert not equal(agent.state_dict(), before)


@pytest.mark.parametrize("name", NAMES)
def test_one_source_alone_is_enough_to_learn_from(name: str, tmp_path: Path, metrics: MetricsWriter) -> None:
    """A run without demonstrations, or before its first online episode, would stop."""
    for origin in ("offline", "online"):
        store, world = ReplayStore(tmp_path / origin), PointWorld()
        store.add(world.play(world.expert, 0, 0), None, origin)
        update(make(name), store, metrics)


LEARNED_FROM = [(name, part) for name in NAMES for part in ("proprio", "action", "reward")]
LEARNED_FROM.remove(("bc", "reward"))


@pytest.mark.parametrize(("name", "part"), LEARNED_FROM)
def test_nan_in_the_data_stops_learning_and_the_last_checkpoint_is_kept(
    name: str, part: str, tmp_path: Path, metrics: MetricsWriter
) -> None:
    """A policy of NaN would be saved over the good one and sent to the robot."""
    agent, identity = make(name), Identity(name, "0123")
    checkpoints = CheckpointFolder(tmp_path / "checkpoints", identity)
    update(agent, filled_store(tmp_path), metrics)
    good = agent.state_dict()
    checkpoints.save(good, {})
    store, world = ReplayStore(tmp_path / "bad"), PointWorld()
    episode = world.play(world.expert, 0, 0)
    store.add(replace(episode, **{part: np.full_like(getattr(episode, part), np.nan)}), None, "online")
    with pytest.raises(MotoError) as caught:
        update(agent, store, metrics)
    assert "NaN" in sentence(caught) or "nan" in sentence(caught)
    loaded = checkpoints.load()
    assert loaded is not None
    assert checkpoints.numbers() == [1]
    agent.load_state_dict(loaded.agent)
    assert equal(agent.state_dict(), good)


@pytest.mark.parametrize("name", NAMES)
def test_an_episode_of_another_robot_is_rejected(name: str, tmp_path: Path, metrics: MetricsWriter) -> None:
    store, world = filled_store(tmp_path), PointWorld()
    episode, held = world.play(world.expert, 5, 5), len(filled_store(tmp_path))
    with pytest.raises(MotoError, match="episode: action has shape") as caught:
        store.add(replace(episode, action=np.zeros((len(episode.action), 3), np.float32)), None, "online")
    sentence(caught)
    assert len(store) == held
    update(make(name), store, metrics)
