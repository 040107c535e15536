"""A simulated person who helps: takes over where the hand stands still, within an allowance, and is recorded as one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("metaworld", reason="metaworld is not installed")

from moto_sim.rollout import NoisyExpert, collect
from moto_sim.scripted_help import STILL_STEPS, TURN, ScriptedHelp
from moto_sim.world import World, make_world

from moto_ros.data.records import HUMAN
from moto_ros.data.replay import ReplayStore

pytestmark = pytest.mark.sim


class Still:
    """A policy that does nothing, and hears what was done in its place."""

    def __init__(self) -> None:
        self.executed: list[np.ndarray] = []

    def __call__(self, images: dict[str, np.ndarray], proprio: np.ndarray) -> np.ndarray:
        return np.zeros(4, np.float32)


@pytest.fixture(scope="module")
def world() -> World:
    return make_world("metaworld/drawer-open-v3", 16)


@pytest.mark.parametrize("allowance", [7, 2 * TURN + 5, 1000])
def test_a_person_takes_over_from_a_hand_that_stands_still(world: World, allowance: int) -> None:
    """What help gives could not be measured, or it would be more than was said."""
    still = Still()
    help = ScriptedHelp(world, 3, allowance, still.executed.append)
    episode = collect(world, still, 120, 3, (), ("ee_position",), stop_on_success=True, help=help)
    helped = episode.source == HUMAN
    assert not helped[: STILL_STEPS + 1].any()
    assert helped[STILL_STEPS + 1]
    assert helped.sum() == allowance if allowance < 1000 else helped.sum() < 120
    assert np.array_equal(np.array(still.executed), episode.action[helped])
    assert not episode.action[~helped].any()
    assert episode.succeeded == (allowance == 1000)


def test_nobody_takes_over_from_a_hand_that_moves_or_has_solved_the_task(world: World) -> None:
    """What help gives would be measured with more of it than was needed."""
    expert = NoisyExpert(0.0, np.random.default_rng(0))
    help = ScriptedHelp(world, 3, 1000, lambda action: None)
    episode = collect(world, expert, 120, 3, (), ("ee_position",), help=help)
    assert episode.succeeded
    assert not (episode.source == HUMAN).any(), "it holds still only once the drawer is open"


def test_help_after_success_leaves_what_succeeded_to_be_imitated(tmp_path: Path, world: World) -> None:
    """A person who tidies up after a success would take it from what is learned."""
    expert = NoisyExpert(0.0, np.random.default_rng(0))
    episode = collect(world, expert, 120, 3, ("agent",), ("ee_position",))
    episode.source[-20:] = HUMAN
    store = ReplayStore(tmp_path, prior_rule="success_prefix", steps_after_success=5)
    store.add(episode, None, "online")
    drawn = store.windows("successful", 100, 2, np.random.default_rng(0))
    assert drawn["imitable"][:, 0].all()


def test_only_the_person_is_imitated_where_one_helped(world: World, tmp_path: Path) -> None:
    """Breaks learning from help: standing still, which made help necessary, would be cloned with it."""
    help = ScriptedHelp(world, 3, 1000, lambda action: None)
    episode = collect(world, Still(), 120, 3, ("agent",), ("ee_position",), stop_on_success=True, help=help)
    store = ReplayStore(tmp_path, prior_rule="success_prefix", steps_after_success=5)
    store.add(episode, None, "online")
    for drawn in (
        store.windows("successful", 300, 2, np.random.default_rng(0)),
        store.sample("successful", 300, 4, np.random.default_rng(0)),
    ):
        moved = drawn["action"].any(-1)
        assert {True, False} == set(moved.flat)
        inside = drawn["valid"] if "valid" in drawn else np.ones_like(moved)
        assert np.array_equal(drawn["imitable"], moved & inside)
