"""An agent with two arms over real topics: which arm acts is asked for, obeyed, recorded, judged and pinned."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.graph import Graph, ros_graph

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")
pytest.importorskip("moto_msgs", reason="moto_msgs is not built")

from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from support.point_robot import PointRobot
from test_nodes_trainer import LAYOUT, NODES, STEPS, demonstrate, episodes, finish

from moto_msgs.msg import Action, EpisodeState, PolicyWeights, TrainingStatus
from moto_msgs.srv import StartEpisode
from moto_ros.agents.interface import BASE, POLICY, ActRequest, Spaces
from moto_ros.agents.registry import agent_settings, make_agent
from moto_ros.config import build, read_parameters, shipped
from moto_ros.contract import topics
from moto_ros.data.bag_reader import read_episodes
from moto_ros.data.episode import Episode
from moto_ros.data.layout import StepLayout
from moto_ros.errors import MotoError
from moto_ros.files import sha256_of
from moto_ros.nodes.episode_node import EpisodeNode
from moto_ros.nodes.policy_node import PolicyNode
from moto_ros.nodes.recorder_node import RecorderNode
from moto_ros.nodes.trainer_node import TrainerNode
from moto_ros.policy.checkpoint_policy import load_policy
from moto_ros.ros import qos
from moto_ros.training.settings import agent_identity

pytestmark = pytest.mark.ros

NAME = "support.two_arms:TwoArmAgent"
AGENT = {**read_parameters(shipped("agents", "bc_ci")), "agent_name": NAME, "agent.noise": 0.3}
ONLINE = 9


@pytest.fixture
def graph() -> Iterator[Graph]:
    with ros_graph() as made:
        yield made


def robot_side(graph: Graph, run: Path, nodes: list[str], **policy: Any) -> PointRobot:
    world = graph.add(PointRobot(nodes))
    graph.add(EpisodeNode({"max_steps": STEPS, "wait_for": nodes}))
    graph.add(RecorderNode({"bags": str(run / "bags"), "wait_for": nodes}))
    graph.add(PolicyNode({**LAYOUT, **AGENT, "wait_for": nodes, **policy}))
    return world


def trainer(run: Path, **given: Any) -> dict[str, Any]:
    sizes = {"agent.online_episodes": ONLINE, "evaluation_episodes": 1, "warm_up_episodes": 2}
    fixed = {"run": str(run), "wait_for": NODES, "threads": 1, "device": "cpu"}
    return {**LAYOUT, **AGENT, **sizes, **fixed, **given}


def set_pinned_arm(graph: Graph, value: str) -> Any:
    """Set the parameter of the running trainer, as `ros2 param set` does."""
    given = ParameterValue(type=ParameterType.PARAMETER_STRING, string_value=value)
    asked = [Parameter(name="pinned_arm", value=given)]
    return graph.peer("person").call(SetParameters, "trainer/set_parameters", parameters=asked).results[0]


def bag_of(run: Path, row: dict[str, Any]) -> Episode:
    folder = {"training": "online", "evaluation": "evaluation"}[row["purpose"]]
    layout = StepLayout(action_size=4, proprio=("ee_position",), image_size=64)
    (found,) = read_episodes(run / "bags" / folder / f"episode_{row['id']:06d}", layout).episodes
    return found


def made_agent() -> tuple[Any, Any]:
    """Return an agent as the nodes make it, and its settings."""
    given = {name.removeprefix("agent."): value for name, value in AGENT.items() if name.startswith("agent.")}
    settings = build(agent_settings(NAME), given | {"online_episodes": ONLINE}, "test")
    return make_agent(NAME, Spaces((64, 64, 3), 3, 4), settings, 0), settings


def acts_like(agent: Any, arm: str, episode: Episode) -> bool:
    """Tell whether every action of an evaluation episode is what an arm does in its observations."""
    seen = {"image": torch.from_numpy(episode.images["agent"]), "proprio": torch.from_numpy(episode.proprio)}
    with torch.inference_mode():
        wanted = [
            agent.act({name: rows[step][None] for name, rows in seen.items()}, {}, ActRequest(sample=False, arm=arm))
            for step in range(len(episode))
        ]
    return np.array_equal(np.stack([decision.action[0].numpy() for decision in wanted]), episode.action[1:])


def test_the_arm_of_each_episode_acts_and_is_in_bag_metrics_status_and_checkpoint(graph: Graph, tmp_path: Path) -> None:
    """Another policy than the recorded one would act, and the better one could be told from nothing."""
    demonstrate(tmp_path)
    world = robot_side(graph, tmp_path, NODES)
    states = graph.peer("eye").hear(EpisodeState, topics.EPISODE_STATE, qos.latched(100))
    actions = graph.peer("ear").hear(Action, topics.ACTION, qos.every(1000))
    statuses = graph.peer("status").hear(TrainingStatus, topics.TRAINING_STATUS, qos.latched(100))
    weights = graph.peer("weights").hear(PolicyWeights, topics.POLICY_WEIGHTS, qos.latched(100))
    graph.add(TrainerNode(trainer(tmp_path)))
    graph.until(lambda: any(step["episode"] == 3 for step in world.moved), "the fourth online episode", 120)
    refused = set_pinned_arm(graph, "basis")
    assert not refused.successful
    assert "trainer.pinned_arm is 'basis', expected an arm of the agent: base, policy" in refused.reason
    assert set_pinned_arm(graph, POLICY).successful
    finish(graph, 180)

    rows = episodes(tmp_path)
    training = [row for row in rows if row["purpose"] == "training"]
    assert [(row["arm"], row["arm_reason"]) for row in training[:2]] == [(BASE, "warm-up")] * 2
    assert (training[3]["arm"], training[3]["arm_reason"]) == (BASE, "every fourth")
    assert (training[-1]["arm"], training[-1]["arm_reason"]) == (POLICY, "pinned")
    assert [(row["arm"], row["arm_reason"]) for row in (rows[0], rows[-1])] == [
        (BASE, "before online learning"),
        (POLICY, "pinned"),
    ]
    for row in rows:
        assert {one.arm for one in actions if one.episode == row["id"]} == {row["arm"]}
        told = {(one.arm, one.arm_reason) for one in states if one.episode == row["id"] and one.phase != 0}
        assert told == {(row["arm"], row["arm_reason"])}
        assert bag_of(tmp_path, row).info["arm"] == row["arm"]
    acted = [sum(row["arm"] == arm for row in training) for arm in (BASE, POLICY)]
    last = statuses[-1]
    assert (list(last.arms), list(last.arm_episodes), last.better_arm) == ([BASE, POLICY], acted, POLICY)
    assert [sent.arm for sent in (weights[0], weights[-1])] == [BASE, POLICY]

    agent, settings = made_agent()
    loaded = load_policy(tmp_path, agent, agent_identity(NAME, settings))
    assert loaded.arm == POLICY
    first, newest = bag_of(tmp_path, rows[0]), bag_of(tmp_path, rows[-1])
    assert acts_like(agent, BASE, first)  # the base is still what it was before the first online episode
    assert acts_like(agent, POLICY, newest)
    assert not acts_like(agent, BASE, newest)


def checkpoint(run: Path, arm: str) -> None:
    """Pre-train, and write `arm` into the checkpoint as the better one."""
    demonstrate(run)
    with ros_graph() as graph:
        graph.add(TrainerNode(trainer(run, wait_for=[])))
        finish(graph)
    for folder in (run / "checkpoints").iterdir():
        state = json.loads((folder / "state.json").read_text())
        assert state["arm"] == BASE
        state["arm"] = arm
        manifest = json.loads((folder / "manifest.json").read_text())
        (folder / "state.json").write_text(json.dumps(state))
        manifest["sha256"]["state.json"] = sha256_of(folder / "state.json")
        (folder / "manifest.json").write_text(json.dumps(manifest))


def test_without_a_trainer_the_checkpoints_better_arm_acts_unless_a_person_chose(tmp_path: Path) -> None:
    """What was evaluated would not be what a deployed policy does."""
    checkpoint(tmp_path, POLICY)
    nodes = [node for node in NODES if node != "trainer"]
    for asked, chosen, acts in (("", "", POLICY), ("", BASE, BASE), (BASE, "", BASE)):
        with ros_graph() as graph:
            robot_side(graph, tmp_path, nodes, checkpoint=str(tmp_path), acting_arm=chosen)
            actions = graph.peer("ear").hear(Action, topics.ACTION, qos.every(1000))
            person = graph.peer("person")
            graph.until(partial(accepted, person, asked), "a start", 60)
            graph.until(partial(enough, actions), "an episode", 60)
            assert {action.arm for action in actions} == {acts}, (asked, chosen)


def accepted(person: Any, arm: str) -> bool:
    """Ask for an evaluation episode by an arm."""
    return bool(person.call(StartEpisode, topics.EPISODE_START, episode=1, purpose=2, arm=arm).accepted)


def enough(actions: list[Any]) -> bool:
    """Tell whether an episode has all its actions."""
    return len(actions) >= STEPS


def test_an_unknown_arm_is_one_sentence(graph: Graph, tmp_path: Path) -> None:
    """A typing error would let another policy move the robot."""
    with pytest.raises(
        MotoError, match=r"parameter 'acting_arm' of the policy is 'best', expected an arm .*: base, pol"
    ):
        PolicyNode({**LAYOUT, **AGENT, "acting_arm": "best"})
    node = graph.add(PolicyNode({**LAYOUT, **AGENT}))
    node._actor.version = 1
    node._acting.episode = EpisodeState(episode=3, arm="best")
    assert node.decide(0, None) is None
    assert "episode 3: asks for arm 'best', expected one of base, policy" in node.report().warning
