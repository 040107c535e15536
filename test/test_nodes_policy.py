"""The policy node over real topics, with the test in the place of robot, trainer and episode node."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from support.graph import Graph, ros_graph

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")
pytest.importorskip("moto_msgs", reason="moto_msgs is not built")

from diagnostic_msgs.msg import DiagnosticArray
from safetensors.torch import load, save
from std_msgs.msg import UInt64
from support.robot_side import PERIOD, RobotSide

from moto_msgs.msg import EpisodeState, PolicyWeights
from moto_ros.agents.registry import make_agent
from moto_ros.config import build, read_parameters, shipped
from moto_ros.nodes.learning_settings import agent_part, policy_settings, spaces_of
from moto_ros.nodes.policy_node import PolicyNode
from moto_ros.ros import names, qos
from moto_ros.ros.convert import to_nanoseconds, to_time
from moto_ros.training.settings import agent_digest
from moto_ros.training.weights import pack

pytestmark = pytest.mark.ros

RESETTING, RUNNING, ENDED = EpisodeState.PHASE_RESETTING, EpisodeState.PHASE_RUNNING, EpisodeState.PHASE_ENDED
TINY = {**read_parameters(shipped("agents", "moto_ci")), "action_size": 4, "proprio": ["ee_position", "gripper_width"]}


def weights(version: int = 1, seed: int = 5, cameras: tuple[str, ...] = ("agent",), **changes: Any) -> PolicyWeights:
    """Return a trainer's message with fresh weights drawn from `seed`."""
    settings = build(policy_settings({}), {**TINY, "cameras": cameras}, "test")
    agent = make_agent("moto", spaces_of(settings), agent_part(settings), seed)
    data, sha256 = pack(agent)
    fields = {"version": version, "agent": "moto", "digest": agent_digest(agent_part(settings)), "sha256": sha256}
    message = PolicyWeights(**(fields | {"data": data} | changes))
    message.header.stamp = to_time(1)
    return message


@pytest.fixture
def graph() -> Iterator[Graph]:
    with ros_graph() as made:
        yield made


class Bench:
    """A policy node, its robot side and its trainer."""

    def __init__(self, graph: Graph, **given: Any) -> None:
        self.graph = graph
        self.cameras = given.get("cameras", ["agent"])
        self.robot = RobotSide(graph, self.cameras)
        self.versions = self.robot.peer.hear(UInt64, names.POLICY_VERSION, qos.latched(10))
        self.diagnostics = self.robot.peer.hear(DiagnosticArray, names.DIAGNOSTICS, qos.event())
        self.node = graph.add(PolicyNode({**TINY, "wait_for": ["sim"], **given}))
        self.trainer = self.robot.peer.speak(PolicyWeights, names.POLICY_WEIGHTS, qos.latched())
        self.robot.connected("policy")

    def give(self, message: PolicyWeights) -> None:
        """Publish weights and wait until the policy says that it has them."""
        self.trainer(message)
        self.graph.until(lambda: self.versions and self.versions[-1].data == message.version, "the version")

    def run(self, number: int, purpose: int = EpisodeState.PURPOSE_TRAINING, start: int = PERIOD) -> None:
        """Announce a running episode."""
        self.robot.episode(RESETTING, number, purpose=purpose)
        self.graph.spin(0.1)
        self.robot.episode(RUNNING, number, purpose=purpose, start=to_time(start))
        self.graph.spin(0.1)

    def steps(self, count: int, start: int = PERIOD) -> list[np.ndarray]:
        """Give `count` observations, each after the action on the one before; return the actions."""
        before = len(self.robot.actions)
        for step in range(count):
            self.robot.observe(step, start)
            self.graph.until(lambda: len(self.robot.actions) > before + step, f"action {step}")  # noqa: B023
        return [np.array(action.values) for action in self.robot.actions[before:]]

    def said(self, text: str) -> bool:
        """Whether the policy's diagnostics hold `text`."""
        statuses = [status for message in self.diagnostics for status in message.status]
        return any(text in status.message for status in statuses if status.name.endswith("policy"))


def test_each_action_names_exactly_the_observation_it_was_computed_from(graph: Graph) -> None:
    bench = Bench(graph, cameras=["left", "right"])
    bench.give(weights(cameras=("left", "right")))
    bench.run(3)
    bench.steps(4)
    actions = bench.robot.actions
    assert [(action.episode, action.step, action.policy_version) for action in actions] == [(3, k, 1) for k in range(4)]
    assert [to_nanoseconds(action.state_stamp) for action in actions] == [PERIOD * (k + 1) for k in range(4)]
    assert [len(action.camera_stamps) for action in actions] == [2] * 4
    assert all(np.abs(action.values).max() <= 1 and np.isfinite(action.uncertainty) for action in actions)


def test_one_seed_gives_the_same_actions_again_and_another_episode_explores_otherwise(graph: Graph) -> None:
    bench = Bench(graph)
    bench.give(weights())
    bench.run(3)
    first = bench.steps(3)
    bench.run(4, start=20 * PERIOD)
    other = bench.steps(3, start=20 * PERIOD)
    graph.drop(bench.node)
    again = Bench(graph)
    again.give(weights())
    again.run(3)
    np.testing.assert_array_equal(again.steps(3), first)
    assert not np.array_equal(first, other)


def test_a_policy_that_was_busy_during_the_reset_still_plays_the_episode(graph: Graph) -> None:
    bench = Bench(graph)
    bench.give(weights())
    bench.robot.episode(RESETTING, 8)
    bench.robot.episode(RUNNING, 8, start=to_time(PERIOD))  # both wait before the policy looks at either
    bench.steps(2)
    assert [action.episode for action in bench.robot.actions] == [8, 8]


def test_an_evaluation_episode_repeats_to_the_bit(graph: Graph) -> None:
    bench = Bench(graph)
    bench.give(weights())
    evaluation = EpisodeState.PURPOSE_EVALUATION
    bench.run(1, evaluation)
    first = bench.steps(3)
    bench.run(1, evaluation, start=20 * PERIOD)
    np.testing.assert_array_equal(bench.steps(3, start=20 * PERIOD), first)


def test_new_weights_apply_in_the_middle_of_an_episode(graph: Graph) -> None:
    bench = Bench(graph)
    bench.give(weights())
    bench.run(0)
    bench.steps(2)
    bench.give(weights(version=2, seed=6))
    bench.robot.observe(2)
    graph.until(lambda: len(bench.robot.actions) == 3, "the third action")
    assert [action.policy_version for action in bench.robot.actions] == [1, 1, 2]
    assert [action.step for action in bench.robot.actions] == [0, 1, 2]


def wrong_shape() -> PolicyWeights:
    message = weights(version=9)
    tensors = load(bytes(message.data))
    name = sorted(tensors)[0]
    data = save({**tensors, name: tensors[name].reshape(-1)[:1].clone()})
    message.data, message.sha256 = data, hashlib.sha256(data).hexdigest()
    return message


@pytest.mark.parametrize(
    ("bad", "sentence"),
    [
        (lambda: weights(9, agent="fowm"), "agent is 'fowm', expected 'moto'"),
        (lambda: weights(9, digest="0123"), "settings digest is '0123'"),
        (lambda: weights(9, sha256="00" * 32), "sha256"),
        (wrong_shape, "weights 9 refused"),
        (lambda: weights(9, data=b"nonsense", sha256=hashlib.sha256(b"nonsense").hexdigest()), "safetensors"),
    ],
    ids=["agent", "preset", "damaged", "shape", "format"],
)
def test_weights_that_do_not_fit_are_refused_in_one_sentence_and_the_old_ones_act_on(
    graph: Graph, bad: Any, sentence: str
) -> None:
    bench = Bench(graph)
    bench.give(weights())
    bench.run(0, EpisodeState.PURPOSE_EVALUATION)
    before = bench.steps(1)
    bench.trainer(bad())
    graph.until(lambda: bench.said(sentence), f"a diagnostic with '{sentence}'")
    bench.run(0, EpisodeState.PURPOSE_EVALUATION, start=20 * PERIOD)
    np.testing.assert_array_equal(bench.steps(1, start=20 * PERIOD), before)
    assert bench.robot.actions[-1].policy_version == 1


def test_without_weights_there_is_no_action_but_a_diagnostic(graph: Graph) -> None:
    bench = Bench(graph)
    bench.run(0)
    bench.robot.observe(0)
    graph.until(lambda: bench.said("no weights"), "a diagnostic")
    assert not bench.robot.actions


def test_a_frozen_camera_gives_no_action_even_though_states_go_on(graph: Graph) -> None:
    bench = Bench(graph)
    bench.give(weights())
    bench.run(0)
    bench.steps(1)
    for step in range(1, 4):
        bench.robot.state(PERIOD * (step + 1), 0.0)
        bench.robot.image(PERIOD, 0, "agent")
    graph.spin(0.5)
    assert len(bench.robot.actions) == 1


def test_an_action_that_got_lost_is_sent_again_when_the_world_repeats_its_observation(graph: Graph) -> None:
    """In lockstep a lost action would otherwise stop both sides for good."""
    bench = Bench(graph)
    bench.give(weights())
    bench.run(0)
    bench.steps(1)
    bench.robot.observe(0)
    graph.until(lambda: len(bench.robot.actions) == 2, "the action again")
    first, again = bench.robot.actions
    assert (again.step, list(again.values)) == (0, list(first.values))


def test_observations_from_before_the_reset_are_not_acted_on(graph: Graph) -> None:
    bench = Bench(graph)
    bench.give(weights())
    bench.run(0, start=10 * PERIOD)
    bench.robot.observe(0, start=5 * PERIOD)
    graph.spin(0.3)
    assert not bench.robot.actions
    bench.steps(1, start=10 * PERIOD)


def test_nothing_is_commanded_after_the_end(graph: Graph) -> None:
    bench = Bench(graph)
    bench.give(weights())
    bench.run(0)
    bench.steps(1)
    bench.robot.episode(ENDED, 0, step=1)
    graph.spin(0.1)
    bench.robot.observe(1)
    graph.spin(0.3)
    assert len(bench.robot.actions) == 1


def test_a_policy_that_starts_in_the_middle_of_an_episode_leaves_it_alone(graph: Graph) -> None:
    robot = RobotSide(graph)
    robot.episode(RUNNING, 5, start=to_time(PERIOD))
    diagnostics = robot.peer.hear(DiagnosticArray, names.DIAGNOSTICS, qos.event())
    trainer = robot.peer.speak(PolicyWeights, names.POLICY_WEIGHTS, qos.latched(), readers=0)
    trainer(weights())
    graph.add(PolicyNode({**TINY, "wait_for": ["sim"]}))
    robot.connected("policy")
    robot.observe(3)
    graph.until(lambda: any("was running before" in s.message for d in diagnostics for s in d.status), "a diagnostic")
    assert not robot.actions


class RealTime(Bench):
    """A policy in real time, and observations stamped by its own clock."""

    def __init__(self, graph: Graph) -> None:
        super().__init__(graph, clock="realtime", control_rate=20.0, max_age=0.5, action_lifespan=0.3)
        self.give(weights())
        self.run(0, start=1)

    def observe(self, age: float = 0.0) -> int:
        """Publish an observation made `age` seconds ago; return its stamp in nanoseconds."""
        stamp = self.node.now() - round(age * 1e9)
        self.robot.image(stamp, 0, "agent")
        self.robot.state(stamp, 0.0)
        return stamp


def test_in_real_time_a_stale_observation_is_counted_and_not_acted_on(graph: Graph) -> None:
    bench = RealTime(graph)
    bench.observe(age=5.0)
    graph.spin(0.3)
    assert not bench.robot.actions
    assert bench.node.report().values["observations_stale"]
    bench.observe()
    graph.until(lambda: bench.robot.actions, "an action on the fresh observation")


def test_in_real_time_the_next_step_waits_until_the_last_action_was_executed(graph: Graph) -> None:
    """Else the numbers of policy and robot drift apart when a single action is dropped, and the episode stalls."""
    bench = RealTime(graph)
    bench.observe()
    graph.until(lambda: bench.robot.actions, "the first action")
    graph.spin(0.1)
    bench.observe()
    graph.spin(0.1)
    assert [action.step for action in bench.robot.actions] == [0]
    bench.robot.reward(1, bench.observe())
    graph.until(lambda: bench.robot.actions[-1].step == 1, "the second action")


def test_in_real_time_an_action_that_was_not_executed_is_offered_again_unchanged(graph: Graph) -> None:
    bench = RealTime(graph)
    bench.observe()
    graph.until(lambda: len(bench.robot.actions) == 2, "the action again")
    first, again = bench.robot.actions[:2]
    assert (again.step, again.state_stamp, list(again.values)) == (0, first.state_stamp, list(first.values))
    assert to_nanoseconds(again.header.stamp) > to_nanoseconds(first.header.stamp)


def test_large_weights_pass_to_a_late_joiner(graph: Graph) -> None:
    """Twenty megabytes, latched: a policy that starts later still gets them."""
    peer = graph.peer("trainer")
    padding = np.random.default_rng(0).bytes(20 * 2**20)
    peer.speak(PolicyWeights, names.POLICY_WEIGHTS, qos.latched(), readers=0)(
        PolicyWeights(version=3, agent="moto", data=padding)
    )
    heard = graph.peer("late").hear(PolicyWeights, names.POLICY_WEIGHTS, qos.latched())
    graph.until(lambda: heard, "the weights")
    assert bytes(heard[0].data) == padding
