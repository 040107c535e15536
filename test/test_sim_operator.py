"""Demonstrations by a person's hand in the simulator, in real time: the path that records them on an arm."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("mujoco", reason="MuJoCo is not installed")
pytest.importorskip("rclpy", reason="rclpy is not installed")

from moto_sim.sim_node import SimNode
from moto_sim.topics import EXPERT_ACTION
from sensor_msgs.msg import Image
from std_msgs.msg import String
from support.graph import Graph, ros_graph
from support.person import Person

from moto_msgs.msg import Action, EpisodeState, Reward, RobotState
from moto_msgs.srv import ResetRobot
from moto_ros.contract import topics
from moto_ros.data.assembler import EpisodeAssembler
from moto_ros.data.layout import StepLayout
from moto_ros.nodes.operator_node import OperatorNode
from moto_ros.ros import qos

pytestmark = [pytest.mark.ros, pytest.mark.sim, pytest.mark.realtime]

RATE, FULL = 10.0, 0.2
STEPS = 12


@pytest.fixture
def graph() -> Iterator[Graph]:
    with ros_graph() as made:
        yield made


class Studio:
    """A simulator and an operator node in real time, a person who follows the expert, and all that is recorded."""

    def __init__(self, graph: Graph) -> None:
        self.graph, self.peer, self.person = graph, graph.peer("studio"), Person(graph)
        peers, timing = ["sim", "operator"], {"clock": "realtime", "control_rate": RATE}
        self.sim = graph.add(SimNode({**timing, "wait_for": peers, "expert": True}))
        self.operator = graph.add(
            OperatorNode(
                {**timing, "wait_for": peers, "proposals": "none", "human_timeout": 1.0, "release_after": 60.0}
                | {"translation_step": FULL / RATE, "action_size": 4, "twist.dead_band": 0.0}
            )
        )
        self.messages: list[tuple[str, Any]] = []
        self.ready = self.peer.hear(String, topics.READY, qos.latched(10))
        self._hear(Image, topics.camera_image("agent"), "camera/agent")
        self._hear(RobotState, topics.ROBOT_STATE, "state")
        self._hear(Action, topics.ACTION, "action")
        self._hear(Reward, topics.REWARD, "reward")
        self.state = self.peer.node.create_publisher(EpisodeState, topics.EPISODE_STATE, qos.latched())
        self.peer.node.create_subscription(Action, EXPERT_ACTION, self._follow, qos.event())
        graph.until(lambda: {text.data for text in self.ready} >= set(peers), "both nodes", 60.0)

    def _hear(self, kind: type, topic: str, role: str) -> None:
        self.peer.node.create_subscription(kind, topic, lambda m: self.messages.append((role, m)), qos.every())

    def _follow(self, expert: Action) -> None:
        """Move the hand as the expert would, as a velocity."""
        x, y, z = np.clip(np.array(expert.values[:3]), -1.0, 1.0) * FULL
        self.person.move(float(x), float(y), float(z))

    def of(self, role: str) -> list[Any]:
        """Return what was received in a role."""
        return [message for found, message in self.messages if found == role]

    def record(self, episode: int) -> None:
        """Run one episode of `STEPS` steps."""
        answer = self.peer.call(ResetRobot, topics.ROBOT_RESET, episode=episode, seed=3, timeout=20.0)
        assert answer.success, answer.message
        self.announce(EpisodeState(phase=EpisodeState.PHASE_RESETTING, episode=episode))
        self.announce(EpisodeState(phase=EpisodeState.PHASE_RUNNING, episode=episode, start=answer.stamp))
        self.graph.until(lambda: len(self.of("reward")) >= STEPS, "the steps", 60.0)
        self.announce(EpisodeState(phase=EpisodeState.PHASE_ENDED, episode=episode, step=STEPS, outcome=2))
        self.graph.spin(0.3)

    def announce(self, state: EpisodeState) -> None:
        """Say where the episode stands, also to the recording."""
        self.state.publish(state)
        self.messages.append(("episode", state))
        self.graph.spin(0.1)


def test_a_demonstration_by_hand_is_complete_moves_as_the_hand_and_says_that_a_person_did_it(graph: Graph) -> None:
    studio = Studio(graph)
    studio.record(4)
    layout = StepLayout(cameras=("agent",), proprio=("ee_position",), pairing_tolerance=0.0)
    assembler = EpisodeAssembler(layout, 4)
    for role, message in studio.messages:
        assembler.add(role, message)
    episode = assembler.assemble()
    assert episode.action.shape == (STEPS + 1, 4)
    assert episode.info["source"] == "human"
    moved = episode.proprio[-1] - episode.proprio[0]
    asked = episode.action[1:, :3].sum(axis=0)
    assert np.linalg.norm(moved) > 0.01
    assert float(moved @ asked) / (np.linalg.norm(moved) * np.linalg.norm(asked)) > 0.7, (moved, asked)
