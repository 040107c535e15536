"""Which processes make which system, said once: launch files and the command line both start what this file says.

A system is resolved from its arguments to processes with every parameter known. Parameters come, each over the one
before, from `config/nodes/<node>.yaml`, `config/tasks/<task>.yaml`, `config/agents/<agent>_<preset>.yaml`, what the
system itself implies (run folder, seed, clock, purpose), and the user's `name:=value` overrides. Each process gets its
own resolved parameter file in the run folder, so that what ran can be read and run again.
"""

from __future__ import annotations

import importlib
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moto_ros.config import (
    Spec,
    Value,
    check,
    config_folder,
    parse,
    read_parameters,
    shipped,
    specs,
    unknown_parameter,
    write_parameters,
)
from moto_ros.errors import MotoError
from moto_ros.ros.transport import environment
from moto_ros.training.conductor import DEMONSTRATION_IDS


@dataclass(frozen=True)
class Argument:
    """One argument of a system: the same name on the command line (`--name`) and in launch files (`name:=`)."""

    name: str
    default: str
    doc: str
    choices: tuple[str, ...] = ()


ARGUMENTS = (
    Argument("backend", "sim", "what stands behind the robot and camera topics", ("sim",)),
    Argument("task", "drawer_open", "task, config/tasks/<task>.yaml or a path to such a file"),
    Argument("agent", "moto", "learning algorithm", ("moto",)),
    Argument("preset", "quick", "sizes and update budget of the agent, config/agents/<agent>_<preset>.yaml or a path"),
    Argument("run", "", "run folder; empty: runs/<task>_<agent>_<preset>_seed<seed>"),
    Argument("bags", "", "folder with bags of demonstrations; empty: <run>/bags/offline"),
    Argument("checkpoint", "", "checkpoint folder to start from; empty: the newest of the run folder, if any"),
    Argument("episodes", "", "episodes to do: demonstrations, online or evaluation; empty: as configured"),
    Argument("seed", "0", "seed of everything random"),
    Argument(
        "clock",
        "lockstep",
        "lockstep: the simulated world waits for each action; realtime: a timer",
        ("lockstep", "realtime"),
    ),
    Argument("namespace", "moto", "ROS namespace of the robot"),
    Argument("domain", "", "ROS domain id, 0..232; empty: ROS_DOMAIN_ID of the environment"),
    Argument("device", "auto", "where the agent learns", ("auto", "cpu", "cuda")),
    Argument("parameters", "", "more parameters for any node: 'name:=value ...', or 'node.name:=value' for one node"),
)


@dataclass(frozen=True)
class NodeKind:
    """A node that systems are made of: where its program and its settings class are ("module:name")."""

    package: str
    executable: str
    module: str
    settings: str

    def specs(self, agent: str) -> dict[str, Spec]:
        """Return its parameters by name; those of `agent` too, if it holds one."""
        module, name = self.settings.split(":")
        found = getattr(importlib.import_module(module), name)
        return specs(found if isinstance(found, type) else found({"agent_name": agent}))


NODES = {
    "policy": NodeKind(
        "moto_ros", "policy_node", "moto_ros.nodes.policy_node", "moto_ros.nodes.learning_settings:policy_settings"
    ),
    "trainer": NodeKind(
        "moto_ros", "trainer_node", "moto_ros.nodes.trainer_node", "moto_ros.nodes.learning_settings:trainer_settings"
    ),
    "recorder": NodeKind(
        "moto_ros", "recorder_node", "moto_ros.nodes.recorder_node", "moto_ros.nodes.settings:RecorderSettings"
    ),
    "episode": NodeKind(
        "moto_ros", "episode_node", "moto_ros.nodes.episode_node", "moto_ros.nodes.settings:EpisodeSettings"
    ),
    "sim": NodeKind("moto_sim", "sim_node", "moto_sim.sim_node", "moto_sim.settings:SimSettings"),
    "script": NodeKind("moto_sim", "script_node", "moto_sim.script_node", "moto_sim.settings:ScriptSettings"),
}

CHECK_IDS = 3_000_000
"""Numbers of the episodes of `evaluate`: apart from those of a run's own evaluations, which a resumed run looks for."""

BACKENDS = {"sim": ("sim",)}
"""Nodes that stand for robot and cameras."""

SYSTEMS = {
    "record": ("script", "recorder", "episode"),
    "pretrain": ("trainer",),
    "finetune": ("policy", "recorder", "episode", "trainer"),
    "evaluate": ("policy", "recorder", "episode"),
}
"""Nodes of each system; all but `pretrain` stand on a backend."""


@dataclass(frozen=True)
class Process:
    """One node's process with all its parameters. A system ends when any of its processes ends."""

    node: str
    kind: NodeKind
    parameters: dict[str, Value]
    parameter_file: Path

    def command(self, namespace: str) -> str:
        """Return the shell command that replaces the shell by this node."""
        names = ["-r", f"__ns:=/{namespace}", "-r", f"__node:={self.node}"]
        ros = ["--ros-args", *names, "--params-file", str(self.parameter_file)]
        return "exec " + shlex.join([sys.executable, "-u", "-m", self.kind.module, *ros])


@dataclass(frozen=True)
class System:
    """A resolved system: its processes, the environment they share, its namespace and run folder."""

    name: str
    processes: tuple[Process, ...]
    environment: dict[str, str]
    namespace: str
    run: Path

    def write_parameters(self) -> None:
        """Write each process's resolved parameter file into the run folder."""
        for process in self.processes:
            name = f"/{self.namespace}/{process.node}"
            write_parameters(process.parameter_file, name, process.parameters)


Arguments = dict[str, str]
Parameters = dict[str, Any]


def defaults() -> Arguments:
    """Return every argument's default."""
    return {argument.name: argument.default for argument in ARGUMENTS}


def checked_arguments(given: Mapping[str, str]) -> Arguments:
    """Return the arguments completed with defaults; MotoError for an unknown name or a value that is not a choice."""
    known = {argument.name: argument for argument in ARGUMENTS}
    for name, value in given.items():
        if name not in known:
            raise MotoError(unknown_parameter(name, list(known), "arguments"))
        if known[name].choices and value not in known[name].choices:
            raise MotoError(f"argument {name} is '{value}', expected one of {', '.join(known[name].choices)}")
    return defaults() | dict(given)


def run_folder(given: Mapping[str, str]) -> Path:
    """Return the run folder that the arguments name, absolute."""
    arguments = checked_arguments(given)
    if arguments["run"]:
        return Path(arguments["run"]).expanduser().resolve()
    task, preset = Path(arguments["task"]).stem, Path(arguments["preset"]).stem
    return Path("runs", f"{task}_{arguments['agent']}_{preset}_seed{arguments['seed']}").resolve()


def resolve(name: str, given: Mapping[str, str]) -> System:
    """Return system `name` with every parameter of its processes known.

    Raises MotoError for an unknown system, argument or parameter, a missing file, or a value that does not fit.
    """
    if name not in SYSTEMS:
        raise MotoError(f"system '{name}' is unknown, expected one of {', '.join(SYSTEMS)}")
    arguments, run = checked_arguments(given), run_folder(given)
    nodes = SYSTEMS[name] if name == "pretrain" else (*BACKENDS[arguments["backend"]], *SYSTEMS[name])
    found = _Parameters(arguments, run)
    processes = tuple(
        Process(node, NODES[node], found.of(name, node, nodes), run / "config" / name / f"{node}.yaml")
        for node in nodes
    )
    return System(name, processes, _environment(arguments), arguments["namespace"].strip("/"), run)


def _environment(arguments: Arguments) -> dict[str, str]:
    domain = arguments["domain"]
    if domain and not (domain.isdecimal() and int(domain) <= 232):
        raise MotoError(f"argument domain is '{domain}', expected a ROS domain id, 0..232")
    return environment() | ({"ROS_DOMAIN_ID": domain} if domain else {})


class _Parameters:
    """Collects the parameters of each node from the layers that the module's docstring names."""

    def __init__(self, arguments: Arguments, run: Path) -> None:
        self.arguments = arguments
        self.run = run
        self.known = {node: NODES[node].specs(arguments["agent"]) for node in self._reachable()}
        self.task = shipped("tasks", arguments["task"])
        self.preset = shipped("agents", _preset_name(arguments))
        self.overrides = [_override(text) for text in shlex.split(arguments["parameters"])]
        self._refuse_unknown()

    def _reachable(self) -> set[str]:
        """Nodes of any system on this backend: a task's file may hold parameters for systems that do not run now."""
        return {*BACKENDS[self.arguments["backend"]], *(node for nodes in SYSTEMS.values() for node in nodes)}

    def _refuse_unknown(self) -> None:
        everywhere = sorted({name for known in self.known.values() for name in known})
        for path in (self.task, self.preset):
            for name in (name for node in self.known for name in read_parameters(path, node)):
                if name not in everywhere:
                    raise MotoError(unknown_parameter(name, everywhere, str(path)))
        for node, name, _ in self.overrides:
            if node and node not in self.known:
                raise MotoError(f"parameters: node '{node}' of '{node}.{name}' is unknown, expected {', '.join(NODES)}")
            if name not in (self.known[node] if node else everywhere):
                raise MotoError(unknown_parameter(name, list(self.known[node]) if node else everywhere, "parameters"))

    def of(self, system: str, node: str, nodes: tuple[str, ...]) -> dict[str, Value]:
        """Return the parameters of one node of a system, checked; what is not given keeps the node's default."""
        known, values = self.known[node], self._from_files(node)
        implied = _shared(self.arguments, self.run, nodes) | _implied(system, node, self.arguments, self.run)
        values |= {name: value for name, value in implied.items() if name in known}
        checked = {name: check(known[name], value, f"{node} node") for name, value in values.items()}
        for only, name, text in self.overrides:
            if name in known and only in ("", node):
                checked[name] = parse(known[name], text, "parameters")
        return checked

    def _from_files(self, node: str) -> Parameters:
        files = [config_folder() / "nodes" / f"{node}.yaml", self.task, self.preset]
        values: Parameters = {}
        for path in files:
            if path.is_file():
                values |= read_parameters(path, node)
        return {name: value for name, value in values.items() if name in self.known[node]}


def _preset_name(arguments: Arguments) -> str:
    preset = arguments["preset"]
    return preset if preset.endswith((".yaml", ".yml")) else f"{arguments['agent']}_{preset}"


def _override(text: str) -> tuple[str, str, str]:
    """Return (node or "", parameter, value) of `name:=value` or `node.name:=value`."""
    name, sign, value = text.partition(":=")
    if not sign or not name:
        raise MotoError(f"parameters: '{text}' is not an assignment, expected name:=value or node.name:=value")
    first, _, rest = name.partition(".")
    return (first, rest, value) if first in NODES and rest else ("", name, value)


def _shared(arguments: Arguments, run: Path, nodes: tuple[str, ...]) -> Parameters:
    """Parameters that mean the same in every node that has them."""
    return {
        "seed": _whole(arguments, "seed"),
        "clock": arguments["clock"],
        "agent_name": arguments["agent"],
        "wait_for": nodes if len(nodes) > 1 else (),
        "run": str(run),
    }


def _implied(system: str, node: str, arguments: Arguments, run: Path) -> Parameters:
    """Parameters of one node that follow from what its system is for."""
    bags = Path(arguments["bags"]).expanduser().resolve() if arguments["bags"] else run / "bags" / "offline"
    learns = {"bags": str(bags), "checkpoint": arguments["checkpoint"], "device": arguments["device"]}
    table: dict[tuple[str, str], Parameters] = {
        ("record", "sim"): {"expert": True},
        ("record", "episode"): {"purpose": "demonstration", "first_episode": DEMONSTRATION_IDS}
        | _episodes(arguments, "automatic_episodes"),
        ("finetune", "episode"): {"automatic_episodes": 0},
        ("evaluate", "episode"): {"purpose": "evaluation", "first_episode": CHECK_IDS}
        | {"automatic_episodes": 20}
        | _episodes(arguments, "automatic_episodes"),
        ("pretrain", "trainer"): learns,
        ("finetune", "trainer"): learns
        | {"overlap": arguments["clock"] == "realtime"}
        | _episodes(arguments, "online_episodes"),
        ("evaluate", "policy"): {"checkpoint": arguments["checkpoint"] or str(run)},
    }
    recorder = {"bags": str(run / "bags")} if node == "recorder" else {}
    return table.get((system, node), {}) | recorder


def _episodes(arguments: Arguments, name: str) -> Parameters:
    """Return how many episodes the user asked for as parameter `name`, nothing where the configuration decides."""
    return {name: _whole(arguments, "episodes")} if arguments["episodes"] else {}


def _whole(arguments: Arguments, name: str) -> int:
    if not arguments[name].isdecimal():
        raise MotoError(f"argument {name} is '{arguments[name]}', expected a whole number of 0 or more")
    return int(arguments[name])
