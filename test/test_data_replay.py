"""The replay store draws the same chunks after a restart, within its memory, and separates offline from online."""

from __future__ import annotations

import gc
import json
import os
import shutil
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.bags import Recipe, lockstep_episode, write_bag

from moto_ros.data.bag_reader import read_episodes
from moto_ros.data.cache import DecodedCache, content_key, episode_of, facts_of, rows_of
from moto_ros.data.episode import Episode
from moto_ros.data.layout import StepLayout, TopicMap
from moto_ros.data.mapped_array import mapped_array
from moto_ros.data.prior import RULES, any_success, element_prefix, reward_prefix, success_at_end, success_prefix
from moto_ros.data.replay import ReplayStore
from moto_ros.errors import MotoError

LAYOUT = StepLayout(cameras=("agent", "wrist"), image_size=16, proprio=("ee_position",))


def episode(number: int, steps: int = 20, success: bool = False) -> Episode:
    """Return an episode whose rows all hold their episode and step."""
    rng = np.random.default_rng(number)
    count = np.arange(steps + 1)
    reward = np.zeros(steps + 1, np.float32)
    reward[-1] = float(success)
    return Episode(
        images={name: rng.integers(0, 256, (steps + 1, 8, 8, 3), dtype=np.uint8) for name in ("agent", "wrist")},
        proprio=np.stack([np.full(steps + 1, number), count], axis=1).astype(np.float32),
        action=rng.uniform(-1, 1, (steps + 1, 4)).astype(np.float32),
        reward=reward,
        success=reward > 0,
        is_terminal=np.zeros(steps + 1, bool),
        stamps=(1000 * number + count).astype(np.int64),
        info={"id": number},
    )


def filled(folder: Path, count: int = 5, memory: int = 2**31, **options: object) -> ReplayStore:
    store = ReplayStore(folder / "cache", memory, **options)
    for number in range(count):
        store.add(episode(number, 20 + number, number % 2 == 1), None, "offline" if number < 3 else "online")
    return store


def same(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> bool:
    return first.keys() == second.keys() and all(np.array_equal(first[name], second[name]) for name in first)


def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def test_chunks_have_the_shapes_and_rows_of_the_episodes(tmp_path: Path) -> None:
    """An agent would be fed rows of different episodes, or with cameras swapped."""
    batch = filled(tmp_path).sample("all", 64, 6, rng())
    assert batch["image"].shape == (64, 6, 8, 8, 6)
    assert batch["image"].dtype == np.uint8
    assert batch["is_first"].sum() == 64
    assert batch["is_first"][:, 0].all()
    for row in range(64):
        number, start = map(int, batch["proprio"][row, 0])
        source = episode(number, 20 + number, number % 2 == 1)
        assert np.array_equal(batch["action"][row], source.action[start : start + 6])
        assert np.array_equal(batch["image"][row][..., 3:], source.images["wrist"][start : start + 6])
        assert np.array_equal(batch["reward"][row], source.reward[start : start + 6])


def test_rows_that_may_be_imitated_are_those_that_the_prior_would_draw(tmp_path: Path) -> None:
    """A model that clones, too, would be shaped by what failed."""
    store = filled(tmp_path, prior_rule="success_prefix")
    batch = store.sample("all", 200, 6, rng())
    for row in range(200):
        number, start = map(int, batch["proprio"][row, 0])
        allowed = success_prefix({"success": episode(number, 20 + number, number % 2 == 1).success})
        assert batch["imitable"][row].tolist() == [step < allowed for step in range(start, start + 6)]
    assert {True, False} == set(batch["imitable"].flatten().tolist())
    assert store.sample("successful", 50, 6, rng())["imitable"].all()


def test_equal_frame_numbers_are_equal_rows_and_other_numbers_other_rows(tmp_path: Path) -> None:
    """What an agent remembers of one frame would be taken for another's."""
    store = filled(tmp_path, capacity=100)
    store.add(episode(9, 30), None, "online")
    seen: dict[int, tuple[float, ...]] = {}
    for _ in range(2):
        batch = store.sample("all", 300, 6, rng())
        store.add(episode(10, 30, True), None, "online")
        for number, row in zip(batch["frame"].ravel().tolist(), batch["proprio"].reshape(-1, 2).tolist(), strict=True):
            assert seen.setdefault(number, tuple(row)) == tuple(row)
    assert len(set(seen.values())) == len(seen)


def test_episodes_and_their_ends_are_drawn_as_often_as_others(tmp_path: Path) -> None:
    """Long episodes, or the middle of each, would be learned from more often (chi-square below its 99.9 % value)."""
    store = ReplayStore(tmp_path)
    for number, steps in enumerate((9, 9, 99, 9)):
        store.add(episode(number, steps), None, "offline")
    drawn = store.sample("all", 4000, 5, rng())["proprio"][:, 0]
    counts = np.bincount(drawn[:, 0].astype(int), minlength=4)
    assert ((counts - 1000) ** 2 / 1000).sum() < 16.3
    starts = np.bincount(drawn[drawn[:, 0] == 0, 1].astype(int), minlength=6)
    assert len(starts) == 6
    expected = starts.sum() * np.array([5, 1, 1, 1, 1, 5]) / 14  # so each row is in 5 of 14 chunks or more
    assert ((starts - expected) ** 2 / expected).sum() < 20.5


def test_sources_are_told_apart(tmp_path: Path) -> None:
    """The behaviour prior would imitate failures, or evaluation of offline data be mixed with online."""
    store = filled(tmp_path)
    drawn = {source: store.sample(source, 200, 5, rng())["proprio"][..., 0] for source in ("offline", "online")}
    assert set(np.unique(drawn["offline"])) == {0, 1, 2}
    assert set(np.unique(drawn["online"])) == {3, 4}
    assert set(np.unique(store.sample("successful", 200, 5, rng())["proprio"][..., 0])) == {1, 3}
    counts = store.counts()
    assert (counts["episodes"], counts["offline"], counts["online"], counts["successful"]) == (5, 3, 2, 2)


def test_empty_and_unknown_sources_are_said(tmp_path: Path) -> None:
    store = ReplayStore(tmp_path)
    assert not store.holds("all")
    with pytest.raises(MotoError, match="holds no episode of source 'all'"):
        store.sample("all", 1, 5, rng())
    store.add(episode(0), None, "offline")
    assert store.holds("all")
    assert not store.holds("successful")
    with pytest.raises(MotoError, match="source 'best' is unknown"):
        store.sample("best", 1, 5, rng())


def test_short_episodes_are_not_drawn_and_said(tmp_path: Path) -> None:
    """Padding would be learned from as if it were data."""
    store = ReplayStore(tmp_path)
    store.add(episode(0, 3), None, "offline")
    store.add(episode(1, 30), None, "offline")
    assert set(np.unique(store.sample("all", 50, 10, rng())["proprio"][..., 0])) == {1}
    assert "1 episodes of source 'all' are shorter than a chunk of 10" in store.problems.sentences()[0]
    assert store.sample("all", 2, 50, rng())["reward"].shape == (2, 31)
    assert "no episode of source 'all' has 50 rows, so chunks have 31" in str(store.problems.sentences())


def test_memory_is_bounded_and_does_not_change_what_is_drawn(tmp_path: Path) -> None:
    """A long run would end when memory does, or learn differently on a smaller machine."""
    small, large = filled(tmp_path / "a", memory=30_000), filled(tmp_path / "b")
    assert small.counts()["memory_bytes"] <= 30_000
    assert small.counts()["disk_bytes"] > 0
    assert large.counts()["disk_bytes"] == 0
    assert same(small.sample("all", 32, 6, rng()), large.sample("all", 32, 6, rng()))


def test_episodes_on_disk_hold_no_file_open(tmp_path: Path) -> None:
    """Thousands of demonstrations beyond `memory` would end at the usual limit of 1,024 open files."""
    numbers = range(20)
    large = [episode(number, 200) for number in numbers]  # beyond the size up to which arrays are read
    stores = ReplayStore(tmp_path / "a", 0), ReplayStore(tmp_path / "b")
    before = len(os.listdir("/proc/self/fd"))
    for found in large:
        for store in stores:
            store.add(found, None, "offline")
    assert stores[0].counts()["memory_bytes"] == 0
    assert len(os.listdir("/proc/self/fd")) == before
    assert same(stores[0].sample("all", 64, 6, rng()), stores[1].sample("all", 64, 6, rng()))


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_map_is_what_numpy_reads_and_outlives_its_file(tmp_path: Path, order: Literal["C", "F"]) -> None:
    """A batch would hold other numbers than the episode, or the trainer crash when a cache is cleared."""
    values = np.asarray(rng().normal(size=(70, 60, 8)), order=order)
    np.save(tmp_path / "a.npy", values)
    found = mapped_array(tmp_path / "a.npy")
    (tmp_path / "a.npy").unlink()
    part = found[3:5]
    del found
    gc.collect()
    assert np.array_equal(part, values[3:5])
    with pytest.raises(ValueError, match="read-only"):
        part[0] = 0
    with pytest.raises(ValueError, match="WRITEABLE"):
        part.flags.writeable = True


def test_a_cut_or_foreign_file_of_the_cache_is_no_episode(tmp_path: Path) -> None:
    """A map beyond the end of a file kills the process that reads it."""
    large = episode(1, 200)
    rows, cache = rows_of(large), DecodedCache(tmp_path)
    for content in (rows["image"].tobytes()[:70_000], b"\x93NUMPY\x01\x00" + bytes(70_000)):
        shutil.rmtree(tmp_path)
        cache.save("0" * 32, rows, facts_of(large), durable=False)
        assert cache.load("0" * 32) is not None
        (tmp_path / ("0" * 32) / "image.npy").write_bytes(content)
        assert cache.load("0" * 32) is None
    cache.save("1" * 32, rows, facts_of(large), durable=False)
    os.truncate(tmp_path / ("1" * 32) / "image.npy", 70_000)
    assert cache.load("1" * 32) is None


def test_a_batch_does_not_change_when_more_is_drawn(tmp_path: Path) -> None:
    store = filled(tmp_path)
    first = store.sample("all", 8, 6, rng())
    kept = {name: values.copy() for name, values in first.items()}
    store.sample("all", 8, 6, np.random.default_rng(8))
    assert same(first, kept)


def test_oldest_steps_go_when_capacity_is_reached(tmp_path: Path) -> None:
    store = filled(tmp_path, capacity=70)
    assert [int(found.info["id"]) for found in store.episodes()] == [2, 3, 4]
    assert "the oldest episode is dropped" in store.problems.sentences()[0]


def test_restored_store_draws_the_same_chunks(tmp_path: Path) -> None:
    """A resumed run would not be the run that was interrupted."""
    store = filled(tmp_path)
    state = json.loads(json.dumps(store.state()))
    again = ReplayStore(tmp_path / "cache", 30_000)
    again.restore(state, LAYOUT)
    assert again.counts()["online"] == 2
    assert same(store.sample("all", 32, 6, rng()), again.sample("all", 32, 6, rng()))
    assert same(store.sample("successful", 32, 6, rng()), again.sample("successful", 32, 6, rng()))
    assert not again.add(episode(2, 22), None, "online")


def bag_store(tmp_path: Path) -> tuple[ReplayStore, Path]:
    bag = tmp_path / "run" / "bags" / "offline" / "episode_000000"
    write_bag(bag, lockstep_episode(Recipe(steps=12)))
    store = ReplayStore(tmp_path / "run" / "cache")
    store.add(read_episodes(bag, LAYOUT).episodes[0], bag, "offline")
    return store, bag


def test_a_lost_cache_is_decoded_again_from_the_bags_of_a_moved_run(tmp_path: Path) -> None:
    """Cleaning up the cache, or copying a run to another disk, would end it."""
    store, _ = bag_store(tmp_path)
    state, drawn = store.state(), store.sample("all", 8, 5, rng())
    shutil.rmtree(tmp_path / "run" / "cache")
    (tmp_path / "run").rename(tmp_path / "moved")
    again = ReplayStore(tmp_path / "moved" / "cache")
    again.restore(state, LAYOUT)
    assert same(drawn, again.sample("all", 8, 5, rng()))


def test_a_damaged_cache_is_noticed(tmp_path: Path) -> None:
    store, _ = bag_store(tmp_path)
    state, drawn = store.state(), store.sample("all", 8, 5, rng())
    file = next((tmp_path / "run" / "cache").glob("*/action.npy"))
    raw = bytearray(file.read_bytes())
    raw[-20] ^= 1
    file.write_bytes(bytes(raw))
    again = ReplayStore(tmp_path / "run" / "cache")
    again.restore(state, LAYOUT)
    assert same(drawn, again.sample("all", 8, 5, rng()))


def test_a_bag_that_is_gone_or_changed_is_named(tmp_path: Path) -> None:
    store, bag = bag_store(tmp_path)
    state = store.state()
    shutil.rmtree(tmp_path / "run" / "cache")
    shutil.rmtree(bag)
    with pytest.raises(MotoError, match="episode_000000: an episode learned from is gone"):
        ReplayStore(tmp_path / "run" / "cache").restore(state, LAYOUT)
    write_bag(bag, lockstep_episode(Recipe(steps=12, seed=5)))
    with pytest.raises(MotoError, match="holds another episode than the one learned from"):
        ReplayStore(tmp_path / "run" / "cache").restore(state, LAYOUT)


def test_bag_is_decoded_once(tmp_path: Path) -> None:
    """Each start of a run would decode all its bags again."""
    bag = tmp_path / "bag"
    write_bag(bag, lockstep_episode(Recipe(steps=12)))
    cache = DecodedCache(tmp_path / "cache")
    first, _ = cache.read(bag, LAYOUT, TopicMap())
    listings = list((tmp_path / "cache" / "bags").iterdir())
    times = [path.stat().st_mtime_ns for path in listings]
    second, _ = cache.read(bag, LAYOUT, TopicMap())
    assert content_key(rows_of(first[0])) == content_key(rows_of(second[0]))
    assert [path.stat().st_mtime_ns for path in listings] == times
    cache.read(bag, StepLayout(cameras=("agent",), image_size=16), TopicMap())
    assert len(list((tmp_path / "cache" / "bags").iterdir())) == 2


def test_rows_and_episode_are_the_same_thing() -> None:
    whole = episode(3)
    again = episode_of(rows_of(whole), facts_of(whole))
    assert all(np.array_equal(whole.arrays()[name], again.arrays()[name]) for name in whole.arrays())
    assert again.info == whole.info


def test_episode_of_another_layout_is_refused(tmp_path: Path) -> None:
    store = filled(tmp_path)
    other = episode(9)
    cut = Episode({"agent": other.images["agent"]}, *(getattr(other, name) for name in ("proprio", "action")),
                  other.reward, other.success, other.is_terminal, other.stamps)  # fmt: skip
    with pytest.raises(MotoError, match=r"image has shape \(8, 8, 3\), the store holds \(8, 8, 6\)"):
        store.add(cut, None, "online")


def kitchen() -> np.ndarray:
    """Return element flags: 0 done at step 5, 2 at 8, 1 at 12; 3 done at 3 but undone at the end."""
    flags = np.zeros((40, 4), bool)
    flags[5:, 0], flags[8:, 2], flags[12:, 1], flags[3:20, 3] = True, True, True, True
    return flags


def test_kitchen_prefix_of_a_hand_made_episode() -> None:
    """The behaviour prior would imitate play that does not follow the task (spec section 5)."""
    assert element_prefix(kitchen(), [0, 2, 1]) == 12 + 11
    assert element_prefix(kitchen(), [0, 1, 2]) == 5 + 11
    assert element_prefix(kitchen(), [1, 0, 2]) == 0
    assert element_prefix(kitchen()[:7], [0]) == 0  # element 3 was first, and still holds there
    assert element_prefix(kitchen()[:18], [3, 0, 2, 1]) == 18


def test_rules_on_rewards() -> None:
    rise = np.array([0.0] * 5 + [1.0] * 5 + [2.0] * 20, np.float32)
    assert reward_prefix({"reward": rise}) == 10 + 11
    assert reward_prefix({"reward": np.zeros(9, np.float32)}) == 0
    late = np.array([False, True, False])
    assert (success_at_end({"success": late}), any_success({"success": late})) == (0, 3)
    assert success_prefix({"success": late}) == 3
    assert success_prefix({"success": np.arange(200) >= 40}) == 40 + 11  # what follows shows nothing of the skill
    assert success_prefix({"success": np.zeros(9, bool)}) == 0
    with pytest.raises(MotoError, match="prior_rule is 'best', expected one of success_at_end"):
        ReplayStore(Path("unused"), prior_rule="best")
    assert set(RULES) == {
        "success_at_end",
        "any_success",
        "success_prefix",
        "reward_prefix",
        "whole",
        "success_or_human",
    }


def test_a_rule_that_leaves_nothing_to_imitate_is_said(tmp_path: Path) -> None:
    """A door that swings past its goal leaves no demonstration that ends in success: the prior must not go quietly."""
    swings_past = episode(0)
    swings_past.success[3:6] = True
    store, prefixes = ReplayStore(tmp_path / "a"), ReplayStore(tmp_path / "b", prior_rule="success_prefix")
    assert store.nothing_to_imitate() == ""
    for each in (store, prefixes):
        each.add(swings_past, None, "offline")
    assert "'success_at_end': leaves none of 1 episodes to imitate (1 of them reach" in store.nothing_to_imitate()
    assert prefixes.nothing_to_imitate() == ""
    store.add(episode(1, success=True), None, "online")
    assert store.nothing_to_imitate() == ""


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(1, 12), min_size=1, max_size=6), st.integers(2, 9), st.integers(1, 20))
def test_no_chunk_crosses_the_end_of_an_episode(tmp_path: Path, lengths: list[int], length: int, size: int) -> None:
    """Rows of two episodes in one chunk would teach a jump that no robot makes."""
    store = ReplayStore(tmp_path)
    for number, steps in enumerate(lengths):
        store.add(episode(number, steps), None, "offline")
    drawn = store.sample("all", size, length, rng())["proprio"]
    assert (np.diff(drawn[..., 0], axis=1) == 0).all()
    assert (np.diff(drawn[..., 1], axis=1) == 1).all()


def test_an_episode_is_drawn_up_to_its_success_and_the_rule_judges_all_of_it(tmp_path: Path) -> None:
    """Breaks learning: holding still is learned as the task, or a demonstration that leaves the goal is cloned."""
    leaves_the_goal, stays = episode(1, 20), episode(2, 20)
    leaves_the_goal.success[8:11] = True
    stays.success[8:] = True
    store = ReplayStore(tmp_path / "cache", steps_after_success=5)
    store.add(leaves_the_goal, None, "offline")
    assert not store.holds("successful"), "success_at_end sees that it leaves the goal"
    store.add(stays, None, "offline")
    drawn = store.windows("successful", 200, 3, rng())
    rows = drawn["proprio"][..., 1].astype(int)
    assert rows.max() == 13
    assert set(drawn["proprio"][..., 0].flat) == {2.0}
    assert np.array_equal(drawn["is_terminal"], rows >= 8)
    assert np.array_equal(drawn["steps_to_success"], np.maximum(8 - rows, 0))
    assert drawn["imitable"][drawn["valid"]].all()


def test_success_counts_once_it_has_held_for_the_tasks_steps(tmp_path: Path) -> None:
    """Breaks learning: a task that must hold success would end, for learning, where it is first touched."""
    holds, touches = episode(1, 20), episode(2, 20)
    holds.success[8], holds.success[11:] = True, True
    touches.success[8:10] = True
    store = ReplayStore(tmp_path / "cache", steps_after_success=2, success_hold=3)
    for one in (holds, touches):
        store.add(one, None, "online")
    drawn = store.windows("all", 300, 2, rng())
    number, row = drawn["proprio"][..., 0].astype(int), drawn["proprio"][..., 1].astype(int)
    assert row[number == 1].max() == 15
    assert row[number == 2].max() == 20
    assert np.array_equal(drawn["is_terminal"], (number == 1) & (row >= 13))
    assert np.array_equal(drawn["steps_to_success"], np.where(number == 1, np.maximum(13 - row, 0), -1))
    assert set(store.windows("failed", 50, 2, rng())["proprio"][..., 0].flat) == {2.0}


def test_windows_number_their_rows_and_say_which_episodes_have_no_success(tmp_path: Path) -> None:
    """Breaks learning: values of failures are raised as successes, or a row's cached output is another's."""
    store = filled(tmp_path)
    drawn = store.windows("all", 300, 4, rng())
    number, row = drawn["proprio"][..., 0].astype(int), drawn["proprio"][..., 1].astype(int)
    first = np.concatenate(([0], np.cumsum([21 + n for n in range(4)])))
    assert np.array_equal(drawn["frame"], first[number] + row)
    assert np.array_equal(drawn["episode"], first[number[:, 0]])
    solved = number % 2 == 1
    assert np.array_equal(drawn["steps_to_success"], np.where(solved, 20 + number - row, -1))
    assert np.array_equal(drawn["imitable"], solved & drawn["valid"])
    failed = store.windows("failed", 50, 2, rng())
    assert set(failed["proprio"][..., 0].flat) == {0.0, 2.0, 4.0}
