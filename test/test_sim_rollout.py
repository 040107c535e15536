"""Episodes of any world, without MuJoCo: the expert begins after the reset, and bags hold the world's numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("moto_sim", reason="the simulator's package is not built")

from moto_sim.contract_bag import Played, write_episode
from moto_sim.plant import Plant
from moto_sim.rollout import NoisyExpert, collect
from moto_sim.settings import SimSettings
from moto_sim.snapshot import Snapshot
from moto_sim.world import Script, World

from moto_ros.camera.interface import Intrinsics
from moto_ros.data.bag_reader import read_episodes
from moto_ros.data.layout import StepLayout

pytestmark = pytest.mark.sim

FIELDS = ("ee_position", "joint_position", "gripper_width")


def snapshot(rng: np.random.Generator, dtype: type) -> Snapshot:
    """Return a state of random numbers of this dtype."""
    sizes = (2, 2, 2, 3, 4, 3, 3)
    vectors = [rng.standard_normal(size).astype(dtype) for size in sizes]
    return Snapshot(*vectors, gripper_width=dtype(0.25), wrench=rng.standard_normal(6).astype(dtype), reward=dtype(0.5))


class Counter(World):
    """A world whose expert says which episode it is of, and how many of its steps are done."""

    action_size, control_period, joint_names, cameras = 2, 0.1, ("a", "b"), ()

    def __init__(self, task: str, image_size: tuple[int, int]) -> None:
        self.seed, self.steps = -1, 0

    @staticmethod
    def tasks() -> tuple[str, ...]:
        return ("only",)

    def reset(self, seed: int) -> Snapshot:
        self.seed, self.steps = seed, 0
        return snapshot(np.random.default_rng(seed), float)

    def step(self, action: np.ndarray) -> Snapshot:
        self.steps += 1
        return snapshot(np.random.default_rng(self.steps), float)

    def expert(self, seed: int) -> Script:
        return Counting(self, seed)

    def render(self, camera: str) -> np.ndarray:
        raise NotImplementedError

    def camera_intrinsics(self, camera: str) -> Intrinsics:
        raise NotImplementedError

    def close(self) -> None:
        """Nothing is held."""


class Counting:
    """An expert that is of the episode that has just begun, as the interface promises it."""

    def __init__(self, world: Counter, seed: int) -> None:
        assert (world.seed, world.steps) == (seed, 0), "made before the world was reset"
        self._done = 0

    def action(self) -> np.ndarray:
        self._done += 1
        return np.full(2, self._done / 10, np.float32)


def test_every_episode_of_an_expert_is_that_of_a_new_one() -> None:
    """Breaks the second episode of the kitchen: its expert had done all its moves in the first, and stood still."""
    world, policy = Counter("only", (8, 8)), NoisyExpert(0.0, np.random.default_rng(0))
    for seed in (3, 4):
        episode = collect(world, policy, steps=3, seed=seed, cameras=(), fields=FIELDS)
        np.testing.assert_allclose(episode.action[:, 0], [0.0, 0.1, 0.2, 0.3], rtol=1e-6)


@pytest.mark.parametrize("clock", [None, lambda: 5], ids=["lockstep", "realtime"])
def test_the_expert_of_the_simulator_is_made_after_a_reset(clock: object) -> None:
    """Breaks a world of one's own, whose expert may look at what the first reset makes."""
    settings = SimSettings(world=f"{__name__}:Counter/only", cameras=(), expert=True)
    plant = Plant(settings, clock)  # type: ignore[arg-type]
    seen = plant.reset(7, 0)
    assert seen.expert is not None
    assert seen.expert[0] == np.float32(0.1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_bag_holds_the_numbers_of_a_world_of_any_precision(dtype: type, tmp_path: Path) -> None:
    """Breaks demonstrations of a world of one's own: arrays of float32 ended in a traceback of the writer."""
    rng, folder = np.random.default_rng(0), tmp_path / "episode_2000000"
    snapshots = [snapshot(rng, dtype) for _ in range(4)]
    actions = [rng.uniform(-1, 1, 2).astype(dtype) for _ in range(3)]
    write_episode(folder, Played(("a", "b"), 0.1, snapshots, {}, actions), 2_000_000)
    layout = StepLayout(cameras=(), proprio=FIELDS, joint_count=2, action_size=2)
    reading = read_episodes(folder, layout)
    assert reading.problems == []
    (episode,) = reading.episodes
    expected = [[*one.ee_position, *one.joint_position, one.gripper_width] for one in snapshots]
    np.testing.assert_allclose(episode.proprio, expected, rtol=1e-6)
    np.testing.assert_allclose(episode.action[1:], actions, rtol=1e-6)
    np.testing.assert_allclose(episode.reward, [0.0, 0.5, 0.5, 0.5])
