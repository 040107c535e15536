"""An agent that plans in the running system: the real planner, over real DDS, in real time on the real simulator."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("mujoco", reason="MuJoCo is not installed")
pytest.importorskip("rclpy", reason="rclpy is not installed")

from diagnostic_msgs.msg import DiagnosticArray
from moto_sim.sim_node import SimNode
from support.graph import Graph, Peer, ros_graph
from support.robot_side import RobotSide

from moto_msgs.msg import Action, EpisodeState, PolicyVersion, PolicyWeights, Reward
from moto_msgs.srv import ResetRobot
from moto_ros.agents.interface import ActRequest, Decision
from moto_ros.agents.registry import make_agent
from moto_ros.config import build, read_parameters, shipped
from moto_ros.contract import topics
from moto_ros.errors import MotoError
from moto_ros.nodes.learning_settings import agent_part, policy_settings, spaces_of
from moto_ros.nodes.policy_node import PolicyNode
from moto_ros.ros import qos
from moto_ros.ros.convert import to_time
from moto_ros.systems.bringup import resolve
from moto_ros.training.settings import agent_digest
from moto_ros.training.weights import pack

pytestmark = [pytest.mark.ros, pytest.mark.sim, pytest.mark.realtime]

RATE, STEPS = 10.0, 15
SENSES = {"cameras": [""], "action_size": 4}
TOLD = {"proprio": ["ee_position", "gripper_width", "object_position", "goal_position"]}
FELT = {"proprio": ["ee_position", "gripper_width"]}
TIMING = {"clock": "realtime", "control_rate": RATE, "max_age": 1.0}
EVALUATION = EpisodeState.PURPOSE_EVALUATION


def preset(agent: str, senses: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters of a policy node with the smallest preset of an agent."""
    return {**read_parameters(shipped("agents", f"{agent}_ci")), **SENSES, **senses, "agent_name": agent}


def weights(agent: str, senses: dict[str, Any], **changes: Any) -> PolicyWeights:
    """Return a trainer's message with fresh weights."""
    given = preset(agent, senses)
    found = build(policy_settings(given), given, "test")
    made = make_agent(agent, spaces_of(found), agent_part(found), 5)
    data, sha256 = pack(made)
    fields = {"version": 1, "agent": agent, "digest": agent_digest(agent_part(found)), "sha256": sha256, "data": data}
    return PolicyWeights(**(fields | changes))


class Watched:
    """The agent of a policy node: every request it gets, how long each answer takes at least, and its weights.

    `loads` says for each load of new weights whether a request was being answered.
    """

    def __init__(self, node: PolicyNode) -> None:
        self.asked: list[tuple[np.ndarray, ActRequest, np.ndarray]] = []
        self.slow = 0.0
        self.loads: list[bool] = []
        self._busy = False
        self._plain, self._load = node._agent.act, node._agent.load_weights
        node._agent.act = self._act  # type: ignore[method-assign]
        node._agent.load_weights = self._loaded  # type: ignore[method-assign]

    def _act(self, observation: Any, state: Any, request: ActRequest) -> Decision:
        self._busy = True
        decision = self._plain(observation, state, request)
        if request.deadline is None or request.deadline > 0:
            time.sleep(self.slow)
        self._busy = False
        self.asked.append((observation["proprio"][0].numpy(), request, decision.action[0].numpy()))
        return decision

    def _loaded(self, tensors: dict[str, Any]) -> None:
        self.loads.append(self._busy)
        self._load(tensors)


class Listener:
    """The subscriptions and publishers of a policy node's peer."""

    def __init__(
        self, graph: Graph, peer: Peer, senses: dict[str, Any], given: dict[str, Any], agent: str = "fowm"
    ) -> None:
        self.graph, self.peer, self.agent = graph, peer, agent
        self.diagnostics = peer.hear(DiagnosticArray, topics.DIAGNOSTICS, qos.event())
        self.versions = peer.hear(PolicyVersion, topics.POLICY_VERSION, qos.latched(10))
        self.actions: list[Action] = peer.hear(Action, topics.ACTION, qos.event())
        self.node = graph.add(PolicyNode({**preset(agent, senses), **given}))
        self.watched = Watched(self.node)
        self.give = peer.advertise(PolicyWeights, topics.POLICY_WEIGHTS, qos.latched())
        self.give(weights(agent, senses))
        graph.until(lambda: self.versions, "the weights to be taken")

    def told(self, name: str) -> float:
        """Return a figure of the node's newest diagnostics; NaN where it is not there."""
        statuses = [s for message in self.diagnostics for s in message.status if s.name.endswith("policy")]
        values = {pair.key: pair.value for pair in statuses[-1].values} if statuses else {}
        return float(values.get(name, "nan"))

    def said(self) -> set[str]:
        """Return the sentences of the node's diagnostics."""
        return {s.message for message in self.diagnostics for s in message.status if s.name.endswith("policy")}

    @property
    def requests(self) -> list[ActRequest]:
        """What the agent was told of time, question by question."""
        return [request for _, request, _ in self.watched.asked]


class Play(Listener):
    """A planner that moves the simulated arm."""

    def __init__(self, graph: Graph, clock: str = "realtime", **given: Any) -> None:
        peer = graph.peer("studio")
        world = {"world": "metaworld/reach-v3", "action_repeat": 6, "cameras": [""], "clock": clock}
        graph.add(SimNode({**world, "control_rate": RATE}))
        self.rewards: list[Reward] = peer.hear(Reward, topics.REWARD, qos.event())
        timing = TIMING if clock == "realtime" else {"control_rate": RATE}
        super().__init__(graph, peer, TOLD, timing | given)
        self._state = peer.node.create_publisher(EpisodeState, topics.EPISODE_STATE, qos.latched())

    def reset(self, episode: int) -> Any:
        """Reset the world, which may have to be built first."""
        answers: list[Any] = []

        def done() -> bool:
            answers.append(self.peer.call(ResetRobot, topics.ROBOT_RESET, episode=episode, seed=3, timeout=20.0))
            return bool(answers[-1].success)

        self.graph.until(done, "the reset", 60.0)
        return answers[-1].stamp

    def episode(self, number: int) -> list[list[float]]:
        """Play an episode of `STEPS` steps; return its actions."""
        self._announce(EpisodeState.PHASE_RESETTING, number)
        stamp = self.reset(number)
        self._announce(EpisodeState.PHASE_RUNNING, number, start=stamp)
        self.graph.until(lambda: self._paid(number), "the steps", 60.0)
        self._announce(EpisodeState.PHASE_ENDED, number, step=STEPS, outcome=2)
        self.graph.spin(1.2)  # another diagnostic
        found = {action.step: list(action.values) for action in self.actions if action.episode == number}
        return [found[step] for step in range(STEPS)]

    def _paid(self, number: int) -> bool:
        return any(reward.episode == number and reward.step >= STEPS for reward in self.rewards)

    def _announce(self, phase: int, number: int, **fields: Any) -> None:
        self._state.publish(EpisodeState(phase=phase, episode=number, purpose=EVALUATION, **fields))
        self.graph.spin(0.1)


@pytest.fixture
def graph() -> Iterator[Graph]:
    with ros_graph() as made:
        yield made


def test_in_real_time_a_planner_is_told_what_is_left_of_the_tick_and_its_plans_are_published(graph: Graph) -> None:
    """Nobody would know that the arm acts on half a plan."""
    play = Play(graph, plan_time_fraction=0.5)
    play.episode(1)
    deadlines = [request.deadline for request in play.requests]
    assert all(0 <= deadline <= 0.5 / RATE for deadline in deadlines if deadline is not None)
    assert None not in deadlines
    assert play.told("plans") == play.told("episode_plans") == len(deadlines) >= STEPS
    for name in ("deadlines_missed", "plans_cut", "policy_answers", "plan_iterations_mean"):
        assert play.told(name) >= 0, name
    assert 0 < play.told("plan_p50_ms") <= play.told("plan_p95_ms") <= play.told("plan_max_ms")
    shown = ("plans", "plans_cut", "policy_answers", "deadlines_missed", "plan_p50_ms", "plan_p95_ms", "plan_max_ms")
    print({name: play.told(name) for name in shown}, "elapsed", [request.elapsed for request in play.requests])


def test_a_deadline_that_cannot_be_kept_is_counted_said_and_the_policy_acts(graph: Graph) -> None:
    play = Play(graph, plan_deadline=1e-6)
    play.episode(1)
    assert play.told("policy_answers") == play.told("deadlines_missed") == play.told("plans") >= STEPS
    assert any("plans of this episode were late; lower agent.plan_samples" in sentence for sentence in play.said())


def test_in_lockstep_there_is_no_deadline_and_one_seed_gives_the_same_plans(graph: Graph) -> None:
    """A run that depends on how busy the machine was cannot be repeated."""
    play = Play(graph, clock="lockstep")
    first = play.episode(1)
    assert play.episode(1) == first
    assert {(request.deadline, request.elapsed, request.pending) for request in play.requests} == {(None, 1, None)}
    assert np.ptp(np.array(first), axis=0).min() > 0


def planned_for(play: Listener, step: int, actions: list[list[float]]) -> bool:
    """Return whether an action was chosen for its step: after the one before, or when that step was seen already."""
    values, before = (np.array(actions[at], np.float32) for at in (step, step - 1))
    pending = [request.pending for _, request, action in play.watched.asked if np.array_equal(action, values)]
    return any(found is None or np.array_equal(found[0, 0].numpy(), before) for found in pending)


def test_planning_ahead_each_action_sent_was_planned_for_its_step_after_the_action_before(graph: Graph) -> None:
    """An action planned for another time moves the arm by what was right a step ago."""
    play = Play(graph, plan_ahead=True, plan_time_fraction=0.9)
    actions = play.episode(1)
    assert all(planned_for(play, step, actions) for step in range(1, STEPS))
    ahead = [request for request in play.requests if request.pending is not None]
    assert len(ahead) > STEPS / 2
    assert all(request.pending.shape == (1, 1, 4) for request in ahead if request.pending is not None)
    assert play.told("plans") > 0
    shown = ("plans", "plans_late", "plans_dropped", "deadlines_missed", "latency_p50_ms", "plan_p50_ms")
    print({name: play.told(name) for name in shown})


def test_planning_ahead_too_slowly_is_counted_and_neither_stops_the_robot_nor_the_node(graph: Graph) -> None:
    """A planner that hangs must not hang the control loop."""
    play = Play(graph, plan_ahead=True)
    play.watched.slow = 0.25
    heard = len(play.diagnostics)
    actions = play.episode(1)
    assert all(planned_for(play, step, actions) for step in range(1, STEPS))
    assert play.told("plans_late") > 0
    assert play.told("policy_answers") >= play.told("plans_late")
    assert len(play.diagnostics) > heard
    print({name: play.told(name) for name in ("plans", "plans_late", "plans_dropped", "periods_without_action")})


class Bench(Listener):
    """A policy whose observations the test makes."""

    def __init__(self, graph: Graph, agent: str = "fowm", **given: Any) -> None:
        self.robot = RobotSide(graph, cameras=())
        super().__init__(graph, self.robot.peer, FELT, {"wait_for": ["sim"], **TIMING} | given, agent)
        self.robot.connected("policy")

    def begin(self) -> None:
        """Announce a running episode."""
        self.robot.episode(EpisodeState.PHASE_RESETTING, 0)
        self.graph.spin(0.1)
        self.robot.episode(EpisodeState.PHASE_RUNNING, 0, start=to_time(1))
        self.graph.spin(0.1)

    def observe(self, value: float, step: int = 0) -> int:
        """Publish a state that tells `value`, after `step` actions; return its stamp in nanoseconds."""
        stamp = self.node.now()
        self.robot.state(stamp, value, step=step)
        return stamp


def test_a_plan_begins_after_all_passed_steps_even_those_without_an_action(graph: Graph) -> None:
    """The arm would follow a plan that is late by every period without an observation."""
    bench = Bench(graph)
    bench.begin()
    first = bench.observe(0.0)
    graph.until(lambda: bench.actions, "the first action")
    graph.spin(3 / RATE)
    second = bench.observe(1.0, step=1)
    bench.robot.reward(1, second)
    graph.until(lambda: bench.actions[-1].step == 1, "the second action")
    passed = round((second - first) * 1e-9 * RATE)
    assert passed >= 3
    assert [request.elapsed for request in bench.requests[-2:]] == [1, passed]


def test_planning_ahead_keeps_the_control_tick_of_an_arm_whose_states_come_faster_than_actions(graph: Graph) -> None:
    """On hardware most states are of no step, and a plan for the wrong one would be sent at the tick."""
    bench = Bench(graph, plan_ahead=True, reward_lag=1, plan_time_fraction=0.9)
    bench.begin()
    while (taken := len({action.step for action in bench.actions})) < STEPS:
        bench.robot.reward(taken, bench.observe(float(len(bench.watched.asked)), step=taken))
        graph.spin(0.2 / RATE)
    actions = {action.step: list(action.values) for action in bench.actions}
    assert all(planned_for(bench, step, [actions[at] for at in range(STEPS)]) for step in range(1, STEPS))
    assert any(request.pending is not None for request in bench.requests)
    graph.until(lambda: bench.told("plans") >= STEPS, "the figures")
    print({name: bench.told(name) for name in ("plans", "plans_late", "plans_dropped", "deadlines_missed")})


def test_planning_ahead_continues_from_the_action_that_replaced_the_proposal(graph: Graph) -> None:
    """The model would imagine that the arm went where the policy wanted, while a person held it."""
    bench = Bench(graph, plan_ahead=True, operator_in_loop=True, reward_lag=1, plan_time_fraction=1.0)
    proposals: list[Action] = bench.peer.hear(Action, topics.PROPOSAL, qos.event())
    decide = bench.peer.advertise(Action, topics.ACTION, qos.event(), readers=2)
    bench.begin()
    bench.observe(0.0)
    graph.until(lambda: proposals, "a proposal")
    graph.spin(0.3)
    assert all(request.pending is None for request in bench.requests)
    decide(Action(episode=0, step=0, values=[1.0, -1.0, 0.5, 0.0]))
    graph.until(lambda: len(bench.requests) == 4, "what is planned ahead")
    assert [request.pending.tolist() for request in bench.requests[2:] if request.pending is not None] == [
        [[[1.0, -1.0, 0.5, 0.0]]]
    ] * 2


def test_planning_ahead_new_weights_are_taken_between_two_plans_and_bad_ones_refused(graph: Graph) -> None:
    """A plan must not mix old and new weights."""
    bench = Bench(graph, plan_ahead=True)
    bench.begin()
    bench.watched.slow = 0.3
    bench.observe(0.0)
    bench.give(weights("fowm", FELT, version=7))
    graph.until(lambda: bench.versions[-1].version == 7, "the new version")
    assert bench.watched.loads == [False, False], "the weights were taken while a plan was made"
    bench.give(weights("fowm", FELT, version=8, digest="0123"))
    graph.until(lambda: any("settings digest is '0123'" in sentence for sentence in bench.said()), "the refusal")
    assert bench.versions[-1].version == 7


@pytest.mark.parametrize("agent", ["fowm", "bc", "iql"])
def test_weights_that_do_not_fit_are_refused_in_one_sentence_and_the_policy_acts_on(graph: Graph, agent: str) -> None:
    other = {"fowm": "bc", "bc": "iql", "iql": "fowm"}[agent]
    bench = Bench(graph, agent)
    bench.begin()
    bad = {
        f"agent is '{other}', expected '{agent}'": weights(other, FELT, version=5),
        "settings digest is '0123'": weights(agent, FELT, version=5, digest="0123"),
        "sha256": weights(agent, FELT, version=5, sha256="00" * 32),
        f"weights of agent {agent}: tensor": weights(agent, TOLD, version=5),
    }
    for sentence, message in bad.items():
        bench.give(message)
        graph.until(lambda: any(sentence in found for found in bench.said()), sentence)  # noqa: B023
    bench.observe(0.0)
    graph.until(lambda: bench.actions, "an action by the old weights")
    assert bench.actions[-1].policy_version == 1


def test_planning_ahead_is_refused_before_any_process_starts() -> None:
    """Otherwise the user finds out on the arm."""
    given = {"agent": "moto", "clock": "realtime", "parameters": "plan_ahead:=true"}
    with pytest.raises(MotoError, match="agent 'moto' does not plan"):
        resolve("evaluate", given).check()
    resolve("evaluate", given | {"agent": "fowm"}).check()
