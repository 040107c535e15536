"""`NetworkAgent`, the base class of agents made of networks: devices, random streams, weights, exact resumption."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from moto_ros.agents.common.averaging import averaged
from moto_ros.agents.common.optimizer import Optimizer
from moto_ros.agents.common.tensors import on_cpu, prefixed, require_fit
from moto_ros.agents.interface import Agent, Batch, Data, Metrics, Spaces
from moto_ros.errors import MotoError

Terms = dict[str, Tensor]
"""Scalars of an update, still on the device."""


class NetworkAgent(Agent):
    """An agent whose `network` and `optimizers`, by name, are all there is to save.

    `acting` names the parts of the network, by the first word of their parameters, that acting needs. `act` uses those
    of `actor`: the network itself, or its average. A subclass gives name, phases, `build`, `build_optimizers`, `act`
    and `improve`; one that averages a part of its network only, or has other names in its checkpoints, overrides
    `averaged_part`, `saved_parts` and `acting_tensors`.
    """

    network: nn.Module
    actor: nn.Module
    acting: tuple[str, ...]

    def __init__(self, spaces: Spaces, settings: Any, seed: int, device: torch.device | str = "cpu") -> None:
        """Build networks with fresh weights: equal seeds give equal weights and, on equal data, equal updates."""
        self.spaces, self.settings, self.device = spaces, settings, torch.device(device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.network = self.build()
        self.network.to(self.device)
        self.average = averaged(self.averaged_part(), settings.actor_ema)
        self.actor = self.averaged_part() if self.average is None else self.average.module
        self.drawing = torch.Generator(self.device).manual_seed(seed)
        self.exploring = torch.Generator(self.device).manual_seed(seed)
        self.optimizers = self.build_optimizers()

    @abstractmethod
    def build(self) -> nn.Module:
        """Return the network, with weights from the global random state."""

    @abstractmethod
    def build_optimizers(self) -> dict[str, Optimizer]:
        """Return the optimisers by name."""

    @abstractmethod
    def improve(self, phase: str, data: Data) -> Metrics:
        """Do one gradient update of `network`; return its scalars."""

    def averaged_part(self) -> nn.Module:
        """Return the part of the network that acts by its average, where the settings ask for one: all of it."""
        return self.network

    def update_average(self, phase: str) -> None:
        """Update the average, if there is one, after an update of `phase`."""
        if self.average is not None:
            self.average.update_parameters(self.averaged_part())

    def saved_parts(self) -> dict[str, nn.Module]:
        """Return the networks of a checkpoint, by the first word of their tensors' names."""
        return {"network": self.network}

    def acting_tensors(self) -> dict[str, Tensor]:
        """Return what acting needs, by name; not copied."""
        return {name: value for name, value in self.actor.state_dict().items() if name.split(".")[0] in self.acting}

    def on_loaded(self) -> None:
        """Drop what was computed with the weights before these: called once weights or a checkpoint were loaded."""

    def update(self, phase: str, data: Data) -> Metrics:
        """Do one update of `phase`, and update the average; raise MotoError for a phase that there is not."""
        if phase not in self.phases:
            raise MotoError(f"agent {self.name} has no phase '{phase}', expected one of {', '.join(self.phases)}")
        metrics = self.improve(phase, data)
        self.update_average(phase)
        return metrics

    def to_device(self, batch: Batch) -> Batch:
        """Return the batch on the agent's device."""
        return {name: tensor.to(self.device, non_blocking=True) for name, tensor in batch.items()}

    def weights(self) -> dict[str, Tensor]:
        """Return the parts of the network that acting needs."""
        return on_cpu(self.acting_tensors())

    def load_weights(self, weights: dict[str, Tensor]) -> None:
        """Take acting weights, all or none of them."""
        copy_into(self.acting_tensors(), weights, f"weights of agent {self.name}")
        self.on_loaded()

    def state_dict(self) -> dict[str, Tensor]:
        """Return networks, optimisers and random states."""
        random = {name: stream.get_state() for name, stream in self._streams().items()}
        return on_cpu(self._tensors()) | random

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore everything, or raise MotoError and change nothing."""
        what, streams = f"checkpoint of agent {self.name}", self._streams()
        state = dict(state)
        require_fit(self._tensors() | {name: stream.get_state() for name, stream in streams.items()}, state, what)
        for name, stream in streams.items():
            stream.set_state(state.pop(name))
        copy_into(self._tensors(), state, what)
        self.on_loaded()

    def _streams(self) -> dict[str, torch.Generator]:
        return {"rng/update": self.drawing, "rng/act": self.exploring}

    def _tensors(self) -> dict[str, Tensor]:
        tensors: dict[str, Tensor] = {}
        for name, part in self.saved_parts().items():
            tensors |= prefixed(name, part.state_dict())
        if self.average is not None:
            tensors |= prefixed("average", self.average.state_dict())
        for name, optimizer in self.optimizers.items():
            tensors |= prefixed(f"optimizer/{name}", optimizer.tensors())
        return tensors


@torch.no_grad()
def copy_into(into: dict[str, Tensor], given: dict[str, Tensor], what: str) -> None:
    """Copy tensors by name; raise MotoError, naming `what`, and change nothing where they do not fit."""
    require_fit(into, given, what)
    for name, tensor in into.items():
        tensor.copy_(given[name])


def observation(batch: Batch, row: int) -> Batch:
    """Return the observations (B, ...) of one row of a batch (B, L, ...)."""
    return {name: batch[name][:, row] for name in ("image", "proprio") if name in batch}


def to_numbers(terms: Mapping[str, Tensor]) -> Metrics:
    """Return scalars as numbers, with one transfer from the device."""
    values = torch.stack([term.detach().float() for term in terms.values()]).tolist()
    return dict(zip(terms, values, strict=True))
