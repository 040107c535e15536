"""Steps made of messages are the same in any order of arrival, and missing parts are reported."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.bags import Recipe, Sent, lockstep_episode, make, phase, reward, robot_state, set_time

from moto_ros.contract.stamps import NSEC_PER_SEC
from moto_ros.data.assembler import EpisodeAssembler
from moto_ros.data.episode import Episode
from moto_ros.data.layout import StepLayout
from moto_ros.errors import MotoError

LAYOUT = StepLayout(cameras=("agent", "wrist"), image_size=16, proprio=("ee_position", "joint_position"))
MESSAGES = lockstep_episode(Recipe())


def assemble(messages: list[Sent], layout: StepLayout = LAYOUT) -> Episode:
    assembler = EpisodeAssembler(layout, 3)
    for sent in messages:
        assembler.add(sent.role, sent.message)
    return assembler.assemble()


def filled(messages: list[Sent], layout: StepLayout = LAYOUT) -> EpisodeAssembler:
    assembler = EpisodeAssembler(layout, 3)
    for sent in messages:
        assembler.add(sent.role, sent.message)
    return assembler


def equal(first: Episode, second: Episode) -> bool:
    rows, others = first.arrays(), second.arrays()
    same = all(rows[name].dtype == others[name].dtype and np.array_equal(rows[name], others[name]) for name in rows)
    return rows.keys() == others.keys() and same and first.info == second.info


def of(messages: list[Sent], role: str) -> list[Sent]:
    return [sent for sent in messages if sent.role == role]


def test_rows_follow_the_dreamer_convention() -> None:
    """A learner would fit dynamics shifted by one step."""
    episode = assemble(MESSAGES)
    actions, rewards = of(MESSAGES, "action"), of(MESSAGES, "reward")
    assert len(episode) == 6
    assert not episode.action[0].any()
    assert episode.reward[0] == 0.0
    for k, sent in enumerate(actions):
        assert np.array_equal(episode.action[k + 1], sent.message.values)
        assert episode.stamps[k] == sent.message.state_stamp.sec * NSEC_PER_SEC + sent.message.state_stamp.nanosec
    assert [int(r.message.step) for r in rewards] == [1, 2, 3, 4, 5, 6]
    frames = of(MESSAGES, "camera/wrist")
    assert np.array_equal(episode.images["wrist"][4], frames[4].message.data.reshape(16, 16, 3))
    assert episode.proprio.shape == (7, 10)
    assert not episode.is_terminal.any()


@settings(max_examples=60)
@given(st.permutations(MESSAGES), st.lists(st.sampled_from(MESSAGES), max_size=10))
def test_order_and_repetition_of_messages_do_not_matter(order: list[Sent], again: list[Sent]) -> None:
    """The same episode would differ between live topics and its bag."""
    assert equal(assemble(MESSAGES), assemble(order + again))


@settings(max_examples=40)
@given(st.permutations(MESSAGES), st.integers(0, 5))
def test_of_two_actions_for_one_step_the_first_sent_counts(order: list[Sent], step: int) -> None:
    """A restarted policy that sends step k again would change what the robot has done."""
    rival = of(lockstep_episode(Recipe(seed=9)), "action")[step]
    rival.message.header.stamp.sec += 1
    assert equal(assemble(MESSAGES), assemble([rival, *order]))


@pytest.mark.parametrize("role", ["camera/agent", "state", "action", "reward"])
@pytest.mark.parametrize("place", [0, 2, -1])
def test_a_lost_message_is_named_and_refused(role: str, place: int) -> None:
    """An episode with a hole would be learned from as if whole."""
    lost = of(MESSAGES, role)[place]
    assembler = filled([sent for sent in MESSAGES if sent is not lost])
    assert assembler.missing()
    assert role.split("/")[-1] in " ".join(assembler.missing()) or role == "state"
    with pytest.raises(MotoError, match="incomplete"):
        assembler.assemble()


def test_parts_around_a_gap_are_kept_and_said() -> None:
    """One lost frame would cost a whole episode, or hide in it."""
    lost = of(MESSAGES, "camera/agent")[3]
    assembler = filled([sent for sent in MESSAGES if sent is not lost])
    first, second = assembler.parts()
    whole = assemble(MESSAGES)
    assert (len(first), len(second)) == (2, 2)
    assert np.array_equal(first.action[1:], whole.action[1:3])
    assert np.array_equal(second.action[1:], whole.action[5:7])
    assert not second.action[0].any()
    assert second.info["first_step"] == 4
    assert any(
        "2 of 6 steps are incomplete (step 3: image of camera agent)" in text for text in assembler.report.problems
    )


def test_messages_of_other_episodes_and_late_steps_are_counted_not_used() -> None:
    """A step of the next episode would be appended to this one."""
    other = lockstep_episode(Recipe(episode=4, start=200 * NSEC_PER_SEC))
    late = of(lockstep_episode(Recipe(steps=7)), "action")[6]
    assembler = filled([*MESSAGES, *other, late])
    assert equal(assembler.assemble(), assemble(MESSAGES))
    assert assembler.report.counts["foreign"] == 12
    assert assembler.report.counts["late"] == 1 + 3 * 7


def test_last_observation_waits_for_a_frame_that_may_still_come() -> None:
    """With cameras slower than the robot state, the live last frame could be older than the one in the bag."""
    layout = StepLayout(cameras=("agent",), image_size=16, pairing_tolerance=0.2)
    slow = [sent for sent in MESSAGES if sent.role != "camera/wrist"]
    newest = of(slow, "camera/agent")[-1]
    assembler = filled([sent for sent in slow if sent is not newest], layout)
    assert assembler.missing() == ["step 6: image of camera agent at or after the last robot state"]
    assembler.add(newest.role, newest.message)
    assert assembler.missing() == []


@pytest.mark.parametrize(("tolerance", "missing"), [(0.04, 0), (0.0, 1)])
def test_a_late_frame_at_the_end_does_not_cost_the_episode_where_stamps_may_differ(
    tolerance: float, missing: int
) -> None:
    """Nothing waits for a better frame after the last reward; in lockstep all stamps are equal."""
    layout = StepLayout(cameras=("agent",), image_size=16, pairing_tolerance=tolerance)
    messages = lockstep_episode(Recipe(cameras=("agent",)))
    last = of(messages, "camera/agent")[-1]
    set_time(last.message.header.stamp, last.log_time + NSEC_PER_SEC // 100)  # the one before is 0.1 s old
    assert len(filled(messages, layout).missing()) == missing


def test_bad_actions_and_rewards_get_one_sentence() -> None:
    """NaN would reach the learner, or a step vanish without a word."""
    nan = make("moto_msgs/msg/Action", 5, episode=3, step=1, values=np.array([0, np.nan, 0, 0], np.float32))
    short = make("moto_msgs/msg/Action", 5, episode=3, step=2, values=np.zeros(3, np.float32))
    wide = make("moto_msgs/msg/Action", 5, episode=3, step=3, values=np.array([0, 2, 0, 0], np.float32))
    assembler = filled([])
    for message in (nan, nan, short, wide):
        assembler.add("action", message)
    assembler.add("reward", reward(3, 1, 5, float("nan")))
    problems = assembler.report.problems
    assert "action of episode 3, step 1: holds NaN or infinity" in problems[0]
    assert "(2 such cases)" in problems[0]
    assert "has 3 values, expected 4" in problems[1]
    assert "holds 2, expected numbers in [-1, 1]; it is clipped" in problems[2]
    assert "reward of episode 3, step 1: is nan" in problems[3]
    assert assembler.report.counts["bad"] == 4


def test_state_with_other_joints_is_refused_with_a_sentence() -> None:
    """Proprioception of another robot would be stacked without notice."""
    assembler = filled([])
    assembler.add("state", robot_state(5, np.random.default_rng(0), joints=9))
    assert "joint_position has 9 numbers, expected 7; set joint_count or joint_names" in assembler.report.problems[0]


def test_an_episode_that_never_ended_gives_what_it_has() -> None:
    """A recorder killed mid-episode would cost all its steps."""
    assembler = filled(MESSAGES[:-11])
    parts = assembler.parts()
    assert [len(part) for part in parts] == [4]
    assert parts[0].info["outcome"] == "none"
    assert any("its end is not recorded; 4 complete steps are used" in text for text in assembler.report.problems)


@pytest.mark.parametrize("outcome", ["failure", "success"])
def test_what_ends_an_episode_is_terminal_and_a_time_limit_is_not(outcome: str) -> None:
    """Values would be bootstrapped past success or failure, or cut off at a time limit."""
    ended = lockstep_episode(Recipe(outcome=outcome))
    assert assemble(ended).is_terminal.tolist() == [False] * 6 + [True]
    for other in ("time_limit", "aborted"):
        assert not assemble(lockstep_episode(Recipe(outcome=other))).is_terminal.any()
    first = [sent for sent in ended if not (sent.role == "action" and sent.message.step == 4)]
    parts = filled(first).parts()
    assert [part.is_terminal.tolist() for part in parts] == [[False] * 5, [False, True]]


def test_an_episode_without_steps_is_refused() -> None:
    """A damaged number of steps would hang or crash the trainer."""
    for steps in (0, 4_000_000_000):
        assembler = filled([])
        assembler.add("episode", phase(3, 5, steps, "aborted"))
        with pytest.raises(MotoError, match=f"ended after {steps}"):
            assembler.assemble()
        assert assembler.parts() == []
