"""Which recordings a resumed trainer takes in: whole ones, and no others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.bags import Recipe, Sent, lockstep_episode, robot_state, write_bag

from moto_ros.data.layout import SECOND, StepLayout
from moto_ros.nodes.bag_library import BagLibrary
from moto_ros.nodes.live_episodes import AFTERMATH, LiveEpisodes

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


def test_a_camera_that_films_on_after_an_episode_does_not_fill_the_memory() -> None:
    """A person who takes minutes to prepare the scene would cost gigabytes."""
    live = LiveEpisodes(LAYOUT)
    live.begin(5)
    messages = lockstep_episode(Recipe(5, 3, ("agent",), (16, 16)))
    for sent in messages:
        live.add(sent.role, sent.message)
    for later in range(1000):
        live.add("state", robot_state(200 * SECOND + later, np.random.default_rng(later)))
    found = live.fetch(5)
    assert found is not None
    assert len(found.assembler.pool.states) <= 4 + AFTERMATH
    assert len(found.assembler.assemble()) == 3


def test_what_happens_while_the_scene_is_brought_back_is_no_part_of_the_episode_before() -> None:
    live = LiveEpisodes(LAYOUT)
    live.begin(5)
    messages = lockstep_episode(Recipe(5, 3, ("agent",), (16, 16)))
    for sent in messages[:-1]:
        live.add(sent.role, sent.message)
    live.rest()
    live.add(messages[-1].role, messages[-1].message)
    found = live.fetch(5)
    assert found is not None
    assert not found.assembler.ended
