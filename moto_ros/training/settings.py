"""Settings of a training run, and the update budget that joins them with the agent's preset."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from moto_ros.agents.registry import agent_class, specs_of_stored
from moto_ros.config import Value, compared_values, digest, flatten, parameter, present_names, specs
from moto_ros.errors import MotoError
from moto_ros.training.checkpoint import Identity


@dataclass(frozen=True)
class TrainerSettings:
    """How a run learns, evaluates and saves; the sizes of the update rounds come with the agent's preset."""

    seed: int = parameter(0, "draws start states, weights, batches and actions", low=0, high=2**31 - 1)
    online_episodes: int = parameter(
        -1, "episodes learned from online; -1 takes the agent's preset", low=-1, extent=True
    )
    evaluation_episodes: int = parameter(20, "episodes of one evaluation", low=0, high=500)
    evaluation_every: int = parameter(0, "online episodes between evaluations; 0 evaluates at the ends only", low=0)
    warm_up_episodes: int = parameter(
        5, "first online episodes that the base acts, of an agent that keeps one", unit="episodes", low=0, before=5
    )
    pinned_arm: str = parameter(
        "",
        "arm that acts every episode: base (cloned, stays) or policy (learns); empty: chosen by results; "
        "`ros2 param set` changes it from the next episode on",
        operational=True,
        live=True,
    )
    evaluate_before: bool = parameter(
        True, "evaluate after the offline phase, before the first online episode", extent=True
    )
    evaluate_after: bool = parameter(True, "evaluate after the last online episode", extent=True)
    update_budget: str = parameter(
        "per_episode", "what the agent's online updates are counted by", choices=("per_episode", "per_step")
    )
    reference_steps: int = parameter(
        100, "with the budget per_step: environment steps for each preset round of updates", unit="steps", low=1
    )
    overlap: bool = parameter(
        False, "start the next episode before the updates of the last one (real time)", operational=True
    )
    max_lost_episodes: int = parameter(
        5, "aborted or discarded episodes in a row after which the run stops", low=1, operational=True
    )
    checkpoint_every: float = parameter(
        120.0, "time between checkpoints inside a round", unit="s", low=0.0, operational=True
    )
    checkpoint_rounds: int = parameter(1, "online rounds between checkpoints", low=1, operational=True)
    keep_checkpoints: int = parameter(3, "newest checkpoints kept", low=1, operational=True)
    threads: int = parameter(
        1,
        "CPU threads of the learner; more help only for models larger than quick's; 0: every core",
        low=0,
        high=1024,
        operational=True,
    )
    device: str = parameter("auto", "where the learner runs", choices=("auto", "cpu", "cuda"), operational=True)
    quantile_steps: int = parameter(
        2000, "recorded steps that the uncertainty is measured on after the offline phase; 0: none", low=0, extent=True
    )
    log_every: int = parameter(50, "updates averaged into one row of metrics", unit="updates", low=1, operational=True)


def configuration(settings: TrainerSettings, agent: str, agent_settings: Any) -> dict[str, Value]:
    """Return the flat settings that make a run what it is: a resumed run must have the same."""
    return {"agent.name": agent} | _shaping(agent_settings, "agent.") | _shaping(settings, "trainer.")


def _shaping(settings: Any, prefix: str = "") -> dict[str, Value]:
    return compared_values(flatten(settings, prefix), specs(type(settings), prefix))


def stored_configuration(stored: Mapping[str, Any], source: str, *, agent: str = "") -> dict[str, Any]:
    """Return the configuration in a run's folder, the file `source`, as this version would store it.

    Parameters have their present names, and what shaped a run in an earlier version and no longer does is left out.
    Settings of an agent that is not registered stay as they are, but for `agent`, the one that the user named: a folder
    may come from a stranger, and importing what it names would run his code.
    """
    known = specs(TrainerSettings, "trainer.") | specs_of_stored(stored.get("agent.name"), "agent.", named=agent)
    return compared_values(present_names(known.values(), stored, source, warn=None), known)


def agent_digest(agent_settings: Any) -> str:
    """Return the digest that weights and checkpoints carry: of what an agent is, not of how long it runs."""
    return digest(_shaping(agent_settings))


def agent_identity(name: str, agent_settings: Any) -> Identity:
    """Return the identity in the checkpoints of an agent, however the user called it; MotoError for an unknown one."""
    return Identity(agent_class(name).name, agent_digest(agent_settings), _earlier_digests(agent_settings))


FORMERLY_IN_DIGEST: dict[str, tuple[Value, ...]] = {"compile": (False, True)}
"""Operational settings that earlier versions had in the digest, and their values: all mean the same agent."""


def _earlier_digests(agent_settings: Any) -> frozenset[str]:
    """Return the digests that earlier versions gave to this agent: under the names that its parameters had."""
    values, known = _shaping(agent_settings), specs(type(agent_settings))
    former = {(*known[name].formerly, name)[0]: value for name, value in values.items()}
    choices = [[(name, value) for value in FORMERLY_IN_DIGEST[name]] for name in known if name in FORMERLY_IN_DIGEST]
    return frozenset(digest(former | dict(once)) for once in itertools.product(*choices))


def choose_device(name: str) -> torch.device:
    """Return the device that the parameter `device` names; MotoError when "cuda" is asked for and absent."""
    if name == "cuda" and not torch.cuda.is_available():
        raise MotoError("device 'cuda': PyTorch finds no CUDA GPU, expected one; set device to auto or cpu")
    found = "cuda" if name == "auto" and torch.cuda.is_available() else name
    return torch.device("cpu" if found == "auto" else found)


@dataclass(frozen=True)
class UpdateBudget:
    """Updates by phase name: the whole offline phase, and one online round; and how many online episodes."""

    offline: dict[str, int]
    online: dict[str, int]
    online_episodes: int
    per_step: bool = False
    reference_steps: int = 1

    def due(self, rounds: int, steps_before: int, steps: int) -> dict[str, int]:
        """Return the updates of the round after an episode of `steps`, earlier rounds having had `steps_before`.

        With `per_step` the total follows from all steps so far, so that rounding errors do not add up.
        """
        if not self.per_step:
            return dict(self.online)
        return {
            phase: self._updates_for(n, steps_before + steps) - self._updates_for(n, steps_before)
            for phase, n in self.online.items()
        }

    def _updates_for(self, updates: int, steps: int) -> int:
        return math.floor(updates * steps / self.reference_steps)


def budget_of(settings: TrainerSettings, agent_settings: Any, phases: Iterable[str]) -> UpdateBudget:
    """Return the budget from the agent's preset fields `offline_<phase>_updates`, `online_<phase>_updates`."""
    names = tuple(phases)
    episodes = settings.online_episodes
    return UpdateBudget(
        offline={phase: _preset(agent_settings, f"offline_{phase}_updates") for phase in names},
        online={phase: _preset(agent_settings, f"online_{phase}_updates") for phase in names},
        online_episodes=_preset(agent_settings, "online_episodes") if episodes < 0 else episodes,
        per_step=settings.update_budget == "per_step",
        reference_steps=settings.reference_steps,
    )


def plan_of(settings: TrainerSettings, agent_settings: Any) -> dict[str, Any]:
    """Return what a session plans to do, for the report: updates and episodes by name."""
    sizes = {name: value for name, value in flatten(agent_settings).items() if name.startswith(("offline_", "online_"))}
    own = {name: value for name, value in flatten(settings).items() if name.startswith("evaluat")}
    chosen = {} if settings.online_episodes < 0 else {"online_episodes": settings.online_episodes}
    return sizes | own | chosen


def _preset(agent_settings: Any, name: str) -> int:
    if not hasattr(agent_settings, name):
        raise MotoError(f"{type(agent_settings).__name__}: no field '{name}', expected the updates of a phase; add it")
    return int(getattr(agent_settings, name))
