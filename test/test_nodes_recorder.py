"""The recorder over real topics: what it took in is on disk, whatever happens to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from rosbags.highlevel import AnyReader
from support.graph import Graph, ros_graph

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")
pytest.importorskip("moto_msgs", reason="moto_msgs is not built")

from sensor_msgs.msg import Image
from std_msgs.msg import String
from support.process import Start, processes
from support.robot_side import PERIOD, RobotSide

from moto_msgs.msg import Action, CameraHealth, EpisodeBag, EpisodeState, OperatorEvent
from moto_ros.contract import topics
from moto_ros.data.bag_info import bag_facts
from moto_ros.errors import MotoError
from moto_ros.nodes.recorder_node import RecorderNode
from moto_ros.ros import qos
from moto_ros.ros.convert import image_message, to_time

pytestmark = pytest.mark.ros

RESETTING, RUNNING, ENDED = EpisodeState.PHASE_RESETTING, EpisodeState.PHASE_RUNNING, EpisodeState.PHASE_ENDED


@pytest.fixture
def graph() -> Iterator[Graph]:
    with ros_graph() as made:
        yield made


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with processes(tmp_path) as starter:
        yield starter


class Bench:
    """A robot side that plays whole episodes, and what the recorder says of them."""

    def __init__(self, graph: Graph, size: int = 16) -> None:
        self.graph = graph
        self.robot = RobotSide(graph, size=size)
        self.act = self.robot.peer.advertise(Action, topics.ACTION, qos.event(), readers=0)
        self.bags: list[Any] = self.robot.peer.hear(EpisodeBag, topics.EPISODE_BAG, qos.latched(10))

    def begin(self, number: int, **fields: Any) -> None:
        """Announce a running episode."""
        self.robot.episode(RESETTING, number, **fields)
        self.robot.episode(RUNNING, number, start=to_time(PERIOD), **fields)

    def steps(self, number: int, first: int, last: int) -> None:
        """Publish what happens from observation `first` to observation `last`."""
        for step in range(first, last):
            self.act(self.robot.act(step, PERIOD * (step + 1), number))
            stamp = self.robot.observe(step + 1)
            self.robot.reward(step + 1, stamp, number)
            self.graph.spin(0.01)

    def whole(self, number: int, steps: int = 5, **fields: Any) -> Any:
        """Play an episode and return what the recorder says of it."""
        known = len(self.bags)
        self.begin(number, **fields)
        self.robot.observe(0)
        self.steps(number, 0, steps)
        self.robot.episode(ENDED, number, step=steps, outcome=EpisodeState.OUTCOME_TIME_LIMIT, **fields)
        self.graph.until(lambda: len(self.bags) > known, "the bag")
        return self.bags[-1]


def counts(bag: Path) -> dict[str, int]:
    """Return messages by topic, as the rosbags library reads them."""
    with AnyReader([bag]) as reader:
        found: dict[str, int] = {}
        for connection, _, data in reader.messages():
            reader.deserialize(data, connection.msgtype)
            found[connection.topic] = found.get(connection.topic, 0) + 1
    return found


def recorder(graph: Graph, folder: Path, **given: Any) -> RecorderNode:
    return graph.add(RecorderNode({"bags": str(folder), "wait_for": ["sim"], **given}))


def test_a_bag_holds_every_message_of_its_episode_and_others_can_read_it(graph: Graph, tmp_path: Path) -> None:
    bench = Bench(graph)
    recorder(graph, tmp_path)
    bench.robot.connected("recorder")
    said = bench.whole(3)
    assert (said.episode, said.complete, said.message) == (3, True, "")
    assert Path(said.uri) == tmp_path / "online" / "episode_000003"
    found = counts(Path(said.uri))
    assert found == {
        "/episode/state": 3,
        "/robot/state": 6,
        "/policy/action": 5,
        "/episode/reward": 5,
        "/camera/agent/image_raw": 6,
    }
    assert said.messages == sum(found.values())


def test_demonstrations_training_and_evaluation_go_to_folders_of_their_own(graph: Graph, tmp_path: Path) -> None:
    bench = Bench(graph)
    recorder(graph, tmp_path, evaluation_folder="eval_before")
    bench.robot.connected("recorder")
    uris = [Path(bench.whole(number, purpose=number).uri) for number in range(3)]
    assert [uri.parent.name for uri in uris] == ["offline", "online", "eval_before"]


def test_a_repeated_episode_never_overwrites_the_first(graph: Graph, tmp_path: Path) -> None:
    bench = Bench(graph)
    recorder(graph, tmp_path)
    bench.robot.connected("recorder")
    first, second = Path(bench.whole(4, steps=3).uri), Path(bench.whole(4, steps=5).uri)
    assert first != second
    assert counts(first)["/policy/action"] == 3
    assert counts(second)["/policy/action"] == 5


def test_what_comes_just_before_and_just_after_the_episode_is_in_the_bag(graph: Graph, tmp_path: Path) -> None:
    bench = Bench(graph)
    recorder(graph, tmp_path, pre_roll=5.0, settle=1.5)
    bench.robot.connected("recorder")
    bench.robot.observe(0)
    graph.spin(0.1)
    bench.begin(1)
    bench.steps(1, 0, 2)
    bench.robot.episode(ENDED, 1, step=3, outcome=EpisodeState.OUTCOME_TIME_LIMIT)
    bench.steps(1, 2, 3)
    graph.until(lambda: bench.bags, "the bag")
    found = counts(Path(bench.bags[0].uri))
    assert (found["/robot/state"], found["/policy/action"]) == (4, 3)


def test_a_discarded_episode_is_kept_and_its_mark_is_in_the_bag(graph: Graph, tmp_path: Path) -> None:
    bench = Bench(graph)
    recorder(graph, tmp_path)
    bench.robot.connected("recorder")
    bench.begin(2)
    bench.robot.observe(0)
    bench.steps(2, 0, 2)
    bench.robot.episode(ENDED, 2, step=2, outcome=EpisodeState.OUTCOME_DISCARDED, reason="bumped")
    graph.until(lambda: bench.bags, "the bag")
    with AnyReader([Path(bench.bags[0].uri)]) as reader:
        states = [
            reader.deserialize(data, connection.msgtype)
            for connection, _, data in reader.messages()
            if connection.topic == "/episode/state"
        ]
    assert (states[-1].outcome, states[-1].reason) == (EpisodeState.OUTCOME_DISCARDED, "bumped")


def test_a_stopped_recorder_closes_the_bag_of_the_episode_under_way(graph: Graph, tmp_path: Path) -> None:
    bench = Bench(graph)
    node = recorder(graph, tmp_path)
    bench.robot.connected("recorder")
    bench.begin(0)
    bench.steps(0, 0, 3)
    graph.spin(0.1)
    graph.drop(node)
    bag = tmp_path / "online" / "episode_000000"
    assert (bag / "metadata.yaml").exists()
    assert counts(bag)["/policy/action"] == 3


def test_two_recorders_cannot_write_to_one_folder(graph: Graph, tmp_path: Path) -> None:
    recorder(graph, tmp_path)
    with pytest.raises(MotoError, match="in use by process"):
        RecorderNode({"bags": str(tmp_path)})


def test_a_disk_that_cannot_keep_up_is_said_and_the_bag_is_not_called_complete(graph: Graph, tmp_path: Path) -> None:
    bench = Bench(graph, size=800)  # one frame is larger than all that may wait
    recorder(graph, tmp_path, backlog=1)
    bench.robot.connected("recorder")
    said = bench.whole(0, steps=2)
    assert not said.complete
    assert "image_raw (3)" in said.message


def test_an_extra_topic_of_a_type_nobody_has_is_refused_by_name(graph: Graph, tmp_path: Path) -> None:
    with pytest.raises(MotoError, match="nowhere_msgs"):
        RecorderNode({"bags": str(tmp_path), "extra_topics": ["/lidar:nowhere_msgs/msg/Scan"]})


def test_kill_9_in_the_middle_loses_no_earlier_episode_and_at_most_a_second_of_this(
    graph: Graph, tmp_path: Path, start: Start
) -> None:
    bench = Bench(graph)
    bags = tmp_path / "bags"
    parameters = {"bags": bags, "wait_for": ["sim"]}
    said = bench.robot.peer.hear(String, topics.READY, qos.latched(10))
    process = start("moto_ros.nodes.recorder_node", parameters)
    bench.robot.connected("recorder")
    first = Path(bench.whole(0).uri)
    bench.begin(1)
    bench.robot.observe(0)
    bench.steps(1, 0, 8)
    graph.spin(1.2)
    process.kill()
    cut = bags / "online" / "episode_000001"
    assert not (cut / "metadata.yaml").exists()
    kept = counts(first)
    bench.robot.episode(ENDED, 1, step=8, outcome=EpisodeState.OUTCOME_ABORTED)

    again = start("moto_ros.nodes.recorder_node", parameters)
    graph.until(lambda: said.count(String(data="recorder")) == 2, "the new recorder to be ready")
    bench.robot.connected("recorder")  # this side has to have found the new one, too
    # Sent to the dead one's address, the first samples for the new one may come by repair, up to 4 s late (Fast DDS).
    graph.spin(4.5)
    assert "recovered" in again.output()
    second = Path(bench.whole(1, steps=2).uri)
    assert again.stop() == 0
    assert counts(first) == kept
    assert counts(cut)["/policy/action"] == 8  # all of it was older than a second
    assert yaml.safe_load((cut / "metadata.yaml").read_text())
    assert second.name == "episode_000001-2"
    assert counts(second)["/policy/action"] == 2


def test_a_recorder_that_joins_late_says_that_the_beginning_is_missing(graph: Graph, tmp_path: Path) -> None:
    bench = Bench(graph)
    bench.begin(6)
    graph.spin(0.1)
    recorder(graph, tmp_path)
    bench.robot.connected("recorder")
    bench.steps(6, 2, 4)
    bench.robot.episode(ENDED, 6, step=4, outcome=EpisodeState.OUTCOME_TIME_LIMIT)
    graph.until(lambda: bench.bags, "the bag")
    assert not bench.bags[0].complete
    assert "in the middle" in bench.bags[0].message
    assert counts(Path(bench.bags[0].uri))["/policy/action"] == 2


def test_messages_that_still_wait_in_the_node_when_the_episode_ends_are_in_its_bag(
    graph: Graph, tmp_path: Path
) -> None:
    """A busy recorder hears of the end before it has taken all messages from before it."""
    bench = Bench(graph)
    recorder(graph, tmp_path, settle=0.0, pre_roll=0.0)
    bench.robot.connected("recorder")
    bench.robot.episode(RESETTING, 0)
    graph.spin(0.2)
    for step in range(30):
        bench.act(bench.robot.act(step, PERIOD * (step + 1)))
    bench.robot.episode(ENDED, 0, step=30, outcome=EpisodeState.OUTCOME_TIME_LIMIT)
    graph.until(lambda: bench.bags, "the bag")
    assert bench.bags[0].complete
    assert counts(Path(bench.bags[0].uri))["/policy/action"] == 30


def test_a_camera_that_only_offers_best_effort_is_recorded_and_the_bag_says_so(graph: Graph, tmp_path: Path) -> None:
    """Many camera drivers offer no more: a reliable subscription would record nothing of them."""
    bench = Bench(graph)
    node = recorder(graph, tmp_path, cameras=["agent", "wrist"])
    topic = topics.camera_image("wrist")
    camera = bench.robot.peer.node.create_publisher(Image, topic, qos.lossy())
    bench.robot.connected("recorder")
    graph.until(lambda: camera.get_subscription_count() == 1, "the recorder to take the offer")
    bench.begin(1)
    for step in range(5):
        camera.publish(image_message(bench.robot.pixels(step, "agent"), to_time(PERIOD * (step + 1)), "wrist"))
        graph.spin(0.02)
    bench.steps(1, 0, 1)
    bench.robot.episode(ENDED, 1, step=1, outcome=EpisodeState.OUTCOME_TIME_LIMIT)
    graph.until(lambda: bench.bags, "the bag")
    bag = Path(bench.bags[0].uri)
    assert counts(bag)[f"/{topic}"] == 5
    offered = {
        entry["topic_metadata"]["name"]: entry["topic_metadata"]["offered_qos_profiles"]
        for entry in yaml.safe_load((bag / "metadata.yaml").read_text())["rosbag2_bagfile_information"][
            "topics_with_message_count"
        ]
    }
    assert "reliability: 2" in offered[f"/{topic}"]
    assert "reliability: 1" in offered["/camera/agent/image_raw"]
    assert not node.report().warning


def test_buttons_proposals_and_camera_losses_are_in_the_bag(graph: Graph, tmp_path: Path) -> None:
    bench = Bench(graph)
    recorder(graph, tmp_path, operator_in_loop=True)
    say = bench.robot.peer.advertise(OperatorEvent, topics.OPERATOR_EVENT, qos.event())
    propose = bench.robot.peer.advertise(Action, topics.PROPOSAL, qos.event())
    health = bench.robot.peer.advertise(CameraHealth, topics.camera_health("agent"), qos.latched())
    bench.robot.connected("recorder")
    bench.begin(1)
    health(CameraHealth(camera="agent", healthy=False, reason="camera agent: no frame"))
    propose(bench.robot.act(0, PERIOD, 1))
    say(OperatorEvent(event=OperatorEvent.TAKE_OVER))
    graph.spin(0.1)
    bench.robot.observe(0)
    bench.steps(1, 0, 2)
    bench.robot.episode(ENDED, 1, step=2, outcome=EpisodeState.OUTCOME_TIME_LIMIT)
    graph.until(lambda: bench.bags, "the bag")
    found = counts(Path(bench.bags[0].uri))
    assert (found["/operator/event"], found["/policy/proposal"], found["/camera/agent/health"]) == (1, 1, 1)
    facts = bag_facts(Path(bench.bags[0].uri))
    assert [incident.text for incident in facts.incidents] == ["camera agent: no frame"]


def test_an_episode_that_brings_the_scene_back_is_not_recorded(graph: Graph, tmp_path: Path) -> None:
    bench = Bench(graph)
    recorder(graph, tmp_path)
    bench.robot.connected("recorder")
    reset = {"purpose": EpisodeState.PURPOSE_RESET}
    bench.begin(4_000_001, **reset)
    bench.steps(4_000_001, 0, 2)
    bench.robot.episode(ENDED, 4_000_001, step=2, outcome=EpisodeState.OUTCOME_SUCCESS, **reset)
    bench.whole(1)
    assert [bag.name for bag in sorted(tmp_path.glob("*/*"))] == ["episode_000001"]
    (episode,) = bag_facts(Path(bench.bags[0].uri)).episodes
    assert (episode.id, episode.steps) == (1, 5)
