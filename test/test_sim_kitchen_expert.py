"""The kitchen's scripted expert: it completes what it says, and its demonstrations hold what the experiments assume."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from gymnasium_robotics.envs.franka_kitchen.kitchen_env import OBS_ELEMENT_GOALS
from moto_sim.benchmark.demonstrations import Recipe, demonstrations
from moto_sim.kitchen import ELEMENTS, THRESHOLD, Kitchen
from moto_sim.kitchen_expert import MOVES, KitchenExpert, drawn_elements, orders
from moto_sim.rollout import add_noise
from moto_sim.world import World, make_world

from moto_ros.config import build
from moto_ros.data.bag_reader import read_episodes
from moto_ros.data.prior import reward_prefix
from moto_ros.experiments.suite import TaskSettings

pytestmark = pytest.mark.sim

STEPS = 280


@pytest.fixture(scope="module")
def kitchen() -> Iterator[Kitchen]:
    world = make_world("kitchen/partial", 16)
    assert isinstance(world, Kitchen)
    yield world
    world.close()


@pytest.mark.parametrize("element", MOVES)
def test_each_element_is_completed_from_the_start(kitchen: Kitchen, element: str) -> None:
    """Breaks the demonstrations: an element would never be seen complete."""
    kitchen.reset(0)
    expert = KitchenExpert(kitchen, (element,))
    for _ in range(100):
        kitchen.step(expert.action())
    assert kitchen.distance(element) < THRESHOLD


def test_every_element_of_the_kitchen_can_be_demonstrated() -> None:
    """Breaks the sets, or the distractors in the data of the paper: an element without a script."""
    assert set(MOVES) == set(OBS_ELEMENT_GOALS)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_demonstration_completes_its_four_elements_in_time_and_they_stay_so(kitchen: Kitchen, seed: int) -> None:
    """Breaks the kitchen suite: the demonstrations would be no experts, or undo what they did."""
    kitchen.reset(seed)
    expert, noise = kitchen.expert(seed), np.random.default_rng(seed)
    for _ in range(STEPS):
        kitchen.step(add_noise(expert.action(), 0.05, noise))
    distances = {element: round(kitchen.distance(element), 2) for element in drawn_elements(seed)}
    assert max(distances.values()) < THRESHOLD, distances


def test_actions_are_joint_velocities_within_their_limits_also_after_the_last_element(kitchen: Kitchen) -> None:
    """Breaks recording: clipped actions would not be what the script meant."""
    kitchen.reset(0)
    expert = KitchenExpert(kitchen, ())
    actions = [expert.action() for _ in range(3)]
    assert all(action.shape == (9,) and np.abs(action).max() <= 1.0 for action in actions)


def test_no_demonstration_holds_the_full_set_that_must_be_composed() -> None:
    """Breaks the experiment: `partial` would be imitated instead of composed from parts."""
    assert {drawn_elements(seed) for seed in range(400)} == set(orders())
    assert all(len(set(order)) == 4 for order in orders())
    assert not any(set(ELEMENTS["partial"]) == set(order) for order in orders())
    assert any(set(ELEMENTS["mixed"]) == set(order) for order in orders())


def test_demonstrations_are_bags_that_the_one_assembler_reads(tmp_path: Path) -> None:
    """Breaks "from bags": what the benchmark learns from could not be recorded, looked at or replayed."""
    values = {
        "world": "kitchen/mixed",
        "action_size": 9,
        "image_size": 16,
        "max_steps": 60,
        "proprio": ("joint_position",),
    }
    task = build(TaskSettings, values, "test")
    made: list[World] = []

    def make() -> World:
        made.append(make_world("kitchen/mixed", 16))
        return made[-1]

    recipe = Recipe(task, 1, "script", 0, only_successful=False)
    bags = demonstrations(tmp_path, recipe, make)
    reading = read_episodes(bags[0], task)
    (episode,) = reading.episodes
    assert not reading.problems
    assert episode.images["agent"].shape == (61, 16, 16, 3)
    assert episode.proprio.shape == (61, 7)
    assert 1.0 <= episode.reward.max() <= 4.0
    assert reward_prefix({"reward": episode.reward}) > 0
    assert demonstrations(tmp_path, recipe, make) == bags
    assert len(made) == 1
