"""What a system implies for its nodes' parameters: run folder, seed, clock, purpose, who decides the actions."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from moto_ros.contract.session import new_session
from moto_ros.data.bag_files import check_bags
from moto_ros.errors import MotoError
from moto_ros.training.run_schedule import DEMONSTRATION_IDS

EVALUATE_IDS = 3_000_000
"""First episode number of `evaluate`, which a run's own evaluations do not use: a resumed run looks for those."""

REAL_TIMING = {"reward_lag": 1, "pairing_tolerance": 0.04, "max_age": 0.25}
"""Where the world does not wait (steps, s, s), unless a file sets others: rewards come a step late, and stamps of a
camera at 30 Hz and of the robot's state are never equal."""

Parameters = dict[str, Any]

ARGUMENT_OF = {
    "agent_name": "agent",
    "operator_in_loop": "operator",
    "automatic_episodes": "episodes",
    "bags": "bags",
    "checkpoint": "checkpoint",
    "clock": "clock",
    "device": "device",
    "expert": "operator",
    "online_episodes": "episodes",
    "proposals": "operator",
    "run": "run",
    "scene_reset": "reset_checkpoint",
    "seed": "seed",
    "task": "task",
}
"""Parameter that a system sets -> the argument that decides it for all of its nodes."""


def changeable(system: str, arguments: Mapping[str, str]) -> set[str]:
    """Return the parameters that a system sets and that a user may still change: nothing else relies on them."""
    names = {"overlap"}
    if arguments["device"] == "auto":
        names.add("device")
    if not arguments["checkpoint"]:
        names.add("checkpoint")
    if system in ("record", "evaluate") and not arguments["episodes"]:
        names.add("automatic_episodes")
    return names


def contradiction(system: str, node: str, name: str, implied: object, found: object) -> str:
    """Return the sentence for a parameter that a user sets to another value than the system."""
    sentence = f"parameters: '{name}' of the {node} node is {found!r}, but {system} sets it to {implied!r}"
    if (system, name) == ("finetune", "automatic_episodes"):
        advice = "leave it out: the trainer requests the episodes, and argument episodes says how many; the number of "
        return f"{sentence}; {advice}demonstrations is automatic_episodes in the task's file"
    argument = ARGUMENT_OF.get(name, "")
    return f"{sentence}; leave it out" + (f", or give argument {argument}" if argument else "")


def shared(arguments: Mapping[str, str], run: Path, nodes: Collection[str]) -> Parameters:
    """Return the parameters that have one value in every node that has them."""
    return {
        "session": new_session(),
        "seed": whole_number(arguments, "seed"),
        "clock": arguments["clock"],
        "agent_name": arguments["agent"],
        "wait_for": tuple(nodes) if len(nodes) > 1 else (),
        "run": str(run),
        "operator_in_loop": "operator" in nodes and "policy" in nodes,
    } | ({"scene_reset": "policy"} if "reset_policy" in nodes else {})


def implied(system: str, node: str, arguments: Mapping[str, str], run: Path) -> Parameters:
    """Return the parameters of one node that follow from what its system is for."""
    of_node = {"recorder": {"bags": str(run / "bags")}, "reset_policy": _reset_policy(arguments)}
    of_system = {"record": _record, "pretrain": _pretrain, "finetune": _finetune, "evaluate": _evaluate}[system]
    return of_node.get(node, {}) | of_system(arguments, run).get(node, {})


def _record(arguments: Mapping[str, str], run: Path) -> dict[str, Parameters]:
    numbers = {"purpose": "demonstration", "first_episode": DEMONSTRATION_IDS}
    episode = numbers | _episodes(arguments, "automatic_episodes")
    return {"sim": {"expert": arguments["operator"] == "off"}, "operator": {"proposals": "none"}, "episode": episode}


def _pretrain(arguments: Mapping[str, str], run: Path) -> dict[str, Parameters]:
    bags = Path(arguments["bags"]).expanduser().resolve() if arguments["bags"] else run / "bags" / "offline"
    if arguments["bags"]:
        require_demonstrations(bags)
    return {
        "trainer": {"bags": str(bags), "checkpoint": arguments["checkpoint"], "device": arguments["device"]},
    }


def require_demonstrations(folder: Path) -> None:
    """Raise MotoError where a folder holds no bag to learn from."""
    try:
        check_bags(folder)
    except MotoError as error:
        raise MotoError(f"{error}; record demonstrations (moto record), or name a folder of bags (bags)") from error


def _finetune(arguments: Mapping[str, str], run: Path) -> dict[str, Parameters]:
    online = {"overlap": arguments["clock"] == "realtime"} | _episodes(arguments, "online_episodes")
    return {
        "trainer": _pretrain(arguments, run)["trainer"] | online,
        "episode": {"automatic_episodes": 0},
        "operator": {"proposals": "policy"},
    }


def _evaluate(arguments: Mapping[str, str], run: Path) -> dict[str, Parameters]:
    numbers = {"purpose": "evaluation", "first_episode": EVALUATE_IDS, "automatic_episodes": 20}
    return {
        "policy": {"checkpoint": arguments["checkpoint"] or str(run)},
        "episode": numbers | _episodes(arguments, "automatic_episodes"),
        "operator": {"proposals": "policy"},
    }


def _reset_policy(arguments: Mapping[str, str]) -> Parameters:
    return {"checkpoint": arguments["reset_checkpoint"], "reset_only": True}


def _episodes(arguments: Mapping[str, str], name: str) -> Parameters:
    """Return how many episodes the user asked for as parameter `name`, nothing where the configuration decides."""
    return {name: whole_number(arguments, "episodes")} if arguments["episodes"] else {}


def whole_number(arguments: Mapping[str, str], name: str) -> int:
    """Return an argument as an integer; MotoError where it is none."""
    if not arguments[name].isdecimal():
        raise MotoError(f"argument {name} is '{arguments[name]}', expected a whole number of 0 or more")
    return int(arguments[name])
