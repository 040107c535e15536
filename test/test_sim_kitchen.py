"""The kitchen: which elements a name means, when one is complete, what pays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pytest

pytest.importorskip("mujoco", reason="MuJoCo is not installed")
pytest.importorskip("gymnasium_robotics", reason="gymnasium-robotics is not installed")

import mujoco
from moto_sim.kitchen import Kitchen
from moto_sim.snapshot import Snapshot, proprio
from moto_sim.world import make_world

from moto_ros.data.proprio_fields import PROPRIO_FIELDS
from moto_ros.errors import MotoError

ROBOT_FIELDS = [name for name in PROPRIO_FIELDS if name not in ("object_position", "goal_position")]
"""What a world that tracks nothing tells."""

pytestmark = pytest.mark.sim

STILL = np.zeros(9, np.float32)

GOALS: Mapping[str, tuple[slice, tuple[float, ...]]] = {
    "microwave": (slice(22, 23), (-0.75,)),
    "kettle": (slice(23, 30), (-0.23, 0.75, 1.62, 0.99, 0.0, 0.0, -0.06)),
    "bottom burner": (slice(11, 13), (-0.88, -0.01)),
    "top burner": (slice(15, 17), (-0.92, -0.01)),
    "light switch": (slice(17, 19), (-0.69, -0.05)),
    "slide cabinet": (slice(19, 20), (0.37,)),
    "hinge cabinet": (slice(20, 22), (0.0, 1.45)),
}
"""Element -> where it is in the 30 coordinates, and its goal there: D4RL's figures, written down a second time."""

JOINTS = {
    "microwave": ("microwave",),
    "kettle": ("kettle",),
    "bottom burner": ("knob_Joint_2", "bottom_left_burner"),
    "light switch": ("light_switch", "light_joint"),
    "slide cabinet": ("slide_cabinet",),
}
"""Element -> the joints of the model that it consists of."""


@pytest.fixture(scope="module")
def kitchens() -> Iterator[dict[str, Kitchen]]:
    """Both kitchens, made once: that takes seconds."""
    made = {task: make_world(f"kitchen/{task}") for task in ("mixed", "partial")}
    yield made
    for kitchen in made.values():
        kitchen.close()


@pytest.fixture(params=["mixed", "partial"])
def kitchen(request: pytest.FixtureRequest, kitchens: dict[str, Kitchen]) -> Kitchen:
    """One of the kitchens, at the start of an episode."""
    kitchens[request.param].reset(0)
    return kitchens[request.param]


def put(kitchen: Kitchen, element: str, fraction: float = 1.0) -> Snapshot:
    """Put `element` to its goal, or only that part of the way, by hand, and let one control period pass."""
    where, goal = GOALS[element]
    now = kitchen._data.qpos[where]
    kitchen._data.qpos[where] = now + fraction * (np.asarray(goal) - now)
    kitchen._data.qvel[:] = 0.0
    mujoco.mj_forward(kitchen._model, kitchen._data)
    return kitchen.step(STILL)


def test_mixed_and_partial_are_the_sets_of_motos_authors_and_not_d4rls(kitchens: dict[str, Kitchen]) -> None:
    """Breaks every comparison with the paper: D4RL gives the same two names to the other set each."""
    assert {task: set(kitchen.elements) for task, kitchen in kitchens.items()} == {
        "mixed": {"microwave", "kettle", "light switch", "slide cabinet"},
        "partial": {"microwave", "kettle", "bottom burner", "light switch"},
    }


def test_nothing_is_complete_and_nothing_paid_at_the_start(kitchen: Kitchen) -> None:
    for snapshot in (kitchen.reset(1), kitchen.step(STILL)):
        assert (snapshot.reward, snapshot.success, snapshot.facts["completed"]) == (0.0, False, ())


@pytest.mark.parametrize("element", GOALS)
def test_an_element_at_d4rls_goal_pays_one_where_it_is_a_target_and_nothing_else(
    kitchen: Kitchen, element: str
) -> None:
    """Breaks learning: with a wrong index or goal, the reward is for something else than what the task's name says."""
    snapshot = put(kitchen, element)
    target = element in kitchen.elements
    assert snapshot.reward == float(target)
    assert snapshot.facts["complete"] == ((element,) if target else ())


@pytest.mark.parametrize(("element", "joints"), JOINTS.items())
def test_the_coordinates_of_an_element_belong_to_it_in_the_model(
    kitchens: dict[str, Kitchen], element: str, joints: tuple[str, ...]
) -> None:
    """Breaks the task silently: another version of the model with other coordinates would pay for a burner."""
    model = kitchens["mixed"]._model
    where, _ = GOALS[element]
    assert [int(model.joint(name).qposadr[0]) for name in joints] == [where.start + k for k in range(len(joints))]
    assert kitchens["mixed"]._data.qpos.shape == (30,)


def test_half_way_is_not_complete(kitchen: Kitchen) -> None:
    assert put(kitchen, "microwave", 0.5).reward == 0.0


def test_reward_goes_on_is_lost_when_moved_back_and_what_was_ever_completed_stays_known(kitchen: Kitchen) -> None:
    """Persistent reward: an element pays at every step while complete; evaluation counts it once, whatever happens."""
    put(kitchen, "light switch")
    rewards = [kitchen.step(STILL).reward for _ in range(3)] + [put(kitchen, "microwave").reward]
    where, _ = GOALS["microwave"]
    kitchen._data.qpos[where] = 0.0
    last = kitchen.step(STILL)
    assert [*rewards, last.reward] == [1.0, 1.0, 1.0, 2.0, 1.0]
    assert last.facts["completed"] == ("light switch", "microwave")


def test_all_four_are_success_and_the_episode_goes_on_paying_four(kitchen: Kitchen) -> None:
    snapshots = [put(kitchen, element) for element in kitchen.elements]
    assert [(one.reward, one.success) for one in snapshots] == [(1, False), (2, False), (3, False), (4, True)]
    after = kitchen.step(STILL)
    assert (after.reward, after.success) == (4.0, True)


def test_a_new_episode_forgets_what_the_last_one_completed(kitchen: Kitchen) -> None:
    put(kitchen, "microwave")
    assert kitchen.reset(0).facts["completed"] == ()
    assert kitchen.step(STILL).reward == 0.0


def test_one_seed_gives_one_trajectory_to_the_bit_whatever_ran_before(kitchens: dict[str, Kitchen]) -> None:
    """Breaks every repeated run: the velocity control reads noisy joint positions, which the seed must draw."""
    actions = np.random.default_rng(0).uniform(-1, 1, (10, 9)).astype(np.float32)

    def trajectory(kitchen: Kitchen, seed: int) -> np.ndarray:
        states = [kitchen.reset(seed), *(kitchen.step(action) for action in actions)]
        return np.stack([proprio(state, ROBOT_FIELDS) for state in states])

    first = trajectory(kitchens["mixed"], 5)
    other = trajectory(kitchens["partial"], 6)
    assert np.array_equal(first, trajectory(kitchens["partial"], 5))
    assert np.array_equal(first[0], other[0])
    assert not np.array_equal(first, other)


def test_every_episode_starts_in_motos_pose(kitchens: dict[str, Kitchen]) -> None:
    start = kitchens["mixed"].reset(3)
    pose = (0.148, -1.768, 1.844, -2.477, 0.260, 0.713, 1.595)
    np.testing.assert_allclose(start.joint_position, pose, atol=1e-3)
    np.testing.assert_array_equal(start.joint_position, kitchens["mixed"].reset(4).joint_position)


@pytest.mark.parametrize("joint", range(7))
def test_a_positive_action_turns_its_own_joint_forwards(kitchens: dict[str, Kitchen], joint: int) -> None:
    """Breaks every motion: actions are joint velocities, the arm's in order, then the fingers'."""
    start = kitchens["mixed"].reset(0).joint_position
    action = STILL.copy()
    action[joint] = 0.5
    for _ in range(5):
        end = kitchens["mixed"].step(action)
    moved = end.joint_position - start
    assert moved[joint] > 0.05
    assert np.abs(moved).argmax() == joint
    assert end.joint_velocity[joint] > 0.1


def test_the_last_two_entries_open_and_close_the_gripper(kitchens: dict[str, Kitchen]) -> None:
    kitchens["mixed"].reset(0)
    widths = []
    for command in (1.0, -1.0):
        action = STILL.copy()
        action[7:] = command
        widths.append([kitchens["mixed"].step(action).gripper_width for _ in range(10)][-1])
    assert widths[0] == pytest.approx(0.08, abs=0.005)
    assert widths[1] == pytest.approx(0.0, abs=0.005)


def test_end_effector_velocity_is_the_change_of_its_position(kitchens: dict[str, Kitchen]) -> None:
    """Breaks a controller or a policy that reads both: frames or units that differ from one to the other."""
    kitchen = kitchens["mixed"]
    kitchen.reset(0)
    action = np.array([0.3, 0.2, 0, 0, 0, 0, 0, 0, 0], np.float32)
    seen = [kitchen.step(action) for _ in range(14)][-3:]
    change = (seen[2].ee_position - seen[0].ee_position) / (2 * kitchen.control_period)
    np.testing.assert_allclose(seen[1].ee_linear_velocity, change, atol=0.2 * float(np.linalg.norm(change)))
    assert float(np.linalg.norm(change)) > 0.05


def test_control_period_is_forty_steps_of_two_milliseconds(kitchens: dict[str, Kitchen]) -> None:
    assert kitchens["mixed"].control_period == pytest.approx(0.08)


def test_the_camera_looks_down_at_the_stove_and_sees_an_element_move(kitchen: Kitchen) -> None:
    before = kitchen.render("agent")
    put(kitchen, "microwave")
    after = kitchen.render("agent")
    assert before.shape == (64, 64, 3)
    assert before.dtype == np.uint8
    assert before.std() > 20
    assert (np.abs(after.astype(int) - before).max(axis=-1) > 30).mean() > 0.01


def test_a_command_that_is_not_finite_or_not_of_nine_numbers_is_refused_in_one_sentence(kitchen: Kitchen) -> None:
    for action in (np.full(9, np.nan), np.zeros(4)):
        with pytest.raises(MotoError, match="expected 9 finite numbers"):
            kitchen.step(action)


def test_an_element_set_that_does_not_exist_is_named_with_those_that_do() -> None:
    with pytest.raises(MotoError, match="mixed"):
        make_world("kitchen/mixd")
