"""The simulator's node over real DDS: what a user would see of a robot side that misbehaves."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("mujoco", reason="MuJoCo is not installed")
pytest.importorskip("rclpy", reason="rclpy is not installed")


from moto_sim.kitchen_expert import drawn_elements
from moto_sim.sim_node import SimNode
from moto_sim.topics import EXPERT_ACTION
from sensor_msgs.msg import CameraInfo, Image
from std_srvs.srv import Trigger
from support.graph import Graph, ros_graph

from moto_msgs.msg import Action, EpisodeState, OperatorEvent, Reward, RobotState
from moto_msgs.srv import ResetRobot
from moto_ros.contract import topics
from moto_ros.ros import qos
from moto_ros.ros.convert import to_nanoseconds

pytestmark = [pytest.mark.ros, pytest.mark.sim]


class Operator:
    """Calls the simulator's services, sends actions, and keeps what it publishes."""

    def __init__(self, graph: Graph, **parameters: Any) -> None:
        self.graph, self.peer = graph, graph.peer()
        self.sim = graph.add(SimNode(parameters))
        self.images: list[Image] = self.peer.hear(Image, topics.camera_image("agent"), qos.every())
        self.infos: list[CameraInfo] = self.peer.hear(CameraInfo, topics.camera_info("agent"), qos.every())
        self.states: list[RobotState] = self.peer.hear(RobotState, topics.ROBOT_STATE, qos.every())
        self.suggested: list[Action] = self.peer.hear(Action, EXPERT_ACTION, qos.event())
        self.rewards: list[Reward] = self.peer.hear(Reward, topics.REWARD, qos.event())
        self.send = self.peer.advertise(Action, topics.ACTION, qos.event())
        self.tell_episode = self.peer.advertise(EpisodeState, topics.EPISODE_STATE, qos.latched())
        graph.until(lambda: self.sim.count_subscribers(topics.REWARD), "the reward's reader")

    def call(self, kind: type, service: str, **request: Any) -> Any:
        """Call a service and return its answer."""
        client = self.peer.node.create_client(kind, service)
        self.graph.until(client.service_is_ready, service)
        answer = client.call_async(kind.Request(**request))
        self.graph.until(answer.done, f"an answer of {service}")
        return answer.result()

    def reset(self, episode: int = 0, seed: int = 1) -> Any:
        """Reset until the world is built."""
        answers: list[Any] = []

        def done() -> bool:
            answers.append(self.call(ResetRobot, topics.ROBOT_RESET, episode=episode, seed=seed, timeout=10.0))
            return "being built" not in answers[-1].message

        self.graph.until(done, "the world")
        return answers[-1]

    def act(self, step: int, values: list[float], episode: int = 0) -> None:
        """Send one action."""
        self.send(Action(episode=episode, step=step, values=values))

    def step(self, step: int, values: list[float]) -> Reward:
        """Send one action and return the reward it earns."""
        self.act(step, values)
        self.graph.until(lambda: self.rewards and self.rewards[-1].step == step + 1, f"the reward of step {step + 1}")
        return self.rewards[-1]

    def follow(self, step: int) -> Reward:
        """Do what the scripted expert suggests in the present observation, and return the reward."""
        self.graph.until(lambda: self.suggested and self.suggested[-1].step == step, f"a suggestion for step {step}")
        return self.step(step, list(self.suggested[-1].values))


@pytest.fixture
def graph() -> Iterator[Graph]:
    with ros_graph() as made:
        yield made


def test_lockstep_moves_once_for_each_action_and_stamps_reward_image_and_state_alike(graph: Graph) -> None:
    operator = Operator(graph)
    start = to_nanoseconds(operator.reset().stamp)
    graph.spin(0.3)
    assert len(operator.images) == 1
    rewards = [operator.step(k, [0.5, 0.0, 0.0, 0.0]) for k in range(3)]
    graph.until(lambda: len(operator.states) == 4 and len(operator.images) == 4, "four observations")
    stamps = [to_nanoseconds(state.header.stamp) for state in operator.states]
    assert stamps == [to_nanoseconds(image.header.stamp) for image in operator.images]
    assert stamps[0] == start
    assert stamps[1:] == [to_nanoseconds(reward.header.stamp) for reward in rewards]
    assert len(set(map(int.__sub__, stamps[1:], stamps))) == 1


def test_robot_state_says_which_actions_were_executed(graph: Graph) -> None:
    """A policy in real time would not know when its next action is due."""
    operator = Operator(graph)
    operator.reset(episode=4)
    for k in range(2):
        operator.act(k, [0.0] * 4, episode=4)
        graph.until(lambda k=k: operator.rewards and operator.rewards[-1].step == k + 1, "a reward")
    graph.until(lambda: len(operator.states) == 3, "three states")
    assert [(state.episode, state.step) for state in operator.states] == [(4, 0), (4, 1), (4, 2)]


def test_the_operators_stop_button_stops_the_simulator_as_it_stops_an_arm(graph: Graph) -> None:
    operator = Operator(graph)
    operator.reset()
    press = operator.peer.advertise(OperatorEvent, topics.OPERATOR_EVENT, qos.event())
    press(OperatorEvent(event=OperatorEvent.STOP, source="joy"))
    graph.until(lambda: operator.states[-1].mode == RobotState.MODE_STOPPED, "the stop in the robot's state")
    assert not operator.reset(1).success


def test_plus_x_moves_the_hand_plus_x(graph: Graph) -> None:
    operator = Operator(graph)
    operator.reset()
    for k in range(5):
        operator.step(k, [1.0, 0.0, 0.0, 0.0])
    graph.until(lambda: len(operator.states) == 6, "six states")
    first, last = operator.states[0].ee_pose.position, operator.states[-1].ee_pose.position
    moved = (last.x - first.x, last.y - first.y)
    assert max(map(abs, moved)) > 0.02, moved


def test_one_seed_gives_one_episode_to_the_bit_whatever_ran_before(graph: Graph) -> None:
    operator = Operator(graph)
    seen = []
    for episode, seed in ((0, 7), (1, 8), (2, 7)):
        operator.images.clear()
        operator.reset(episode, seed)
        for k in range(2):
            operator.act(k, [0.3, -0.2, 0.1, 1.0], episode)
            graph.until(
                lambda k=k, e=episode: (
                    operator.rewards and (operator.rewards[-1].episode, operator.rewards[-1].step) == (e, k + 1)
                ),
                "a step",
            )
        graph.until(lambda: len(operator.images) == 3, "three frames")
        seen.append([bytes(image.data) for image in operator.images])
    assert seen[0] == seen[2]
    assert seen[0] != seen[1]


@pytest.mark.parametrize("values", [[math.nan, 0.0, 0.0, 0.0], [0.0, 0.0]])
def test_an_action_that_is_not_finite_or_of_the_wrong_size_does_not_move_the_robot(
    graph: Graph, values: list[float]
) -> None:
    operator = Operator(graph)
    operator.reset()
    operator.act(0, values)
    graph.until(lambda: "expected 4 finite numbers" in operator.sim.report().warning, "the refusal in the diagnostics")
    assert not operator.rewards
    operator.step(0, [0.0] * 4)


def test_duplicates_and_actions_of_other_steps_or_episodes_do_not_move_the_robot(graph: Graph) -> None:
    operator = Operator(graph)
    operator.reset()
    operator.step(0, [0.0] * 4)
    for step, episode in ((0, 0), (2, 0), (1, 5)):
        operator.act(step, [0.0] * 4, episode)
    graph.spin(0.3)
    assert [reward.step for reward in operator.rewards] == [1]
    counts = operator.sim.report().values
    assert (counts["ignored_other_step"], counts["ignored_other_episode"]) == (2, 1)


def test_a_stop_stays_until_recover_and_refuses_actions_and_resets(graph: Graph) -> None:
    operator = Operator(graph)
    operator.reset()
    assert operator.call(Trigger, topics.ROBOT_STOP).success
    operator.act(0, [0.0] * 4)
    graph.until(lambda: operator.sim.report().values.get("refused_stopped"), "the refusal")
    assert not operator.rewards
    assert not operator.reset(1).success
    assert operator.states[-1].mode == RobotState.MODE_STOPPED
    assert operator.call(Trigger, topics.ROBOT_RECOVER).success
    assert operator.reset(2).success


def test_a_lost_observation_is_shown_again_with_its_own_stamps(graph: Graph) -> None:
    operator = Operator(graph, action_timeout=0.2)
    operator.reset()
    graph.until(lambda: len(operator.images) >= 2, "the observation again")
    assert operator.images[0] == operator.images[1]
    assert not operator.rewards


def test_realtime_ticks_by_itself_not_faster_than_its_rate_and_holds_without_actions(graph: Graph) -> None:
    operator = Operator(graph, clock="realtime", control_rate=20.0)
    operator.reset()
    before = len(operator.states)
    graph.until(lambda: len(operator.states) > before + 12, "twelve ticks")
    assert operator.sim.report().values["ticks_held"] > 0
    stamps = [to_nanoseconds(state.header.stamp) for state in operator.states]
    assert stamps == sorted(set(stamps))
    # A busy machine may tick late, never early.
    assert (stamps[-1] - stamps[before]) / (len(stamps) - 1 - before) > 0.9 * 1e9 / 20


def test_realtime_does_not_execute_a_stale_action(graph: Graph) -> None:
    operator = Operator(graph, clock="realtime", control_rate=20.0)
    operator.reset()
    operator.act(0, [1.0, 0.0, 0.0, 0.0])
    graph.until(lambda: operator.sim.report().values.get("stale_actions"), "the stale action to be counted")
    assert not operator.rewards


def test_calibration_has_the_stamp_and_size_of_its_image(graph: Graph) -> None:
    operator = Operator(graph, camera_size=96)
    operator.reset()
    graph.until(lambda: operator.images and operator.infos, "image and calibration")
    image, info = operator.images[-1], operator.infos[-1]
    assert (info.width, info.height, info.header.stamp) == (image.width, image.height, image.header.stamp)
    assert info.k[0] > 0
    assert info.k[2] == pytest.approx(47.5)


def test_the_kitchen_is_demonstrated_over_ros_each_episode_from_its_first_element(graph: Graph) -> None:
    """Breaks `moto record` in the kitchen: nobody would act, or an episode would begin in the middle of the script."""
    seed = next(seed for seed in range(100) if drawn_elements(seed)[0] == "kettle")
    operator = Operator(graph, world="kitchen/mixed", expert=True, camera_size=16)
    operator.reset(seed=seed)
    assert any(operator.follow(step).value == 1.0 for step in range(60))
    first = list(operator.suggested[0].values)
    operator.suggested.clear()
    operator.reset(seed=seed)
    graph.until(lambda: operator.suggested, "the first suggestion of the next episode")
    assert list(operator.suggested[0].values) == first
