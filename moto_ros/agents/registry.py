"""Registry of agents: the class "module:class" of each agent by its name, its parameters, presets and phases.

Another package adds an agent by an entry point of the group `moto_ros.agents`; a user may also give "module:class".
"""

from __future__ import annotations

import dataclasses
import inspect
from pathlib import Path
from typing import Any, cast

import torch

from moto_ros.agents.interface import Agent, Spaces
from moto_ros.config import Spec, config_folder, shipped, specs
from moto_ros.errors import MotoError
from moto_ros.registry import Registry

AGENTS: Registry[Agent] = Registry(
    "agent",
    "moto_ros.agents",
    Agent,
    {
        "moto": "moto_ros.agents.moto.agent:MotoAgent",
        "fowm": "moto_ros.agents.fowm.agent:FowmAgent",
        "bc": "moto_ros.agents.bc.agent:BcAgent",
        "iql": "moto_ros.agents.iql.agent:IqlAgent",
    },
)


DEFAULTS = "defaults"
"""The preset that names no file: every parameter has the default of the agent's settings class."""


def preset_file(agent: str, preset: str) -> Path | None:
    """Return the parameter file of an agent's preset, a shipped one or a path; None for the preset `defaults`.

    Raises MotoError where there is no such file.
    """
    if preset == DEFAULTS:
        return None
    is_path = preset.endswith((".yaml", ".yml"))
    if not is_path and agent not in AGENTS.lines:
        raise MotoError(
            f"preset '{preset}': agent '{agent}' is not shipped and has no presets by name, expected {DEFAULTS} or a "
            "path ending in .yaml; give one of them"
        )
    known = [file.stem.removeprefix(f"{agent}_") for file in sorted(config_folder().glob(f"agents/{agent}_*.yaml"))]
    if not is_path and preset not in known:
        raise MotoError(
            f"preset '{preset}': agent '{agent}' has none of this name, expected {DEFAULTS}, {', '.join(known)} or a "
            "path ending in .yaml; correct it"
        )
    return shipped("agents", preset if is_path else f"{agent}_{preset}")


def agent_class(name: str) -> type[Agent]:
    """Import and return the class of an agent.

    Raises MotoError for an unknown name, and for a class that does not say what `moto_ros.agents.interface.Agent` asks.
    """
    found = AGENTS.load(name)
    settings, phases = getattr(found, "settings_class", None), getattr(found, "phases", None)
    for attribute, is_right, expected in (
        ("name", isinstance(getattr(found, "name", None), str), "a text, which its checkpoints carry"),
        ("settings_class", isinstance(settings, type) and dataclasses.is_dataclass(settings), "a frozen dataclass"),
        (
            "phases",
            isinstance(phases, (tuple, list)) and len(phases) > 0,
            "a tuple of its phases of updates",
        ),
    ):
        if not is_right:
            value = repr(getattr(found, attribute)) if hasattr(found, attribute) else "missing"
            raise MotoError(
                f"agent '{name}': class attribute {found.__name__}.{attribute} is {value}, expected {expected}; add it"
            )
    if inspect.isabstract(found):
        missing = ", ".join(sorted(cast(Any, found).__abstractmethods__))
        raise MotoError(f"agent '{name}': class {found.__name__} lacks {missing}, expected every method; add it")
    return found


def agent_settings(name: str) -> type[Any]:
    """Return the settings class of an agent; raise MotoError as `agent_class`."""
    return agent_class(name).settings_class


def agent_plans(name: str) -> bool:
    """Return whether an agent plans; raise MotoError as `agent_class`."""
    return agent_class(name).plans


def agent_phases(name: str) -> tuple[str, ...]:
    """Return the phases of updates of an agent; raise MotoError as `agent_class`."""
    return tuple(agent_class(name).phases)


def specs_of_stored(name: object, prefix: str = "", *, named: str = "") -> dict[str, Spec]:
    """Return the parameters of the agent that a file names; none where it may not or cannot be imported.

    The file may come from a stranger, so that "module:class" in it is imported only where the user `named` it as well.
    """
    if not isinstance(name, str) or not (name == named or AGENTS.is_registered(name)):
        return {}
    try:
        return specs(agent_settings(name), prefix)
    except MotoError:  # its package does not work here
        return {}


def make_agent(name: str, spaces: Spaces, settings: Any, seed: int, device: torch.device | str = "cpu") -> Agent:
    """Build an agent with fresh weights; raise MotoError for an unknown name or settings of another agent."""
    agent: Any = agent_class(name)
    if not isinstance(settings, agent.settings_class):
        raise MotoError(
            f"agent '{name}' got {type(settings).__name__}, expected {agent.settings_class.__name__}; give it its own"
        )
    made: Agent = agent(spaces, settings, seed, device)
    return made
