"""Worlds by name, and episodes straight from a world."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("metaworld", reason="Meta-World is not installed")

from moto_sim.rollout import NoisyExpert, collect
from moto_sim.snapshot import proprio
from moto_sim.world import World, image_shape, make_world

from moto_ros.contract.stamps import FIRST_STAMP
from moto_ros.data.episode import Episode
from moto_ros.data.proprio_fields import PROPRIO_FIELDS
from moto_ros.errors import MotoError

pytestmark = [pytest.mark.sim, pytest.mark.filterwarnings("ignore:Constant")]

FIELDS = ("ee_position", "gripper_width")


@pytest.fixture(scope="module")
def world() -> World:
    """A world; every test resets it."""
    return make_world("metaworld/window-open-v3", 32)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("metaworld/window-open-v2", "window-open-v3"),
        ("metaworld/drawr-open-v3", "drawer-open-v3"),
        ("metaword/window-open-v3", "metaworld, kitchen"),
        ("window-open-v3", "'<family>/<task>'"),
        ("kitchen/complete", "mixed, partial"),
    ],
)
def test_a_world_that_does_not_exist_is_answered_with_those_nearest_to_it(name: str, says: str) -> None:
    with pytest.raises(MotoError, match=says) as caught:
        make_world(name)
    assert "\n" not in str(caught.value)


def test_an_unknown_option_is_answered_with_those_that_exist() -> None:
    with pytest.raises(MotoError, match=r"'hand_nois'.*hand_noise"):
        make_world("metaworld/window-open-v3", hand_nois=0.0)
    with pytest.raises(MotoError, match=r"'hand_noise' of world 'kitchen/mixed' is unknown.*none"):
        make_world("kitchen/mixed", hand_noise=0.0)


@pytest.mark.parametrize("size", [0, 7, 4096, (64,), (64, 64, 3), (64, 1)])
def test_an_image_size_that_cannot_be_is_refused(size: int | tuple[int, ...]) -> None:
    with pytest.raises(MotoError, match="image_size"):
        image_shape(size)  # type: ignore[arg-type]


def test_a_simulator_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks a robot PC, where no simulator is: a traceback from inside an import."""
    monkeypatch.setitem(__import__("sys").modules, "moto_sim.meta_world", None)
    with pytest.raises(MotoError, match=r"importing moto_sim\.meta_world failed"):
        make_world("metaworld/window-open-v3")


def test_an_episode_has_one_more_observation_than_actions_and_a_row_zero_of_zeros(world: World) -> None:
    actions = np.random.default_rng(0).uniform(-1, 1, (6, 4)).astype(np.float32)
    drawn = iter(actions)
    episode = collect(world, lambda images, state: next(drawn), steps=6, seed=3, fields=FIELDS)
    assert len(episode) == 6
    assert episode.images["agent"].shape == (7, 32, 32, 3)
    assert episode.proprio.shape == (7, 4)
    assert not episode.action[0].any()
    assert (episode.reward[0], episode.success[0]) == (0.0, False)
    assert np.array_equal(episode.action[1:], actions)


def test_row_t_of_action_and_reward_led_to_observation_t(world: World) -> None:
    """Breaks every model of the world: an action one row early or late predicts nothing."""
    episode = collect(world, NoisyExpert(0.1, np.random.default_rng(0)), steps=20, seed=5, fields=FIELDS)
    states, frames = [proprio(world.reset(5), FIELDS)], [world.render("agent")]
    rewards = [0.0]
    for action in episode.action[1:]:
        snapshot = world.step(action)
        states.append(proprio(snapshot, FIELDS))
        frames.append(world.render("agent"))
        rewards.append(snapshot.reward)
    assert np.array_equal(episode.proprio, np.stack(states))
    assert np.array_equal(episode.images["agent"], np.stack(frames))
    assert episode.reward.tolist() == rewards


def test_stamps_advance_by_the_control_period_and_no_episode_ends_in_a_terminal(world: World) -> None:
    episode = collect(world, lambda images, state: np.zeros(4, np.float32), steps=4, seed=0)
    assert episode.stamps[0] == FIRST_STAMP
    assert set(np.diff(episode.stamps)) == {round(1e9 * world.control_period)}
    assert not episode.is_terminal.any()
    assert episode.info["seed"] == 0


def test_an_expert_episode_succeeds_and_can_end_at_its_first_success(world: World) -> None:
    whole = collect(world, NoisyExpert(0.0, np.random.default_rng(0)), steps=120, seed=0, cameras=())
    short = collect(
        world, NoisyExpert(0.0, np.random.default_rng(0)), steps=120, seed=0, cameras=(), stop_on_success=True
    )
    assert whole.succeeded
    assert len(short) == int(np.flatnonzero(whole.success)[0])
    assert short.success.tolist() == [False] * len(short) + [True]
    assert np.array_equal(whole.proprio[: len(short) + 1], short.proprio)
    assert short.is_terminal.tolist() == [False] * len(short) + [True]
    assert not whole.is_terminal.any()


def test_an_episode_that_must_hold_success_ends_once_it_has_held(world: World) -> None:
    """A task that must hold success would be over where it is first touched; one cut by the limit is no end."""

    def held(steps: int, hold: int) -> Episode:
        expert = NoisyExpert(0.0, np.random.default_rng(0))
        return collect(world, expert, steps, 0, (), stop_on_success=True, success_hold=hold)

    first = len(held(120, 1))
    three = held(120, 3)
    assert three.success.tolist() == [False] * first + [True] * 3
    assert three.is_terminal.tolist() == [False] * (first + 2) + [True]
    cut = held(first + 1, 3)
    assert cut.succeeded
    assert not cut.is_terminal.any()


def test_a_policy_gets_the_newest_observation_and_out_of_range_answers_are_stored_as_executed(world: World) -> None:
    seen: list[np.ndarray] = []

    def act(images: dict[str, np.ndarray], state: np.ndarray) -> np.ndarray:
        seen.append(state)
        return np.full(4, 3.0)

    episode = collect(world, act, steps=3, seed=1, cameras=(), fields=FIELDS)
    assert np.array_equal(np.stack(seen), episode.proprio[:-1])
    assert episode.action[1:].max() == 1.0


def test_proprioception_is_the_named_fields_in_the_given_order(world: World) -> None:
    snapshot = world.reset(0)
    vector = proprio(snapshot, ("gripper_width", "joint_position"))
    assert vector.dtype == np.float32
    np.testing.assert_allclose(vector, [snapshot.gripper_width, *snapshot.joint_position], rtol=1e-6)
    assert proprio(snapshot, tuple(PROPRIO_FIELDS)).shape == (3 + 4 + 3 + 3 + 1 + 7 + 7 + 7 + 6 + 3 + 3,)
    with pytest.raises(MotoError, match="'joint_positions' is unknown"):
        proprio(snapshot, ("joint_positions",))


def test_a_world_without_a_scripted_expert_says_so(world: World) -> None:
    """Breaks a world of one's own: recording by script would end in a traceback."""
    with pytest.raises(MotoError, match="has no scripted expert"):
        World.expert(world, 0)
