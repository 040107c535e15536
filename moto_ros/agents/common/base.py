"""What agents that are made of networks share: devices, random streams, weights, and exact resumption."""

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
    of `actor`: the network itself, or its average. A subclass gives name, phases, `act`, `improve`, and sets `network`
    (by `build`) and `optimizers`.
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
        self._average = averaged(self.network, settings.actor_ema)
        self.actor = self.network if self._average is None else self._average.module
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

    def update(self, phase: str, data: Data) -> Metrics:
        """Improve once, and let the average follow; raise MotoError for a phase that the agent has not."""
        if phase not in self.phases:
            raise MotoError(f"agent {self.name} has no phase '{phase}', expected one of {', '.join(self.phases)}")
        metrics = self.improve(phase, data)
        if self._average is not None:
            self._average.update_parameters(self.network)
        return metrics

    def to_device(self, batch: Batch) -> Batch:
        """Return the batch on the agent's device."""
        return {name: tensor.to(self.device, non_blocking=True) for name, tensor in batch.items()}

    def weights(self) -> dict[str, Tensor]:
        """Return the parts of the network that acting needs."""
        return on_cpu(self._acting())

    def load_weights(self, weights: dict[str, Tensor]) -> None:
        """Take acting weights, all or none of them."""
        copy_into(self._acting(), weights, f"weights of agent {self.name}")

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

    def _streams(self) -> dict[str, torch.Generator]:
        return {"rng/update": self.drawing, "rng/act": self.exploring}

    def _acting(self) -> dict[str, Tensor]:
        return {name: value for name, value in self.actor.state_dict().items() if name.split(".")[0] in self.acting}

    def _tensors(self) -> dict[str, Tensor]:
        tensors = prefixed("network", self.network.state_dict())
        if self._average is not None:
            tensors |= prefixed("average", self._average.state_dict())
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
