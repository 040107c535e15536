"""Policy, rewards, episodes, recorder and trainer around an arm that does not wait: late rewards, faults, losses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.bags import Recipe, lockstep_episode, write_bag
from support.graph import Graph, Peer, ros_graph

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")
pytest.importorskip("moto_msgs", reason="moto_msgs is not built")

from support.realtime_arm import RealtimeArm

from moto_msgs.msg import Action, EpisodeState, OperatorEvent, RobotState
from moto_ros.config import read_parameters, shipped
from moto_ros.contract import topics
from moto_ros.data.bag_info import bag_facts
from moto_ros.data.bag_reader import read_episodes
from moto_ros.data.cache import content_key, rows_of
from moto_ros.data.episode import Episode
from moto_ros.data.layout import StepLayout
from moto_ros.files import read_json
from moto_ros.nodes.episode_node import EpisodeNode
from moto_ros.nodes.policy_node import PolicyNode
from moto_ros.nodes.recorder_node import RecorderNode
from moto_ros.nodes.reward_node import RewardNode
from moto_ros.nodes.trainer_node import TrainerNode
from moto_ros.ros import process, qos
from moto_ros.training.metrics import read_metrics

pytestmark = [pytest.mark.ros, pytest.mark.realtime]

NODES = ["franka", "reward", "policy", "recorder", "episode", "trainer"]
TIMING = {"control_rate": 10.0, "pairing_tolerance": 0.06, "max_age": 1.0}
LAYOUT = {"action_size": 4, "proprio": ["ee_position"], "image_size": 64, **TIMING}
AGENT = {**read_parameters(shipped("agents", "moto_ci")), "agent.online_episodes": 1}
STEPS = 12


@pytest.fixture
def graph() -> Iterator[Graph]:
    with ros_graph() as made:
        yield made


class System:
    """A fine-tuning of one online episode on hardware, and the log lines of its episodes."""

    def __init__(self, graph: Graph, run: Path, rewards: dict[str, Any], **episode: Any) -> None:
        self.graph, self.run = graph, run
        peers = {"wait_for": NODES}
        recipe = Recipe(2_000_000, STEPS, ("agent",), (64, 64), outcome="success")
        write_bag(run / "bags" / "offline" / f"episode_{recipe.episode}", lockstep_episode(recipe))
        self.arm = graph.add(RealtimeArm(NODES))
        self.peer: Peer = graph.peer()
        self.states = self.peer.hear(EpisodeState, topics.EPISODE_STATE, qos.latched(50))
        graph.add(RewardNode({**rewards, **peers, "control_rate": 10.0, "reward_lag": 1}))
        limits = {"max_steps": STEPS, "step_timeout": 20.0, "cameras": ["agent"]}
        graph.add(EpisodeNode({**limits, **peers, **episode}))
        graph.add(RecorderNode({"bags": str(run / "bags"), **peers}))
        graph.add(PolicyNode({**LAYOUT, **AGENT, **peers, "clock": "realtime", "reward_lag": 1}))
        given = {"run": str(run), "threads": 1, "device": "cpu", "overlap": True}
        given |= {"evaluate_before": False, "evaluate_after": False}
        graph.add(TrainerNode({**LAYOUT, **AGENT, **peers, **given}))

    def finish(self) -> None:
        """Spin until the trainer ends with success."""
        with pytest.raises(process.Finished) as finished:
            self.graph.until(lambda: False, "the run to end", 90.0)
        assert finished.value.status == 0

    def until_step(self, step: int) -> None:
        """Spin until the arm has taken `step` actions of an episode."""
        self.graph.until(lambda: self.arm._step >= step, f"step {step}", 90.0)

    def ended(self) -> list[EpisodeState]:
        """Return the endings heard so far."""
        return [state for state in self.states if state.phase == EpisodeState.PHASE_ENDED]

    def bag(self, episode: int) -> Path:
        """Return the bag of an online episode."""
        return self.run / "bags" / "online" / f"episode_{episode:06d}"

    def recorded(self, episode: int) -> Episode:
        """Return what the bag of an online episode gives."""
        layout = StepLayout(action_size=4, proprio=("ee_position",), image_size=64, **TIMING)
        reading = read_episodes(self.bag(episode), layout)
        assert len(reading.episodes) == 1, reading.problems
        return reading.episodes[0]

    def learned(self) -> list[dict[str, Any]]:
        """Return the rows of metrics of the online episodes."""
        rows = read_metrics(self.run / "metrics.jsonl")
        return [row for row in rows if row["kind"] == "episode" and row["purpose"] == "training"]

    def say(self, event: int) -> None:
        """Press a button."""
        self.peer.advertise(OperatorEvent, topics.OPERATOR_EVENT, qos.event(), readers=3)(OperatorEvent(event=event))


def test_an_episode_whose_rewards_come_a_step_late_is_whole_and_live_equals_the_bag_to_the_bit(
    graph: Graph, tmp_path: Path
) -> None:
    everywhere = {"rule": "distance", "goal": [0.4, 0.0, 0.3], "radius": 5.0}
    system = System(graph, tmp_path, everywhere)
    system.finish()
    (ending,) = system.ended()
    assert (ending.step, ending.outcome) == (STEPS, EpisodeState.OUTCOME_TIME_LIMIT)
    episode = system.recorded(0)
    assert len(episode) == STEPS
    assert episode.reward.tolist() == [0.0] + [1.0] * STEPS
    assert not episode.is_terminal.any()
    assert (episode.stamps[1:] > episode.stamps[:-1]).all()
    newest = sorted((tmp_path / "checkpoints").iterdir())[-1]
    index = read_json(newest / "state.json")["replay"]["episodes"]
    assert [row["key"] for row in index if row["origin"] == "online"] == [content_key(rows_of(episode))]


def test_the_operators_success_ends_an_episode_and_is_learned_as_terminal(graph: Graph, tmp_path: Path) -> None:
    system = System(graph, tmp_path, {"rule": "none"}, max_steps=100)
    system.until_step(5)
    system.say(OperatorEvent.SUCCESS)
    system.finish()
    (ending,) = system.ended()
    assert ending.outcome == EpisodeState.OUTCOME_SUCCESS
    assert ending.step >= 5
    episode = system.recorded(0)
    assert len(episode) == ending.step
    assert (episode.reward[-1], bool(episode.success[-1]), bool(episode.is_terminal[-1])) == (1.0, True, True)
    assert episode.reward[:-1].sum() == 0


def test_a_fault_ends_the_episode_is_visible_in_its_bag_and_another_episode_replaces_it(
    graph: Graph, tmp_path: Path
) -> None:
    system = System(graph, tmp_path, {"rule": "none"})
    system.until_step(4)
    system.arm.mode, system.arm.fault = RobotState.MODE_FAULT, "reflex on joint 4; recover"
    graph.until(system.ended, "the episode to end")
    assert "reflex on joint 4" in system.ended()[0].reason
    graph.spin(0.5)
    assert len(system.states) < 6, "no reset before the robot has recovered"
    system.arm.mode, system.arm.fault = RobotState.MODE_HOLD, ""
    system.finish()
    assert [row["id"] for row in system.learned()] == [1]
    texts = [incident.text for incident in bag_facts(system.bag(0)).incidents]
    assert texts == ["reflex on joint 4; recover"]


def test_an_episode_survives_a_camera_loss_which_stays_visible_in_bag_and_metrics(graph: Graph, tmp_path: Path) -> None:
    system = System(graph, tmp_path, {"rule": "none"}, camera_loss="resume")
    system.until_step(4)
    system.arm.camera_works(False, "camera agent: no frame")
    graph.spin(1.0)
    assert not system.ended()
    held = system.arm._step
    assert held < STEPS, "no frame, no action"
    system.arm.camera_works(True)
    system.finish()
    (row,) = system.learned()
    assert (row["id"], row["steps"], row["camera_gaps"]) == (0, STEPS, 1)
    (incident,) = bag_facts(system.bag(0)).incidents
    assert (incident.source, incident.text) == ("camera agent", "camera agent: no frame")
    assert incident.duration > 0.9


class ResetPolicy:
    """Resets the scene, in reset episodes and in no others."""

    def __init__(self, peer: Peer, arm: RealtimeArm) -> None:
        self._arm, self._episode = arm, EpisodeState()
        self._act = peer.advertise(Action, topics.ACTION, qos.event(), readers=0)
        peer.node.create_subscription(EpisodeState, topics.EPISODE_STATE, self._heard, qos.latched(10))
        peer.node.create_timer(0.1, self._tick)

    def _heard(self, state: EpisodeState) -> None:
        self._episode = state

    def _tick(self) -> None:
        state = self._episode
        if state.purpose == EpisodeState.PURPOSE_RESET and state.phase == EpisodeState.PHASE_RUNNING:
            self._act(Action(episode=state.episode, step=self._arm._step, values=[0.1] * 4))


def test_a_scene_is_reset_by_another_policy_and_the_reset_is_neither_recorded_nor_learned(
    graph: Graph, tmp_path: Path
) -> None:
    rules = {"rule": "none", "reset.rule": "distance", "reset.goal": [0.4, 0.0, 0.3], "reset.radius": 5.0}
    system = System(graph, tmp_path, {**rules, "reset.hold_steps": 3}, scene_reset="policy", reset_steps=20)
    ResetPolicy(system.peer, system.arm)
    system.finish()
    endings = [(state.episode, state.step, state.outcome) for state in system.ended()]
    success, limit = EpisodeState.OUTCOME_SUCCESS, EpisodeState.OUTCOME_TIME_LIMIT
    # A frame lost on a busy machine costs an episode, which is then done again: resets and episodes take turns.
    turns = range(len(endings) // 2)
    assert endings == [end for at in turns for end in ((4_000_000 + at, 3, success), (at, STEPS, limit))]
    last = turns[-1]
    assert [row["id"] for row in system.learned()] == [last]
    assert {bag.name for bag in (tmp_path / "bags" / "online").iterdir()} == {f"episode_{at:06d}" for at in turns}
    assert len(system.recorded(last)) == STEPS
