"""Makes the demonstrations of a suite, once for all runs that learn from them, as bags."""

from __future__ import annotations

import fcntl
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from moto_ros.data.bag_files import METADATA
from moto_ros.data.recover import remove_bag
from moto_ros.errors import MotoError
from moto_ros.experiments.suite import TaskSettings
from moto_ros.training.run_schedule import DEMONSTRATION_IDS, episode_seed
from moto_sim.benchmark.replay_collector import ReplayCollector
from moto_sim.contract_bag import POLICY, SCRIPT, Played, write_episode
from moto_sim.rollout import add_noise
from moto_sim.snapshot import Snapshot
from moto_sim.world import World

MAX_FAILURES = 30
"""Failed attempts in a row after which making demonstrations is given up."""

MEDIUM_NOISE = 2.0
"""Maximum noise of a `medium` set, as a multiple of the task's; each episode draws its own between 0 and this."""

WARM_UP_EPISODES, FIRST_WARM_UP = 40, 1_000_000
"""Warm-up episodes of the learner of a `medium_replay` set, and the number of the first one's attempt."""

NUMBER = re.compile(r"episode_(\d+)")


@dataclass(frozen=True)
class Recipe:
    """Which demonstrations are made: how many, of which kind, from which seed."""

    task: TaskSettings
    count: int
    kind: str
    seed: int
    only_successful: bool

    def noise(self, generator: np.random.Generator) -> float:
        """Return the standard deviation of the noise on the actions of one demonstration."""
        own = self.task.expert_noise
        return float(generator.uniform(0.0, MEDIUM_NOISE * own)) if self.kind == "medium" else own


def demonstrations(folder: Path, recipe: Recipe, make_world: Callable[[], World]) -> list[Path]:
    """Return the first `count` bags of `folder`; missing ones are made, by one process at a time."""
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        found = _closed(folder)
        if len(found) < recipe.count:
            _make(folder, recipe, make_world, found)
        return _closed(folder)[: recipe.count]


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with (folder / ".lock").open("a", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _closed(folder: Path) -> list[Path]:
    return sorted(path.parent for path in folder.glob(f"episode_*/{METADATA}"))


def _make(folder: Path, recipe: Recipe, make_world: Callable[[], World], found: list[Path]) -> None:
    """Make the missing bags, from where an interrupted process stopped; those of a learner are all made again."""
    learns = recipe.kind == "medium_replay"
    found = [] if learns else found
    for torn in folder.glob("episode_*"):
        if torn not in found:
            remove_bag(torn)
    attempt = max((_number(path) + 1 for path in found), default=0)
    kept, failures = len(found), 0
    world = make_world()
    learner = ReplayCollector(recipe.task, recipe.seed, _warm_up_episodes(world, recipe)) if learns else None
    while kept < recipe.count:
        played = attempt_of(world, recipe, attempt, learner)
        if played.succeeded or not recipe.only_successful:
            number = DEMONSTRATION_IDS + attempt
            write_episode(folder / f"episode_{number:07d}", played, number, {"world": recipe.task.world})
            kept, failures = kept + 1, 0
        else:
            failures += 1
        if failures > MAX_FAILURES:
            raise MotoError(
                f"{recipe.task.world}: the scripted expert failed {failures} times in a row within "
                f"{recipe.task.max_steps} steps; lower task.expert_noise, or raise task.max_steps"
            )
        attempt += 1
    world.close()


def _warm_up_episodes(world: World, recipe: Recipe) -> Iterator[Played]:
    """Yield the warm-up episodes of a learner: those of an expert with little to much noise."""
    poor, unseen = replace(recipe, kind="medium"), replace(recipe.task, cameras=())
    for number in range(WARM_UP_EPISODES):
        yield attempt_of(world, replace(poor, task=unseen), FIRST_WARM_UP + number)


def _number(path: Path) -> int:
    match = NUMBER.search(path.name)
    return int(match[1]) - DEMONSTRATION_IDS if match else -1


def attempt_of(world: World, recipe: Recipe, attempt: int, learner: ReplayCollector | None = None) -> Played:
    """Run one episode of the scripted expert with noise, or of an agent, which then learns from it."""
    seed = episode_seed(recipe.seed, "demonstration", attempt)
    snapshot = world.reset(seed)
    act = _noisy_expert(world, recipe, seed) if learner is None else learner.begin(seed)
    frames = {camera: [world.render(camera)] for camera in recipe.task.cameras}
    source = SCRIPT if learner is None else POLICY
    played = Played(tuple(world.joint_names), world.control_period, [snapshot], frames, [], source)
    for _ in range(recipe.task.max_steps):
        action = act(played.snapshots[-1])
        played.actions.append(action)
        played.snapshots.append(world.step(action))
        for camera, seen in frames.items():
            seen.append(world.render(camera))
    if learner is not None:
        learner.learn(played)
    return played


def _noisy_expert(world: World, recipe: Recipe, seed: int) -> Callable[[Snapshot], np.ndarray]:
    generator, expert = np.random.default_rng([seed, 1]), world.expert(seed)
    noise = recipe.noise(generator)
    return lambda _: add_noise(expert.action(), noise, generator)
