"""FOWM learns from the replay store through the learner: balanced, prioritised, and resumable to the bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_data_replay import LAYOUT

from moto_ros.agents.fowm.agent import FowmAgent
from moto_ros.agents.fowm.config import FowmSettings
from moto_ros.agents.fowm.losses import Windows
from moto_ros.agents.interface import Spaces
from moto_ros.data.episode import Episode
from moto_ros.data.replay import ReplayStore
from moto_ros.training.learner import StoreData

SETTINGS = FowmSettings(
    latent_size=8,
    conv_channels=2,
    state_units=6,
    hidden=16,
    batch=8,
    plan_samples=8,
    plan_policy_samples=2,
    plan_elites=4,
)

FROM_BASE = FowmSettings(
    latent_size=8,
    encoder="map",
    conv_channels=2,
    state_units=128,
    fusion="project",
    normalise=True,
    hidden=16,
    batch=8,
    plan_proposals="base",
    penalty_relative=True,
    advantage_mask="solved",
    base_policy="cloned",
    base_latent_size=8,
    base_channels=2,
    base_hidden=16,
    base_batch=4,
    steps_after_success=2,
)
"""Begins from a base policy, and learns from episodes that end at success."""


def episode(number: int, steps: int = 12) -> Episode:
    """Return an episode of a camera and two numbers of state."""
    rng = np.random.default_rng(number)
    reward = np.zeros(steps + 1, np.float32)
    reward[-1] = 1
    return Episode(
        images={"agent": rng.integers(0, 256, (steps + 1, 40, 40, 3), dtype=np.uint8)},
        proprio=rng.normal(size=(steps + 1, 2)).astype(np.float32),
        action=rng.uniform(-1, 1, (steps + 1, 3)).astype(np.float32),
        reward=reward,
        success=reward > 0,
        is_terminal=reward > 0,
        stamps=(1000 * number + np.arange(steps + 1)).astype(np.int64),
        info={"id": number},
    )


def opened(
    folder: Path, saved: dict[str, Any] | None = None, settings: FowmSettings = SETTINGS
) -> tuple[FowmAgent, ReplayStore, StoreData]:
    """Return a new run, or the one that was saved."""
    store = ReplayStore(folder, steps_after_success=settings.steps_after_success)
    agent = FowmAgent(Spaces((40, 40, 3), 2, 3), settings, seed=0 if saved is None else 5)
    data = StoreData(store, np.random.default_rng(3), torch.device("cpu"))
    if saved is None:
        for number in range(3):
            store.add(episode(number), None, "offline")
    else:
        store.restore(saved["replay"], LAYOUT)
        agent.load_state_dict(saved["agent"])
        data.generator.bit_generator.state = saved["generator"]
    return agent, store, data


def train(agent: FowmAgent, store: ReplayStore, data: StoreData, first: int, last: int) -> None:
    """Do updates; an online episode arrives before the third and the fifth."""
    for update in range(first, last):
        if update in (2, 4):
            store.add(episode(10 + update), None, "online")
        agent.update("base" if "base" in agent.phases and update < 2 else "joint", data)


@pytest.mark.parametrize("settings", [SETTINGS, FROM_BASE], ids=["published", "from a base policy"])
def test_a_run_split_between_any_two_updates_equals_the_whole_run_to_the_bit(
    tmp_path: Path, settings: FowmSettings
) -> None:
    whole = opened(tmp_path / "whole", settings=settings)
    train(*whole, 0, 6)
    for split in (1, 3, 4):
        part = opened(tmp_path / f"part{split}", settings=settings)
        train(*part, 0, split)
        replay = json.loads(json.dumps(part[1].state()))
        saved = {"agent": part[0].state_dict(), "replay": replay, "generator": part[2].generator.bit_generator.state}
        resumed = opened(tmp_path / f"part{split}", saved, settings)
        train(*resumed, split, 6)
        left, right = whole[0].state_dict(), resumed[0].state_dict()
        assert all(torch.equal(left[name], right[name]) for name in left)
        assert whole[1].state()["priorities"] == resumed[1].state()["priorities"]


def test_an_update_changes_the_priorities(tmp_path: Path) -> None:
    """Prioritised replay would have no effect."""
    agent, store, data = opened(tmp_path)
    train(agent, store, data, 0, 2)
    before = json.dumps(store.state()["priorities"])
    agent.update("joint", data)
    assert json.dumps(store.state()["priorities"]) != before


def test_both_sources_are_learned_from_once_both_have_episodes(tmp_path: Path) -> None:
    agent, store, data = opened(tmp_path)
    train(agent, store, data, 0, 3)
    assert set(store.state()["priorities"]) == {"offline", "online"}


def test_only_solved_episodes_are_cloned_and_none_of_their_rows_after_success_by_advantage(tmp_path: Path) -> None:
    """The policy would repeat what failed, or hold still where success has made the task over."""
    _, store, data = opened(tmp_path, settings=FROM_BASE)
    failed, long = episode(7), episode(8)
    failed.success[:] = failed.is_terminal[:] = False
    long.success[6:] = True
    for one in (failed, long):
        store.add(one, None, "online")
    windows = Windows.of(data.windows("online", 200, FROM_BASE.length), 1.0)
    known = windows.mask > 0
    after = windows.terminal & torch.cat((torch.zeros_like(known[:1]), windows.terminal[:-1]))
    assert windows.imitable[known].any()
    assert (~windows.imitable[known]).any()
    assert (windows.imitable & after & known).any(), "no window passes success here, so this test shows nothing"
    assert not (windows.solving & after & known).any()
    assert windows.solving[known].sum() < windows.imitable[known].sum()
    assert not (windows.solving & ~windows.imitable).any()
