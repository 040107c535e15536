"""What a system implies for its nodes' parameters: run folder, seed, clock, purpose, who decides the actions."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from moto_ros.data.bag_files import check_bags
from moto_ros.errors import MotoError
from moto_ros.training.conductor import DEMONSTRATION_IDS

CHECK_IDS = 3_000_000
"""Numbers of the episodes of `evaluate`: apart from those of a run's own evaluations, which a resumed run looks for."""

REAL_TIMING = {"reward_lag": 1, "pairing_tolerance": 0.04, "max_age": 0.25}
"""Where the world does not wait (steps, s, s), unless a file says otherwise: rewards come a step late, and stamps of a
camera at 30 Hz and of the robot's state are never equal."""

Parameters = dict[str, Any]


def shared(arguments: Mapping[str, str], run: Path, nodes: Collection[str]) -> Parameters:
    """Return the parameters that mean the same in every node that has them."""
    return {
        "seed": whole(arguments, "seed"),
        "clock": arguments["clock"],
        "agent_name": arguments["agent"],
        "wait_for": tuple(nodes) if len(nodes) > 1 else (),
        "run": str(run),
        "arbitrated": "operator" in nodes and "policy" in nodes,
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
        check_bags(bags)
    return {
        "trainer": {"bags": str(bags), "checkpoint": arguments["checkpoint"], "device": arguments["device"]},
    }


def _finetune(arguments: Mapping[str, str], run: Path) -> dict[str, Parameters]:
    online = {"overlap": arguments["clock"] == "realtime"} | _episodes(arguments, "online_episodes")
    return {
        "trainer": _pretrain(arguments, run)["trainer"] | online,
        "episode": {"automatic_episodes": 0},
        "operator": {"proposals": "policy"},
    }


def _evaluate(arguments: Mapping[str, str], run: Path) -> dict[str, Parameters]:
    numbers = {"purpose": "evaluation", "first_episode": CHECK_IDS, "automatic_episodes": 20}
    return {
        "policy": {"checkpoint": arguments["checkpoint"] or str(run)},
        "episode": numbers | _episodes(arguments, "automatic_episodes"),
        "operator": {"proposals": "policy"},
    }


def _reset_policy(arguments: Mapping[str, str]) -> Parameters:
    return {"checkpoint": arguments["reset_checkpoint"], "reset_only": True}


def _episodes(arguments: Mapping[str, str], name: str) -> Parameters:
    """Return how many episodes the user asked for as parameter `name`, nothing where the configuration decides."""
    return {name: whole(arguments, "episodes")} if arguments["episodes"] else {}


def whole(arguments: Mapping[str, str], name: str) -> int:
    """Return an argument as a whole number; MotoError where it is none."""
    if not arguments[name].isdecimal():
        raise MotoError(f"argument {name} is '{arguments[name]}', expected a whole number of 0 or more")
    return int(arguments[name])
