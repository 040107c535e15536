"""An agent that learns a task from a few warm-up episodes; the replay of its own episodes is a `medium_replay` set."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from moto_ros.agents.fowm.agent import FowmAgent
from moto_ros.agents.fowm.config import FowmSettings
from moto_ros.agents.interface import Spaces
from moto_ros.data.episode import Episode
from moto_ros.data.replay import ReplayStore
from moto_ros.experiments.suite import TaskSettings
from moto_ros.training.episode_results import Player
from moto_ros.training.learner import StoreData
from moto_sim.contract_bag import Played
from moto_sim.snapshot import Snapshot, proprio

TRACKED = ("object_position", "goal_position")

SETTINGS = FowmSettings(
    latent_size=48,
    normalise=True,
    state_units=128,
    hidden=128,
    plan_horizon=3,
    plan_iterations=3,
    plan_samples=128,
    plan_policy_samples=16,
    plan_elites=16,
    penalty=0.0,
    discount=0.95,
    batch=64,
    value_target="policy",
    policy_objective="max_q",
)
"""TD-MPC: a planner without an uncertainty penalty, with values of its own policy, sized for a CPU."""

FIRST_UPDATES = 300
"""Updates on the warm-up episodes, before the first episode."""

UPDATE_SHARE = 0.5
"""Updates per step after that."""


class ReplayCollector:
    """Learns from the simulator's state with object and goal, and from the shaped reward, whatever the task's is."""

    def __init__(self, task: TaskSettings, seed: int, warm_up: Iterable[Played]) -> None:
        """Start from random weights drawn from `seed`, and learn from `warm_up`, which are not part of the set."""
        own = [field for field in task.proprio if field not in TRACKED]
        self._layout = replace(task, cameras=(), proprio=(*own, *TRACKED))
        spaces = Spaces(None, self._layout.proprio_size, task.action_size)
        device = torch.device("cpu")
        self._agent = FowmAgent(spaces, SETTINGS, seed, device)
        self._folder = TemporaryDirectory()
        self._store = ReplayStore(Path(self._folder.name))
        self._data = StoreData(self._store, np.random.default_rng([seed, 2]), device)
        for played in warm_up:
            self._store.add(self._episode(played), None, "offline")
        self._update(FIRST_UPDATES)

    def begin(self, seed: int) -> Callable[[Snapshot], np.ndarray]:
        """Return the policy for the next episode; it explores."""
        player = Player(self._agent, self._layout.action_size, seed, sample=True)
        return lambda snapshot: player({}, proprio(snapshot, self._layout.proprio)).astype(np.float32)

    def learn(self, played: Played) -> None:
        """Add an episode and do the updates that are due."""
        self._store.add(self._episode(played), None, "online")
        self._update(round(UPDATE_SHARE * len(played.actions)))

    def _update(self, count: int) -> None:
        for _ in range(count):
            self._agent.update("joint", self._data)

    def _episode(self, played: Played) -> Episode:
        seen, count = played.snapshots, len(played.snapshots)
        return Episode(
            images={},
            proprio=np.stack([proprio(snapshot, self._layout.proprio) for snapshot in seen]),
            action=np.stack([np.zeros_like(played.actions[0]), *played.actions]),
            reward=np.array([0.0, *(snapshot.shaped for snapshot in seen[1:])], np.float32),
            success=np.array([False, *(snapshot.success for snapshot in seen[1:])]),
            is_terminal=np.zeros(count, bool),
            stamps=np.array([played.stamp(step) for step in range(count)], np.int64),
        )
