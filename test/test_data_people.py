"""Who chose each action, what the guard did, and faults, from message to episode, bag and store."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.bags import Recipe, Sent, lockstep_episode, make, set_time, write_bag

from moto_ros.cli.main import main
from moto_ros.contract.stamps import NSEC_PER_SEC
from moto_ros.data.assembler import EpisodeAssembler
from moto_ros.data.bag_info import bag_facts
from moto_ros.data.bag_reader import read_episodes
from moto_ros.data.cache import DecodedCache, content_key, facts_of, rows_of
from moto_ros.data.episode import Episode
from moto_ros.data.incidents import Incidents
from moto_ros.data.layout import StepLayout
from moto_ros.data.prior import success_or_human
from moto_ros.data.records import UNKNOWN_SOURCE
from moto_ros.data.replay import ReplayStore

LAYOUT = StepLayout(cameras=("agent",), image_size=16, proprio=("ee_position",))
RECIPE = Recipe(steps=6, cameras=("agent",))
SOURCES = [0, 0, 1, 1, 1, 0]
GUARDS = [0, 1, 0, 0, 0, 2]


def mixed() -> list[Sent]:
    """Return an episode in which a person helps in the middle and the guard acts before and after."""
    messages = lockstep_episode(RECIPE)
    for sent in messages:
        if sent.role == "action":
            sent.message.source, sent.message.guard = SOURCES[sent.message.step], GUARDS[sent.message.step]
    return messages


def assembled(messages: list[Sent]) -> Episode:
    assembler = EpisodeAssembler(LAYOUT, RECIPE.episode)
    for sent in messages:
        assembler.add(sent.role, sent.message)
    return assembler.assemble()


def health(stamp: int, *, healthy: bool, reason: str = "") -> Sent:
    message = make("moto_msgs/msg/CameraHealth", stamp, camera="wrist", healthy=healthy, reason=reason)
    return Sent("/camera/wrist/health", "health", "moto_msgs/msg/CameraHealth", message, stamp)


def troubled() -> list[Sent]:
    """Return the mixed episode with a reflex in two robot states and a camera that was gone for 0.2 s."""
    messages = mixed()
    for sent in messages:
        if sent.role == "state" and 2 <= (sent.log_time - RECIPE.start) // RECIPE.period <= 3:
            sent.message.mode, sent.message.fault = 5, "reflex on joint 4; recover"
    gone = RECIPE.start + RECIPE.period
    lost = health(gone, healthy=False, reason="camera wrist: no frame")
    return [*messages, lost, health(gone + NSEC_PER_SEC // 5, healthy=True)]


def test_each_step_keeps_who_decided_it_and_what_the_guard_did() -> None:
    episode = assembled(mixed())
    assert episode.source.tolist() == [UNKNOWN_SOURCE, *SOURCES]
    assert episode.guard.tolist() == [0, *GUARDS]
    assert episode.human_share == 0.5
    assert episode.info["source"] == "human+policy"


def test_a_bag_tells_people_faults_and_camera_gaps_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_bag(tmp_path / "bag", troubled())
    facts = bag_facts(tmp_path / "bag", LAYOUT)
    (row,) = facts.episodes
    assert (row.human_share, row.guarded_steps, row.source) == (0.5, 2, "human+policy")
    assert [(found.source, found.duration, found.text) for found in facts.incidents] == [
        ("camera wrist", pytest.approx(0.2), "camera wrist: no frame"),
        ("robot", pytest.approx(0.2), "reflex on joint 4; recover"),
    ]
    (episode,) = read_episodes(tmp_path / "bag", LAYOUT).episodes
    assert (episode.info["faults"], episode.info["camera_gaps"]) == (1, 1)
    assert json.loads(json.dumps(facts.as_json()))["incidents"][1]["source"] == "robot"
    assert main(["bag", "info", str(tmp_path / "bag")]) == 0
    shown = capsys.readouterr().out
    assert "reflex on joint 4" in shown
    assert "human" in shown


def test_live_messages_and_the_bag_give_the_same_episode_and_sources(tmp_path: Path) -> None:
    write_bag(tmp_path / "bag", troubled())
    (recorded,) = read_episodes(tmp_path / "bag", LAYOUT).episodes
    live = assembled(troubled())
    assert live.info == recorded.info
    assert all(np.array_equal(rows, recorded.arrays()[name]) for name, rows in live.arrays().items())


class Sign:
    """The fault fields of a robot state."""

    def __init__(self, mode: int, fault: str = "") -> None:
        self.mode, self.fault = mode, fault


@given(st.lists(st.tuples(st.integers(0, 50), st.sampled_from([1, 4, 5])), max_size=30), st.randoms())
def test_incidents_do_not_depend_on_the_order_of_messages(signs: list[tuple[int, int]], chance: Any) -> None:
    ordered, shuffled = Incidents(), Incidents()
    for stamp, mode in signs:
        ordered.robot(stamp, Sign(mode, "x" if mode == 5 else ""))
    chance.shuffle(signs)
    for stamp, mode in signs:
        shuffled.robot(stamp, Sign(mode, "x" if mode == 5 else ""))
    assert ordered.found() == shuffled.found()
    assert ordered.count(robot=True) == len(ordered.found())


def test_late_rewards_and_actions_after_the_limit_change_nothing(tmp_path: Path) -> None:
    """With rewards one step late the policy has already sent action T when reward T ends the episode."""
    messages = mixed()
    extra = next(sent for sent in reversed(lockstep_episode(RECIPE)) if sent.role == "action")
    extra.message.step, extra.message.source = RECIPE.steps, 1
    set_time(extra.message.state_stamp, RECIPE.start + RECIPE.steps * RECIPE.period)
    late = [replace(sent, log_time=sent.log_time + RECIPE.period * (sent.role == "reward")) for sent in messages]
    write_bag(tmp_path / "bag", sorted([*late, extra], key=lambda sent: sent.log_time))
    (found,) = read_episodes(tmp_path / "bag", LAYOUT).episodes
    expected = assembled(messages)
    assert all(np.array_equal(rows, found.arrays()[name]) for name, rows in expected.arrays().items())
    assert found.info["source"] == "human+policy"


def test_help_is_drawn_like_any_data_and_does_not_change_the_key_of_an_episode(tmp_path: Path) -> None:
    """Runs of version 0.1 would no longer find the episodes they learned from."""
    helped, plain = assembled(mixed()), assembled(lockstep_episode(RECIPE))
    assert content_key(rows_of(helped)) == content_key(rows_of(plain))
    store = ReplayStore(tmp_path / "cache")
    store.add(helped, None, "online")
    batch = store.sample("online", 1, 7, np.random.default_rng(0))
    assert np.array_equal(batch["action"][0], helped.action)
    assert "source" not in batch


def test_a_cache_of_an_older_version_still_gives_its_episodes(tmp_path: Path) -> None:
    episode = assembled(lockstep_episode(RECIPE))
    cache, rows = DecodedCache(tmp_path), rows_of(episode)
    old = {name: values for name, values in rows.items() if name not in ("source", "guard")}
    key = content_key(rows)
    cache.save(key, old, facts_of(episode), durable=False)
    found = cache.load(key)
    assert found is not None
    assert found[0]["source"].tolist() == [UNKNOWN_SOURCE, *[2] * 6]
    assert not found[0]["guard"].any()


@pytest.mark.parametrize(("source", "success", "rows"), [(1, False, 4), (0, False, 0), (0, True, 4)])
def test_a_demonstration_without_rewards_can_be_imitated_because_a_person_gave_it(
    source: int, success: bool, rows: int
) -> None:
    given_ = {
        "source": np.array([UNKNOWN_SOURCE, source, source, 1]),
        "success": np.array([False, False, False, success]),
    }
    assert success_or_human(given_) == rows
