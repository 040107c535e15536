"""What systems are made of: arguments in, processes with checked parameters out."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")
pytest.importorskip("moto_msgs", reason="moto_msgs is not built")

from moto_ros.agents.registry import AGENTS
from moto_ros.config import config_folder, read_parameters, shipped
from moto_ros.errors import MotoError
from moto_ros.systems.bringup import NODES, SYSTEMS, resolve

pytestmark = pytest.mark.sim
ROOT = Path(__file__).parents[1]


def _parameters(system: str, node: str, **arguments: str) -> dict[str, object]:
    found = resolve(system, {"run": "somewhere", **arguments})
    return dict(next(process for process in found.processes if process.node == node).parameters)


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_process_gets_only_parameters_that_its_node_knows(system: str) -> None:
    for process in resolve(system, {"run": "somewhere"}).processes:
        assert set(process.parameters) <= set(process.kind.specs({"agent_name": "moto"})), process.node


@pytest.mark.parametrize("task", sorted(path.stem for path in (config_folder() / "tasks").glob("*.yaml")))
def test_every_shipped_task_makes_every_system(task: str) -> None:
    for system in SYSTEMS:
        assert resolve(system, {"task": task}).processes


def test_a_misspelt_parameter_is_named_with_the_nearest_known_one() -> None:
    with pytest.raises(MotoError, match=r"unknown parameter 'max_step'; did you mean max_steps"):
        resolve("record", {"parameters": "max_step:=5"})


def test_a_misspelt_parameter_in_a_task_file_names_the_file(tmp_path: Path) -> None:
    task = tmp_path / "mine.yaml"
    task.write_text("/**:\n  ros__parameters:\n    imagesize: 64\n")
    with pytest.raises(MotoError, match=r"mine\.yaml: unknown parameter 'imagesize'; did you mean image_size"):
        resolve("record", {"task": str(task)})


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "polcy: {ros__parameters: {seed: 1}}",
            r"'polcy' is of no node, expected /\*\* or one of .*, policy, ",
        ),
        ("/moto/**: {ros__parameters: {seed: 1}}", r"section '\*\*' is of no node"),
        ("policy: {ros__parameters: {max_steps: 9}}", "section 'policy': unknown parameter 'max_steps'"),
        ("episode: {ros__parameters: {plan_share: 0.5}}", "section 'episode': unknown parameter 'plan_share'"),
    ],
)
def test_a_section_that_no_node_would_read_is_refused(tmp_path: Path, text: str, sentence: str) -> None:
    """Breaks whoever mistypes a node: the run would go ahead without the parameter, in silence."""
    task = tmp_path / "mine.yaml"
    task.write_text(text)
    with pytest.raises(MotoError, match=rf"mine\.yaml.*{sentence}"):
        resolve("finetune", {"task": str(task)})


@pytest.mark.parametrize("section", ["robot", "franka", "/lab/robot"])
def test_the_arms_own_section_is_read_over_every_nodes_section(tmp_path: Path, section: str) -> None:
    """Breaks an arm: the speed that its own section sets would be another one."""
    task = tmp_path / "mine.yaml"
    lines = shipped("tasks", "franka_reach").read_text()
    task.write_text(f"{lines}{section}: {{ros__parameters: {{control_rate: 5.0}}}}\n")
    given = {"backend": "franka", "task": str(task)}
    assert _parameters("record", "franka", **given)["control_rate"] == 5.0
    assert _parameters("record", "operator", **given)["control_rate"] == 10.0


def test_a_second_policy_may_have_a_section_of_its_own(tmp_path: Path) -> None:
    task = tmp_path / "mine.yaml"
    lines = shipped("tasks", "franka_reach").read_text()
    own = "policy: {ros__parameters: {threads: 2}}\nreset_policy: {ros__parameters: {threads: 4}}\n"
    task.write_text(lines + own)
    given = {"backend": "franka", "task": str(task), "reset_checkpoint": "there"}
    assert [_parameters("finetune", node, **given)["threads"] for node in ("policy", "reset_policy")] == [2, 4]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"agent": "dreamer"}, "argument agent is 'dreamer', expected one of moto, .*, or module:class"),
        ({"tsk": "window_open"}, "unknown parameter 'tsk'; did you mean task"),
        ({"clock": "fast"}, "argument clock is 'fast', expected one of auto, lockstep, realtime"),
        ({"domain": "300"}, "argument domain is '300', expected a ROS domain id, 0..232"),
        ({"seed": "one"}, "argument seed is 'one', expected a whole number"),
        ({"task": "no_such"}, "task 'no_such': no file"),
        ({"parameters": "max_steps=5"}, "'max_steps=5' is not an assignment"),
        ({"parameters": "max_steps:=many"}, "parameter 'max_steps' is 'many', expected an integer"),
        ({"parameters": "sim.max_steps:=5"}, "unknown parameter 'max_steps'"),
    ],
)
def test_wrong_arguments_give_one_sentence(given: dict[str, str], sentence: str) -> None:
    with pytest.raises(MotoError, match=sentence.replace("(", r"\(")):
        resolve("record", given)


def test_former_names_in_a_file_and_on_the_command_line_mean_the_present_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Breaks presets and commands of one's own after an update of moto_ros."""
    preset = tmp_path / "mine.yaml"
    lines = shipped("agents", "moto_ci").read_text().replace("decode_fraction", "decoded_share")
    preset.write_text(lines + "      mix: 0.5\n      average: 0.25\n")
    arguments = {"preset": str(preset), "parameters": "agent.mix:=0.75 policy.plan_share:=0.5"}
    for node in ("policy", "trainer"):
        found = _parameters("finetune", node, **arguments)
        assert (found["agent.lambda_"], found["agent.actor_ema"], found["agent.decode_fraction"]) == (0.75, 0.25, 0.5)
    assert _parameters("finetune", "policy", **arguments)["plan_time_fraction"] == 0.5
    warnings = capsys.readouterr().err.splitlines()
    assert len(warnings) == len(set(warnings)) == 5, "one for each name and source"
    assert f"warning: {preset}: parameter 'agent.mix' is now called 'agent.lambda_'" in "\n".join(warnings)


def test_a_parameter_under_both_of_its_names_is_refused(tmp_path: Path) -> None:
    """Breaks trust: one of two values would win, and nobody would say which."""
    with pytest.raises(
        MotoError, match=r"parameters: parameter 'agent.lambda_' is given under two names, agent.lambda_"
    ):
        resolve("finetune", {"parameters": "agent.mix:=0.5 trainer.agent.lambda_:=0.75"})
    task = tmp_path / "mine.yaml"
    task.write_text("/**:\n  ros__parameters:\n    plan_share: 0.5\n    plan_time_fraction: 0.6\n")
    with pytest.raises(MotoError, match=r"mine\.yaml: parameter 'plan_time_fraction' is given under two names"):
        resolve("finetune", {"task": str(task)})


@pytest.mark.parametrize("agent", AGENTS)
def test_a_former_name_means_one_parameter_in_all_nodes_and_is_no_present_name(agent: str) -> None:
    """A value under `/**`, or without a node's name, would be given to another parameter than the user means."""
    known = [spec for kind in NODES.values() for spec in kind.specs({"agent_name": agent}).values()]
    meant: dict[str, set[str]] = {}
    for spec in known:
        for name in spec.formerly:
            meant.setdefault(name, set()).add(spec.name)
    assert meant
    assert {name: present for name, present in meant.items() if len(present) > 1} == {}
    assert not meant.keys() & {spec.name for spec in known}
    for kind in NODES.values():
        former = [name for spec in kind.specs({"agent_name": agent}).values() for name in spec.formerly]
        assert len(set(former)) == len(former)


def test_an_override_wins_over_the_task_and_may_be_meant_for_one_node() -> None:
    assert _parameters("record", "episode", parameters="max_steps:=7")["max_steps"] == 7
    given = {"parameters": "policy.seed:=5"}
    assert _parameters("finetune", "policy", **given)["seed"] == 5
    assert _parameters("finetune", "trainer", **given)["seed"] == 0


def test_the_trainer_knows_for_how_many_steps_success_must_hold_as_the_episode_node_does(tmp_path: Path) -> None:
    """Breaks learning: an episode would end, for learning, where the robot's does not."""
    task = tmp_path / "mine.yaml"
    for section in ("/**", "episode"):
        task.write_text(f"{section}:\n  ros__parameters:\n    success_steps: 3\n")
        for node in ("episode", "trainer"):
            assert _parameters("finetune", node, task=str(task))["success_steps"] == 3, (section, node)
        assert _parameters("pretrain", "trainer", task=str(task))["success_steps"] == 3
    for text in ("success_steps:=5", "episode.success_steps:=5"):
        found = {
            node: _parameters("finetune", node, parameters=text)["success_steps"] for node in ("episode", "trainer")
        }
        assert found == {"episode": 5, "trainer": 5}, text
    (said,) = resolve("finetune", {"run": "somewhere", "parameters": "trainer.success_steps:=5"}).contradictions
    assert said.startswith("parameters: 'success_steps' of the trainer node is 5, but finetune sets it to 1")


@pytest.mark.parametrize(
    ("system", "preset", "expected"),
    [("finetune", "quick", 1), ("evaluate", "quick", 1), ("finetune", "paper", 0), ("record", "quick", 0)],
)
def test_an_episode_ends_at_success_where_nothing_is_learned_after_it(system: str, preset: str, expected: int) -> None:
    """Breaks an hour at the robot: half of each episode would be spent on holding still."""
    assert _parameters(system, "episode", preset=preset)["success_steps"] == expected
    assert _parameters(system, "episode", preset=preset, parameters="success_steps:=0")["success_steps"] == 0


def test_what_was_resolved_is_written_so_that_each_node_can_read_it(tmp_path: Path) -> None:
    system = resolve("finetune", {"run": str(tmp_path), "namespace": "left_arm"})
    system.write_parameters()
    for process in system.processes:
        text = process.parameter_file.read_text()
        assert text.startswith(f"/left_arm/{process.node}:")
        written = read_parameters(process.parameter_file, process.node)
        assert written.keys() == process.parameters.keys() | {"use_sim_time"}
        assert written["use_sim_time"] is True


def _nodes(system: str, **arguments: str) -> set[str]:
    return {process.node for process in resolve(system, {"run": "somewhere", **arguments}).processes}


def test_an_arm_brings_its_driver_cameras_rewards_and_a_person() -> None:
    side = {"franka", "camera", "reward", "operator"}
    assert _nodes("record", backend="franka") == side | {"recorder", "episode"}
    assert _nodes("finetune", backend="franka") == side | {"policy", "recorder", "episode", "trainer"}
    assert _nodes("evaluate", backend="franka_sim") == side | {"franka_server", "policy", "recorder", "episode"}
    assert _nodes("pretrain", backend="franka") == {"trainer"}


def test_any_number_of_pre_trainings_may_run_at_once_and_other_systems_have_the_namespace_that_is_given() -> None:
    """Breaks three seeds on one machine: their nodes' names and topics would be the same, and all but one refused."""
    spaces = {resolve("pretrain", {"run": f"run{seed}"}).namespace for seed in range(5)}
    assert len(spaces) == 5
    assert all(re.fullmatch("moto/pretrain_[0-9a-f]{8}", space) for space in spaces)
    assert resolve("pretrain", {"run": "run", "namespace": ""}).namespace.startswith("pretrain_")
    assert {resolve(name, {"run": "run"}).namespace for name in ("record", "finetune", "evaluate")} == {"moto"}


def test_on_an_arm_time_is_real_and_rewards_come_a_step_late() -> None:
    policy = _parameters("finetune", "policy", backend="franka")
    assert (policy["clock"], policy["reward_lag"], policy["operator_in_loop"]) == ("realtime", 1, True)
    assert float(str(policy["pairing_tolerance"])) > 0
    assert _parameters("finetune", "trainer", backend="franka")["overlap"] is True
    assert _parameters("record", "operator", backend="franka")["proposals"] == "none"
    assert _parameters("finetune", "operator", backend="franka")["proposals"] == "policy"


def test_a_person_may_take_over_in_simulation_too() -> None:
    assert "operator" not in _nodes("finetune")
    assert "operator" in _nodes("finetune", operator="on")
    assert _nodes("record", operator="on") == {"sim", "operator", "recorder", "episode"}
    assert _parameters("evaluate", "policy", operator="on")["operator_in_loop"] is True
    assert _parameters("evaluate", "policy", operator="on")["clock"] == "realtime"
    assert _parameters("evaluate", "policy", operator="on", clock="lockstep")["clock"] == "lockstep"
    assert _parameters("evaluate", "policy")["operator_in_loop"] is False


def test_a_persons_commands_mean_what_the_arms_file_says_of_actions() -> None:
    """Breaks demonstrations: a person would move the hand faster or slower than the recorded actions say."""
    given = {"backend": "franka", "parameters": "franka.translation_step:=0.01"}
    assert _parameters("record", "operator", **given)["translation_step"] == 0.01


def test_a_second_policy_brings_the_scene_back() -> None:
    given = {"backend": "franka", "reset_checkpoint": "there"}
    reset = _parameters("finetune", "reset_policy", **given)
    assert (reset["checkpoint"], reset["reset_only"]) == ("there", True)
    assert "checkpoint" not in _parameters("finetune", "policy", **given)
    assert _parameters("finetune", "episode", **given)["scene_reset"] == "policy"
    assert "reset_policy" not in _nodes("record", **given)


def test_a_task_may_look_at_some_of_the_cameras_that_there_are() -> None:
    assert _parameters("record", "recorder", backend="franka")["cameras"] == ("front",)
    assert _parameters("record", "camera", backend="franka")["cameras"] == ("wrist", "front")


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"clock": "lockstep"}, "backend 'franka' is a robot, which does not wait; leave clock out"),
        ({"operator": "off"}, "on backend 'franka' a person demonstrates; leave operator out"),
        ({"task": "window_open"}, "task 'window_open' is a simulated world"),
        ({"robot": "no_such"}, "robot 'no_such': no file"),
        ({"parameters": "recorder.cameras:=[side]"}, r"'cameras' is \['side'\], expected some of \['wrist', 'front'\]"),
        ({"parameters": "box_low:=[0.9,0.0,0.0]"}, "'box_low' is"),
    ],
)
def test_what_does_not_fit_an_arm_is_said_before_anything_starts(given: dict[str, str], sentence: str) -> None:
    with pytest.raises(MotoError, match=sentence):
        resolve("record", {"backend": "franka", **given}).check()


@pytest.mark.parametrize("argument", ["robot", "cameras"])
@pytest.mark.parametrize("system", SYSTEMS)
def test_an_arm_or_cameras_given_to_the_simulation_are_refused(system: str, argument: str) -> None:
    """Breaks who forgot the backend: the simulation would run, and look as if the arm had been used."""
    sentence = f"argument {argument} is 'mine.yaml', but backend 'sim' has .*; give backend franka or franka_sim, or"
    with pytest.raises(MotoError, match=sentence):
        resolve(system, {argument: "mine.yaml"})


def test_a_driver_that_is_not_installed_is_said_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    system = resolve("record", {"backend": "franka"})
    with pytest.raises(MotoError, match=r"franky is not installed; pip install 'moto_ros\[franka\]'"):
        system.check()


def test_policy_and_trainer_get_the_same_agent() -> None:
    policy, trainer = _parameters("finetune", "policy"), _parameters("finetune", "trainer")
    agent = {name: value for name, value in policy.items() if name.startswith("agent.")}
    assert agent
    assert agent == {name: value for name, value in trainer.items() if name.startswith("agent.")}


def test_every_node_of_a_system_is_a_console_script_of_its_package() -> None:
    for kind in NODES.values():
        folder = ROOT if kind.package == "moto_ros" else ROOT / "sim"
        text = (folder / "setup.py").read_text()
        assert kind.executable in text or f'"{kind.executable.removesuffix("_node")}"' in text


@contextlib.contextmanager
def _start(tmp_path: Path, *more: str) -> Iterator[subprocess.Popen[str]]:
    """Run the command; a test that fails leaves no system behind that would slow down all others."""
    command = [sys.executable, "-m", "moto_ros.cli.main", "up", "record", "--run", str(tmp_path / "run"), *more]
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    system = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
    try:
        yield system
    finally:
        if system.poll() is None:
            system.terminate()
            system.communicate(timeout=60)


def _pid_of(tmp_path: Path, node: str) -> int:
    """Return the process id of a node as the process manager has said it."""
    log = tmp_path / "run" / "logs" / "record.log"
    end = time.monotonic() + 60
    while time.monotonic() < end:
        for line in log.read_text().splitlines() if log.exists() else ():
            if f"{node} started" in line:
                return int(line.rsplit("pid=", 1)[1].rstrip(")"))
        time.sleep(0.1)
    raise AssertionError(f"{node} was not started")


@pytest.mark.ros
def test_when_one_process_is_killed_the_system_stops_and_says_so_in_its_exit_status(tmp_path: Path) -> None:
    with _start(tmp_path, "--episodes", "50") as system:
        os.kill(_pid_of(tmp_path, "recorder"), signal.SIGKILL)
        output, _ = system.communicate(timeout=60)
        assert system.returncode == 128 + signal.SIGKILL, output
        assert "sending SIGTERM to sim" in output


@pytest.mark.ros
def test_a_system_whose_process_leaves_with_status_0_before_the_work_is_done_is_no_success(tmp_path: Path) -> None:
    with _start(tmp_path, "--episodes", "50") as system:
        recorder, end = _pid_of(tmp_path, "recorder"), time.monotonic() + 60
        while not list(tmp_path.glob("run/bags/offline/*/*.mcap")):
            assert time.monotonic() < end, "no episode began"
            time.sleep(0.1)
        os.kill(recorder, signal.SIGTERM)
        output, _ = system.communicate(timeout=60)
        assert system.returncode == 1, output
        assert "record has ended before its work was done" in output.splitlines()[-1]


@pytest.mark.ros
def test_ctrl_c_stops_every_process(tmp_path: Path) -> None:
    with _start(tmp_path, "--episodes", "50") as system:
        nodes = [_pid_of(tmp_path, node) for node in ("sim", "script", "recorder", "episode")]
        time.sleep(2.0)
        system.send_signal(signal.SIGINT)
        output, _ = system.communicate(timeout=60)
        assert system.returncode == 130, output
        assert not [pid for pid in nodes if Path(f"/proc/{pid}").exists()]


@pytest.mark.ros
def test_a_wrong_parameter_ends_the_command_with_status_1_and_one_sentence(tmp_path: Path) -> None:
    with _start(tmp_path, "-p", "max_steps:=0") as system:
        output, _ = system.communicate(timeout=60)
        assert system.returncode == 1
        assert output.count("\n") == 1, output
        assert "parameter 'max_steps' is 0, expected an integer in 1..inf (steps)" in output
