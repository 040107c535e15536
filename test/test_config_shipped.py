"""Every shipped parameter file fits the settings classes: no system stops at start, no name is silently unused."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from moto_ros.config import check, config_folder, read_parameters
from moto_ros.systems.bringup import BACKENDS, BY_BACKEND, NODES, SYSTEMS, resolve

CONFIG = config_folder()


def shipped(kind: str) -> list[Path]:
    """Return the shipped files of one kind."""
    return sorted((CONFIG / kind).glob("*.yaml"))


TASKS = [path.stem for path in shipped("tasks")]
PRESETS = [tuple(path.stem.split("_", 1)) for path in shipped("agents")]
"""Agent and preset."""

HARDWARE = [backend for backend in BACKENDS if backend != "sim"]
ON_ARMS = [task for task in TASKS if "world" not in read_parameters(CONFIG / "tasks" / f"{task}.yaml", "sim")]


def test_the_presets_and_the_default_task_are_shipped() -> None:
    for agent in ("moto", "fowm"):
        assert {(agent, "quick"), (agent, "ci"), (agent, "paper")} <= set(PRESETS)
    assert {meant["task"] for meant in BY_BACKEND.values()} <= set(TASKS)


@pytest.mark.parametrize(("system", "task", "agent"), list(itertools.product(SYSTEMS, TASKS, PRESETS)))
def test_every_system_resolves_with_every_task_and_preset(
    system: str, task: str, agent: tuple[str, str], tmp_path: Path
) -> None:
    """`resolve` refuses unknown names and values out of range of every file it reads."""
    chosen = {"agent": agent[0], "preset": agent[1]}
    resolved = resolve(system, chosen | {"task": task, "run": str(tmp_path / "run")})
    assert resolved.processes
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("backend", "system", "task"), list(itertools.product(HARDWARE, SYSTEMS, ON_ARMS)))
def test_every_system_starts_on_an_arm_with_the_shipped_files(backend: str, system: str, task: str) -> None:
    """Breaks the day the arm is on the table: parameters that contradict one another, a driver that is missing."""
    resolve(system, {"backend": backend, "task": task}).check()


@pytest.mark.parametrize(("robot", "task"), list(itertools.product((p.stem for p in shipped("robots")), ON_ARMS)))
def test_every_shipped_robot_fits_the_shipped_tasks(robot: str, task: str) -> None:
    resolve("record", {"backend": "franka", "robot": robot, "task": task}).check()


@pytest.mark.parametrize("cameras", [path.stem for path in shipped("cameras")])
def test_every_shipped_camera_file_fits_the_default_task(cameras: str) -> None:
    resolve("record", {"backend": "franka", "cameras": cameras}).check()


def test_a_node_family_file_names_only_parameters_of_its_node() -> None:
    for path in shipped("nodes"):
        known = NODES[path.stem].specs({"agent_name": "moto"})
        for name, value in read_parameters(path, path.stem).items():
            assert name in known, f"{path}: {name}"
            check(known[name], value, str(path))


@pytest.mark.parametrize("task", TASKS)
def test_a_task_says_how_many_demonstrations_it_wants(task: str, tmp_path: Path) -> None:
    """Breaks `moto finetune`: without a number it would record for ever."""
    system = resolve("record", {"task": task, "run": str(tmp_path)})
    episode = next(process for process in system.processes if process.node == "episode")
    assert int(str(episode.parameters["automatic_episodes"])) > 0


def test_the_users_override_wins_over_every_file(tmp_path: Path) -> None:
    given = {"run": str(tmp_path), "parameters": "trainer.seed:=7 agent.alpha:=0.125 image_size:=32"}
    system = resolve("finetune", given)
    found = {process.node: process.parameters for process in system.processes}
    assert found["trainer"]["seed"] == 7
    assert found["policy"]["seed"] == 0
    assert found["trainer"]["agent.alpha"] == found["policy"]["agent.alpha"] == 0.125
    assert found["trainer"]["image_size"] == found["policy"]["image_size"] == 32
