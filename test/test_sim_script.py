"""The scripted expert's node over real DDS: its actions stay in step with a robot that was late."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("metaworld", reason="Meta-World is not installed")
pytest.importorskip("rclpy", reason="rclpy is not installed")

from moto_sim.script_node import ScriptNode
from moto_sim.topics import EXPERT_ACTION
from support.graph import Graph, ros_graph

from moto_msgs.msg import Action, EpisodeState
from moto_ros.contract import topics
from moto_ros.ros import qos
from moto_ros.ros.convert import to_nanoseconds, to_time

pytestmark = [pytest.mark.ros, pytest.mark.sim]


@pytest.fixture
def graph() -> Iterator[Graph]:
    with ros_graph() as made:
        yield made


def test_an_action_that_a_robot_took_too_late_is_said_again_and_not_counted_on(graph: Graph) -> None:
    """Breaks `moto record` in real time: one late action would shift the numbers of all later ones, for good."""
    peer = graph.peer()
    node = graph.add(ScriptNode({"expert_noise": 0.5}))
    received: list[Action] = peer.hear(Action, topics.ACTION, qos.event())
    suggest = peer.advertise(Action, EXPERT_ACTION, qos.event())
    tell = peer.advertise(EpisodeState, topics.EPISODE_STATE, qos.latched())
    graph.until(
        lambda: node.count_publishers(EXPERT_ACTION) and peer.node.count_publishers(topics.ACTION), "the topics"
    )
    for phase in (EpisodeState.PHASE_RESETTING, EpisodeState.PHASE_RUNNING):
        tell(EpisodeState(episode=3, phase=phase))

    def answer(step: int, stamp: int) -> Action:
        count = len(received)
        suggest(Action(episode=3, step=step, state_stamp=to_time(stamp), values=[0.1, 0.2, 0.3, 0.4]))
        graph.until(lambda: len(received) > count, f"the answer to what was seen at {stamp}")
        return received[-1]

    first = answer(0, 100)
    again = answer(0, 200)  # the robot held still for a tick: it still waits for step 0
    after = answer(1, 300)
    assert [first.step, again.step, after.step] == [0, 0, 1]
    assert list(again.values) == list(first.values) != list(after.values)
    assert to_nanoseconds(again.state_stamp) == 100
    assert to_nanoseconds(again.header.stamp) > to_nanoseconds(first.header.stamp)
