"""`moto bag info` says what a bag holds and what is wrong with it, without being told its layout."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from support.bags import Recipe, lockstep_episode, write_bag

from moto_ros.data.bag_info import bag_facts, guess_layout
from moto_ros.errors import MotoError

RECIPE = Recipe(steps=10, outcome="success")


def test_facts_of_a_good_bag(tmp_path: Path) -> None:
    """A user could not tell a recording of demonstrations from an empty one."""
    write_bag(tmp_path / "bag", lockstep_episode(RECIPE))
    facts = bag_facts(tmp_path / "bag")
    assert facts.problems == []
    (row,) = facts.episodes
    assert (row.id, row.steps, row.success, row.outcome, row.source) == (3, 10, True, "success", "script")
    assert row.total_reward == 1.0
    assert row.duration == pytest.approx(1.0)
    rates = {topic.name: (topic.count, topic.role, round(topic.rate, 3)) for topic in facts.topics}
    assert rates["/camera/agent/image_raw"] == (11, "camera/agent", 10.0)
    assert rates["/policy/action"] == (10, "action", 10.0)
    assert facts.messages == sum(topic.count for topic in facts.topics) == 11 * 3 + 2 * 10 + 2
    assert facts.storage == "mcap"
    assert json.loads(json.dumps(facts.as_json()))["episodes"][0]["steps"] == 10


def test_layout_is_taken_from_the_bag(tmp_path: Path) -> None:
    write_bag(tmp_path / "bag", lockstep_episode(Recipe(cameras=("b", "a"), action_size=7)))
    layout = guess_layout(tmp_path / "bag")
    assert (layout.cameras, layout.action_size, layout.joint_count) == (("a", "b"), 7, 7)


def test_lost_frames_show_as_gap_and_lost_steps(tmp_path: Path) -> None:
    frames = [sent for sent in lockstep_episode(RECIPE) if sent.role == "camera/agent"]
    lost = {id(sent.message) for sent in frames[4:8]}
    messages = [sent for sent in lockstep_episode(RECIPE) if sent.role != "camera/agent"]
    write_bag(tmp_path / "bag", [*messages, *(sent for sent in frames if id(sent.message) not in lost)])
    facts = bag_facts(tmp_path / "bag")
    assert [(row.part, row.steps, row.lost_steps) for row in facts.episodes] == [(0, 3, 5), (1, 2, 5)]
    assert "5 of 10 steps are incomplete" in facts.problems[0]
    assert (
        "/camera/agent/image_raw: was silent for 0.500 s, its messages are usually 0.100 s apart" in facts.problems[1]
    )


def test_a_world_that_waits_for_the_learner_loses_nothing(tmp_path: Path) -> None:
    """In lockstep the wall clock may pause for a second between two observations: no gap in the data."""
    messages = lockstep_episode(RECIPE)
    middle = messages[len(messages) // 2].log_time
    late = [replace(sent, log_time=sent.log_time + (sent.log_time >= middle) * 10**9) for sent in messages]
    write_bag(tmp_path / "bag", late)
    assert bag_facts(tmp_path / "bag").problems == []


def test_an_empty_and_an_absent_bag(tmp_path: Path) -> None:
    (tmp_path / "bag").mkdir()
    assert "has no .mcap or .db3 file" in " ".join(bag_facts(tmp_path / "bag").problems)
    with pytest.raises(MotoError, match="does not exist"):
        bag_facts(tmp_path / "nothing")
