"""A small real agent, store and point-mass world for the tests of the training room."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from moto_ros.agents.interface import Agent, Batch, Data, Decision, Metrics, Spaces, State
from moto_ros.config import parameter
from moto_ros.data.episode import Episode
from moto_ros.training.conductor import RunEpisode
from moto_ros.training.evaluation import Player
from moto_ros.training.session import Session


@dataclass(frozen=True)
class CloneSettings:
    """Settings of the behaviour-cloning agent."""

    rate: float = parameter(1e-2, "learning rate")
    batch: int = parameter(4, "chunks per update")
    length: int = parameter(5, "chunk length")
    offline_clone_updates: int = parameter(20, "offline updates")
    online_clone_updates: int = parameter(3, "online updates")
    online_episodes: int = parameter(2, "online episodes")


class CloneAgent(Agent):
    """Linear behaviour cloning with action noise drawn from its own generator."""

    name: ClassVar[str] = "clone"
    phases: ClassVar[tuple[str, ...]] = ("clone",)

    def __init__(self, spaces: Spaces, settings: CloneSettings, seed: int, device: torch.device | str = "cpu") -> None:
        self.settings = settings
        self._generator = torch.Generator().manual_seed(seed)
        self.policy = nn.Linear(spaces.proprio, spaces.action)
        with torch.no_grad():
            self.policy.weight.normal_(0, 0.1, generator=self._generator)
            self.policy.bias.zero_()
        self.optimizer = torch.optim.Adam(self.policy.parameters(), settings.rate)
        self._moments()

    def _moments(self) -> None:
        for weight in self.policy.parameters():
            self.optimizer.state[weight] = {
                "step": torch.zeros(()),
                "exp_avg": torch.zeros_like(weight),
                "exp_avg_sq": torch.zeros_like(weight),
            }

    def start(self, batch: int) -> State:
        return {}

    @torch.inference_mode()
    def act(
        self, observation: Batch, state: State, *, sample: bool, generator: torch.Generator | None = None
    ) -> Decision:
        action = self.policy(observation["proprio"])
        if sample:
            action = action + 0.1 * torch.randn(action.shape, generator=generator or self._generator)
        return Decision(action.clamp(-1, 1), state, torch.zeros(len(action)))

    def update(self, phase: str, data: Data) -> Metrics:
        batch = data.batch("all", self.settings.batch, self.settings.length)
        noise = 0.01 * torch.randn(batch["proprio"].shape, generator=self._generator)
        loss = (self.policy(batch["proprio"] + noise)[:, :-1] - batch["action"][:, 1:]).square().mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return {"clone_loss": loss.item()}

    def weights(self) -> dict[str, Tensor]:
        return {name: value.detach().clone() for name, value in self.policy.state_dict().items()}

    def load_weights(self, weights: dict[str, Tensor]) -> None:
        self.policy.load_state_dict(weights)

    def _tensors(self) -> dict[str, Tensor]:
        found = dict(self.policy.state_dict())
        for index, state in enumerate(self.optimizer.state.values()):
            found |= {f"adam.{index}.{name}": value for name, value in state.items()}
        return found

    def state_dict(self) -> dict[str, Tensor]:
        return self._tensors() | {"rng": self._generator.get_state()}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self._generator.set_state(state["rng"])
        for name, tensor in self._tensors().items():
            tensor.copy_(state[name])


class MemoryStore:
    """Episodes in a list, sampled uniformly."""

    def __init__(self) -> None:
        self.episodes: list[tuple[Episode, str]] = []

    def add(self, episode: Episode, bag: Path | None, origin: str) -> None:
        self.episodes.append((episode, origin))

    def state(self) -> dict[str, Any]:
        return {"episodes": [int(episode.info["id"]) for episode, _ in self.episodes]}

    def holds(self, source: str) -> bool:
        return bool(self.episodes)

    def sample(self, source: str, size: int, length: int, generator: np.random.Generator) -> dict[str, np.ndarray]:
        chunks = [self._chunk(length, generator) for _ in range(size)]
        return {name: np.stack([chunk[name] for chunk in chunks]) for name in chunks[0]}

    def _chunk(self, length: int, generator: np.random.Generator) -> dict[str, np.ndarray]:
        episode, _ = self.episodes[generator.integers(len(self.episodes))]
        start = int(generator.integers(len(episode.reward) - length + 1))
        rows = slice(start, start + length)
        chunk = {name: getattr(episode, name)[rows] for name in ("proprio", "action", "reward", "is_terminal")}
        chunk["is_first"] = np.arange(length) == 0
        image = {name.partition("/")[0]: pixels[rows] for name, pixels in episode.images.items()}
        return chunk | {"image": image["agent"]} if image else chunk


class PointWorld:
    """A point that must reach the origin of a plane; 2 actions, 2 proprioceptive values, no camera."""

    def __init__(self, steps: int = 20) -> None:
        self.steps = steps

    def expert(self, images: dict[str, np.ndarray], state: np.ndarray) -> np.ndarray:
        """Return the action of a proportional controller."""
        return np.clip(-4 * state, -1, 1)

    def play(self, act: Any, seed: int, id: int) -> Episode:
        """Run one episode."""
        state = np.random.default_rng(seed).uniform(-1, 1, 2).astype(np.float32)
        states: list[np.ndarray] = [state]
        actions, rewards = [np.zeros(2, np.float32)], [0.0]
        for _ in range(self.steps):
            action = np.asarray(act({}, state), np.float32)
            state = (state + 0.2 * action).astype(np.float32)
            states.append(state)
            actions.append(action)
            rewards.append(float(np.abs(state).max() < 0.1))
        reward = np.asarray(rewards, np.float32)
        return Episode(
            images={},
            proprio=np.stack(states),
            action=np.stack(actions),
            reward=reward,
            success=reward > 0,
            is_terminal=np.zeros(len(reward), bool),
            stamps=np.arange(len(reward), dtype=np.int64) * 100_000_000,
            info={"id": id},
        )


SPACES = Spaces(image=None, proprio=2, action=2)


def filled_store(episodes: int = 3) -> MemoryStore:
    """Return a store with demonstrations of the point world."""
    store, world = MemoryStore(), PointWorld()
    for index in range(episodes):
        store.add(world.play(world.expert, index, 2_000_000 + index), None, "offline")
    return store


def play_with(session: Session) -> Any:
    """Return a player of point-world episodes with the session's agent."""

    def play(asked: RunEpisode) -> tuple[Episode, list[float]]:
        player = Player(session.agent, SPACES.action, asked.seed, sample=asked.sample)
        return PointWorld().play(player, asked.seed, asked.id), player.uncertainty

    return play
