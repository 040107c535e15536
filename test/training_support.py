"""A small real agent and a point-mass world for the tests of the training room."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from moto_ros.agents.common.optimizer import Optimizer
from moto_ros.agents.common.tensors import prefixed
from moto_ros.agents.interface import ActRequest, Agent, Batch, Data, Decision, Metrics, Spaces, State
from moto_ros.config import parameter
from moto_ros.data.episode import Episode
from moto_ros.data.layout import StepLayout
from moto_ros.data.replay import ReplayStore
from moto_ros.training import offline_runner
from moto_ros.training.episode_results import Player
from moto_ros.training.metrics import read_metrics
from moto_ros.training.run_folder import RunFolder
from moto_ros.training.run_schedule import RunEpisode
from moto_ros.training.session import TrainingRun


@dataclass(frozen=True)
class CloneSettings:
    """Settings of the behaviour-cloning agent."""

    rate: float = parameter(1e-2, "learning rate")
    batch: int = parameter(4, "chunks per update")
    length: int = parameter(5, "chunk length")
    offline_clone_updates: int = parameter(20, "offline updates")
    online_clone_updates: int = parameter(3, "online updates")
    online_episodes: int = parameter(2, "online episodes", extent=True)


class CloneAgent(Agent):
    """Linear behaviour cloning with action noise drawn from its own generator."""

    name: ClassVar[str] = "clone"
    settings_class: ClassVar[type] = CloneSettings
    phases: tuple[str, ...] = ("clone",)

    def __init__(self, spaces: Spaces, settings: CloneSettings, seed: int, device: torch.device | str = "cpu") -> None:
        self.settings = settings
        self._generator = torch.Generator().manual_seed(seed)
        self.policy = nn.Linear(spaces.proprio, spaces.action)
        with torch.no_grad():
            self.policy.weight.normal_(0, 0.1, generator=self._generator)
            self.policy.bias.zero_()
        # PyTorch's own class Adam would import its compiler, which ends the process on some builds for Python 3.12.
        self.optimizer = Optimizer(self.policy, settings.rate, epsilon=1e-8, clip=1e6, decay=0.0)

    def start(self, batch: int) -> State:
        return {}

    @torch.inference_mode()
    def act(self, observation: Batch, state: State, request: ActRequest) -> Decision:
        action = self.policy(observation["proprio"])
        if request.sample:
            action = action + 0.1 * torch.randn(action.shape, generator=request.generator or self._generator)
        return Decision(action.clamp(-1, 1), state, torch.zeros(len(action)))

    def update(self, phase: str, data: Data) -> Metrics:
        batch = data.batch("all", self.settings.batch, self.settings.length)
        noise = 0.01 * torch.randn(batch["proprio"].shape, generator=self._generator)
        loss = (self.policy(batch["proprio"] + noise)[:, :-1] - batch["action"][:, 1:]).square().mean()
        self.optimizer.step(loss)
        return {"clone_loss": loss.item()}

    def weights(self) -> dict[str, Tensor]:
        return {name: value.detach().clone() for name, value in self.policy.state_dict().items()}

    def load_weights(self, weights: dict[str, Tensor]) -> None:
        self.policy.load_state_dict(weights)

    def _tensors(self) -> dict[str, Tensor]:
        return dict(self.policy.state_dict()) | prefixed("adam", self.optimizer.tensors())

    def state_dict(self) -> dict[str, Tensor]:
        return self._tensors() | {"rng": self._generator.get_state()}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self._generator.set_state(state["rng"])
        for name, tensor in self._tensors().items():
            tensor.copy_(state[name])


class PointWorld:
    """A point that must reach the origin of a plane; 2 actions, 2 proprioceptive values, a camera where asked for."""

    def __init__(self, steps: int = 20, *, camera: bool = False) -> None:
        self.steps = steps
        self.camera = camera

    def look(self, state: np.ndarray) -> dict[str, np.ndarray]:
        """Return a 64 x 64 picture of the point by camera name."""
        if not self.camera:
            return {}
        frame = np.full((64, 64, 3), 230, np.uint8)
        row, column = (np.clip(state, -1, 1) * 28 + 32).astype(int)
        frame[row - 4 : row + 4, column - 4 : column + 4] = (200, 40, 40)
        return {"agent": frame}

    def expert(self, images: dict[str, np.ndarray], state: np.ndarray) -> np.ndarray:
        """Return the action of a proportional controller."""
        return np.clip(-4 * state, -1, 1)

    def play(self, act: Any, seed: int, id: int) -> Episode:
        """Run one episode."""
        state = np.random.default_rng(seed).uniform(-1, 1, 2).astype(np.float32)
        states: list[Any] = [state]
        actions, rewards = [np.zeros(2, np.float32)], [0.0]
        for _ in range(self.steps):
            action = np.asarray(act(self.look(state), state), np.float32)
            state = (state + 0.2 * action).astype(np.float32)
            states.append(state)
            actions.append(action)
            rewards.append(float(np.abs(state).max() < 0.1))
        reward = np.asarray(rewards, np.float32)
        return Episode(
            images={"agent": np.stack([self.look(row)["agent"] for row in states])} if self.camera else {},
            proprio=np.stack(states),
            action=np.stack(actions),
            reward=reward,
            success=reward > 0,
            is_terminal=np.zeros(len(reward), bool),
            stamps=np.arange(len(reward), dtype=np.int64) * 100_000_000,
            info={"id": id},
        )


SPACES = Spaces(image=None, proprio=2, action=2)


LAYOUT = StepLayout(cameras=(), proprio=("ee_position",), action_size=2)


def filled_store(folder: Path, episodes: int = 3, *, camera: bool = False) -> ReplayStore:
    """Return a replay store with demonstrations of the point world."""
    store, world = ReplayStore(folder / "cache"), PointWorld(camera=camera)
    for index in range(episodes):
        store.add(world.play(world.expert, index, 2_000_000 + index), None, "offline")
    return store


def store_maker(run: Path, *, camera: bool = False) -> Callable[[Mapping[str, Any] | None], ReplayStore]:
    """Return what a session makes its store with: demonstrations in a new run, the saved index in a resumed one."""

    def make(index: Mapping[str, Any] | None) -> ReplayStore:
        if index is None:
            return filled_store(run, camera=camera)
        store = ReplayStore(run / "cache")
        store.restore(index, LAYOUT)
        return store

    return make


def play_with(session: TrainingRun, *, camera: bool = False) -> Any:
    """Return a player of point-world episodes with the session's agent."""

    def play(asked: RunEpisode) -> tuple[Episode, list[float], list[float]]:
        player = Player(session.agent, SPACES.action, asked.seed, sample=asked.sample, arm=asked.arm)
        episode = PointWorld(camera=camera).play(player, asked.seed, asked.id)
        return episode, player.uncertainty, player.success_probability

    return play


class KilledError(Exception):
    """Stands for kill -9: nothing after it runs."""


def run_until_killed(session: TrainingRun, killed_at: int = 10**9) -> TrainingRun:
    """Run to the end, or be killed when it would start its `killed_at`-th episode or update; close the run."""
    play, left = play_with(session), iter(range(killed_at))

    def count(*_: object) -> None:
        if next(left, None) is None:
            raise KilledError

    def played(asked: RunEpisode) -> tuple[Episode, list[float], list[float]]:
        count()
        return play(asked)

    try:
        offline_runner.run(session, played, on_update=count)
    finally:
        session.close()
    return session


def trace(path: Path) -> list[Any]:
    """Return what a run did: kinds, counters and results, without wall time."""
    rows = read_metrics(RunFolder(path).metrics_file)
    hidden = {"time", "rate"}
    return [{name: value for name, value in sorted(row.items()) if name not in hidden} for row in rows]
