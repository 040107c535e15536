"""Rewards on hardware: each executed step gets one, in order, from the right source and for the right observation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.graph import Graph, ros_graph

from moto_ros.config import build
from moto_ros.episode.reward_assigner import AssignedReward, RewardAssigner, StepReward
from moto_ros.episode.reward_rules import Measured, RuleSettings
from moto_ros.errors import MotoError

PERIOD = 100
GOAL = (0.5, 0.0, 0.3)
NEAR = RuleSettings(rule="distance", goal=GOAL, radius=0.05)
EXTERNAL = RuleSettings(rule="external")


def seen(stamp: int, step: int, position: tuple[float, float, float] = GOAL, width: float = 0.0) -> Measured:
    return Measured(stamp, 7, step, np.array(position), width)


def running(rules: RuleSettings, lag: int = 1, *, from_start: bool = True) -> RewardAssigner:
    assigner = RewardAssigner(PERIOD, lag)
    assigner.begin(7, 0, rules, from_start=from_start)
    return assigner


def word(source: str = "mine", value: float = 2.0) -> AssignedReward:
    return AssignedReward(value, value > 1, False, source)


def brief(rewards: list[StepReward]) -> list[tuple[int, int, float, str]]:
    return [(reward.step, reward.stamp, reward.assigned.value, reward.assigned.source) for reward in rewards]


@pytest.mark.parametrize(
    ("rules", "position", "width", "expected"),
    [
        (NEAR, (0.5, 0.0, 0.26), 0.0, True),
        (NEAR, (0.5, 0.0, 0.24), 0.0, False),
        (RuleSettings(rule="height", height=0.2), (0.0, 0.0, 0.2), 0.08, True),
        (RuleSettings(rule="height", height=0.2), (0.0, 0.0, 0.19), 0.08, False),
        (RuleSettings(rule="height", height=0.2, grip=(0.01, 0.06)), (0.0, 0.0, 0.3), 0.03, True),
        (RuleSettings(rule="height", height=0.2, grip=(0.01, 0.06)), (0.0, 0.0, 0.3), 0.0, False),
        (RuleSettings(), GOAL, 0.0, False),
    ],
)
def test_a_rule_says_what_its_numbers_say(rules: RuleSettings, position: Any, width: float, expected: bool) -> None:
    assert rules.holds(seen(0, 0, position, width)) == expected


@pytest.mark.parametrize(
    ("given_", "named"),
    [
        ({"rule": "distance"}, "goal"),
        ({"grip": [0.04, 0.01]}, "grip"),
        ({"rule": "near"}, "rule"),
        ({"radius": -1.0}, "radius"),
    ],
)
def test_a_rule_without_its_numbers_is_refused_before_anything_moves(given_: dict[str, Any], named: str) -> None:
    with pytest.raises(MotoError, match=named):
        build(RuleSettings, given_, "reward")


def test_a_step_is_rewarded_one_period_after_its_action_was_taken_for_the_state_then_newest() -> None:
    assigner = running(NEAR)
    assert assigner.state(seen(10, 0)) == []
    assert assigner.state(seen(40, 1)) == []
    assert assigner.state(seen(130, 1)) == []
    assert brief(assigner.state(seen(145, 1))) == [(1, 145, 1.0, "distance")]
    assert assigner.state(seen(160, 1)) == []


def test_an_action_that_names_its_observation_earlier_decides_which_state_the_reward_is_for() -> None:
    """Else the reward of a step would belong to another picture than the one the next action was computed from."""
    assigner = running(NEAR)
    assigner.state(seen(40, 1, (9.0, 0.0, 0.0)))
    assigner.state(seen(120, 1))
    assigner.state(seen(130, 1, (9.0, 0.0, 0.0)))
    assert brief(assigner.action(7, 1, 120)) == [(1, 120, 1.0, "distance")]


def test_an_action_that_overtakes_the_state_it_names_waits_for_that_state() -> None:
    assigner = running(NEAR)
    assigner.state(seen(40, 1, (9.0, 0.0, 0.0)))
    assert assigner.action(7, 1, 120) == []
    assert brief(assigner.state(seen(120, 1))) == [(1, 120, 1.0, "distance")]


def test_the_rule_must_hold_for_the_wanted_number_of_steps_in_a_row() -> None:
    assigner = running(RuleSettings(rule="distance", goal=GOAL, radius=0.05, hold_steps=2))
    away, values = (9.0, 0.0, 0.0), []
    for step, position in enumerate([GOAL, away, GOAL, GOAL, GOAL], 1):
        assigner.state(seen(1000 * step, step, position))
        values += [reward.assigned.value for reward in assigner.state(seen(1000 * step + PERIOD, step, position))]
    assert values == [0.0, 0.0, 0.0, 1.0, 1.0]


@pytest.mark.parametrize("success", [True, False])
def test_the_operators_word_ends_the_episode_and_nothing_is_rewarded_after_it(success: bool) -> None:
    assigner = running(RuleSettings())
    assigner.state(seen(10, 1))
    assert assigner.operator(success=success) == []
    (reward,) = assigner.state(seen(120, 1))
    assert reward.assigned == AssignedReward(float(success), success, True, "operator")
    assert assigner.state(seen(130, 2)) == []
    assert assigner.state(seen(400, 2)) == []


def test_the_operators_word_on_an_idle_robot_waits_for_the_next_step_not_for_the_next_episode() -> None:
    assigner = running(RuleSettings())
    assigner.state(seen(10, 1))
    assigner.state(seen(120, 1))
    assigner.operator(success=True)
    assigner.state(seen(200, 2))
    assert [reward.assigned.terminal for reward in assigner.state(seen(300, 2))] == [True]
    assigner.end()
    assert assigner.operator(success=True) == []
    assigner.begin(8, 0, RuleSettings(), from_start=True)
    assigner.state(Measured(10, 8, 1, np.zeros(3), 0.0))
    assert [reward.assigned.terminal for reward in assigner.state(Measured(120, 8, 1, np.zeros(3), 0.0))] == [False]


def test_the_operators_word_does_not_wait_for_somebody_elses() -> None:
    assigner = running(EXTERNAL, lag=5)
    assigner.state(seen(10, 1))
    assigner.state(seen(110, 2))
    rewards = assigner.operator(success=True) + assigner.state(seen(215, 2))
    assert [(one.step, one.assigned.source, one.assigned.terminal) for one in rewards] == [
        (1, "external", False),
        (2, "operator", True),
    ]


def test_an_external_reward_within_the_bound_is_taken_and_a_later_one_is_counted_and_refused() -> None:
    assigner = running(EXTERNAL, lag=3)
    assigner.state(seen(10, 1))
    assigner.action(7, 1, 110)
    assert assigner.state(seen(150, 2)) == []
    assert brief(assigner.external(7, 1, word())) == [(1, 110, 2.0, "mine")]
    assert assigner.state(seen(440, 2)) == []
    assert brief(assigner.state(seen(450, 2))) == [(2, 440, 0.0, "external")]
    assert assigner.external(7, 2, word()) == []
    assert assigner.counts["external_late"] == 1
    assert "after it was rewarded" in assigner.refusal


def test_a_reward_for_step_zero_goes_to_the_newest_step() -> None:
    assigner = running(EXTERNAL, lag=3)
    assigner.state(seen(10, 1))
    assigner.state(seen(110, 2))
    assert assigner.external(0, 0, word()) == []
    assert brief(assigner.state(seen(310, 2))) == [(1, 110, 0.0, "external"), (2, 310, 2.0, "mine")]


@pytest.mark.parametrize(
    ("episode", "step", "value", "kind"),
    [(6, 1, 1.0, "foreign"), (7, 5, 1.0, "early"), (7, 1, float("nan"), "bad")],
)
def test_what_cannot_be_a_reward_of_this_step_is_refused(episode: int, step: int, value: float, kind: str) -> None:
    assigner = running(EXTERNAL)
    assigner.state(seen(10, 1))
    assert assigner.external(episode, step, word(value=value)) == []
    assert assigner.counts[f"external_{kind}"] == 1
    assert assigner.refusal


def test_a_reward_node_started_during_an_episode_rewards_from_the_next_step_on() -> None:
    assigner = running(NEAR, from_start=False)
    assigner.state(seen(10, 4))
    assert assigner.state(seen(500, 4)) == []
    assigner.state(seen(510, 5))
    assert [reward.step for reward in assigner.state(seen(610, 5))] == [5]


@given(
    st.lists(st.tuples(st.integers(1, 60), st.integers(0, 2)), min_size=1, max_size=60),
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 12)), max_size=8),
    st.integers(1, 4),
    st.sampled_from([NEAR, EXTERNAL, RuleSettings()]),
)
def test_for_any_inputs_every_step_is_rewarded_once_in_order_and_within_the_bound(
    states: list[tuple[int, int]], words: list[tuple[int, int]], lag: int, rules: RuleSettings
) -> None:
    assigner, rewards, now, step = running(rules, lag), [], 0, 0
    taken: dict[int, int] = {}
    for index, (pause, more) in enumerate(states):
        now, before = now + pause, step
        step += more
        taken |= dict.fromkeys(range(before + 1, step + 1), now)
        rewards += assigner.state(seen(now, step))
        for _ in [place for place, _ in words if place == index]:
            rewards += assigner.external(7, words[0][1], word())
    rewards += assigner.state(seen(now + lag * PERIOD, step))
    assert [one.step for one in rewards] == list(range(1, step + 1))
    assert all(taken[one.step] + PERIOD <= one.stamp for one in rewards)


# Over real topics.

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")
pytest.importorskip("moto_msgs", reason="moto_msgs is not built")

from moto_msgs.msg import Action, EpisodeState, OperatorEvent, Reward, RobotState  # noqa: E402
from moto_ros.contract import topics  # noqa: E402
from moto_ros.nodes.reward_node import RewardNode  # noqa: E402
from moto_ros.ros import qos  # noqa: E402
from moto_ros.ros.convert import to_nanoseconds, to_time  # noqa: E402

TICK = 100_000_000


@pytest.fixture
def graph() -> Iterator[Graph]:
    with ros_graph() as made:
        yield made


class Arm:
    """An arm and its episode made of nothing but their topics."""

    def __init__(self, graph: Graph, **given_: Any) -> None:
        self.graph, self.node = graph, graph.add(RewardNode(given_))
        peer = graph.peer("arm")
        self.rewards = peer.hear(Reward, topics.REWARD, qos.event())
        self._state = peer.advertise(RobotState, topics.ROBOT_STATE, qos.stream_out())
        self._episode = peer.advertise(EpisodeState, topics.EPISODE_STATE, qos.latched())
        self.say = peer.advertise(OperatorEvent, topics.OPERATOR_EVENT, qos.event())
        self.act = peer.advertise(Action, topics.ACTION, qos.event())
        self.external = peer.advertise(Reward, topics.EXTERNAL_REWARD, qos.event())
        graph.until(lambda: peer.node.count_subscribers(topics.REWARD) == 1, "the test's subscription")
        graph.spin(0.2)
        self.time = 0

    def phase(self, phase: int, number: int, **fields: Any) -> None:
        self._episode(EpisodeState(phase=phase, episode=number, **fields))
        self.graph.spin(0.1)

    def begin(self, number: int, **fields: Any) -> None:
        self.phase(EpisodeState.PHASE_RESETTING, number, **fields)
        self.phase(EpisodeState.PHASE_RUNNING, number, start=to_time(self.time), **fields)

    def state(self, number: int, step: int, height: float = 0.0) -> None:
        self.time += TICK // 2
        message = RobotState(episode=number, step=step)
        message.header.stamp, message.ee_pose.position.z = to_time(self.time), height
        self._state(message)
        self.graph.spin(0.02)

    def rewarded(self, count: int) -> list[tuple[int, int, float, str]]:
        self.graph.until(lambda: len(self.rewards) >= count, f"{count} rewards")
        return [(reward.episode, reward.step, reward.value, reward.source) for reward in self.rewards]


@pytest.mark.ros
@pytest.mark.realtime
def test_executed_steps_are_rewarded_over_topics_with_the_stamp_of_their_state(graph: Graph) -> None:
    arm = Arm(graph, rule="height", height=0.2)
    arm.begin(3)
    for step, height in enumerate([0.1, 0.3], 1):
        for _ in range(3):
            arm.state(3, step, height)
    assert arm.rewarded(2) == [(3, 1, 0.0, "height"), (3, 2, 1.0, "height")]
    assert [to_nanoseconds(reward.header.stamp) for reward in arm.rewards] == [3 * TICK // 2, 3 * TICK]
    assert [reward.success for reward in arm.rewards] == [False, True]
    assert not any(reward.terminal for reward in arm.rewards)
    assert arm.node.report().values["rewarded_by_height"] == 2


@pytest.mark.ros
@pytest.mark.realtime
@pytest.mark.parametrize("event", [OperatorEvent.SUCCESS, OperatorEvent.FAILURE])
def test_a_button_gives_a_terminal_reward_and_other_buttons_give_none(graph: Graph, event: int) -> None:
    arm = Arm(graph)
    arm.begin(0)
    arm.state(0, 1)
    arm.say(OperatorEvent(event=OperatorEvent.TAKE_OVER))
    arm.say(OperatorEvent(event=event))
    graph.spin(0.2)
    for _ in range(4):
        arm.state(0, 2)
    success = event == OperatorEvent.SUCCESS
    arm.rewarded(1)
    (reward,) = arm.rewards
    assert (reward.terminal, reward.success, reward.source, reward.value) == (True, success, "operator", float(success))


@pytest.mark.ros
@pytest.mark.realtime
def test_an_external_reward_node_is_used_and_its_name_is_kept(graph: Graph) -> None:
    arm = Arm(graph, rule="external", reward_lag=10)
    arm.begin(5)
    arm.state(5, 1)
    arm.act(Action(episode=5, step=1, state_stamp=to_time(arm.time)))
    arm.external(Reward(episode=5, step=1, value=0.7, source="my classifier"))
    assert arm.rewarded(1) == [(5, 1, pytest.approx(0.7), "my classifier")]
    arm.external(Reward(episode=5, step=1, value=0.9))
    graph.until(lambda: arm.node.report().values.get("external_late") == 1, "the refusal")
    assert "after it was rewarded" in arm.node.report().message


@pytest.mark.ros
@pytest.mark.realtime
def test_an_episode_that_resets_the_scene_has_its_own_rule(graph: Graph) -> None:
    arm = Arm(graph, **{"rule": "none", "reset.rule": "height", "reset.height": 0.2})
    arm.begin(9, purpose=EpisodeState.PURPOSE_RESET)
    for _ in range(3):
        arm.state(9, 1, 0.5)
    assert arm.rewarded(1) == [(9, 1, 1.0, "height")]
    arm.phase(EpisodeState.PHASE_ENDED, 9, purpose=EpisodeState.PURPOSE_RESET)
    arm.begin(10)
    for _ in range(3):
        arm.state(10, 1, 0.5)
    assert arm.rewarded(2)[1] == (10, 1, 0.0, "none")
