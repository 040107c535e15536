"""Registry of agents: name to agent class and settings class."""

from __future__ import annotations

import difflib
from typing import Any

import torch

from moto_ros.agents.bc.agent import BcAgent, BcSettings
from moto_ros.agents.fowm.agent import FowmAgent
from moto_ros.agents.fowm.config import FowmSettings
from moto_ros.agents.interface import Agent, Spaces
from moto_ros.agents.iql.agent import IqlAgent, IqlSettings
from moto_ros.agents.moto.agent import MotoAgent
from moto_ros.agents.moto.config import MotoSettings
from moto_ros.errors import MotoError

AGENTS: dict[str, tuple[type[Any], type[Any]]] = {
    "moto": (MotoAgent, MotoSettings),
    "fowm": (FowmAgent, FowmSettings),
    "bc": (BcAgent, BcSettings),
    "iql": (IqlAgent, IqlSettings),
}
"""Name -> (agent class, settings class)."""


def agent_settings(name: str) -> type[Any]:
    """Return the settings class of an agent; raise MotoError for an unknown name."""
    return _entry(name)[1]


def agent_plans(name: str) -> bool:
    """Return whether an agent plans; raise MotoError for an unknown name."""
    return bool(_entry(name)[0].plans)


def agent_phases(name: str) -> tuple[str, ...]:
    """Return the phases of updates of an agent; raise MotoError for an unknown name."""
    return tuple(_entry(name)[0].phases)


def make_agent(name: str, spaces: Spaces, settings: Any, seed: int, device: torch.device | str = "cpu") -> Agent:
    """Build an agent with fresh weights; raise MotoError for an unknown name or settings of another agent."""
    agent, expected = _entry(name)
    if not isinstance(settings, expected):
        raise MotoError(f"agent '{name}' got {type(settings).__name__}, expected {expected.__name__}")
    return agent(spaces, settings, seed, device)


def _entry(name: str) -> tuple[type[Any], type[Any]]:
    if name not in AGENTS:
        close = difflib.get_close_matches(name, AGENTS, n=1) or list(AGENTS)
        raise MotoError(f"agent '{name}' is unknown, expected one of {', '.join(AGENTS)}; did you mean {close[0]}?")
    return AGENTS[name]
