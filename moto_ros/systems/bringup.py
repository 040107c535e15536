"""Which processes make which system, declared once: launch files and the command line start what this file declares.

A system is resolved from its arguments to processes with every parameter known. Parameters come, each over the one
before, from `config/nodes/<node>.yaml`, on hardware `config/robots/<robot>.yaml` and `config/cameras/<cameras>.yaml`,
then `config/tasks/<task>.yaml`, `config/agents/<agent>_<preset>.yaml`, what the system itself implies (run folder,
seed, clock, purpose), and the user's `name:=value` overrides. Each process gets its own resolved parameter file in the
run folder, so that what ran can be read and run again.
"""

from __future__ import annotations

import importlib
import os
import re
import shlex
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moto_ros import locks
from moto_ros.agents.common.replay_settings import WHOLE_EPISODES
from moto_ros.agents.registry import AGENTS, preset_file
from moto_ros.config import (
    Spec,
    Value,
    build,
    flatten,
    read_parameters,
    shipped,
    specs,
    unknown_parameter,
    write_parameters,
)
from moto_ros.cpu_threads import openmp_environment
from moto_ros.episode.success_rule import SuccessRule
from moto_ros.errors import MotoError, unwritable
from moto_ros.registry import Registry, Requirement, expected_choice
from moto_ros.ros.startup import check_start, missing_middleware, refuse, usable_folders
from moto_ros.stopping import as_parent
from moto_ros.systems.implied_parameters import REAL_TIMING, changeable, contradiction, implied, shared
from moto_ros.systems.parameter_layers import ParameterLayers, chosen_arm
from moto_ros.systems.transport import environment


@dataclass(frozen=True)
class Argument:
    """One argument of a system: the same name on the command line (`--name`) and in launch files (`name:=`)."""

    name: str
    default: str
    doc: str
    choices: Collection[str] = ()

    @property
    def help(self) -> str:
        """Return its meaning; of a choice that users may add to, with the names that are there."""
        return f"{self.doc}: {expected_choice(self.choices)}" if isinstance(self.choices, Registry) else self.doc


ARGUMENTS = (
    Argument(
        "backend",
        "sim",
        "what provides the robot and camera topics: simulation, a Franka arm, or the arm's driver on franky-sim",
        ("sim", "franka", "franka_sim"),
    ),
    Argument(
        "task", "", "task, config/tasks/<task>.yaml or a path; empty: drawer_open, on hardware backends franka_reach"
    ),
    Argument("agent", "moto", "learning algorithm", AGENTS),
    Argument(
        "preset",
        "quick",
        "sizes and update budget of the agent, config/agents/<agent>_<preset>.yaml or a path; defaults: no file",
    ),
    Argument("run", "", "run folder; empty: runs/<task>_<agent>_<preset>_seed<seed>"),
    Argument("bags", "", "demonstrations: bag, or folder of bags and loose files; empty: <run>/bags/offline"),
    Argument(
        "checkpoint",
        "",
        "run folder or checkpoint to start from, of this agent or of agent bc, whose policy is then fine-tuned; empty: "
        "the newest of the run folder, if any",
    ),
    Argument("reset_checkpoint", "", "checkpoint of a second policy that resets the scene before each episode"),
    Argument("episodes", "", "episodes to do: demonstrations, online or evaluation; empty: as configured"),
    Argument("seed", "0", "seed of everything random"),
    Argument(
        "robot", "", "hardware: the arm, config/robots/<robot>.yaml or a path; empty: fr3, with franka_sim franky_sim"
    ),
    Argument(
        "cameras",
        "",
        "hardware: config/cameras/<cameras>.yaml or a path; empty: realsense, with franka_sim synthetic",
    ),
    Argument(
        "operator",
        "auto",
        "whether a person may take over by joystick or twist, and has buttons; auto: on hardware backends",
        ("auto", "on", "off"),
    ),
    Argument(
        "clock",
        "auto",
        "lockstep: the simulated world waits for each action; realtime: a timer; auto: realtime on hardware backends "
        "and with an operator",
        ("auto", "lockstep", "realtime"),
    ),
    Argument("namespace", "moto", "ROS namespace of the robot"),
    Argument("domain", "", "ROS domain id, 0..232; empty: ROS_DOMAIN_ID of the environment"),
    Argument("device", "auto", "where the agent learns", ("auto", "cpu", "cuda")),
    Argument("parameters", "", "more parameters for any node: 'name:=value ...', or 'node.name:=value' for one node"),
)

_ON_HARDWARE = {"task": "franka_reach", "operator": "on", "clock": "realtime"}
BY_BACKEND = {
    "sim": {"task": "drawer_open", "operator": "off", "clock": "lockstep"},
    "franka": {"robot": "fr3", "cameras": "realsense"} | _ON_HARDWARE,
    "franka_sim": {"robot": "franky_sim", "cameras": "synthetic"} | _ON_HARDWARE,
}
"""Values of arguments that are empty or auto, by backend."""


@dataclass(frozen=True)
class NodeKind:
    """A node that systems are made of: where its program and its settings class are ("module:name")."""

    package: str
    executable: str
    module: str
    settings: str
    requires: Requirement | None = None
    section: str = ""

    @property
    def family(self) -> str:
        """Return the name that parameter files know it by: its executable's, unless `section` gives another."""
        return self.section or self.executable.removesuffix("_node")

    def settings_class(self, given: Mapping[str, Any]) -> type:
        """Return its settings class; where it depends on the agent or the arm, for those that `given` names."""
        module, name = self.settings.split(":")
        found = getattr(importlib.import_module(module), name)
        return found if isinstance(found, type) else found(given)

    def specs(self, given: Mapping[str, Any]) -> dict[str, Spec]:
        """Return its parameters by name, see `settings_class`."""
        return specs(self.settings_class(given))


def _own(node: str, settings: str) -> NodeKind:
    """Return the kind of a node of moto_ros: its settings class as "module:name" below moto_ros."""
    return NodeKind("moto_ros", f"{node}_node", f"moto_ros.nodes.{node}_node", f"moto_ros.{settings}")


FRANKY_SIM = Requirement("franky_sim", "pip install 'moto_sim[franka]'")

NODES = {
    "policy": _own("policy", "nodes.learning_settings:policy_settings"),
    "trainer": _own("trainer", "nodes.learning_settings:trainer_settings"),
    "recorder": _own("recorder", "data.recorder_settings:RecorderSettings"),
    "episode": _own("episode", "episode.settings:EpisodeSettings"),
    "franka": NodeKind(
        "moto_ros",
        "robot_node",
        "moto_ros.nodes.robot_node",
        "moto_ros.robot.settings:robot_settings",
        section="franka",
    ),
    "camera": _own("camera", "camera.node_settings:CameraNodeSettings"),
    "reward": _own("reward", "nodes.reward_node:RewardSettings"),
    "operator": _own("operator", "teleop.operator_settings:OperatorSettings"),
    "reset_policy": _own("policy", "nodes.learning_settings:policy_settings"),
    "sim": NodeKind("moto_sim", "sim_node", "moto_sim.sim_node", "moto_sim.settings:SimSettings"),
    "script": NodeKind("moto_sim", "script_node", "moto_sim.script_node", "moto_sim.settings:ScriptSettings"),
    "franka_server": NodeKind(
        "moto_sim", "franka_server", "moto_sim.franka_server", "moto_sim.settings:FrankaServerSettings", FRANKY_SIM
    ),
}

BACKENDS = {
    "sim": ("sim",),
    "franka": ("franka", "camera", "reward"),
    "franka_sim": ("franka_server", "franka", "camera", "reward"),
}
"""Nodes that provide robot, cameras and task."""

ACTION_PARAMETERS = ("action_axes", "translation_step", "rotation_step")
"""Parameters of the arm's file that say what an action means; the operator node needs them for a person's commands."""

SUCCESS_STEPS, STEPS_AFTER_SUCCESS = "success_steps", "agent.steps_after_success"
"""Parameters of the episode and of the agent."""

SYSTEMS = {
    "record": ("script", "recorder", "episode"),
    "pretrain": ("trainer",),
    "finetune": ("policy", "recorder", "episode", "trainer"),
    "evaluate": ("policy", "recorder", "episode"),
}
"""Nodes of each system; all but `pretrain` need a backend. With an operator, the operator node replaces the script, and
is between policy and robot."""


SAME_IN_BOTH = (
    "image_size",
    "image_policy",
    "proprio",
    "joint_count",
    "joint_names",
    "action_size",
    "control_rate",
    "cameras",
)
"""Parameters that must be equal in policy and trainer, besides the agent's: weights fit one observation space."""


@dataclass(frozen=True)
class Process:
    """One node's process with all its parameters. A system ends when any of its processes ends."""

    node: str
    kind: NodeKind
    parameters: dict[str, Value]
    parameter_file: Path
    simulated_time: bool = False

    def write_parameters(self, namespace: str) -> None:
        """Write the resolved parameter file."""
        ros = {"use_sim_time": True} if self.simulated_time else {}
        write_parameters(self.parameter_file, f"/{namespace}/{self.node}", self.parameters | ros)

    def command(self, namespace: str) -> str:
        """Return the shell command that replaces the shell by this node."""
        names = ["-r", f"__ns:=/{namespace}", "-r", f"__node:={self.node}"]
        ros = ["--ros-args", *names, "--params-file", str(self.parameter_file)]
        return "exec " + shlex.join([sys.executable, "-u", "-m", "moto_ros.ros.start", self.kind.module, *ros])

    def built(self, agent: str) -> Any:
        """Return the node's settings object; MotoError where its parameters do not fit."""
        settings = self.kind.settings_class(self.parameters | {"agent_name": agent})
        return build(settings, self.parameters, f"{self.node} node")

    def check(self, agent: str) -> None:
        """Raise MotoError where the node could not start: its parameters do not fit, or its driver is not there."""
        own = () if self.kind.requires is None else (self.kind.requires,)
        for package in (*own, *getattr(self.built(agent), "requirements", ())):
            if not package.is_installed():
                raise MotoError(f"{self.node} node: {package.module} is not installed; {package.install}")


@dataclass(frozen=True)
class System:
    """A resolved system: its processes, the environment they share, its namespace and run folder."""

    name: str
    processes: tuple[Process, ...]
    environment: dict[str, str]
    namespace: str
    run: Path
    agent: str
    contradictions: tuple[str, ...] = ()
    """Sentences about parameters that the user set to other values than the system needs."""
    notes: tuple[str, ...] = ()
    """What a person should know before it starts."""
    task: str = ""
    """Name of the task."""

    def settings(self) -> dict[str, Any]:
        """Return the settings object of each node; MotoError where parameters do not fit."""
        return {process.node: process.built(self.agent) for process in self.processes}

    def check(self) -> None:
        """Raise MotoError where any of its processes could not start, before one does; print the notes."""
        check_start({**os.environ, **self.environment}, self.namespace)
        for note in self.notes:
            print(note, file=sys.stderr, flush=True)
        for process in self.processes:
            process.check(self.agent)
        self._check_cameras()
        self._check_agreement()
        for sentence in self.contradictions:
            raise MotoError(sentence)

    def _check_agreement(self) -> None:
        """Raise MotoError where the policy would reject the trainer's weights: other observations, another agent."""
        settings = self.settings()
        if not {"policy", "trainer"} <= settings.keys():
            return
        acts, learns = flatten(settings["policy"]), flatten(settings["trainer"])
        known = specs(type(settings["trainer"]))
        for name in (name for name in learns if name in acts and (name in SAME_IN_BOTH or name.startswith("agent."))):
            if acts[name] != learns[name] and known[name].shapes_run:
                raise MotoError(
                    f"parameter '{name}' is {acts[name]!r} in the policy node and {learns[name]!r} in the trainer "
                    f"node, expected the same in both; set it without the node's name ({name}:=...)"
                )

    def _check_cameras(self) -> None:
        cameras: dict[str, Any] = {p.node: p.parameters["cameras"] for p in self.processes if "cameras" in p.parameters}
        there = cameras.get("camera")
        for node, wanted in cameras.items():
            if there is not None and not set(wanted) <= set(there):
                raise MotoError(
                    f"{node} node: parameter 'cameras' is {list(wanted)}, expected some of {list(there)}, those of the "
                    "camera file; fix the task's file or the camera file"
                )

    def write_parameters(self) -> None:
        """Write each process's resolved parameter file into the run folder, which is this process's from then on.

        Raises MotoError when another process runs this system there, or writes what this one would write.
        """
        self._claim()
        for process in self.processes:
            process.write_parameters(self.namespace)

    def _claim(self) -> None:
        """Lock the run folder for this system; raise MotoError where a node of another system uses it."""
        folder = self.run / "config" / self.name
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unwritable(folder, error) from error
        locks.keep(folder / ".lock")
        for process in self.processes:
            for parameter, name in (("run", locks.RUN_LOCK), ("bags", locks.RECORDER_LOCK)):
                if (process.node, parameter) in (("trainer", "run"), ("recorder", "bags")):
                    locks.refuse_if_held(Path(str(process.parameters[parameter])).expanduser() / name)


Arguments = dict[str, str]

NAMESPACE = re.compile(r"/?[A-Za-z_]\w*(/[A-Za-z_]\w*)*/?", re.ASCII)
"""What ROS takes as a namespace; on a command line it also refuses two _ in a row."""


def defaults() -> Arguments:
    """Return every argument's default."""
    return {argument.name: argument.default for argument in ARGUMENTS}


def checked_arguments(given: Mapping[str, str]) -> Arguments:
    """Return the arguments completed with defaults; MotoError for an unknown name or a value that is not a choice."""
    known = {argument.name: argument for argument in ARGUMENTS}
    for name, value in given.items():
        if name not in known:
            raise MotoError(unknown_parameter(name, list(known), "arguments"))
        if (choices := known[name].choices) and value not in choices:
            raise MotoError(f"argument {name} is '{value}', expected {expected_choice(choices)}")
    arguments = defaults() | dict(given)
    _check_namespace(arguments["namespace"])
    unset = {name for name, value in arguments.items() if value in ("", "auto")}
    meant = BY_BACKEND[arguments["backend"]]
    if arguments["operator"] == "on":
        meant = meant | {"clock": "realtime"}  # a person cannot follow a world that is as fast as the machine
    return arguments | {name: value for name, value in meant.items() if name in unset}


def _check_namespace(namespace: str) -> None:
    if namespace.strip("/") and ("__" in namespace or not NAMESPACE.fullmatch(namespace)):
        raise MotoError(
            f"argument namespace is '{namespace}', expected names of letters, digits and single _ that begin with a "
            "letter, with / between them, such as moto or lab/arm_2"
        )


def run_folder(given: Mapping[str, str]) -> Path:
    """Return the run folder that the arguments name, absolute."""
    arguments = checked_arguments(given)
    if arguments["run"]:
        return Path(arguments["run"]).expanduser().resolve()
    task, preset = Path(arguments["task"]).stem, Path(arguments["preset"]).stem
    agent = arguments["agent"].rpartition(":")[2]
    return Path("runs", f"{task}_{agent}_{preset}_seed{arguments['seed']}").resolve()


def resolve(name: str, given: Mapping[str, str], more: Mapping[str, Mapping[str, Value]] | None = None) -> System:
    """Return system `name` with every parameter of its processes known.

    `more` is what the caller sets by node, over what the system implies. Raises MotoError for an unknown system,
    argument or parameter, a missing file, or a value that does not fit.
    """
    if name not in SYSTEMS:
        raise MotoError(f"system '{name}' is unknown, expected one of {', '.join(SYSTEMS)}")
    arguments, run = checked_arguments(given), run_folder(given)
    refuse(missing_middleware(os.environ))  # importing a node's module would end this process
    _refuse_contradictions(name, arguments)
    nodes = nodes_of(name, arguments)
    layers, common = _layers(arguments, nodes), shared(arguments, run, nodes)
    # Bags may be of any task: pre-training is of one where the user names it.
    common["task"] = Path(arguments["task"]).stem if name == "finetune" or given.get("task") else ""
    if "franka" in nodes:
        arm = layers.of("franka", common)
        common |= {name: arm[name] for name in ACTION_PARAMETERS if name in arm}
    ends = layers.of("episode", common)
    common |= {rule: ends[rule] for rule in specs(SuccessRule) if rule in ends}
    common.setdefault(SUCCESS_STEPS, int(any(_learns_up_to_success(layers, node, common) for node in nodes)))
    fixed = {node: common | implied(name, node, arguments, run) | dict((more or {}).get(node, {})) for node in nodes}
    processes = tuple(
        Process(
            node,
            NODES[node],
            layers.of(node, fixed[node]),
            run / "config" / name / f"{node}.yaml",
            # A world that waits for each action publishes its own clock.
            simulated_time="sim" in nodes and arguments["clock"] == "lockstep",
        )
        for node in nodes
    )
    contradictions = tuple(
        contradiction(name, node, parameter, *values)
        for node in nodes
        for parameter, values in layers.overridden(node, fixed[node]).items()
        if parameter not in changeable(name, arguments)
    )
    variables = _environment(arguments)
    folders, why = usable_folders(os.environ, lambda: run / "logs" / "ros")
    notes = (why,) if why else ()
    namespace = _namespace(name, arguments, int(common["session"]))
    agent, task = arguments["agent"], Path(arguments["task"]).stem
    return System(name, processes, variables | folders, namespace, run, agent, contradictions, notes, task)


def _learns_up_to_success(layers: ParameterLayers, node: str, common: dict[str, Any]) -> bool:
    """Return whether a node has an agent that learns nothing of what follows success: robot time for nothing."""
    steps = layers.of(node, common).get(STEPS_AFTER_SUCCESS, WHOLE_EPISODES)
    return steps != WHOLE_EPISODES


def _namespace(system: str, arguments: Arguments, session: int) -> str:
    """Return the namespace of a system's nodes; `pretrain` gets one of its own inside the namespace that is given.

    It has no robot side and no peers, so any number may run at once, also beside a system with a robot.
    """
    own = f"pretrain_{session % 2**32:08x}" if system == "pretrain" else ""
    return f"{arguments['namespace'].strip('/')}/{own}".strip("/")


def nodes_of(system: str, arguments: Arguments) -> tuple[str, ...]:
    """Return the names of the nodes that make a system."""
    nodes = list(SYSTEMS[system])
    if system == "pretrain":
        return tuple(nodes)
    if arguments["operator"] == "on":
        nodes = ["operator", *(node for node in nodes if node != "script")]
    if arguments["reset_checkpoint"] and "policy" in nodes:
        nodes.append("reset_policy")
    return (*BACKENDS[arguments["backend"]], *nodes)


def _refuse_contradictions(system: str, arguments: Arguments) -> None:
    if _is_simulated(arguments):
        _refuse_hardware(arguments)
        return
    backend, task = arguments["backend"], arguments["task"]
    if arguments["clock"] == "lockstep":
        raise MotoError(
            f"argument clock is 'lockstep', but backend '{backend}' is a robot, which does not wait; leave clock out"
        )
    if system == "record" and arguments["operator"] == "off":
        raise MotoError(
            f"argument operator is 'off', but on backend '{backend}' a person demonstrates; leave operator out"
        )
    if "world" in read_parameters(shipped("tasks", task), "sim"):
        raise MotoError(
            f"task '{task}' is a simulated world (it names a 'world'), but backend '{backend}' is a robot; give a task "
            "of the robot, such as franka_reach"
        )


def _refuse_hardware(arguments: Arguments) -> None:
    """Raise MotoError for an arm or cameras given to the simulation, which would run without them."""
    for name in ("robot", "cameras"):
        if arguments[name]:
            raise MotoError(
                f"argument {name} is '{arguments[name]}', but backend 'sim' has robot and cameras of its own; give "
                f"backend franka or franka_sim, or leave {name} out"
            )


def _is_simulated(arguments: Arguments) -> bool:
    return arguments["backend"] == "sim"


def _layers(arguments: Arguments, nodes: tuple[str, ...]) -> ParameterLayers:
    """Return the layers for nodes of every kind: a task's file may hold parameters of nodes that do not run now."""
    kinds = {node: kind for node, kind in NODES.items() if node in nodes or _is_installed(kind)}
    hardware = [] if _is_simulated(arguments) else [("robots", arguments["robot"]), ("cameras", arguments["cameras"])]
    chosen = [*hardware, ("tasks", arguments["task"])]
    base: dict[str, Any] = {} if _is_simulated(arguments) else dict(REAL_TIMING)
    files = {kind: shipped(kind, name) for kind, name in chosen}
    preset = preset_file(arguments["agent"], arguments["preset"])
    files |= {} if preset is None else {"agents": preset}
    given = {"agent_name": arguments["agent"]} | chosen_arm(files.values(), arguments["parameters"])
    known = {node: kind.specs(given) for node, kind in kinds.items()}
    families = {node: kind.family for node, kind in NODES.items()}
    return ParameterLayers(known, families, base, files, arguments["parameters"])


def _is_installed(kind: NodeKind) -> bool:
    module, name = kind.settings.split(":")
    try:
        return hasattr(importlib.import_module(module), name)
    except ModuleNotFoundError:
        return False


def _environment(arguments: Arguments) -> dict[str, str]:
    domain = arguments["domain"]
    if domain and not (domain.isdecimal() and int(domain) <= 232):
        raise MotoError(f"argument domain is '{domain}', expected a ROS domain id, 0..232")
    # Nodes read and write UTF-8, the names of files included, whatever the locale is.
    variables = environment() | openmp_environment() | as_parent() | {"PYTHONUTF8": "1"}
    return variables | ({"ROS_DOMAIN_ID": domain} if domain else {})
