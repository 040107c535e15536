"""The operator node over real topics: a person takes over, lets go, presses buttons and demonstrates."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from support.graph import Graph, ros_graph

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")
pytest.importorskip("moto_msgs", reason="moto_msgs is not built")

from sensor_msgs.msg import CameraInfo
from std_srvs.srv import Trigger
from support.person import Person
from support.robot_side import PERIOD, RobotSide

from moto_msgs.msg import Action, EpisodeState, OperatorEvent, PolicyWeights
from moto_ros.agents.registry import make_agent
from moto_ros.config import build, read_parameters, shipped
from moto_ros.contract import topics
from moto_ros.nodes.learning_settings import agent_part, policy_settings, spaces_of
from moto_ros.nodes.operator_node import OperatorNode
from moto_ros.nodes.policy_node import PolicyNode
from moto_ros.ros import qos
from moto_ros.ros.convert import to_nanoseconds, to_time
from moto_ros.training.settings import agent_digest
from moto_ros.training.weights import pack

pytestmark = [pytest.mark.ros, pytest.mark.realtime]

RESETTING, RUNNING, ENDED = EpisodeState.PHASE_RESETTING, EpisodeState.PHASE_RUNNING, EpisodeState.PHASE_ENDED
POLICY, HUMAN = Action.SOURCE_POLICY, Action.SOURCE_HUMAN
SHIPPED = read_parameters(shipped("nodes", "operator"), "operator")
GIVEN = {**SHIPPED, "wait_for": ["sim"], "human_timeout": 1.0, "release_after": 0.3, "translation_step": 0.02}
FULL = 0.2
"""Speed that is action 1 (m/s): 0.02 m a step at 10 Hz."""

PROPOSED = [-0.5, 0.25, 0.0, 1.0]


@pytest.fixture
def graph() -> Iterator[Graph]:
    with ros_graph() as made:
        yield made


class Desk:
    """An operator node, the person at it, the robot's side, and the test as the policy."""

    def __init__(self, graph: Graph, **given: Any) -> None:
        self.graph, self.person = graph, Person(graph)
        self.robot = RobotSide(graph)
        self.node = graph.add(OperatorNode({**GIVEN, **given}))
        self.said: list[OperatorEvent] = self.robot.peer.hear(OperatorEvent, topics.OPERATOR_EVENT, qos.event())
        self.robot.connected("operator")
        self.step = 0

    def begin(self, number: int = 1, start: int = PERIOD) -> None:
        """Run an episode."""
        self.robot.episode(RESETTING, number)
        self.graph.spin(0.1)
        self.robot.episode(RUNNING, number, start=to_time(start))
        self.graph.until(lambda: self.node._phase == RUNNING, "the episode")
        self.step = 0

    def policy(self) -> None:
        """Become the policy."""
        self.send = self.robot.peer.advertise(Action, topics.PROPOSAL, qos.event())

    def propose(self, values: list[float] | None = None, step: int | None = None, **fields: Any) -> Action:
        """Propose an action for the next step, and return what is executed."""
        step = self.step if step is None else step
        message = self.robot.act(step, PERIOD * (step + 1), episode=1)
        message.values = PROPOSED if values is None else values
        message.header.stamp = self.node.get_clock().now().to_msg()
        message.uncertainty, message.policy_version = 2.5, 7
        for name, value in fields.items():
            setattr(message, name, value)
        before = len(self.robot.actions)
        self.send(message)
        self.graph.until(lambda: len(self.robot.actions) > before, f"the answer to proposal {step}")
        self.step = step + 1
        return self.robot.actions[-1]

    def until_in_control(self, by: str) -> None:
        """Wait until the person is in control by a device, or, with nothing, the policy is."""
        self.graph.until(lambda: self.node._human.control_source(time.monotonic()) == by, f"control by '{by}'")

    def events(self) -> list[tuple[int, str]]:
        """Return what was said on operator/event, and from where."""
        return [(message.event, message.source) for message in self.said]


def is_smooth(actions: list[Any], most: float) -> bool:
    """Return whether no entry of an action differs from that of the action before by more than `most`."""
    jumps = [np.abs(np.array(b.values) - np.array(a.values)).max() for a, b in pairwise(actions)]
    return max(jumps) <= most + 1e-6


def test_without_a_person_the_policys_action_is_executed_as_it_is_with_its_stamps(graph: Graph) -> None:
    desk = Desk(graph)
    desk.policy()
    desk.begin()
    for _ in range(2):
        found = desk.propose(uncertainty_rank=0.25, success_probability=0.5)
        sent = desk.robot.act(desk.step - 1, PERIOD * desk.step, episode=1)
        assert (found.episode, found.step, found.source) == (1, desk.step - 1, POLICY)
        assert (found.state_stamp, found.camera_stamps) == (sent.state_stamp, sent.camera_stamps)
        assert (found.uncertainty, found.uncertainty_rank, found.policy_version) == (2.5, 0.25, 7)
        assert found.success_probability == 0.5
        assert list(found.values) == PROPOSED
    shown = desk.node.report().values
    assert (shown["uncertainty"], shown["uncertainty_rank"], shown["success_probability"]) == (2.5, 0.25, 0.5)


@pytest.mark.parametrize("device", ["joy", "twist"])
def test_a_person_takes_over_in_the_middle_of_an_episode_and_lets_go_without_a_jump(graph: Graph, device: str) -> None:
    desk = Desk(graph, blend_steps=3)
    desk.policy()
    desk.begin()
    desk.propose()
    if device == "joy":
        desk.person.push(x=1.0, dead_man=True)
    else:
        desk.person.move(x=FULL)
    desk.until_in_control(device)
    for _ in range(4):
        desk.propose()
    np.testing.assert_allclose(desk.robot.actions[-1].values, [1.0, 0.0, 0.0, 1.0], atol=1e-5)
    if device == "joy":
        desk.person.push()
    else:
        desk.person.move(x=0.0)
    desk.until_in_control("")
    for _ in range(4):
        desk.propose()
    assert [action.source for action in desk.robot.actions] == [POLICY, *[HUMAN] * 4, *[POLICY] * 4]
    assert list(desk.robot.actions[-1].values) == PROPOSED
    assert is_smooth(desk.robot.actions, 1.5 / 3)
    graph.until(lambda: len(desk.said) == 2, "the events")
    assert desk.events() == [(OperatorEvent.TAKE_OVER, device), (OperatorEvent.LET_GO, device)]


def test_a_device_that_falls_silent_gives_control_back(graph: Graph) -> None:
    """A joystick whose battery dies would leave the robot to nobody."""
    desk = Desk(graph, human_timeout=0.3, blend_steps=1)
    desk.policy()
    desk.begin()
    desk.person.push(x=1.0, dead_man=True)
    desk.until_in_control("joy")
    assert desk.propose().source == HUMAN
    desk.person.drop()
    desk.until_in_control("")
    found = desk.propose()
    assert (found.source, list(found.values)) == (POLICY, PROPOSED)


@pytest.mark.parametrize("wrong", ["late", "frame"])
def test_input_that_is_late_or_in_another_frame_moves_nothing_and_is_named(graph: Graph, wrong: str) -> None:
    desk = Desk(graph)
    desk.policy()
    desk.begin()
    if wrong == "late":
        desk.person.age = 3.0
    desk.person.move(x=FULL, frame="tool" if wrong == "frame" else "")
    count, sentence = {"late": ("human_stale", "stamped 3"), "frame": ("human_other_frame", "is in frame 'tool'")}[
        wrong
    ]
    graph.until(lambda: desk.node.report().values.get(count), "the refusal")
    assert sentence in desk.node.report().warning
    assert desk.propose().source == POLICY


def test_a_proposal_that_was_not_executed_gets_the_same_answer_again(graph: Graph) -> None:
    """Robot and recording would hold different actions for one step."""
    desk = Desk(graph, blend_steps=1)
    desk.policy()
    desk.begin()
    first = desk.propose()
    desk.person.push(x=1.0, dead_man=True)
    desk.until_in_control("joy")
    again = desk.propose(step=0)
    assert (list(again.values), again.source) == (list(first.values), POLICY)
    assert to_nanoseconds(again.header.stamp) > to_nanoseconds(first.header.stamp)
    assert desk.propose(step=1).source == HUMAN


def test_a_proposal_that_is_not_finite_is_not_executed(graph: Graph) -> None:
    desk = Desk(graph)
    desk.policy()
    desk.begin()
    bad = desk.robot.act(0, PERIOD, episode=1)
    bad.values = [float("nan"), 0.0, 0.0, 0.0]
    desk.send(bad)
    graph.until(lambda: "expected 4 finite numbers" in desk.node.report().warning, "the refusal")
    assert not desk.robot.actions
    assert list(desk.propose().values) == PROPOSED


def test_every_button_says_its_word(graph: Graph) -> None:
    desk = Desk(graph)
    for name in ("start", "ready"):
        desk.person.push(**{name: True})
        graph.until(lambda: desk.said and desk.said[-1].event == getattr(OperatorEvent, name.upper()), name)  # noqa: B023
    desk.begin()
    for name in ("success", "failure", "discard", "stop"):
        desk.person.push(**{name: True})
        graph.until(lambda: desk.said[-1].event == getattr(OperatorEvent, name.upper()), name)  # noqa: B023
    assert [source for _, source in desk.events()] == ["joy"] * 6


def test_every_word_can_be_said_by_a_service_and_senseless_ones_are_refused_with_the_reason(graph: Graph) -> None:
    desk = Desk(graph)

    def say(word: str) -> tuple[bool, str]:
        found = desk.robot.peer.call(Trigger, topics.operator_service(word))
        return found.success, found.message

    assert say("success") == (False, "success: no episode runs; start one first")
    assert say("start") == (True, "the next episode may begin")
    desk.begin()
    assert say("start")[0] is False
    for word in ("ready", "take_over", "let_go", "success", "failure", "discard", "stop"):
        done, sentence = say(word)
        assert done, sentence
    words = ["start", "ready", "take_over", "let_go", "success", "failure", "discard", "stop"]
    graph.until(lambda: len(desk.said) == len(words), "all events")
    assert desk.events() == [(getattr(OperatorEvent, word.upper()), "service") for word in words]


def test_taking_over_by_service_stops_the_robot_until_letting_go_or_the_end(graph: Graph) -> None:
    desk = Desk(graph)
    desk.policy()
    desk.begin()
    desk.propose()
    desk.robot.peer.call(Trigger, topics.operator_service("take_over"))
    found = desk.propose()
    assert (found.source, list(found.values)) == (HUMAN, [0.0, 0.0, 0.0, 1.0])
    desk.robot.peer.call(Trigger, topics.operator_service("let_go"))
    assert desk.propose().source == POLICY
    desk.robot.peer.call(Trigger, topics.operator_service("take_over"))
    desk.robot.episode(ENDED, 1, step=3)
    desk.until_in_control("")


def test_a_person_in_control_of_a_policy_that_is_silent_is_told_why_nothing_moves(graph: Graph) -> None:
    desk = Desk(graph)
    desk.begin()
    desk.robot.peer.call(Trigger, topics.operator_service("take_over"))
    graph.until(lambda: "has proposed nothing" in desk.node.report().warning, "the sentence")


def test_an_uncertain_policy_is_held_until_a_person_lets_it_go_on(graph: Graph) -> None:
    desk = Desk(graph, uncertainty_action="ask", uncertainty_steps=2, blend_steps=1)
    desk.policy()
    desk.begin()
    found = [desk.propose(uncertainty_rank=rank) for rank in (0.5, 0.99, 0.99, 0.1)]
    none, asked = Action.GUARD_NONE, Action.GUARD_ASKED
    assert [action.guard for action in found] == [none, none, asked, asked]
    assert list(found[-1].values) == [0.0, 0.0, 0.0, 1.0]
    assert "waits for a person" in desk.node.report().warning
    desk.robot.peer.call(Trigger, topics.operator_service("let_go"))
    assert list(desk.propose(uncertainty_rank=0.1).values) == PROPOSED


class Recording(Desk):
    """An operator node without a policy, in real time, on observations of its own clock."""

    def __init__(self, graph: Graph, **given: Any) -> None:
        timing = {"clock": "realtime", "control_rate": 10.0, "reward_lag": 1, "pairing_tolerance": 0.05}
        super().__init__(graph, proposals="none", **timing, **given)
        self.calibration = self.robot.peer.advertise(CameraInfo, topics.camera_info("agent"), qos.stream_out())
        self.taken = 0
        self.begin(start=1)
        self.robot.peer.node.create_timer(0.05, self._observe)
        self.stamps: list[int] = []

    def _observe(self) -> None:
        """Be a robot that executes at once and pays two observations later."""
        self.taken = len({action.step for action in self.robot.actions})
        self.stamps.append(stamp := self.node.now())
        message = CameraInfo()
        message.header.stamp = to_time(stamp)
        self.calibration(message)
        self.robot.state(stamp, 0.0, episode=1, step=self.taken)
        if self.taken > 1:
            self.robot.reward(self.taken - 1, stamp, episode=1)


def test_a_recording_begins_when_the_person_first_moves_and_goes_on_while_they_rest(graph: Graph) -> None:
    """Seconds of stillness would be the first thing a policy learns."""
    desk = Recording(graph)
    graph.spin(0.5)
    assert not desk.robot.actions
    assert "waits until a person moves" in desk.node.report().warning
    desk.person.move(x=FULL / 2)
    graph.until(lambda: len(desk.robot.actions) >= 4, "the person's actions")
    desk.person.drop()
    desk.until_in_control("")
    before = len(desk.robot.actions)
    graph.until(lambda: len(desk.robot.actions) >= before + 3, "actions while the person rests")
    steps = [action.step for action in desk.robot.actions]
    assert steps == list(range(len(steps)))
    assert {action.source for action in desk.robot.actions} == {HUMAN}
    np.testing.assert_allclose(desk.robot.actions[0].values, [0.5, 0.0, 0.0, 1.0], atol=1e-6)
    np.testing.assert_allclose(desk.robot.actions[-1].values, [0.0, 0.0, 0.0, 1.0])
    # A busy machine may act late, never early.
    sent = [to_nanoseconds(action.header.stamp) for action in desk.robot.actions]
    assert (sent[-1] - sent[0]) / (len(sent) - 1) > 0.9 * 1e9 / 10
    for action in desk.robot.actions:
        assert {to_nanoseconds(action.state_stamp), to_nanoseconds(action.camera_stamps[0])} <= set(desk.stamps)


def test_with_the_real_policy_a_person_takes_over_and_the_policy_believes_what_was_executed(graph: Graph) -> None:
    """Its model would drift away from the world as soon as somebody helps it."""
    desk = Desk(graph, blend_steps=2, clock="lockstep")
    policy = learned(graph)
    proposals: list[Action] = desk.robot.peer.hear(Action, topics.PROPOSAL, qos.event())
    pairs = ((policy, topics.PROPOSAL), (desk.node, topics.ACTION))
    graph.until(lambda: all(readers(node, topic) == 2 for node, topic in pairs), "the two to be connected")

    def play(start: int, helped: range, device: str) -> list[Action]:
        """Play six steps of an evaluation; in those of `helped` a person pushes forward. Return what was executed."""
        desk.robot.episode(RESETTING, 1, purpose=EpisodeState.PURPOSE_EVALUATION)
        graph.spin(0.1)
        desk.robot.episode(RUNNING, 1, purpose=EpisodeState.PURPOSE_EVALUATION, start=to_time(start))
        graph.spin(0.1)
        before = len(desk.robot.actions)
        for step in range(6):
            in_control = device if step in helped else ""
            desk.person.push(x=1.0, dead_man=in_control == "joy")
            desk.person.move(x=FULL if in_control == "twist" else 0.0)
            desk.until_in_control(in_control)
            desk.robot.observe(step, start)
            graph.until(lambda: len(desk.robot.actions) > before + step, f"action {step}")  # noqa: B023
        return desk.robot.actions[before:]

    alone = play(PERIOD, range(0), "")
    for turn, device in enumerate(("joy", "twist"), start=1):
        proposals.clear()
        helped = play(20 * turn * PERIOD, range(2, 4), device)
        assert [action.source for action in helped] == [POLICY, POLICY, HUMAN, HUMAN, POLICY, POLICY]
        np.testing.assert_allclose(helped[3].values[:3], [1.0, 0.0, 0.0], atol=1e-6)
        assert [list(action.values) for action in helped[:2]] == [list(action.values) for action in alone[:2]]
        assert list(proposals[2].values) == list(alone[2].values)
        assert list(proposals[3].values) != list(alone[3].values), "it filtered on with what it had proposed"
        assert is_smooth(helped, 2.0 / 2 + 0.1)


def readers(node: Any, topic: str) -> int:
    """Return how many subscriptions a node's publisher of `topic` is matched with."""
    name = node.resolve_topic_name(topic)
    return next(one.get_subscription_count() for one in node.publishers if one.topic_name == name)


def learned(graph: Graph) -> PolicyNode:
    """Start a policy that proposes, and give it weights."""
    tiny = {**read_parameters(shipped("agents", "moto_ci")), "action_size": 4, "proprio": ["ee_position"]}
    settings = build(policy_settings({}), tiny, "test")
    agent = make_agent("moto", spaces_of(settings), agent_part(settings), 5)
    data, sha256 = pack(agent)
    message = PolicyWeights(
        version=1, agent="moto", digest=agent_digest(agent_part(settings)), sha256=sha256, data=data
    )
    node = graph.add(PolicyNode({**tiny, "wait_for": [], "operator_in_loop": True}))
    graph.peer("trainer").advertise(PolicyWeights, topics.POLICY_WEIGHTS, qos.latched())(message)
    graph.until(lambda: node.report().values["policy_version"] == 1, "the weights")
    return node
