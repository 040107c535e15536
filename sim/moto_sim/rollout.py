"""Runs episodes of a world directly, without ROS: for benchmarks, tests and tuning."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from moto_ros.contract.stamps import FIRST_STAMP
from moto_ros.data.episode import Episode
from moto_ros.data.records import HUMAN, UNKNOWN_SOURCE
from moto_sim.scripted_help import ScriptedHelp
from moto_sim.snapshot import Snapshot, proprio
from moto_sim.world import World

Act = Callable[[dict[str, np.ndarray], np.ndarray], np.ndarray]
"""A policy: images by camera and proprioception (P,) -> action (A,)."""


def add_noise(action: np.ndarray, std: float, generator: np.random.Generator) -> np.ndarray:
    """Return `action` plus N(0, std) in each entry, clipped to [-1, 1], float32; one draw even where std is 0."""
    noise = std * generator.standard_normal(action.shape)
    return np.clip(action + noise, -1.0, 1.0).astype(np.float32)


@dataclass(frozen=True)
class NoisyExpert:
    """The scripted expert of a world, with noise N(0, `std`) from `generator` added to each entry of its actions."""

    std: float
    generator: np.random.Generator

    def begin(self, world: World, seed: int) -> Act:
        """Return the policy for the one episode that begins with the world just reset to `seed`."""
        expert = world.expert(seed)
        return lambda images, state: add_noise(expert.action(), self.std, self.generator)


def collect(
    world: World,
    policy: Act | NoisyExpert,
    steps: int,
    seed: int,
    cameras: Sequence[str] = ("agent",),
    fields: Sequence[str] = (),
    stop_on_success: bool = False,
    success_hold: int = 1,
    help: ScriptedHelp | None = None,
) -> Episode:
    """Run one episode of at most `steps` actions from `seed`; proprioception is the named `fields`.

    With `stop_on_success` it ends, terminal, once success has held for `success_hold` steps in a row. `help` may take
    over, which the episode's `source` says.
    """
    rows = _Rows(world, cameras, fields)
    snapshot = world.reset(seed)
    rows.add(snapshot, np.zeros(world.action_size, np.float32))
    act = policy.begin(world, seed) if isinstance(policy, NoisyExpert) else policy
    held = 0
    for _ in range(steps):
        action, helping = act(*rows.last()), None if help is None else help.action(snapshot)
        action = np.clip(np.asarray(action if helping is None else helping, np.float32), -1.0, 1.0)
        snapshot = world.step(action)
        rows.add(snapshot, action, by_person=helping is not None)
        held = held + 1 if snapshot.success else 0
        if stop_on_success and held >= success_hold:
            break
    solved = stop_on_success and held >= success_hold
    return rows.episode({"seed": seed, "source": "rollout"}, ended_by_success=solved)


class _Rows:
    """Collects the rows of an episode."""

    def __init__(self, world: World, cameras: Sequence[str], fields: Sequence[str]) -> None:
        """Start empty."""
        self._world, self._fields = world, tuple(fields)
        self._images: dict[str, list[np.ndarray]] = {camera: [] for camera in cameras}
        self._proprio: list[np.ndarray] = []
        self._action: list[np.ndarray] = []
        self._outcome: list[tuple[float, bool]] = []
        self._source: list[int] = []

    def add(self, snapshot: Snapshot, action: np.ndarray, *, by_person: bool = False) -> None:
        """Append an observation and the action that led to it; the first row carries no reward."""
        first = not self._action
        for camera, frames in self._images.items():
            frames.append(self._world.render(camera))
        self._proprio.append(proprio(snapshot, self._fields))
        self._action.append(action)
        self._source.append(HUMAN if by_person else UNKNOWN_SOURCE)
        self._outcome.append((0.0, False) if first else (snapshot.reward, snapshot.success))

    def last(self) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Return the newest images and proprioception."""
        return {camera: frames[-1] for camera, frames in self._images.items()}, self._proprio[-1]

    def episode(self, info: dict[str, str | int | float | bool], *, ended_by_success: bool) -> Episode:
        """Stack everything into an Episode, whose last row is terminal where success ended it."""
        terminal = np.zeros(len(self._action), bool)
        terminal[-1] = ended_by_success
        reward, success = zip(*self._outcome, strict=True)
        stamps = FIRST_STAMP + np.arange(len(reward)) * round(1e9 * self._world.control_period)
        return Episode(
            images={camera: np.stack(frames) for camera, frames in self._images.items()},
            proprio=np.stack(self._proprio),
            action=np.stack(self._action),
            reward=np.asarray(reward, np.float32),
            success=np.asarray(success, bool),
            is_terminal=terminal,
            stamps=stamps.astype(np.int64),
            info=info,
            source=np.asarray(self._source, np.uint8),
        )
