"""Registry of agents: name to agent class and settings class."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from moto_ros.agents.interface import Agent, Spaces
from moto_ros.config import shipped
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
    return shipped("agents", preset if is_path else f"{agent}_{preset}")


def agent_settings(name: str) -> type[Any]:
    """Return the settings class of an agent; raise MotoError for an unknown name."""
    return AGENTS.load(name).settings_class


def checkpoint_name(name: str) -> str:
    """Return the name in an agent's checkpoints, however the user called it; raise MotoError for an unknown one."""
    return AGENTS.load(name).name


def agent_plans(name: str) -> bool:
    """Return whether an agent plans; raise MotoError for an unknown name."""
    return AGENTS.load(name).plans


def agent_phases(name: str) -> tuple[str, ...]:
    """Return the phases of updates of an agent; raise MotoError for an unknown name."""
    return tuple(AGENTS.load(name).phases)


def make_agent(name: str, spaces: Spaces, settings: Any, seed: int, device: torch.device | str = "cpu") -> Agent:
    """Build an agent with fresh weights; raise MotoError for an unknown name or settings of another agent."""
    agent: Any = AGENTS.load(name)
    if not isinstance(settings, agent.settings_class):
        raise MotoError(
            f"agent '{name}' got {type(settings).__name__}, expected {agent.settings_class.__name__}; give it its own"
        )
    made: Agent = agent(spaces, settings, seed, device)
    return made
