"""The trainer over real topics, with policy, episode node and recorder, and a world of one point."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support.bags import Recipe, lockstep_episode, write_bag
from support.graph import Graph, ros_graph

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")
pytest.importorskip("moto_msgs", reason="moto_msgs is not built")

from std_srvs.srv import Trigger
from support.point_robot import PointRobot
from support.process import Start, processes

from moto_msgs.msg import Action, PolicyWeights, TrainingStatus
from moto_ros.agents.common.base_policy import cloned_policy
from moto_ros.config import read_parameters, shipped
from moto_ros.contract import topics
from moto_ros.data.bag_reader import read_episodes
from moto_ros.data.cache import content_key, rows_of
from moto_ros.data.layout import StepLayout
from moto_ros.errors import MotoError
from moto_ros.nodes.episode_node import EpisodeNode
from moto_ros.nodes.policy_node import PolicyNode
from moto_ros.nodes.recorder_node import RecorderNode
from moto_ros.nodes.trainer_node import TrainerNode
from moto_ros.ros import process, qos

pytestmark = pytest.mark.ros

NODES = ["sim", "policy", "recorder", "episode", "trainer"]
LAYOUT = {"action_size": 4, "proprio": ["ee_position"], "image_size": 64}
AGENT = {**read_parameters(shipped("agents", "moto_ci")), "agent.online_episodes": 2}
STEPS = 12


@pytest.fixture
def graph() -> Iterator[Graph]:
    with ros_graph() as made:
        yield made


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with processes(tmp_path) as starter:
        yield starter


def demonstrate(run: Path, count: int = 2, outcome: str = "success") -> None:
    """Put recorded episodes of random messages into a run folder."""
    for number in range(count):
        recipe = Recipe(2_000_000 + number, STEPS, ("agent",), (64, 64), outcome=outcome, seed=number)
        write_bag(run / "bags" / "offline" / f"episode_{recipe.episode}", lockstep_episode(recipe))


def trainer(run: Path, **given: Any) -> dict[str, Any]:
    """Return the trainer's parameters for a run of seconds."""
    evaluation = {"evaluation_episodes": 1, "evaluate_before": True, "evaluate_after": True}
    return {**LAYOUT, **AGENT, **evaluation, "run": str(run), "wait_for": NODES, "threads": 1, "device": "cpu", **given}


def robot_side(graph: Graph, run: Path, step_timeout: float = 30.0) -> PointRobot:
    """Add everything but the trainer."""
    world = graph.add(PointRobot(NODES))
    graph.add(EpisodeNode({"max_steps": STEPS, "wait_for": NODES, "step_timeout": step_timeout}))
    graph.add(RecorderNode({"bags": str(run / "bags"), "wait_for": NODES}))
    graph.add(PolicyNode({**LAYOUT, **AGENT, "wait_for": NODES}))
    return world


def finish(graph: Graph, timeout: float = 90.0) -> None:
    """Spin until the trainer ends its process with success."""
    with pytest.raises(process.Finished) as finished:
        graph.until(lambda: False, "the run to end", timeout)
    assert finished.value.status == 0


def episodes(run: Path) -> list[dict[str, Any]]:
    """Return the rows of metrics about episodes."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [row for row in rows if row["kind"] == "episode" and row["purpose"] != "demonstration"]


def keys_live(run: Path) -> dict[str, str]:
    """Return content key by bag name of the online episodes learned from, out of the newest checkpoint."""
    newest = sorted((run / "checkpoints").glob("checkpoint_*"))[-1]
    index = json.loads((newest / "state.json").read_text())["replay"]["episodes"]
    return {Path(row["bag"]).name: row["key"] for row in index if row["origin"] == "online"}


def keys_from_bags(run: Path) -> dict[str, str]:
    """Return content key by name of the online bags, read from their files."""
    layout = StepLayout(action_size=4, proprio=("ee_position",), image_size=64)
    bags = sorted((run / "bags" / "online").iterdir())
    return {bag.name: content_key(rows_of(read_episodes(bag, layout).episodes[0])) for bag in bags}


def test_a_run_learns_offline_then_online_and_what_it_saw_live_equals_the_bags_to_the_bit(
    graph: Graph, tmp_path: Path
) -> None:
    demonstrate(tmp_path)
    world = robot_side(graph, tmp_path)
    statuses = graph.peer().hear(TrainingStatus, topics.TRAINING_STATUS, qos.latched(50))
    weights = graph.peer("ear").hear(PolicyWeights, topics.POLICY_WEIGHTS, qos.latched(10))
    actions = graph.peer("eye").hear(Action, topics.ACTION, qos.every(1000))
    graph.add(TrainerNode(trainer(tmp_path)))
    finish(graph)
    assert {len(sent.uncertainty_quantiles) for sent in weights} == {101}
    assert all(0.0 <= action.uncertainty_rank <= 1.0 for action in actions)
    assert all(0.0 <= row["uncertainty_rank"] <= 1.0 for row in episodes(tmp_path))
    assert [row["id"] for row in episodes(tmp_path)] == [1_000_000, 0, 1, 1_001_000]
    live = keys_live(tmp_path)
    assert sorted(live) == ["episode_000000", "episode_000001"]
    assert live == keys_from_bags(tmp_path)
    used = list(dict.fromkeys((step["episode"], step["version"]) for step in world.moved))
    assert used == [(1_000_000, 1), (0, 1), (1, 2), (1_001_000, 3)]
    phases = [status.phase for status in statuses]
    assert {TrainingStatus.PHASE_OFFLINE, TrainingStatus.PHASE_ONLINE} < set(phases)


def learned(run: Path) -> tuple[dict[str, str], str]:
    """Return what a run has learned from, and the SHA-256 of the agent that came of it."""
    newest = sorted((run / "checkpoints").glob("checkpoint_*"))[-1]
    manifest = json.loads((newest / "manifest.json").read_text())
    return keys_live(run), manifest["sha256"]["agent.safetensors"]


def whole_run(run: Path) -> tuple[dict[str, str], str]:
    """Do a run without disturbance, and return what it has learned."""
    demonstrate(run)
    with ros_graph() as graph:
        robot_side(graph, run)
        graph.add(TrainerNode(trainer(run)))
        finish(graph)
    return learned(run)


def test_one_seed_gives_one_run_to_the_bit_through_the_whole_graph_even_when_the_trainer_is_killed(
    tmp_path: Path, start: Start
) -> None:
    """Kill -9 in the middle of an episode, while the robot side keeps running: the same command goes on."""
    undisturbed, run = whole_run(tmp_path / "undisturbed"), tmp_path / "killed"
    assert whole_run(tmp_path / "again") == undisturbed
    demonstrate(run)
    with ros_graph() as graph:
        world = robot_side(graph, run)
        first = start("moto_ros.nodes.trainer_node", trainer(run))
        graph.until(lambda: any(step["episode"] == 1 for step in world.moved), "the second online episode", 90)
        first.kill()
        assert len(episodes(run)) < 4
        again = start("moto_ros.nodes.trainer_node", trainer(run))
        graph.until(lambda: not again.running, "the run to end", 90)
    assert again.wait() == 0, again.output()
    assert "resumes" in again.output()
    assert [row["id"] for row in episodes(run)] == [1_000_000, 0, 1, 1_001_000]
    assert learned(run) == undisturbed


def test_steps_missed_live_are_taken_from_the_recorders_bag(graph: Graph, tmp_path: Path) -> None:
    demonstrate(tmp_path)
    robot_side(graph, tmp_path)
    node = TrainerNode(trainer(tmp_path, evaluate_before=False, evaluate_after=False))
    lost = {"count": 0}
    whole = node._live.add

    def lossy(role: str, message: Any) -> None:
        lost["count"] += role == "reward" and message.step == 3
        if not (role == "reward" and message.step == 3):
            whole(role, message)

    node._live.add = lossy  # type: ignore[method-assign]
    for subscription in node.subscriptions:
        if subscription.topic_name == "/" + topics.REWARD:
            subscription.callback = lambda message: lossy("reward", message)
    graph.add(node)
    finish(graph)
    assert lost["count"] == 2
    assert keys_live(tmp_path) == keys_from_bags(tmp_path)


def test_an_aborted_episode_is_not_learned_from_and_another_takes_its_place(graph: Graph, tmp_path: Path) -> None:
    demonstrate(tmp_path)
    world = robot_side(graph, tmp_path, step_timeout=2.0)
    world.deaf_to = {0}
    graph.add(TrainerNode(trainer(tmp_path, evaluate_before=False, evaluate_after=False)))
    finish(graph)
    assert [row["id"] for row in episodes(tmp_path)] == [1, 2]
    assert sorted(keys_live(tmp_path)) == ["episode_000001", "episode_000002"]
    assert (tmp_path / "bags" / "online" / "episode_000000" / "metadata.yaml").exists()


def test_without_a_single_demonstration_the_run_fails_with_one_sentence(graph: Graph, tmp_path: Path) -> None:
    graph.add(TrainerNode(trainer(tmp_path, wait_for=[])))
    with pytest.raises(MotoError, match="no usable episode"):
        graph.until(lambda: False, "the failure", 30)


def test_a_damaged_bag_whose_name_is_not_utf_8_is_named_in_log_and_status(
    graph: Graph, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Breaks a run with bags from an older system: the sentence about one would end the trainer with a traceback."""
    demonstrate(tmp_path, 1)
    (bag,) = (tmp_path / "bags" / "offline").iterdir()
    for file in bag.glob("*.mcap"):
        file.write_bytes(file.read_bytes()[:200])
    bag.rename(bag.with_name(os.fsdecode(b"bag_\xff")))
    statuses = graph.peer().hear(TrainingStatus, topics.TRAINING_STATUS, qos.latched(10))
    graph.add(TrainerNode(trainer(tmp_path, wait_for=[])))
    with pytest.raises(MotoError, match="no usable episode"):
        graph.until(lambda: False, "the failure", 60)
    assert "bag_?" in capfd.readouterr().err
    graph.until(lambda: statuses and statuses[-1].phase == TrainingStatus.PHASE_FAILED, "the status")


def test_recordings_that_leave_nothing_to_imitate_are_told_before_an_hour_is_spent_on_them(
    graph: Graph, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Breaks a day with the robot: without a prior MOTO solves nothing, and nobody would know why."""
    demonstrate(tmp_path, outcome="time_limit")
    graph.add(TrainerNode(trainer(tmp_path, wait_for=[])))
    finish(graph)
    told = capfd.readouterr().err
    assert "prior_rule 'success_prefix': leaves none of 2 episodes to imitate (0 of them reach success)" in told


def test_pre_training_alone_needs_no_robot_and_fine_tuning_goes_on_from_it(graph: Graph, tmp_path: Path) -> None:
    demonstrate(tmp_path)
    node = graph.add(TrainerNode(trainer(tmp_path, wait_for=[])))
    answer = graph.peer().call(Trigger, topics.TRAINER_SAVE)
    assert answer.message
    finish(graph)
    graph.drop(node)
    assert sorted((tmp_path / "checkpoints").glob("checkpoint_*"))
    policy = graph.add(PolicyNode({**LAYOUT, **AGENT, "checkpoint": str(tmp_path)}))
    assert policy.report().values["policy_version"] == 1
    graph.drop(policy)
    robot_side(graph, tmp_path)
    graph.add(TrainerNode(trainer(tmp_path, evaluation_episodes=1)))
    finish(graph)
    assert [row["id"] for row in episodes(tmp_path)] == [1_000_000, 0, 1, 1_001_000]


SMALL_BASE = {"encoder": "map", "latent_size": 8, "conv_channels": 8, "hidden": 16, "heads": 3, "state_units": 128}
CLONING = {
    **{f"agent.{name}": value for name, value in SMALL_BASE.items()},
    "agent.fusion": "project",
    "agent.normalise": True,
    "agent.batch": 4,
    "agent.offline_policy_updates": 3,
}
EDITING = {
    "agent.policy": "edit",
    "agent.base_latent_size": 8,
    "agent.base_channels": 8,
    "agent.base_hidden": 16,
    "agent.base_heads": 3,
    "agent.base_batch": 4,
    "agent.offline_base_updates": 9,
    "agent.online_base_updates": 2,
}


def test_a_cloned_policy_is_fine_tuned_and_not_cloned_again(graph: Graph, tmp_path: Path) -> None:
    """Breaks `moto finetune --checkpoint runs/cloned`: another policy than the cloned one would act."""
    demonstrate(tmp_path / "cloned")
    alone = {**LAYOUT, "wait_for": [], "threads": 1, "device": "cpu"}
    node = graph.add(TrainerNode({**alone, **CLONING, "agent_name": "bc", "run": str(tmp_path / "cloned")}))
    finish(graph)
    graph.drop(node)
    bags = str(tmp_path / "cloned" / "bags" / "offline")
    given = {"run": str(tmp_path / "run"), "bags": bags, "checkpoint": str(tmp_path / "cloned")}
    graph.add(TrainerNode({**alone, **AGENT, **EDITING, **given}))
    finish(graph)
    known = cloned_policy(load_file(newest(tmp_path / "cloned") / "agent.safetensors"))
    found = load_file(newest(tmp_path / "run") / "agent.safetensors")
    for part in ("base/average.module.", "copy/average.module."):
        assert all(torch.equal(found[part + name], tensor) for name, tensor in known.items())
    updates = json.loads((newest(tmp_path / "run") / "state.json").read_text())["learner"]["updates"]
    assert (updates["base"], updates["model"]) == (0, AGENT["agent.offline_model_updates"])


def newest(run: Path) -> Path:
    """Return the newest checkpoint of a run."""
    return sorted((run / "checkpoints").glob("checkpoint_*"))[-1]


def test_learning_stands_back_for_the_control_loop(graph: Graph, tmp_path: Path, start: Start) -> None:
    """On one computer with the robot, a busy learner would delay actions."""
    for name in ("own", "other"):
        demonstrate(tmp_path / name)
    process = start("moto_ros.nodes.trainer_node", trainer(tmp_path / "own", nice=11))
    node = graph.add(TrainerNode(trainer(tmp_path / "other", nice=12)))
    learner = node._thread.native_id
    assert learner is not None
    graph.until(lambda: os.getpriority(os.PRIO_PROCESS, learner) == 12, "the learning thread to stand back")
    assert os.getpriority(os.PRIO_PROCESS, 0) < 12, "the rest of this process must go on as before"
    graph.until(lambda: os.getpriority(os.PRIO_PROCESS, process.pid) == 11, "the whole process to stand back")


def test_a_second_trainer_cannot_spoil_a_run_in_progress(graph: Graph, tmp_path: Path, start: Start) -> None:
    demonstrate(tmp_path)
    graph.add(TrainerNode(trainer(tmp_path, start_timeout=60.0)))
    # In another namespace, so that the run folder's lock is what refuses it, not its name.
    other = start("moto_ros.nodes.trainer_node", trainer(tmp_path), "elsewhere")
    graph.until(lambda: not other.running, "the second trainer to end", 60)
    assert other.wait() == 1
    assert "in use by process" in other.output()


def test_a_policy_that_does_not_take_the_weights_stops_the_run_with_the_reason(graph: Graph, tmp_path: Path) -> None:
    demonstrate(tmp_path)
    graph.add(TrainerNode(trainer(tmp_path, policy_timeout=0.5)))
    with pytest.raises(MotoError, match="did not take weights 1"):
        graph.until(lambda: False, "the failure", 30)


def test_bags_added_after_the_run_has_learned_are_not_ignored_in_silence(
    graph: Graph, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The run would be said to be done although nothing was learned from what was added."""
    demonstrate(tmp_path)
    graph.drop(_pretrained(graph, tmp_path))
    graph.drop(_pretrained(graph, tmp_path))  # nothing has changed: done, as before
    recipe = Recipe(2_000_002, STEPS, ("agent",), (64, 64), outcome="success", seed=2)
    write_bag(tmp_path / "bags" / "offline" / "episode_2000002", lockstep_episode(recipe))
    refused = graph.add(TrainerNode(trainer(tmp_path, wait_for=[])))
    with pytest.raises(MotoError, match=r"1 new \(episode_2000002\).*give --run another folder"):
        graph.until(lambda: False, "the refusal", 60)
    graph.drop(refused)
    _pretrained(graph, tmp_path, changed_bags="ignore")
    assert "1 new (episode_2000002); ignored" in capfd.readouterr().err


def _pretrained(graph: Graph, run: Path, **given: Any) -> TrainerNode:
    node = graph.add(TrainerNode(trainer(run, wait_for=[], **given)))
    finish(graph)
    return node


def test_another_rule_than_at_the_first_start_is_refused(graph: Graph, tmp_path: Path) -> None:
    demonstrate(tmp_path)
    graph.drop(_pretrained(graph, tmp_path))
    graph.add(TrainerNode(trainer(tmp_path, wait_for=[], prior_rule="whole")))
    with pytest.raises(MotoError, match="prior_rule is whole here and success_prefix in the run"):
        graph.until(lambda: False, "the refusal", 60)


def test_a_run_that_was_begun_under_another_default_rule_goes_on_with_it(
    graph: Graph, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Every run of an earlier version would be refused, or learn from other steps than it began with."""
    demonstrate(tmp_path)
    graph.drop(_pretrained(graph, tmp_path, prior_rule="success_at_end"))
    node = _pretrained(graph, tmp_path)
    assert node._store.prior_rule == "success_at_end"
    assert "keeps prior_rule 'success_at_end', with which it was begun" in capfd.readouterr().err
