"""Runs gradient updates in rounds that can stop and resume at any update, bit for bit."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch

from moto_ros.agents.interface import Agent, Batch, Prioritised
from moto_ros.agents.interface import Metrics as Scalars
from moto_ros.errors import MotoError
from moto_ros.training.metrics import MetricsWriter


class Store(Protocol):
    """What the learner needs of the replay store."""

    def sample(self, source: str, size: int, length: int, generator: np.random.Generator) -> dict[str, np.ndarray]:
        """Draw `size` chunks of `length` steps; see `moto_ros.agents.interface.Batch` for names and shapes."""
        ...

    def windows(
        self,
        source: str,
        size: int,
        length: int,
        generator: np.random.Generator,
        exponents: tuple[float, float] | None = None,
    ) -> dict[str, np.ndarray]:
        """Draw windows of `length` rows, uniformly or by priority with exponents (alpha, beta)."""
        ...

    def prioritise(self, source: str, index: np.ndarray, priority: np.ndarray) -> None:
        """Set priorities of windows drawn before."""
        ...

    def holds(self, source: str) -> bool:
        """Return whether there is anything to draw from `source`."""
        ...


class StoreData:
    """Turns chunks of the replay store into tensors on the learner's device."""

    def __init__(self, store: Store, generator: np.random.Generator, device: torch.device) -> None:
        self._store = store
        self._device = device
        self.generator = generator

    def batch(self, source: str, size: int, length: int) -> Batch:
        """Draw a batch; see `moto_ros.agents.interface.Data`."""
        return self._tensors(self._store.sample(source, size, length, self.generator))

    def windows(self, source: str, size: int, length: int, prioritised: Prioritised | None = None) -> Batch:
        """Draw windows; see `moto_ros.agents.interface.Data`."""
        exponents = None if prioritised is None else (prioritised.alpha, prioritised.beta)
        return self._tensors(self._store.windows(source, size, length, self.generator, exponents))

    def prioritise(self, source: str, index: torch.Tensor, priority: torch.Tensor) -> None:
        """Set priorities in the store."""
        self._store.prioritise(source, index.cpu().numpy(), priority.detach().cpu().numpy().astype(np.float64))

    def _tensors(self, rows: Mapping[str, np.ndarray]) -> Batch:
        return {name: torch.from_numpy(values).to(self._device) for name, values in rows.items()}

    def holds(self, source: str) -> bool:
        """Return whether there is anything to draw from `source`."""
        return self._store.holds(source)


@dataclass(frozen=True)
class RoundProgress:
    """The progress of a round after an update; `rate` is in updates per second since the round began or resumed."""

    round: str
    phase: str
    done: int
    total: int
    rate: float
    scalars: Scalars


@dataclass
class ScalarSums:
    """Sums of the scalars of a phase since its last row of metrics."""

    count: int = 0
    sums: Scalars = field(default_factory=dict)

    def add(self, scalars: Mapping[str, float]) -> None:
        """Add the scalars of one update."""
        self.count += 1
        for name, value in scalars.items():
            self.sums[name] = self.sums.get(name, 0.0) + value

    def mean(self) -> Scalars:
        """Return the averages."""
        return {name: total / self.count for name, total in self.sums.items()}


@dataclass
class Round:
    """A named budget of updates by phase, and how many are left."""

    name: str = ""
    budget: dict[str, int] = field(default_factory=dict)
    left: dict[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """Return the updates of the whole round."""
        return sum(self.budget.values())

    @property
    def done(self) -> int:
        """Return the updates already done."""
        return self.total - sum(self.left.values())

    def phase(self) -> str | None:
        """Return the phase that is due, None when the round is over."""
        return next((phase for phase, left in self.left.items() if left > 0), None)


def never() -> bool:
    """Return False: the stop condition of work that runs to its end."""
    return False


class Learner:
    """Updates an agent from a replay store; owns the generator that draws batches and all update counters."""

    def __init__(
        self,
        agent: Agent,
        store: Store,
        metrics: MetricsWriter,
        seed: int,
        *,
        device: torch.device | None = None,
        log_every: int = 50,
    ) -> None:
        self.agent = agent
        self.metrics = metrics
        self.data = StoreData(store, np.random.default_rng([seed, 1]), device or torch.device("cpu"))
        self.updates = dict.fromkeys(agent.phases, 0)
        self.round = Round()
        self._log_every = log_every
        self._sums = {phase: ScalarSums() for phase in agent.phases}

    def work(
        self,
        name: str,
        budget: Mapping[str, int],
        *,
        on_update: Callable[[RoundProgress], None] | None = None,
        stop: Callable[[], bool] = never,
    ) -> bool:
        """Do a round of updates, phases in the agent's order; return False when `stop` ended it early.

        The same name again resumes the round; a new name starts a new round. Raises MotoError when a
        scalar is not finite: that update is not saved, so that the last checkpoint stays valid.
        """
        self._enter(name, budget)
        start, first = time.monotonic(), self.round.done
        while (phase := self.round.phase()) is not None:
            if stop():
                return False
            scalars = self.update(phase)
            self.round.left[phase] -= 1
            self._log(phase)
            if on_update is not None:
                rate = (self.round.done - first) / max(time.monotonic() - start, 1e-9)
                on_update(RoundProgress(name, phase, self.round.done, self.round.total, rate, scalars))
        return True

    def _enter(self, name: str, budget: Mapping[str, int]) -> None:
        unknown = set(budget) - set(self.agent.phases)
        if unknown:
            known = ", ".join(self.agent.phases)
            raise MotoError(f"update round '{name}': unknown phase {sorted(unknown)}, expected {known}; fix the budget")
        if self.round.name != name:
            ordered = {phase: budget.get(phase, 0) for phase in self.agent.phases}
            self.round = Round(name, dict(ordered), dict(ordered))

    def update(self, phase: str) -> Scalars:
        """Do one update of a phase and count it; MotoError when any of its scalars is NaN or infinite."""
        scalars = self.agent.update(phase, self.data)
        bad = next((name for name, value in scalars.items() if not math.isfinite(value)), None)
        if bad is not None:
            raise MotoError(
                f"{phase} update {self.updates[phase] + 1}: {bad} is {scalars[bad]}, expected a finite number; "
                "the last checkpoint is kept: look at the data, or lower the learning rate in a new run"
            )
        self.updates[phase] += 1
        self.metrics.clock.updates += 1
        self._sums[phase].add(scalars)
        return scalars

    def _log(self, phase: str) -> None:
        sums = self._sums[phase]
        if sums.count >= self._log_every or self.round.left[phase] == 0:
            self.metrics.row("update", phase=phase, round=self.round.name, count=sums.count, **sums.mean())
            self._sums[phase] = ScalarSums()

    def state(self) -> dict[str, Any]:
        """Return counters, the round, open averages and the batch generator, as plain JSON values."""
        return {
            "updates": dict(self.updates),
            "round": {"name": self.round.name, "budget": dict(self.round.budget), "left": dict(self.round.left)},
            "windows": {phase: {"count": w.count, "sums": dict(w.sums)} for phase, w in self._sums.items()},
            "generator": self.data.generator.bit_generator.state,
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restore what `state` returned."""
        self.updates = dict(state["updates"])
        self.round = Round(**state["round"])
        order = self.agent.phases
        self.round.left = {phase: self.round.left[phase] for phase in order if phase in self.round.left}
        self._sums = {phase: ScalarSums(**sums) for phase, sums in state["windows"].items()}
        self.data.generator.bit_generator.state = state["generator"]
