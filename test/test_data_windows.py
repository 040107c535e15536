"""Prioritised replay: the sum tree draws by weight, windows cover every step, priorities survive a restart."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_data_replay import LAYOUT, episode, filled

from moto_ros.data.prioritised_windows import EpisodeRows, WindowTable
from moto_ros.data.replay import ReplayStore
from moto_ros.data.sum_tree import SumTree
from moto_ros.errors import MotoError

WEIGHTS = st.lists(st.floats(0, 10), min_size=1, max_size=70).filter(lambda found: sum(found) > 1e-3)
PRIORITISED = (0.6, 0.4)


def rng(seed: int = 7) -> np.random.Generator:
    return np.random.default_rng(seed)


@given(WEIGHTS, st.integers(0, 2**32 - 1))
@settings(max_examples=100)
def test_only_items_with_weight_are_drawn(weights: list[float], seed: int) -> None:
    items = SumTree(np.array(weights)).draw(200, rng(seed))
    assert items.min() >= 0
    assert items.max() < len(weights)
    assert (np.array(weights)[items] > 0).all()


@given(WEIGHTS, st.data())
@settings(max_examples=100)
def test_a_changed_tree_equals_a_new_one_to_the_bit(weights: list[float], data: st.DataObject) -> None:
    """A resumed run would draw other windows than the whole run."""
    items = data.draw(st.lists(st.integers(0, len(weights) - 1), min_size=1, max_size=20))
    values = data.draw(st.lists(st.floats(0.01, 10), min_size=len(items), max_size=len(items)))
    changed, final = SumTree(np.array(weights)), np.array(weights)
    changed.update(np.array(items), np.array(values))
    for item, value in zip(items, values, strict=True):
        final[item] = value
    rebuilt = SumTree(final)
    assert changed.total == rebuilt.total
    assert np.array_equal(changed.draw(50, rng()), rebuilt.draw(50, rng()))


def test_items_are_drawn_in_proportion_to_their_weights() -> None:
    """Chi-square below its 99.9 % value for 4 degrees of freedom."""
    weights = np.array([1.0, 0.0, 2.0, 4.0, 8.0, 1.0])
    counts = np.bincount(SumTree(weights).draw(8000, rng()), minlength=6)
    expected = 8000 * weights / weights.sum()
    used = weights > 0
    assert (((counts - expected)[used] ** 2) / expected[used]).sum() < 18.5


def test_windows_begin_at_every_step_and_say_which_rows_are_past_the_end(tmp_path: Path) -> None:
    """A sparse reward at the last step would hardly ever be learned from."""
    store = ReplayStore(tmp_path)
    store.add(episode(3, 6, True), None, "offline")
    batch = store.windows("all", 400, 4, rng())
    source = episode(3, 6, True)
    starts = batch["proprio"][:, 0, 1].astype(int)
    assert set(starts) == set(range(6))
    for row, start in enumerate(starts):
        assert batch["valid"][row].tolist() == [start + k <= 6 for k in range(4)]
        rows = np.minimum(start + np.arange(4), 6)
        assert np.array_equal(batch["action"][row], source.action[rows])
        assert np.array_equal(batch["reward"][row], source.reward[rows])
    assert (batch["weight"] == 1).all()
    assert batch["is_first"][:, 0].all()


def test_sources_keep_their_steps_and_priorities_apart(tmp_path: Path) -> None:
    store = filled(tmp_path)
    for source, numbers in (("offline", {0, 1, 2}), ("online", {3, 4}), ("successful", {1, 3})):
        batch = store.windows(source, 100, 3, rng(), PRIORITISED)
        assert set(batch["proprio"][:, 0, 0].astype(int)) == numbers
    index = store.windows("offline", 1, 3, rng(), PRIORITISED)["index"]
    store.prioritise("offline", index, np.array([1e6]))
    assert (store.windows("offline", 50, 3, rng(), PRIORITISED)["index"] == index).mean() > 0.9
    assert len(set(store.windows("successful", 50, 3, rng(), PRIORITISED)["index"])) > 10


def test_chances_and_importance_weights_are_those_of_prioritised_replay() -> None:
    table = WindowTable([EpisodeRows(0, 3), EpisodeRows(10, 4)])
    numbers = np.array([0, 1, 10, 11, 12])
    priorities = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    table.prioritise(numbers, priorities)
    drawn, weights = table.by_priority(5000, rng(), 0.6, 0.4)
    chances = priorities**0.6 / (priorities**0.6).sum()
    counts = np.array([(drawn == number).sum() for number in numbers])
    assert (((counts - 5000 * chances) ** 2) / (5000 * chances)).sum() < 18.5
    expected = (5 * chances) ** -0.4
    places = np.searchsorted(numbers, drawn)
    np.testing.assert_allclose(weights, (expected / expected.max())[places], rtol=1e-5)


def test_new_steps_begin_with_the_largest_priority_so_that_they_are_soon_drawn() -> None:
    table = WindowTable([EpisodeRows(0, 3)])
    table.prioritise(np.array([0, 1]), np.array([0.5, 7.0]))
    grown = WindowTable([EpisodeRows(0, 3), EpisodeRows(3, 4)], table)
    assert grown.priorities.tolist() == [0.5, 7.0, 7.0, 7.0, 7.0]


def test_dropped_steps_are_passed_over_and_the_others_keep_their_priorities() -> None:
    """The learner sets priorities of an episode that was dropped meanwhile as the store was full."""
    table = WindowTable([EpisodeRows(0, 3), EpisodeRows(3, 4)])
    table.prioritise(np.array([0, 4]), np.array([9.0, 2.0]))
    left = WindowTable([EpisodeRows(3, 4)], table)
    left.prioritise(np.array([1, 3]), np.array([5.0, 0.25]))
    assert left.priorities.tolist() == [0.25, 2.0, 1.0]


def test_the_same_windows_are_drawn_after_a_restart(tmp_path: Path) -> None:
    """Split run = whole run, with priorities too."""
    store = filled(tmp_path)
    stream = rng()
    for source in ("offline", "online"):
        batch = store.windows(source, 16, 4, stream, PRIORITISED)
        store.prioritise(source, batch["index"], stream.uniform(0.1, 9, 16))
    store.add(episode(9, 15), None, "online")
    saved = json.loads(json.dumps(store.state()))
    again = ReplayStore(tmp_path / "cache")
    again.restore(saved, LAYOUT)
    for source in ("offline", "online"):
        whole, resumed = (each.windows(source, 64, 4, rng(1), PRIORITISED) for each in (store, again))
        for name in ("proprio", "action", "weight", "valid"):
            assert np.array_equal(whole[name], resumed[name])


def test_priorities_of_other_steps_are_refused(tmp_path: Path) -> None:
    store = filled(tmp_path)
    store.windows("offline", 4, 3, rng(), PRIORITISED)
    saved = store.state()
    saved["priorities"]["offline"] = saved["priorities"]["offline"][:32]
    with pytest.raises(MotoError, match="priorities of 3 steps"):
        ReplayStore(tmp_path / "cache").restore(saved, LAYOUT)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0, -1.0])
def test_a_priority_that_is_no_positive_number_is_refused(bad: float, tmp_path: Path) -> None:
    store = filled(tmp_path)
    index = store.windows("all", 1, 3, rng(), PRIORITISED)["index"]
    with pytest.raises(MotoError, match="not positive"):
        store.prioritise("all", index, np.array([bad]))


def test_an_empty_source_is_refused_in_one_sentence(tmp_path: Path) -> None:
    store = ReplayStore(tmp_path)
    store.add(episode(0), None, "offline")
    with pytest.raises(MotoError, match="no episode of source 'online'"):
        store.windows("online", 4, 3, rng())
    with pytest.raises(MotoError, match="source 'of it' is unknown"):
        store.windows("of it", 4, 3, rng())
