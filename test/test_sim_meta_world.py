"""Meta-World under MOTO's protocol: what an episode starts from, what moves it, what it pays."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("metaworld", reason="Meta-World is not installed")

import mujoco
from metaworld.policies import ENV_POLICY_MAP
from moto_sim.meta_world import HAND_INIT, MetaWorld
from moto_sim.rollout import add_noise
from moto_sim.snapshot import Snapshot, proprio
from moto_sim.world import make_world

from moto_ros.data.proprio_fields import PROPRIO_FIELDS
from moto_ros.errors import MotoError

pytestmark = [pytest.mark.sim, pytest.mark.filterwarnings("ignore:Constant")]

STILL = np.zeros(4, np.float32)
SAMPLE = ("assembly-v3", "bin-picking-v3", "drawer-open-v3", "hammer-v3", "plate-slide-v3", "window-open-v3")
"""Tasks of MOTO's ten with different kinds of objects."""

MOTO_TASKS = {
    *("assembly-v3", "bin-picking-v3", "box-close-v3", "coffee-push-v3", "disassemble-v3", "door-open-v3"),
    *("drawer-open-v3", "hammer-v3", "plate-slide-v3", "window-open-v3"),
}


@cache
def kept(task: str) -> MetaWorld:
    """Return the world of `task`, made once: tests share it, so each also proves that none leaves a trace."""
    return make_world(f"metaworld/{task}")


@pytest.fixture(scope="module", autouse=True)
def closing() -> Iterator[None]:
    """Free the worlds at the end."""
    yield
    for task in SAMPLE:
        kept(task).close()
    kept.cache_clear()


def everything(world: MetaWorld, snapshot: Snapshot) -> np.ndarray:
    """Return robot state, simulator state and reward as one vector."""
    state = (proprio(snapshot, tuple(PROPRIO_FIELDS)), world.expert_observation, world._data.qpos, [snapshot.reward])
    return np.concatenate([np.asarray(part, np.float64) for part in state])


def trajectory(world: MetaWorld, seed: int, steps: int = 15) -> np.ndarray:
    """Return (steps + 1, n): all that can be known, under random actions that `seed` draws."""
    actions = np.random.default_rng(seed).uniform(-1, 1, (steps, 4)).astype(np.float32)
    rows = [everything(world, world.reset(seed))]
    rows += [everything(world, world.step(action)) for action in actions]
    return np.stack(rows)


def test_all_fifty_tasks_are_there_by_name_motos_ten_among_them_and_each_has_an_expert() -> None:
    tasks = set(MetaWorld.tasks())
    assert len(tasks) == 50
    assert tasks == set(ENV_POLICY_MAP)
    assert tasks >= MOTO_TASKS


@pytest.mark.parametrize("task", SAMPLE)
def test_one_seed_gives_one_trajectory_to_the_bit_whatever_ran_before(task: str) -> None:
    """Breaks every comparison of two runs: what an earlier episode left behind would decide the next one's start."""
    first = trajectory(kept(task), 5)
    other = trajectory(kept(task), 6)
    assert np.array_equal(first, trajectory(kept(task), 5))
    assert not np.array_equal(first[0], other[0])


def test_one_seed_gives_one_trajectory_in_another_process_too() -> None:
    """Breaks a resumed run: hash seeds and import order differ from process to process."""
    script = (
        f"import sys; sys.path[:0] = {[str(Path(__file__).parent), *sys.path]}; import test_sim_meta_world as here; "
        "print(here.fingerprint('drawer-open-v3'))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] == fingerprint("drawer-open-v3")


def fingerprint(task: str) -> str:
    """Return a check sum of one trajectory."""
    return hashlib.sha256(trajectory(kept(task), 11).tobytes()).hexdigest()


@pytest.mark.parametrize("task", SAMPLE)
def test_seeds_move_hand_and_objects(task: str) -> None:
    """Breaks generalisation: every episode would start alike, and a policy that memorises would look good."""
    world, hands, objects = kept(task), [], []
    for seed in range(4):
        hands.append(world.reset(seed).ee_position)
        objects.append(world.expert_observation[4:])
    assert len(np.unique(np.round(hands, 6), axis=0)) == 4
    assert len(np.unique(np.round(objects, 6), axis=0)) == 4


def test_the_hand_starts_around_motos_point_with_two_centimetres_of_spread() -> None:
    world = kept("window-open-v3")
    drawn = []
    for seed in range(40):
        world.reset(seed)
        drawn.append(world._env.hand_init_pos)
    np.testing.assert_allclose(np.mean(drawn, axis=0), HAND_INIT, atol=0.01)
    assert 0.013 < np.std(drawn, axis=0).mean() < 0.027


def test_the_hand_stands_where_it_was_drawn_and_at_rest_when_an_episode_begins() -> None:
    """Breaks the first seconds of each episode: the arm would still swing into its start pose."""
    world = kept("drawer-open-v3")
    for seed in range(4):
        start = world.reset(seed)
        np.testing.assert_allclose(world._data.body("hand").xpos, world._env.hand_init_pos, atol=0.02)
        assert float(np.linalg.norm(start.ee_linear_velocity)) < 0.05


def test_hand_noise_of_zero_and_another_mean_are_options() -> None:
    world = make_world("metaworld/reach-v3", hand_noise=0.0, hand_init=(0.0, 0.6, 0.2))
    for seed in range(2):
        world.reset(seed)
        np.testing.assert_allclose(world._env.hand_init_pos, (0.0, 0.6, 0.2))


@pytest.mark.parametrize(("axis", "sign"), [(0, 1), (0, -1), (1, 1), (2, 1), (2, -1)])
def test_an_action_moves_the_hand_along_its_own_axis_of_the_world(axis: int, sign: int) -> None:
    world = kept("window-open-v3")
    world.reset(0)
    start = world._data.body("hand").xpos.copy()
    action = STILL.copy()
    action[axis] = sign
    for _ in range(4):
        world.step(action)
    moved = world._data.body("hand").xpos - start
    assert np.abs(moved).argmax() == axis
    assert sign * moved[axis] > 0.02


def test_the_last_entry_closes_the_gripper_and_the_state_tells_its_width() -> None:
    world, widths = kept("window-open-v3"), []
    world.reset(0)
    for command in (-1.0, 1.0):
        widths.append([world.step(np.array([0, 0, 0, command], np.float32)).gripper_width for _ in range(20)][-1])
    assert 0.0 <= widths[1] < widths[0] - 0.02 < 0.2


def test_an_action_is_repeated_twice_and_the_control_period_says_so() -> None:
    once, twice = (make_world("metaworld/window-open-v3", action_repeat=n, hand_noise=0.0) for n in (1, 2))
    action = np.array([0.5, 0.2, -0.3, 1.0], np.float32)
    once.reset(3), twice.reset(3)
    for _ in range(4):
        single = [once.step(action), once.step(action)][-1]
        double = twice.step(action)
    assert np.array_equal(proprio(single, tuple(PROPRIO_FIELDS)), proprio(double, tuple(PROPRIO_FIELDS)))
    assert twice.control_period == pytest.approx(2 * once.control_period) == pytest.approx(0.025)


def test_an_entry_beyond_one_moves_no_further_than_one() -> None:
    world = kept("window-open-v3")
    ends = []
    for value in (1.0, 7.0):
        world.reset(0)
        ends.append(everything(world, world.step(np.full(4, value, np.float32))))
    assert np.array_equal(*ends)


@pytest.mark.parametrize("action", [np.full(4, np.nan), np.array([0, 0, np.inf, 0]), np.zeros(9)])
def test_a_command_that_is_not_finite_or_not_of_four_numbers_is_refused_in_one_sentence(action: np.ndarray) -> None:
    world = kept("window-open-v3")
    world.reset(0)
    with pytest.raises(MotoError, match="expected 4 finite numbers"):
        world.step(action)


@pytest.mark.parametrize("task", ["window-open-v3", "drawer-open-v3"])
def test_the_expert_solves_the_task_noise_or_not_and_reward_is_one_exactly_while_it_is_solved(task: str) -> None:
    """Breaks recording: without successes there are no demonstrations; without 0/1 no paper's reward."""
    world, generator, solved = kept(task), np.random.default_rng(0), []
    for seed, noise in ((0, 0.0), (1, 0.1)):
        world.reset(seed)
        expert = world.expert(0)
        seen = [world.step(add_noise(expert.action(), noise, generator)) for _ in range(100)]
        assert [one.reward for one in seen] == [float(one.success) for one in seen]
        solved.append(sum(one.reward for one in seen))
    assert min(solved) > 5, solved


def test_standing_still_earns_nothing_and_the_episode_has_no_end_of_its_own() -> None:
    """The episode's owner ends it: more steps than Meta-World's own limit of 500 must not raise."""
    world = kept("drawer-open-v3")
    world.reset(0)
    assert sum(world.step(STILL).reward for _ in range(300)) == 0.0


def test_noise_is_drawn_from_the_given_generator_and_stays_in_range() -> None:
    action = np.array([1.0, -1.0, 0.0, 0.5], np.float32)
    one, same, other = (add_noise(action, 0.3, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)
    assert one.dtype == np.float32
    assert np.abs(one).max() <= 1.0
    assert np.array_equal(add_noise(action, 0.0, np.random.default_rng(1)), action)


def test_the_state_is_a_robots_state_in_its_own_base_frame() -> None:
    """Breaks proprioception: sizes, units and the quaternion's order are what a real driver publishes."""
    world = kept("window-open-v3")
    state = world.reset(0)
    assert len(state.joint_position) == len(state.joint_velocity) == len(state.joint_effort) == 7
    assert len(world.joint_names) == 7
    assert np.linalg.norm(state.ee_quaternion) == pytest.approx(1.0)
    base = world._data.body("base")
    expected = base.xmat.reshape(3, 3).T @ (world._data.body("hand").xpos - base.xpos)
    np.testing.assert_allclose(state.ee_position, expected, atol=1e-9)


def test_end_effector_velocity_is_the_change_of_its_position() -> None:
    world = kept("window-open-v3")
    world.reset(0)
    seen = [world.step(np.array([0.4, 0, 0, 0], np.float32)) for _ in range(8)][-3:]
    change = (seen[2].ee_position - seen[0].ee_position) / (2 * world.control_period)
    assert float(np.linalg.norm(change)) > 0.05
    np.testing.assert_allclose(seen[1].ee_linear_velocity, change, atol=0.2 * float(np.linalg.norm(change)))


def test_a_quaternion_turns_hand_axes_into_base_axes_in_xyzw_order() -> None:
    world = kept("window-open-v3")
    state = world.reset(0)
    base, hand = (world._data.body(name).xmat.reshape(3, 3) for name in ("base", "hand"))
    rotation = np.empty(9)
    mujoco.mju_quat2Mat(rotation, np.roll(state.ee_quaternion, 1))
    np.testing.assert_allclose(rotation.reshape(3, 3), base.T @ hand, atol=1e-6)


def test_pushing_down_on_the_table_is_felt_upwards() -> None:
    """Breaks a contact-aware policy or a reflex: force with the wrong sign or in the wrong frame."""
    world = kept("drawer-open-v3")
    free = world.reset(0).wrench
    for _ in range(40):
        pressed = world.step(np.array([0.0, 0.0, -1.0, 1.0], np.float32))
    assert np.linalg.norm(free[:3]) < 1.0
    up = world._data.body("base").xmat.reshape(3, 3) @ pressed.wrench[:3]
    assert up[2] > 1.0


def red(frame: np.ndarray) -> int:
    """Count the pixels that are as red as reach's goal."""
    return int(((frame[..., 0] > 150) & (frame[..., 1:].max(-1) < 60)).sum())


def test_a_goal_can_be_shown_in_the_size_that_counts_as_reached() -> None:
    """Breaks learning from images: a dot of three pixels was found by no agent."""
    shown = []
    for radius in (0.0, 0.05):
        world = MetaWorld("reach-v3", (64, 64), goal_radius=radius)
        for _ in range(2):  # the second reset undoes what the first episode left behind
            world.reset(3)
        shown.append(red(world.render("table")))
        world.close()
    assert shown[1] > 4 * shown[0], shown


def test_a_goal_that_a_task_does_not_show_cannot_be_made_larger() -> None:
    with pytest.raises(MotoError, match="assembly-v3 shows no goal, expected 0"):
        MetaWorld("assembly-v3", (64, 64), goal_radius=0.05)


def test_an_expert_of_poor_aim_goes_where_it_takes_the_goal_to_be_and_the_world_stays_the_same() -> None:
    """Breaks `medium` sets: an expert is to be poor as a person is, by being wrong and not by trembling."""
    missed = []
    for aim in (0.0, 0.04):
        world = MetaWorld("reach-v3", (64, 64), 6, expert_aim=aim)
        ends = []
        for seed in range(6):
            world.reset(seed)
            expert = world.expert(0)
            last = [world.step(expert.action()) for _ in range(40)][-1]
            ends.append(np.linalg.norm(last.ee_position - last.goals[0]))
        missed.append((np.mean(ends), last.goals.tolist()))
    assert missed[0][0] < 0.05 < missed[1][0] < 0.15, missed
    assert missed[0][1] == missed[1][1]
