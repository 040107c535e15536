"""The policy node over real topics, with the test in the place of robot, trainer and episode node."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.graph import Graph, ros_graph

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")
pytest.importorskip("moto_msgs", reason="moto_msgs is not built")

from diagnostic_msgs.msg import DiagnosticArray
from safetensors.torch import load, save
from support.robot_side import PERIOD, RobotSide

from moto_msgs.msg import Action, EpisodeState, PolicyVersion, PolicyWeights
from moto_ros.agents.interface import EDITED, SUCCESS_PROBABILITY, Decision
from moto_ros.agents.registry import make_agent
from moto_ros.config import build, read_parameters, shipped
from moto_ros.contract import topics
from moto_ros.nodes.learning_settings import agent_part, policy_settings, spaces_of
from moto_ros.nodes.policy_node import PolicyNode
from moto_ros.ros import qos
from moto_ros.ros.convert import to_nanoseconds, to_time
from moto_ros.training.checkpoint import CheckpointFolder, Identity
from moto_ros.training.settings import agent_digest
from moto_ros.training.weights import pack

pytestmark = [pytest.mark.ros, pytest.mark.realtime]

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
        self.versions = self.robot.peer.hear(PolicyVersion, topics.POLICY_VERSION, qos.latched(10))
        self.diagnostics = self.robot.peer.hear(DiagnosticArray, topics.DIAGNOSTICS, qos.event())
        self.node = graph.add(PolicyNode({**TINY, "wait_for": ["sim"], **given}))
        self.trainer = self.robot.peer.advertise(PolicyWeights, topics.POLICY_WEIGHTS, qos.latched())
        self.robot.connected("policy")

    def give(self, message: PolicyWeights) -> None:
        """Publish weights and wait until the policy says that it has them."""
        self.trainer(message)
        self.graph.until(lambda: self.versions and self.versions[-1].version == message.version, "the version")

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
    diagnostics = robot.peer.hear(DiagnosticArray, topics.DIAGNOSTICS, qos.event())
    trainer = robot.peer.advertise(PolicyWeights, topics.POLICY_WEIGHTS, qos.latched(), readers=0)
    trainer(weights())
    graph.add(PolicyNode({**TINY, "wait_for": ["sim"]}))
    robot.connected("policy")
    robot.observe(3)
    graph.until(lambda: any("was running before" in s.message for d in diagnostics for s in d.status), "a diagnostic")
    assert not robot.actions


class RealTime(Bench):
    """A policy in real time, and observations stamped by its own clock."""

    def __init__(self, graph: Graph, **given: Any) -> None:
        timing = {"clock": "realtime", "control_rate": 20.0, "max_age": 0.5, "action_lifespan": 0.3}
        super().__init__(graph, **timing, **given)
        self.give(weights())
        self.run(0, start=1)

    def observe(self, age: float = 0.0, step: int = 0) -> int:
        """Publish an observation made `age` s ago, `step` actions executed; return its stamp in nanoseconds."""
        stamp = self.node.now() - round(age * 1e9)
        self.robot.image(stamp, 0, "agent")
        self.robot.state(stamp, 0.0, step=step)
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


def test_on_hardware_the_next_action_follows_as_soon_as_the_last_was_taken_though_its_reward_is_late(
    graph: Graph,
) -> None:
    """Else each reward rule's delay would halve the control rate."""
    bench = RealTime(graph, reward_lag=1, pairing_tolerance=0.02)
    bench.observe()
    graph.until(lambda: bench.robot.actions, "the first action")
    graph.spin(0.1)
    bench.observe(step=1)
    graph.until(lambda: bench.robot.actions[-1].step == 1, "the second action, without a reward")
    graph.spin(0.1)
    bench.observe(step=2)
    graph.spin(0.15)
    assert bench.robot.actions[-1].step == 1
    bench.robot.reward(1, bench.observe(step=2))
    graph.until(lambda: bench.robot.actions[-1].step == 2, "the third action, once the first was paid")


def test_what_an_earlier_attempt_at_an_episode_executed_is_not_taken_for_this_one(graph: Graph) -> None:
    bench = RealTime(graph, reward_lag=1, pairing_tolerance=0.02)
    bench.robot.episode(RESETTING, 7)
    bench.robot.episode(RUNNING, 7, start=to_time(bench.node.now() + round(0.1e9)))
    graph.spin(0.05)
    bench.robot.state(bench.node.now(), 0.0, episode=7, step=30)
    graph.spin(0.15)
    bench.robot.image(stamp := bench.node.now(), 0, "agent")
    bench.robot.state(stamp, 0.0, episode=7)
    graph.until(lambda: len(bench.robot.actions) >= 2, "the action, and again since nobody took it")
    assert [action.step for action in bench.robot.actions[:2]] == [0, 0]


class Arbitrated(Bench):
    """A policy that proposes, with the test as the operator who decides."""

    def __init__(self, graph: Graph) -> None:
        super().__init__(graph, operator_in_loop=True)
        self.proposals: list[Action] = self.robot.peer.hear(Action, topics.PROPOSAL, qos.event())
        self.decide = self.robot.peer.advertise(Action, topics.ACTION, qos.event(), readers=2)
        self.give(weights())

    def play(self, number: int, start: int, decisions: list[list[float] | None]) -> list[list[float]]:
        """Play an episode where the operator executes `decisions`, None as proposed; return the proposals."""
        self.run(number, EpisodeState.PURPOSE_EVALUATION, start)
        self.proposals.clear()
        for step, values in enumerate([*decisions, None]):
            self.robot.observe(step, start)
            self.graph.until(lambda: len(self.proposals) > step, f"proposal {step}")  # noqa: B023
            answer = self.proposals[step]
            self.decide(Action(episode=number, step=step, values=list(answer.values) if values is None else values))
        return [list(proposal.values) for proposal in self.proposals]


def test_the_policy_filters_on_with_the_action_that_was_executed(graph: Graph) -> None:
    """It would believe in a world that moved as it proposed, while a person moved it elsewhere."""
    bench = Arbitrated(graph)
    own = bench.play(1, PERIOD, [None, None])
    again = bench.play(1, 20 * PERIOD, [None, None])
    other = bench.play(1, 40 * PERIOD, [[1.0, -1.0, 1.0, -1.0], None])
    assert own == again
    assert own[0] == other[0]
    assert own[1] != other[1]


def test_no_proposal_is_made_before_it_is_known_what_became_of_the_last(graph: Graph) -> None:
    bench = Arbitrated(graph)
    bench.run(1)
    bench.robot.observe(0)
    graph.until(lambda: bench.proposals, "a proposal")
    bench.robot.observe(1)
    graph.spin(0.3)
    assert len(bench.proposals) == 1
    assert not [action for action in bench.robot.actions if action.source == Action.SOURCE_POLICY]
    bench.decide(Action(episode=1, step=0, values=[0.0] * 4))
    graph.until(lambda: len(bench.proposals) == 2, "the next proposal")


def test_uncertainty_is_ranked_among_its_values_on_recorded_data(graph: Graph) -> None:
    bench = Bench(graph)
    bench.give(weights())
    bench.run(0, EpisodeState.PURPOSE_EVALUATION)
    bench.steps(1)
    assert np.isnan(bench.robot.actions[-1].uncertainty_rank)
    found = bench.robot.actions[-1].uncertainty
    for version, low, high, expected in ((2, 0.0, 2 * found, 0.5), (3, 0.0, found / 2, 1.0), (4, 2 * found, 9.0, 0.0)):
        bench.give(weights(version, uncertainty_quantiles=np.linspace(low, high, 101)))
        bench.run(0, EpisodeState.PURPOSE_EVALUATION, start=20 * version * PERIOD)
        bench.steps(1, start=20 * version * PERIOD)
        assert bench.robot.actions[-1].uncertainty_rank == pytest.approx(expected, abs=0.01)


def test_the_agents_estimate_of_success_is_published_with_the_action_and_shown(
    graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person beside the robot would not see that the policy expects to fail; one that is not known is not 0."""
    bench = Bench(graph)
    bench.give(weights())
    bench.run(0, EpisodeState.PURPOSE_EVALUATION)
    bench.steps(1)
    assert np.isnan(bench.robot.actions[-1].success_probability)
    act = bench.node._agent.act

    def knowing(*given: Any) -> Decision:
        return replace(act(*given), figures={SUCCESS_PROBABILITY: 0.75, EDITED: 1.0})

    monkeypatch.setattr(bench.node._agent, "act", knowing)
    bench.run(1, EpisodeState.PURPOSE_EVALUATION, start=20 * PERIOD)
    bench.steps(1, start=20 * PERIOD)
    assert (bench.robot.actions[-1].success_probability, bench.robot.actions[-1].edited) == (0.75, 1.0)
    shown = bench.node.report().values
    assert (shown["success_probability"], shown["uncertainty"]) == (0.75, bench.robot.actions[-1].uncertainty)


def test_a_policy_leaves_the_episodes_that_bring_the_scene_back_to_the_policy_for_resets(
    graph: Graph, tmp_path: Path
) -> None:
    """Two policies would fight over one robot, and a trainer would wait for the wrong one."""
    robot = RobotSide(graph)
    versions = robot.peer.hear(PolicyVersion, topics.POLICY_VERSION, qos.latched(10))
    checkpoint = saved_agent(tmp_path, {"conductor": {"published": 5}, "uncertainty_quantiles": [0.0, 1e9]})
    given = {**TINY, "wait_for": ["sim"], "reset_only": True, "checkpoint": str(checkpoint)}
    graph.add(PolicyNode(given))
    robot.connected("policy")
    robot.episode(RESETTING, 1)
    robot.episode(RUNNING, 1, start=to_time(PERIOD))
    robot.observe(0)
    graph.spin(0.3)
    assert not robot.actions
    robot.episode(RESETTING, 2, purpose=EpisodeState.PURPOSE_RESET)
    robot.episode(RUNNING, 2, purpose=EpisodeState.PURPOSE_RESET, start=to_time(20 * PERIOD))
    graph.spin(0.1)
    robot.observe(0, 20 * PERIOD)
    graph.until(lambda: robot.actions, "the action of the policy for resets")
    found = robot.actions[0]
    assert (found.episode, found.policy_version, versions) == (2, 5, [])
    assert found.uncertainty_rank < 0.5, "the checkpoint's quantiles are not known"


def test_a_policy_does_not_act_in_the_episodes_of_the_policy_for_resets(graph: Graph) -> None:
    bench = Bench(graph)
    bench.give(weights())
    bench.run(1, EpisodeState.PURPOSE_RESET)
    bench.robot.observe(0)
    graph.spin(0.3)
    assert not bench.robot.actions
    bench.run(1, start=20 * PERIOD)
    bench.steps(1, start=20 * PERIOD)


def saved_agent(folder: Path, state: dict[str, Any]) -> Path:
    """Write a checkpoint with a fresh agent, as the trainer does; return the folder of checkpoints."""
    settings = build(policy_settings({}), TINY, "test")
    agent = make_agent("moto", spaces_of(settings), agent_part(settings), 5)
    CheckpointFolder(folder, Identity("moto", agent_digest(agent_part(settings)))).save(agent.state_dict(), state)
    return folder


def test_large_weights_pass_to_a_late_joiner(graph: Graph) -> None:
    """Twenty megabytes, latched: a policy that starts later still gets them."""
    peer = graph.peer("trainer")
    padding = np.random.default_rng(0).bytes(20 * 2**20)
    peer.advertise(PolicyWeights, topics.POLICY_WEIGHTS, qos.latched(), readers=0)(
        PolicyWeights(version=3, agent="moto", data=padding)
    )
    received = graph.peer("late").hear(PolicyWeights, topics.POLICY_WEIGHTS, qos.latched())
    graph.until(lambda: received, "the weights")
    assert bytes(received[0].data) == padding


def test_weights_bring_the_order_of_joints_and_another_one_is_refused(graph: Graph) -> None:
    """The policy would take the wrist for the shoulder."""
    bench = Bench(graph, joint_names=["b", "a"])
    bench.trainer(weights(joint_names=["a", "b"]))
    graph.until(lambda: bench.said("'joint_names' is b, a, but this run has learned with a, b"), "the refusal")
    bench.give(weights(2, joint_names=["b", "a"]))
    assert bench.node._observer.joints.known == {"state": ("b", "a")}


def test_a_checkpoint_brings_the_order_of_joints(graph: Graph, tmp_path: Path) -> None:
    replay = {"joints": {"state": ["c", "a"], "action": ["x"]}}
    checkpoint = saved_agent(tmp_path, {"conductor": {"published": 5}, "replay": replay})
    bench = Bench(graph, checkpoint=str(checkpoint))
    graph.until(lambda: bench.node._observer.joints.known == {"state": ("c", "a")}, "the order")
