"""Reach, push and pick as FOWM's sets are shaped: what a bag of them holds, and that one seed makes one set."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("metaworld", reason="Meta-World is not installed")

from moto_sim.benchmark.demonstrations import Recipe, demonstrations
from moto_sim.snapshot import proprio
from moto_sim.world import make_world

from moto_ros.config import build, read_parameters, shipped, specs
from moto_ros.data.bag_reader import read_episodes
from moto_ros.data.episode import Episode
from moto_ros.data.layout import TopicMap
from moto_ros.errors import MotoError
from moto_ros.experiments.suite import TaskSettings
from moto_ros.training.run_schedule import episode_seed

pytestmark = [pytest.mark.sim, pytest.mark.filterwarnings("ignore:Constant")]

TASKS = ("reach", "push", "pick")


def task(name: str) -> TaskSettings:
    """Return a shipped task."""
    values = read_parameters(shipped("tasks", name))
    return build(TaskSettings, {key: value for key, value in values.items() if key in specs(TaskSettings)}, name)


def made(folder: Path, settings: TaskSettings, kind: str, count: int) -> list[Episode]:
    """Return the episodes of a set, made as bags and read back."""
    world = partial(make_world, settings.world, settings.image_size, **settings.options)
    bags = demonstrations(folder, Recipe(settings, count, kind, 0, False), world)
    return [episode for bag in bags for episode in read_episodes(bag, settings, TopicMap()).episodes]


@pytest.mark.parametrize("name", TASKS)
def test_a_set_has_the_papers_shape_and_its_experts_differ(name: str, tmp_path: Path) -> None:
    """Breaks the comparison with the paper: episodes of another length, images of another size, one kind of expert."""
    episodes = made(tmp_path, task(name), "medium", 3)
    assert [len(episode) for episode in episodes] == [25] * 3
    assert next(iter(episodes[0].images.values())).shape == (26, 84, 84, 3)
    assert episodes[0].proprio.shape == (26, 4)
    assert set(np.concatenate([episode.reward for episode in episodes]).tolist()) <= {0.0, 1.0}
    roughness = [float(np.abs(np.diff(episode.action[1:], axis=0)).mean()) for episode in episodes]
    assert max(roughness) > 1.3 * min(roughness)


def test_a_bag_tells_object_and_goal_as_the_simulator_does(tmp_path: Path) -> None:
    """Breaks learning from the state: positions in another frame, or of another moment, than the policy sees live."""
    settings = task("push_state")
    (episode,) = made(tmp_path, settings, "script", 1)
    world = make_world(settings.world, 32, **settings.options)
    snapshot = world.reset(episode_seed(0, "demonstration", 0))
    np.testing.assert_allclose(episode.proprio[0], proprio(snapshot, settings.proprio), atol=1e-6)
    for row in range(1, 6):
        snapshot = world.step(episode.action[row])
        np.testing.assert_allclose(episode.proprio[row], proprio(snapshot, settings.proprio), atol=1e-6)
    assert np.ptp(episode.proprio[:, 7:], axis=0).max() == 0.0  # the goal stands still


def test_object_and_goal_are_told_in_the_base_frame_as_the_hand_is() -> None:
    """Breaks any controller on tracked objects: hand and object would be measured in different frames."""
    settings = task("push_state")
    world = make_world(settings.world, 32, **settings.options)
    snapshot = world.reset(3)
    base = world._data.xpos[world._model.body("base").id]
    np.testing.assert_allclose(snapshot.object_position + base, world.expert_observation[4:7], atol=1e-3)
    np.testing.assert_allclose(snapshot.goal_position + base, world.expert_observation[36:39], atol=1e-3)


def test_dense_reward_is_the_tasks_own_between_nothing_and_one(tmp_path: Path) -> None:
    """Breaks learning with shaped rewards: sparse ones under another name, or another scale in each task."""
    dense = made(tmp_path / "dense", replace(task("reach_state"), reward="dense"), "script", 2)
    sparse = made(tmp_path / "sparse", task("reach_state"), "script", 2)
    for shaped, plain in zip(dense, sparse, strict=True):
        assert np.array_equal(shaped.proprio, plain.proprio)
        assert np.array_equal(shaped.success, plain.success)
        assert len(np.unique(shaped.reward[1:])) > 10
        assert 0.0 <= shaped.reward.min() < shaped.reward.max() <= 1.0


def test_a_learners_set_is_its_own_replay_and_the_same_again_for_one_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks repeatability: two machines would learn from different sets of the same name."""
    monkeypatch.setattr("moto_sim.benchmark.replay_collector.FIRST_UPDATES", 5)
    monkeypatch.setattr("moto_sim.benchmark.demonstrations.WARM_UP_EPISODES", 3)
    first = made(tmp_path / "first", task("reach_state"), "medium_replay", 2)
    again = made(tmp_path / "again", task("reach_state"), "medium_replay", 2)
    other = made(tmp_path / "other", task("reach_state"), "medium", 2)
    assert len(first) == 2
    for one, two, three in zip(first, again, other, strict=True):
        assert np.array_equal(one.action, two.action)
        assert not np.array_equal(one.action, three.action)
    assert {episode.source[1] for episode in first} == {0}


def test_tracking_that_a_world_does_not_have_is_said() -> None:
    """Breaks a user's hour: a policy would learn from zeros."""
    world = make_world("kitchen/mixed", 32)
    with pytest.raises(MotoError, match="'object_position': this world has none"):
        proprio(world.reset(0), ("object_position",))


def test_a_world_without_the_asked_option_says_so() -> None:
    """Breaks a comparison: a sparse run under the name of a dense one."""
    with pytest.raises(MotoError, match="option 'reward' of world 'kitchen/mixed' is unknown"):
        make_world("kitchen/mixed", 32, reward="dense")
