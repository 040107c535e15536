"""The episode node over real topics and services, with the test in the place of robot and recorder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.graph import Graph, Peer, ros_graph

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")
pytest.importorskip("moto_msgs", reason="moto_msgs is not built")

from moto_msgs.msg import CameraHealth, EpisodeBag, EpisodeState, OperatorEvent, Reward, RobotState
from moto_msgs.srv import EndEpisode, ResetRobot, StartEpisode
from moto_ros.contract import topics
from moto_ros.errors import MotoError
from moto_ros.nodes.episode_node import EpisodeNode
from moto_ros.ros import process, qos
from moto_ros.ros.convert import to_nanoseconds, to_time

pytestmark = pytest.mark.ros

START = 5_000_000_000
FAST = {"max_steps": 3, "reset_timeout": 5.0, "step_timeout": 1.0, "bag_timeout": 1.0}


class Robot:
    """A robot and recorder made of nothing but their topics."""

    def __init__(self, graph: Graph, *, resets: bool = True, records: bool = True) -> None:
        self.peer = graph.peer("robot")
        self.resets, self.records = resets, records
        self.requests: list[Any] = []
        self.states = self.peer.hear(EpisodeState, topics.EPISODE_STATE, qos.latched(10))
        self.peer.node.create_subscription(EpisodeState, topics.EPISODE_STATE, self._episode, qos.latched(10))
        self.peer.node.create_service(ResetRobot, topics.ROBOT_RESET, self._reset)
        self.reward = self.peer.advertise(Reward, topics.REWARD, qos.event(), readers=0)
        self.state = self.peer.advertise(RobotState, topics.ROBOT_STATE, qos.stream_out(), readers=0)
        self.say = self.peer.advertise(OperatorEvent, topics.OPERATOR_EVENT, qos.event(), readers=0)
        self.camera = self.peer.advertise(CameraHealth, topics.camera_health("wrist"), qos.latched(), readers=0)
        self._bag = self.peer.advertise(EpisodeBag, topics.EPISODE_BAG, qos.latched(), readers=0)

    def _reset(self, request: Any, response: Any) -> Any:
        self.requests.append(request)
        response.success, response.stamp = self.resets, to_time(START)
        response.message = "" if self.resets else "gripper jammed"
        return response

    def _episode(self, state: EpisodeState) -> None:
        if state.phase == EpisodeState.PHASE_ENDED and self.records:
            self._bag(EpisodeBag(episode=state.episode, complete=True))
        if state.phase == EpisodeState.PHASE_RUNNING:
            for step in range(1, 4):
                self.reward(Reward(episode=state.episode, step=step, value=1.0, success=True))

    def phases(self) -> list[int]:
        return [state.phase for state in self.states]


@pytest.fixture
def graph() -> Iterator[Graph]:
    with ros_graph() as made:
        yield made


def ask(peer: Peer, episode: int = 4, purpose: int = EpisodeState.PURPOSE_TRAINING) -> Any:
    return peer.call(StartEpisode, topics.EPISODE_START, episode=episode, purpose=purpose, seed=9, max_steps=0)


def begin(robot: Robot) -> None:
    """Ask until the node is ready, as a trainer does."""
    robot.peer.graph.until(lambda: ask(robot.peer).accepted, "the episode to be accepted")


def ended(robot: Robot, times: int = 1) -> Callable[[], bool]:
    return lambda: robot.phases().count(EpisodeState.PHASE_ENDED) == times


def test_a_requested_episode_is_reset_run_and_ended_with_the_robots_stamps(graph: Graph) -> None:
    robot = Robot(graph)
    graph.add(EpisodeNode(FAST))
    begin(robot)
    graph.until(ended(robot), "the episode to end")
    assert robot.phases() == [0, 1, 2, 3]
    assert (robot.requests[0].episode, robot.requests[0].seed) == (4, 9)
    assert to_nanoseconds(robot.states[2].start) == START
    last = robot.states[-1]
    assert (last.episode, last.step, last.outcome) == (4, 3, EpisodeState.OUTCOME_TIME_LIMIT)


class LateRobot(Robot):
    """A robot that goes on for some steps after the limit, and only then solves the task."""

    def _episode(self, state: EpisodeState) -> None:
        if state.phase == EpisodeState.PHASE_RUNNING:
            for step in range(1, 4):
                self.reward(Reward(episode=state.episode, step=step, value=1.0))
        if state.phase == EpisodeState.PHASE_ENDED:
            for step in range(4, 9):
                self.reward(Reward(episode=state.episode, step=step, value=1.0, success=True))
            self.peer.graph.spin(0.3)
            self._bag(EpisodeBag(episode=state.episode, complete=True))


def test_steps_after_the_limit_count_for_nothing(graph: Graph, capfd: pytest.CaptureFixture[str]) -> None:
    """On a busy machine a robot stops some steps late: return and success would depend on the machine."""
    robot = LateRobot(graph)
    graph.add(EpisodeNode(FAST))
    begin(robot)
    graph.until(ended(robot), "the episode to end")
    said = ""

    def logged() -> bool:
        nonlocal said
        said += capfd.readouterr().err
        return "training episode 4" in said

    graph.until(logged, "the result in the log")
    assert "training episode 4: no success, 3 steps, return 3," in said


def test_a_late_joiner_receives_the_state_of_the_episode(graph: Graph) -> None:
    robot = Robot(graph)
    graph.add(EpisodeNode(FAST))
    begin(robot)
    graph.until(ended(robot), "the episode to end")
    late = graph.peer("late").hear(EpisodeState, topics.EPISODE_STATE, qos.latched())
    graph.until(lambda: late, "the latched state")
    assert late[0].phase == EpisodeState.PHASE_ENDED


def test_a_failed_reset_aborts_with_the_robots_error(graph: Graph) -> None:
    robot = Robot(graph, resets=False)
    graph.add(EpisodeNode(FAST))
    begin(robot)
    graph.until(ended(robot), "the episode to end")
    assert robot.states[-1].outcome == EpisodeState.OUTCOME_ABORTED
    assert "gripper jammed" in robot.states[-1].reason


def test_an_absent_robot_cannot_make_the_node_wait_indefinitely(graph: Graph) -> None:
    graph.add(EpisodeNode({**FAST, "reset_timeout": 0.3}))
    peer = graph.peer()
    states = peer.hear(EpisodeState, topics.EPISODE_STATE, qos.latched(10))
    assert ask(peer).accepted is False  # robot/reset is not there yet: not ready
    graph.spin(0.5)
    assert [state.phase for state in states] == [EpisodeState.PHASE_IDLE]


def test_an_operator_ends_the_episode_and_the_outcome_is_kept(graph: Graph) -> None:
    robot = Robot(graph)
    graph.add(EpisodeNode({**FAST, "max_steps": 100, "step_timeout": 30.0}))
    begin(robot)
    graph.until(lambda: EpisodeState.PHASE_RUNNING in robot.phases(), "the episode to run")
    discarded = EpisodeState.OUTCOME_DISCARDED
    assert robot.peer.call(EndEpisode, topics.EPISODE_END, outcome=discarded, reason="bumped the table").success
    graph.until(ended(robot), "the episode to end")
    assert (robot.states[-1].outcome, robot.states[-1].reason) == (discarded, "bumped the table")
    assert not robot.peer.call(EndEpisode, topics.EPISODE_END, outcome=discarded, reason="").success


def test_a_robot_fault_aborts_the_running_episode_with_its_sentence(graph: Graph) -> None:
    robot = Robot(graph)
    graph.add(EpisodeNode({**FAST, "max_steps": 100, "step_timeout": 30.0}))
    begin(robot)
    graph.until(lambda: EpisodeState.PHASE_RUNNING in robot.phases(), "the episode to run")
    robot.state(RobotState(mode=RobotState.MODE_FAULT, fault="reflex on joint 4"))
    graph.until(ended(robot), "the episode to end")
    assert "reflex on joint 4" in robot.states[-1].reason


LONG = {**FAST, "max_steps": 100, "step_timeout": 30.0}


def run(robot: Robot, **given: Any) -> EpisodeNode:
    """Begin an episode that no step limit ends."""
    node = robot.peer.graph.add(EpisodeNode({**LONG, "cameras": ["wrist"], **given}))
    begin(robot)
    robot.peer.graph.until(lambda: EpisodeState.PHASE_RUNNING in robot.phases(), "the episode to run")
    return node


def test_a_stop_ends_the_episode_even_where_faults_only_pause_it(graph: Graph) -> None:
    robot = Robot(graph)
    node = run(robot, fault="pause")
    robot.state(RobotState(mode=RobotState.MODE_FAULT, fault="reflex on joint 4"))
    graph.until(lambda: node.report().warning == "reflex on joint 4", "the pause in the diagnostics")
    robot.state(RobotState(mode=RobotState.MODE_RESET))
    robot.state(RobotState(mode=RobotState.MODE_HOLD))
    graph.until(lambda: node.report().warning == "", "the end of the pause")
    assert EpisodeState.PHASE_ENDED not in robot.phases()
    robot.state(RobotState(mode=RobotState.MODE_STOPPED))
    graph.until(ended(robot), "the episode to end")
    assert "robot/recover" in robot.states[-1].reason


def test_a_lost_camera_aborts_the_episode_where_that_is_wanted_and_the_next_one_waits_for_it(graph: Graph) -> None:
    robot = Robot(graph)
    run(robot, camera_loss="abort")
    robot.camera(CameraHealth(camera="wrist", healthy=False, reason="camera wrist: no frame for 0.1 s"))
    graph.until(ended(robot), "the episode to end")
    assert (robot.states[-1].outcome, robot.states[-1].reason) == (
        EpisodeState.OUTCOME_ABORTED,
        "camera wrist: no frame for 0.1 s",
    )
    assert ask(robot.peer, episode=5).accepted
    graph.spin(0.3)
    assert [request.episode for request in robot.requests] == [4]
    robot.camera(CameraHealth(camera="wrist", healthy=True))
    graph.until(lambda: [request.episode for request in robot.requests] == [4, 5], "the next reset")


def test_the_operator_starts_each_episode_and_discards_one_by_button(graph: Graph) -> None:
    robot = Robot(graph)
    node = graph.add(EpisodeNode({**LONG, "start_on": "operator"}))
    begin(robot)
    graph.until(lambda: "operator/start" in node.report().warning, "the wait in the diagnostics")
    assert not robot.requests
    robot.say(OperatorEvent(event=OperatorEvent.START))
    graph.until(lambda: EpisodeState.PHASE_RUNNING in robot.phases(), "the episode to run")
    robot.say(OperatorEvent(event=OperatorEvent.SUCCESS))  # the reward node's business
    robot.say(OperatorEvent(event=OperatorEvent.DISCARD, source="joy"))
    graph.until(ended(robot), "the episode to end")
    assert robot.states[-1].outcome == EpisodeState.OUTCOME_DISCARDED
    assert "joy" in robot.states[-1].reason


def test_a_series_resets_the_scene_before_each_episode_and_does_not_count_the_resets(graph: Graph) -> None:
    robot = Robot(graph)
    given = {**FAST, "automatic_episodes": 2, "first_episode": 20, "scene_reset": "policy", "reset_steps": 2}
    graph.add(EpisodeNode(given))
    with pytest.raises(process.Finished):
        graph.until(lambda: False, "the series to end")
    assert [request.episode for request in robot.requests] == [4_000_020, 20, 4_000_021, 21]
    purposes = [state.purpose for state in robot.states if state.phase == EpisodeState.PHASE_ENDED]
    demonstration = EpisodeState.PURPOSE_DEMONSTRATION
    assert purposes == [EpisodeState.PURPOSE_RESET, demonstration, EpisodeState.PURPOSE_RESET, demonstration]


def test_nodes_that_are_not_up_are_named_in_the_refusal(graph: Graph) -> None:
    robot = Robot(graph)
    graph.add(EpisodeNode({**FAST, "wait_for": ["recorder", "policy"]}))
    answer = ask(robot.peer)
    assert not answer.accepted
    assert "policy, recorder" in answer.message


def test_automatic_episodes_run_one_after_the_other_and_the_process_ends_with_zero(graph: Graph) -> None:
    robot = Robot(graph)
    graph.add(EpisodeNode({**FAST, "automatic_episodes": 3, "first_episode": 20, "purpose": "demonstration"}))
    with pytest.raises(process.Finished) as finished:
        graph.until(lambda: False, "the series to end")
    assert finished.value.status == 0
    assert [request.episode for request in robot.requests] == [20, 21, 22]
    assert len({request.seed for request in robot.requests}) == 3
    assert {state.purpose for state in robot.states[1:]} == {EpisodeState.PURPOSE_DEMONSTRATION}


def test_automatic_episodes_without_a_recorder_end_in_an_error_not_in_silence(graph: Graph) -> None:
    Robot(graph, records=False)
    graph.add(EpisodeNode({**FAST, "bag_timeout": 0.2, "automatic_episodes": 2, "max_failures": 2}))
    with pytest.raises(MotoError, match="recorder"):
        graph.until(lambda: False, "the series to fail")


def test_a_misspelt_parameter_is_refused_with_the_right_spelling(graph: Graph) -> None:
    with pytest.raises(MotoError, match="max_steps"):
        EpisodeNode({"max_step": 3})
