"""Two systems that share topics: nobody takes the other's messages, and the one that came second ends itself."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.graph import Graph, ros_graph

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")
pytest.importorskip("moto_msgs", reason="moto_msgs is not built")

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.serialization import serialize_message
from std_msgs.msg import String
from std_srvs.srv import Trigger
from support.process import Start, processes

import moto_msgs.msg
from moto_msgs.msg import Action, EpisodeState, OperatorEvent, Reward, RobotState
from moto_msgs.srv import EndEpisode, ResetRobot, StartEpisode
from moto_ros.contract import topics
from moto_ros.contract.peers import Peers
from moto_ros.contract.session import RANDOM_BITS, new_session
from moto_ros.errors import MotoError
from moto_ros.nodes.episode_node import EpisodeNode
from moto_ros.nodes.recorder_node import RecorderNode
from moto_ros.ros import duplicates, qos
from moto_ros.ros.discovery import Readiness
from moto_ros.ros.node import MotoNode
from moto_ros.ros.session import carries_session, session_of
from moto_ros.systems.bringup import NODES, SYSTEMS, resolve

MESSAGES = [getattr(moto_msgs.msg, name) for name in dir(moto_msgs.msg) if name[0].isupper()]
OURS, THEIRS = 7 << RANDOM_BITS, 9 << RANDOM_BITS
"""Sessions of two systems; the second started later."""


def ros(test: Callable[..., None]) -> Callable[..., None]:
    """Mark a test of nodes that find each other within seconds."""
    return pytest.mark.ros(pytest.mark.realtime(test))


@dataclass(frozen=True)
class Plain(Peers):
    """A node that only has what all have."""


@pytest.fixture
def graph() -> Iterator[Graph]:
    with ros_graph() as made:
        yield made


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with processes(tmp_path) as starter:
        yield starter


def node(graph: Graph, name: str, session: int = OURS, **more: Any) -> MotoNode[Plain]:
    """Return a running node of a system."""
    return graph.add(MotoNode(name, Plain, {"session": session, **more}))


# The number.


def test_every_node_of_a_system_has_its_session_and_every_system_another_one() -> None:
    """Breaks the whole guard: nodes of one system would refuse each other, or take everybody's messages."""
    first, second = (
        {p.parameters["session"] for p in resolve("finetune", {"run": "somewhere"}).processes} for _ in "ab"
    )
    assert len(first) == len(second) == 1
    assert first != second
    assert all("session" in kind.specs({"agent_name": "moto"}) for kind in NODES.values())


@pytest.mark.parametrize("system", SYSTEMS)
def test_only_the_session_differs_between_two_runs_with_one_seed(system: str) -> None:
    """Breaks repeatability: something random would depend on when a run was started."""
    runs = [resolve(system, {"run": "somewhere", "seed": "3"}).processes for _ in "ab"]
    one, other = ([{**p.parameters, "session": 0} for p in processes] for processes in runs)
    assert one == other


def test_a_later_system_has_a_greater_session_that_a_ros_parameter_can_hold() -> None:
    earlier, later = new_session(), (new_session() >> RANDOM_BITS) + 1 << RANDOM_BITS
    assert 0 < earlier < later < 2**62


def test_every_message_of_ours_carries_a_session() -> None:
    assert [kind.__name__ for kind in MESSAGES if not carries_session(kind)] == []
    assert all(carries_session(kind.Request) for kind in (StartEpisode, EndEpisode, ResetRobot))
    assert not carries_session(String)


@settings(max_examples=300)
@given(st.sampled_from(MESSAGES), st.text(max_size=40), st.integers(0, 2**64 - 1))
def test_the_session_of_a_serialized_message_is_read_without_decoding_it(kind: type, frame: str, session: int) -> None:
    """Breaks recordings: the recorder, which decodes nothing, would drop its own system's messages."""
    message = kind(session=session)
    message.header.frame_id = frame.replace("\0", "")
    assert session_of(serialize_message(message), kind) == session


@settings(max_examples=200)
@given(st.binary(max_size=60))
def test_bytes_that_are_no_message_have_no_session_and_break_nothing(data: bytes) -> None:
    """Breaks the recorder: a stranger's bytes on a topic would end it."""
    found = session_of(b"\x00\x01\x00\x00" + data, Action)
    assert found is None or len(data) >= 20
    assert session_of(data[:3], Action) is None


# Messages.


@ros
@pytest.mark.parametrize("raw", [False, True])
def test_messages_of_another_system_are_dropped_counted_and_told_once(
    graph: Graph, raw: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    """Breaks runs: a colleague's actions would be executed, and a colleague's rewards be learned from."""
    heard: list[Any] = []
    reader = node(graph, "reader")
    reader.subscribe(Action, topics.ACTION, heard.append, qos.event(), raw=raw)
    diagnostics = graph.peer().hear(DiagnosticArray, topics.DIAGNOSTICS, qos.event())
    ours = node(graph, "ours").advertise(Action, topics.ACTION, qos.event())
    theirs = graph.add(MotoNode("theirs", Plain, {"session": THEIRS, "wait_for": ["ours"]}))
    theirs._duplicates._mine.settled = True  # it stays, as one would that came through another network
    ours_node_stays(graph)
    stranger = theirs.advertise(Action, topics.ACTION, qos.event())
    by_hand = graph.peer("hand").node.create_publisher(Action, topics.ACTION, qos.event())
    writers = (ours, stranger, by_hand)
    graph.until(lambda: all(w.get_subscription_count() == 1 for w in writers), "the reader")
    graph.spin(1.0)
    for _ in range(3):
        for writer in writers:
            writer.publish(Action(session=OURS if writer is ours else 0))
    graph.until(lambda: len(heard) >= 3 and reader.health.foreign[topics.ACTION] >= 6, "all to come")
    graph.spin(0.3)
    assert len(heard) == 3
    sessions = {session_of(message, Action) if raw else message.session for message in heard}
    assert sessions == {OURS}
    said = capfd.readouterr().err
    assert said.count("are ignored") == 2, said
    assert f"policy/action: messages of another system (session {THEIRS}, /theirs) are ignored" in said
    assert "(no session, /hand)" in said

    def warned() -> bool:
        texts = [status.message for message in diagnostics for status in message.status if status.name == "/reader"]
        return any("another system" in text and "policy/action (6)" in text for text in texts)

    graph.until(warned, "the diagnostics")


def ours_node_stays(graph: Graph) -> None:
    """Let nodes of two systems live beside each other: their start is over."""
    for running in graph._nodes:
        if isinstance(running, MotoNode):
            running._duplicates._mine.settled = True


@ros
@pytest.mark.parametrize("raw", [False, True])
def test_a_stop_counts_from_anybody_and_nothing_else_that_a_person_of_another_system_says(
    graph: Graph, raw: bool
) -> None:
    """Breaks people: the one at the other terminal could not stop the arm; or would end a colleague's episode."""
    heard: list[Any] = []
    node(graph, "reader").subscribe(OperatorEvent, topics.OPERATOR_EVENT, heard.append, qos.event(), raw=raw)
    say = graph.peer().advertise(OperatorEvent, topics.OPERATOR_EVENT, qos.event())
    others = (OperatorEvent.START, OperatorEvent.SUCCESS, OperatorEvent.DISCARD, OperatorEvent.READY)
    for event in (*others, OperatorEvent.STOP):
        say(OperatorEvent(event=event, session=THEIRS))
        say(OperatorEvent(event=event))
    graph.until(lambda: len(heard) >= 2, "the stops")
    graph.spin(0.3)
    assert len(heard) == 2
    if not raw:
        assert {message.event for message in heard} == {OperatorEvent.STOP}


@ros
def test_a_topic_for_other_peoples_programs_takes_what_has_no_session(graph: Graph) -> None:
    """Breaks `reward/external`: somebody's own reward node knows nothing of sessions."""
    heard: list[Reward] = []
    node(graph, "reader").subscribe(Reward, topics.EXTERNAL_REWARD, heard.append, qos.event(), outside=True)
    say = graph.peer().advertise(Reward, topics.EXTERNAL_REWARD, qos.event())
    for session in (0, THEIRS, OURS):
        say(Reward(session=session))
    graph.until(lambda: len(heard) >= 2, "two")
    graph.spin(0.3)
    assert [message.session for message in heard] == [0, OURS]


@ros
def test_a_node_that_was_started_by_hand_takes_no_systems_messages(graph: Graph) -> None:
    """Breaks arms: a driver that somebody left running would follow whatever system starts next."""
    heard: list[Action] = []
    node(graph, "reader", session=0).subscribe(Action, topics.ACTION, heard.append, qos.event())
    say = graph.peer().advertise(Action, topics.ACTION, qos.event())
    say(Action(session=THEIRS))
    say(Action(step=1))
    graph.until(lambda: heard, "its own")
    graph.spin(0.3)
    assert [message.step for message in heard] == [1]


# Services.


@ros
def test_a_service_that_moves_the_arm_answers_its_own_system_only(graph: Graph) -> None:
    """Breaks arms: any other system's episode node would reset the arm, or answer for it."""
    asked: list[ResetRobot.Request] = []

    def reset(request: ResetRobot.Request, response: ResetRobot.Response) -> ResetRobot.Response:
        asked.append(request)
        response.success = True
        return response

    server = node(graph, "franka")
    server.serve(ResetRobot, topics.ROBOT_RESET, reset)
    ours, theirs = node(graph, "episode"), node(graph, "other", session=THEIRS)
    clients = [running.client(ResetRobot, topics.ROBOT_RESET) for running in (ours, theirs)]
    graph.until(lambda: all(client.service_is_ready() for client in clients), "the service")
    answer, silence = (client.call_async(ResetRobot.Request(episode=3)) for client in clients)
    graph.until(answer.done, "the answer")
    graph.spin(0.5)
    assert answer.result().success
    assert not silence.done(), "another system asks a service of its own; two answers would be one too many"
    refused = graph.peer().call(ResetRobot, topics.ROBOT_RESET, episode=4)
    assert not refused.success
    assert f"has session 0, expected {OURS}" in refused.message
    assert [request.session for request in asked] == [OURS]


@ros
def test_a_person_ends_an_episode_by_hand_and_starts_one_with_the_session(graph: Graph) -> None:
    """Breaks people: `ros2 service call` could not end what runs; or would begin motion where it is not meant."""
    graph.add(EpisodeNode({"session": OURS}))
    peer = graph.peer()
    assert "no episode" in peer.call(EndEpisode, topics.EPISODE_END, outcome=4).message
    by_hand = peer.call(StartEpisode, topics.EPISODE_START, episode=1, max_steps=3)
    assert f"expected {OURS}" in by_hand.message
    meant = peer.call(StartEpisode, topics.EPISODE_START, episode=1, max_steps=3, session=OURS)
    assert "session" not in meant.message


@ros
def test_readiness_of_another_systems_nodes_counts_for_nothing(graph: Graph) -> None:
    """Breaks starts: an episode would begin before its recorder is connected, since another one is."""
    one, two = node(graph, "one"), node(graph, "two")
    ready, other = Readiness(one, ["two"]), graph.peer("three").node
    say = other.create_publisher(String, topics.READY, qos.latched())
    say.publish(String(data=f"two {THEIRS}"))
    Readiness(two, [])
    graph.until(lambda: "two" in ready.ready_nodes(), "the second node")
    say.publish(String(data=f"three {THEIRS}"))
    graph.spin(0.5)
    assert "three" not in ready.ready_nodes()


# Two of a kind.


def refused(graph: Graph, make: Callable[[], Any]) -> str:
    """Let a second node start where a first one runs, and return the sentence that it ends with."""
    graph.spin(1.0)
    make()
    with pytest.raises(MotoError) as caught:
        graph.until(lambda: False, "the second node to be refused", 20.0)
    return str(caught.value)


@ros
def test_a_second_node_of_one_name_is_refused_with_whose_the_first_is_and_what_to_do(graph: Graph) -> None:
    node(graph, "episode")
    sentence = refused(graph, lambda: node(graph, "episode", session=THEIRS))
    assert sentence.startswith("/episode: a node of this name runs already, of the system started at ")
    assert f"(session {OURS})" in sentence
    assert "another namespace or ROS domain" in sentence


@ros
@pytest.mark.parametrize(
    ("kind", "topic"),
    [(Action, topics.ACTION), (RobotState, topics.ROBOT_STATE), (EpisodeState, topics.EPISODE_STATE)],
)
def test_a_second_writer_is_refused_and_names_topic_and_first_writer(graph: Graph, kind: type, topic: str) -> None:
    """Breaks arms: two policies would act on one, in turns."""
    node(graph, "first").advertise(kind, topic, qos.event())
    sentence = refused(graph, lambda: node(graph, "second", session=THEIRS).advertise(kind, topic, qos.event()))
    assert sentence.startswith(f"/{topic}: /first publishes it already, of the system started at ")


@ros
@pytest.mark.parametrize("simulated", [True, False])
def test_what_to_do_is_something_that_helps(graph: Graph, simulated: bool) -> None:
    """Breaks whoever follows the advice: in lockstep another namespace has the same `/clock`."""
    node(graph, "sim", use_sim_time=simulated)
    sentence = refused(graph, lambda: node(graph, "sim", session=THEIRS, use_sim_time=simulated))
    assert ("namespace" in sentence) is not simulated
    assert "ROS domain" in sentence


@ros
def test_a_system_in_another_namespace_is_not_in_the_way(graph: Graph, start: Start) -> None:
    """Breaks two arms in one domain, though all that run say so in one topic."""
    first = start("moto_ros.nodes.episode_node", {"session": OURS}, "lab")
    episode = graph.add(EpisodeNode({"session": THEIRS}))
    graph.until(lambda: "/lab/episode" in [other.node for other in episode._duplicates._others.values()], "the first")
    graph.spin(1.0)
    assert first.running, first.output()


@ros
def test_the_first_goes_on_even_where_the_second_computers_clock_is_slow(
    graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks running systems: whoever starts another one with a slow clock would end them."""
    monkeypatch.setattr(duplicates, "START_TIME", 0.5)
    node(graph, "first", session=THEIRS).advertise(Action, topics.ACTION, qos.event())
    graph.spin(1.5)
    monkeypatch.setattr(duplicates, "START_TIME", 15.0)
    sentence = refused(graph, lambda: node(graph, "second").advertise(Action, topics.ACTION, qos.event()))
    assert f"(session {THEIRS})" in sentence


@ros
def test_a_node_that_takes_long_to_start_does_not_give_way_once_its_system_runs(graph: Graph) -> None:
    """Breaks both systems: the first nodes of one would end the other, whose last node would end the one."""
    node(graph, "recorder", session=THEIRS)
    ours_node_stays(graph)
    node(graph, "trainer", session=THEIRS)
    graph.spin(1.0)
    sentence = refused(graph, lambda: node(graph, "trainer", session=OURS))
    assert f"(session {THEIRS})" in sentence


@ros
def test_two_that_start_at_once_are_not_both_refused(graph: Graph) -> None:
    nodes = [node(graph, "policy", session=session) for session in (OURS, THEIRS)]
    with pytest.raises(MotoError, match=rf"session {OURS}\)"):
        graph.until(lambda: False, "the later to be refused", 20.0)
    graph.drop(nodes[1])
    graph.spin(1.0)


@ros
def test_two_nodes_of_one_system_may_write_one_topic_as_the_policy_and_the_one_for_resets_do(graph: Graph) -> None:
    for name, session in itertools.product(("policy", "reset_policy"), (OURS, 0)):
        peers = ["policy", "reset_policy"] if session else ["policy_by_hand", "reset_policy_by_hand"]
        made = node(graph, name if session else f"{name}_by_hand", session, wait_for=peers)
        made.advertise(Action, topics.ACTION if session else "by_hand/action", qos.event())
    graph.spin(2.0)


@ros
def test_two_nodes_started_by_hand_that_know_nothing_of_each_other_are_not_let_act_together(graph: Graph) -> None:
    node(graph, "policy", session=0).advertise(Action, topics.ACTION, qos.event())
    sentence = refused(graph, lambda: node(graph, "script", session=0).advertise(Action, topics.ACTION, qos.event()))
    assert "/policy publishes it already, started at " in sentence
    assert "by hand" in sentence


@ros
def test_a_killed_node_is_no_obstacle_to_its_restart(start: Start) -> None:
    """Breaks recovery: after `kill -9` the graph shows the dead node for twenty seconds more."""
    given = {"session": OURS, "max_steps": 5}
    first = start("moto_ros.nodes.episode_node", given)
    with ros_graph() as graph:
        peer = graph.peer()
        trigger = peer.node.create_client(StartEpisode, topics.EPISODE_START)
        graph.until(trigger.service_is_ready, "the first")
        graph.spin(1.0)
        first.kill()
        again = start("moto_ros.nodes.episode_node", given | {"session": THEIRS})
        graph.until(lambda: "/episode" in writers_of(graph, peer.node), "the restart")
        graph.spin(4.0)
        assert again.running, again.output()
    assert "error" not in again.output()


def writers_of(graph: Graph, looker: Any) -> list[str]:
    """Return the nodes that have said who they are."""
    infos = looker.get_publishers_info_by_topic(topics.SYSTEM_NODE)
    return [f"/{info.node_name}" for info in infos]


@ros
def test_a_program_that_says_nothing_of_itself_and_stays_is_refused_but_not_if_it_came_later(
    graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks arms: `ros2 topic pub` left running beside a policy; and runs, if a look with a tool could end one."""
    monkeypatch.setattr(duplicates, "LEASE_TIME", 2.0)
    monkeypatch.setattr(duplicates, "START_TIME", 0.5)
    node(graph, "early").advertise(Action, topics.ACTION, qos.event())
    graph.spin(1.5)
    tool = graph.peer("tool").node
    tool.create_publisher(Action, topics.ACTION, qos.event())
    graph.spin(3.0)
    sentence = refused(
        graph, lambda: node(graph, "late", wait_for=["early"]).advertise(Action, topics.ACTION, qos.event())
    )
    assert sentence.startswith("/policy/action: /tool publishes it too, and is no node of this system")


@ros
def test_a_recorder_takes_nothing_of_another_system_into_its_bag(graph: Graph, tmp_path: Path) -> None:
    """Breaks data: two of a colleague's episodes in this run's folder, one of them marked as a success."""
    graph.add(RecorderNode({"bags": str(tmp_path), "session": OURS}))
    peer = graph.peer()
    state = peer.advertise(EpisodeState, topics.EPISODE_STATE, qos.latched())
    for phase in (EpisodeState.PHASE_RESETTING, EpisodeState.PHASE_RUNNING, EpisodeState.PHASE_ENDED):
        state(EpisodeState(episode=1, phase=phase, session=THEIRS))
        graph.spin(0.1)
    graph.spin(0.5)
    assert list(tmp_path.rglob("*.mcap")) == []


@ros
def test_services_without_a_session_are_a_persons(graph: Graph) -> None:
    """Breaks people: stop and recover are answered whoever asks."""
    server = node(graph, "franka")
    server.serve(Trigger, topics.ROBOT_STOP, lambda _, response: Trigger.Response(success=True))
    assert graph.peer().call(Trigger, topics.ROBOT_STOP).success
