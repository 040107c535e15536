"""Which recordings a resumed trainer takes in: whole ones, and no others."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.bags import Recipe, Sent, lockstep_episode, robot_state, write_bag

from moto_ros.contract.stamps import NSEC_PER_SEC
from moto_ros.data.bag_library import BagLibrary
from moto_ros.data.layout import StepLayout, TopicMap
from moto_ros.data.live_episodes import MAX_MESSAGES_AFTER_END, LiveEpisodes
from moto_ros.data.replay import ReplayStore

LAYOUT = StepLayout(cameras=("agent",), image_size=16, proprio=("ee_position",))


def record(bags: Path, name: str, outcome: str = "time_limit", keep: Callable[[Sent], bool] = lambda _: True) -> Path:
    """Write the bag of episode 5; `keep` chooses its messages."""
    messages = lockstep_episode(Recipe(5, 6, ("agent",), (16, 16), outcome=outcome))
    folder = bags / "online" / name
    write_bag(folder, [sent for sent in messages if keep(sent)])
    return folder


def test_a_whole_recording_is_found_by_its_number(tmp_path: Path) -> None:
    bag = record(tmp_path, "episode_000005")
    found = BagLibrary(tmp_path, LAYOUT).recorded(5)
    assert found is not None
    assert found[0] == bag
    assert len(found[1]) == 6


def test_the_newest_whole_recording_of_a_repeated_episode_counts(tmp_path: Path) -> None:
    record(tmp_path, "episode_000005")
    newest = record(tmp_path, "episode_000005-2")
    record(tmp_path, "episode_000005-3", outcome="aborted")
    found = BagLibrary(tmp_path, LAYOUT).recorded(5)
    assert found is not None
    assert found[0] == newest


@pytest.mark.parametrize("outcome", ["aborted", "discarded"])
def test_what_was_aborted_or_discarded_is_not_learned_from(tmp_path: Path, outcome: str) -> None:
    record(tmp_path, "episode_000005", outcome)
    assert BagLibrary(tmp_path, LAYOUT).recorded(5) is None


@pytest.mark.parametrize(
    "keep",
    [
        lambda sent: not (sent.role == "reward" and sent.message.step == 3),
        lambda sent: not (sent.role == "reward" and sent.message.step == 6),
        lambda sent: not (sent.role == "action" and sent.message.step == 0),
        lambda sent: not (sent.role == "episode" and sent.message.phase == 3),
        lambda sent: sent.role != "camera/agent",
    ],
    ids=["middle", "last", "first", "end", "images"],
)
def test_a_recording_with_a_gap_is_not_taken_for_whole(tmp_path: Path, keep: Callable[[Sent], bool]) -> None:
    record(tmp_path, "episode_000005", keep=keep)
    assert BagLibrary(tmp_path, LAYOUT).recorded(5) is None


def test_a_bag_that_is_still_being_written_is_left_alone(tmp_path: Path) -> None:
    (record(tmp_path, "episode_000005") / "metadata.yaml").unlink()
    assert BagLibrary(tmp_path, LAYOUT).recorded(5) is None


def test_messages_before_the_first_episode_and_of_forgotten_ones_cost_nothing() -> None:
    live = LiveEpisodes(LAYOUT)
    messages = lockstep_episode(Recipe(5, 3, ("agent",), (16, 16)))
    live.add(messages[0].role, messages[0].message)
    live.begin(5)
    for sent in messages:
        live.add(sent.role, sent.message)
    live.begin(6)
    found = live.fetch(5)
    assert found is not None
    assert len(found.assembler.assemble()) == 3
    assert live.fetch(5) is None


def test_what_the_policy_estimates_of_success_is_taken_from_its_actions_by_step() -> None:
    """The report would not have it, or of other steps; messages of a bag of an earlier version have none."""
    live = LiveEpisodes(LAYOUT)
    live.begin(5)
    for sent in reversed(lockstep_episode(Recipe(5, 6, ("agent",), (16, 16)))):
        if sent.role == "action":
            sent.message.success_probability = 0.125 * sent.message.step
            sent.message.edited = float("nan") if sent.message.step == 0 else float(sent.message.step == 3)
            if sent.message.step == 2:
                del sent.message.success_probability
        live.add(sent.role, sent.message)
    found = live.fetch(5)
    assert found is not None
    assert np.array_equal(found.success_probabilities(5), [0.0, 0.125, np.nan, 0.375, 0.5], equal_nan=True)
    assert found.edited_share(5) == 0.25


def test_a_camera_that_films_on_after_an_episode_does_not_fill_the_memory() -> None:
    """A person who takes minutes to prepare the scene would cost gigabytes."""
    live = LiveEpisodes(LAYOUT)
    live.begin(5)
    messages = lockstep_episode(Recipe(5, 3, ("agent",), (16, 16)))
    for sent in messages:
        live.add(sent.role, sent.message)
    for later in range(1000):
        live.add("state", robot_state(200 * NSEC_PER_SEC + later, np.random.default_rng(later)))
    found = live.fetch(5)
    assert found is not None
    assert len(found.assembler.pool.states) <= 4 + MAX_MESSAGES_AFTER_END
    assert len(found.assembler.assemble()) == 3


def test_what_happens_while_the_scene_is_brought_back_is_no_part_of_the_episode_before() -> None:
    live = LiveEpisodes(LAYOUT)
    live.begin(5)
    messages = lockstep_episode(Recipe(5, 3, ("agent",), (16, 16)))
    for sent in messages[:-1]:
        live.add(sent.role, sent.message)
    live.stop()
    live.add(messages[-1].role, messages[-1].message)
    found = live.fetch(5)
    assert found is not None
    assert not found.assembler.ended


def demonstrate(folder: Path, number: int) -> Path:
    """Write the bag of a demonstration."""
    write_bag(folder / f"demo_{number}", lockstep_episode(Recipe(number, 6, ("agent",), (16, 16), seed=number)))
    return folder / f"demo_{number}"


def learned(run: Path, bags: Path, capacity: int = 10_000) -> tuple[BagLibrary, ReplayStore]:
    """Return the library and the store, restored from a checkpoint's index, of a run that has learned from `bags`."""
    library, store = BagLibrary(run / "bags", LAYOUT), ReplayStore(run / "cache", capacity=capacity)
    for bag, episode in library.demonstrations(bags, TopicMap(), store):
        store.add(episode, bag, "offline")
    again = ReplayStore(run / "cache", capacity=capacity)
    again.restore(store.state(), LAYOUT)
    return library, again


def difference(known: tuple[BagLibrary, ReplayStore], bags: Path, since: float = 0.0) -> str:
    return known[0].differences(bags, TopicMap(), known[1], since).sentence()


def test_bags_that_were_added_removed_or_changed_are_named(tmp_path: Path) -> None:
    """The run would say that it is done although it has not learned from what lies there."""
    bags = tmp_path / "bags"
    one, two = demonstrate(bags, 1), demonstrate(bags, 2)
    known = learned(tmp_path / "run", bags)
    for since in (0.0, 1e12):  # with and without reading what is there
        assert difference(known, bags, since) == ""
    three = demonstrate(bags, 3)
    assert difference(known, bags) == "1 new (demo_3)"
    shutil.rmtree(two)
    assert difference(known, bags) == "1 new (demo_3), 1 gone (demo_2)"
    shutil.rmtree(one)
    three.rename(one)
    (one / "demo_3_0.mcap").rename(one / "demo_1_0.mcap")
    assert difference(known, bags) == "1 gone (demo_2), 1 changed (demo_1)"


def test_bags_that_were_moved_or_give_no_episode_make_no_difference(tmp_path: Path) -> None:
    """A run that was copied to the robot's computer could not be resumed."""
    bags = tmp_path / "bags"
    for number in (1, 2):
        demonstrate(bags, number)
    (bags / "useless").mkdir()
    (bags / "useless" / "useless_0.mcap").write_bytes(b"")
    known = learned(tmp_path / "run", bags)
    assert difference(known, bags) == ""
    bags.rename(tmp_path / "moved")
    assert difference(known, tmp_path / "moved") == ""
    assert difference(known, bags) == "", "a folder that is not there asks for nothing"
    assert difference(known, tmp_path / "empty") == ""


def test_a_run_that_learned_success_as_no_end_resumes_from_its_bags(tmp_path: Path) -> None:
    """Every run of an earlier version whose cache is lost, or whose bags were copied, would be refused."""
    bag = tmp_path / "bags" / "demo"
    write_bag(bag, lockstep_episode(Recipe(1, 6, ("agent",), (16, 16), outcome="success")))
    library, store = BagLibrary(tmp_path, LAYOUT), ReplayStore(tmp_path / "run" / "cache")
    (episode,) = store.cache.read(bag, LAYOUT, TopicMap())[0]
    assert episode.is_terminal[-1]
    store.add(dataclasses.replace(episode, is_terminal=np.zeros(7, bool)), bag, "offline")
    shutil.rmtree(tmp_path / "run" / "cache")
    again = ReplayStore(tmp_path / "run" / "cache")
    again.restore(store.state(), LAYOUT)
    assert not again.episodes()[0].is_terminal.any(), "what was learned from stays what it was"
    assert difference((library, again), tmp_path / "bags") == ""


def test_bags_whose_episodes_were_dropped_for_want_of_room_are_not_new(tmp_path: Path) -> None:
    """Every long run would be refused once its oldest demonstration no longer fits."""
    bags = tmp_path / "bags"
    for number in (1, 2, 3):
        demonstrate(bags, number)
    known = learned(tmp_path / "run", bags, capacity=13)
    assert len(known[1]) == 2
    assert difference(known, bags) == ""


def test_a_bag_that_a_message_names_is_used_only_inside_the_runs_bags(tmp_path: Path) -> None:
    """Any publisher could have the trainer read any folder of the machine, or die of the name."""
    bag, outside = record(tmp_path / "bags", "episode_000005"), record(tmp_path / "other", "episode_000005")
    library = BagLibrary(tmp_path / "bags", LAYOUT)
    assert library.inside(str(bag)) == bag
    (tmp_path / "link").symlink_to(tmp_path / "bags")
    assert library.inside(str(tmp_path / "link" / "online" / "episode_000005")) is not None
    wrong = [outside, "", ".", "/", "/etc", tmp_path / "bags", bag / ".." / ".." / ".." / "other" / "online"]
    for uri in [*map(str, wrong), "a\0b", "x" * 10_000, f"{bag}/{'y' * 300}", f"file://{bag}", str(bag / "missing")]:
        assert library.inside(uri) is None, uri


def test_a_key_from_a_file_does_not_lead_out_of_the_cache(tmp_path: Path) -> None:
    """A checkpoint from somebody else names what to load."""
    _, store = learned(tmp_path / "run", demonstrate(tmp_path / "bags", 1).parent)
    row = store.state()["episodes"][0]
    shutil.copytree(tmp_path / "run" / "cache" / row["key"], tmp_path / "stolen")
    assert store.cache.load(row["key"]) is not None
    assert store.cache.load("../../stolen") is None
    assert store.cache.load(str(tmp_path / "stolen")) is None


def test_bags_whose_names_are_no_utf8_are_learned_from_and_named(tmp_path: Path) -> None:
    """A folder copied from an older system would end the run with a traceback."""
    old, new = (Path(os.fsdecode(os.fsencode(tmp_path) + name)) for name in (b"/old_\xe9", b"/new_\xff"))
    demonstrate(tmp_path / "bags", 1).rename(tmp_path / "bags" / old.name)
    library, store = learned(tmp_path / "run", tmp_path / "bags")
    again = ReplayStore(tmp_path / "run" / "cache")
    again.restore(json.loads(json.dumps(store.state())), LAYOUT)
    assert again.bags() == [tmp_path / "bags" / old.name]
    shutil.rmtree(tmp_path / "bags" / old.name)
    demonstrate(tmp_path / "bags", 2).rename(tmp_path / "bags" / new.name)
    assert difference((library, again), tmp_path / "bags") == f"1 new ({new.name}), 1 gone ({old.name})"
