"""Prioritised replay: windows that may begin at any step of an episode, drawn uniformly or by priority."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from moto_ros.data.sum_tree import SumTree
from moto_ros.errors import MotoError

INITIAL_PRIORITY = 1.0
"""Priority of the first steps of a source; later ones start with the largest so far."""


@dataclass(frozen=True)
class EpisodeRows:
    """The rows of an episode: the number of its first step in the whole store, and how many rows are used."""

    first: int
    rows: int

    @property
    def steps(self) -> int:
        """Return how many windows may begin in it."""
        return max(self.rows - 1, 0)


class WindowTable:
    """Every step of a source, with its priority. Step numbers stay the same when episodes are added or dropped."""

    def __init__(self, episodes: Sequence[EpisodeRows], before: WindowTable | None = None) -> None:
        """Copy the priorities of the table `before`; all other steps get the largest of them.

        Every episode has at least one step.
        """
        steps = np.array([episode.steps for episode in episodes], np.int64)
        self._first = np.array([episode.first for episode in episodes], np.int64)
        self._last = np.array([episode.rows - 1 for episode in episodes], np.int64)
        self._offsets = np.cumsum(steps) - steps
        self._total = int(steps.sum())
        largest = INITIAL_PRIORITY if before is None or not before._total else float(before.priorities.max())
        self.priorities: np.ndarray = np.full(self._total, largest)
        if before is not None:
            numbers = self._numbers(np.arange(self._total))
            items, known = before._items(numbers)
            self.priorities[known] = before.priorities[items[known]]
        self._alpha = 0.0
        self._tree: SumTree | None = None

    def __len__(self) -> int:
        return self._total

    def uniform(self, size: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Draw step numbers (size,) with replacement; all weights are 1."""
        return self._numbers(generator.integers(self._total, size=size)), np.ones(size, np.float32)

    def by_priority(
        self, size: int, generator: np.random.Generator, alpha: float, beta: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draw step numbers (size,) with chances ~ priority^alpha, and their importance weights (size,), at most 1."""
        tree = self._tree_for(alpha)
        items = tree.draw(size, generator)
        weights = (self._total * tree.weights(items) / tree.total) ** -beta
        return self._numbers(items), (weights / weights.max()).astype(np.float32)

    def prioritise(self, numbers: np.ndarray, priorities: np.ndarray) -> None:
        """Set priorities of steps; those no longer there are skipped. MotoError where one is not positive."""
        if not (np.isfinite(priorities).all() and (priorities > 0).all()):
            raise MotoError("replay: a priority is NaN, infinite or not positive; look at the losses of the agent")
        items, known = self._items(numbers)
        self.priorities[items[known]] = priorities[known]
        if self._tree is not None:
            self._tree.update(items[known], self.priorities[items[known]] ** self._alpha)

    def locate(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return which episode each step is in, its row there, and the last row that is used."""
        episode = np.searchsorted(self._first, numbers, "right") - 1
        return episode, numbers - self._first[episode], self._last[episode]

    def _numbers(self, items: np.ndarray) -> np.ndarray:
        episode = np.searchsorted(self._offsets, items, "right") - 1
        return self._first[episode] + items - self._offsets[episode]

    def _items(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the places of steps in this table, and which of the steps are in it at all."""
        if not self._total:
            return np.zeros(len(numbers), np.int64), np.zeros(len(numbers), bool)
        episode, row, last = self.locate(numbers)
        known = (episode >= 0) & (row < last)
        return np.where(known, self._offsets[episode] + row, 0), known

    def _tree_for(self, alpha: float) -> SumTree:
        if self._tree is None or self._alpha != alpha:
            self._alpha, self._tree = alpha, SumTree(self.priorities**alpha)
        return self._tree

    def packed(self) -> str:
        """Return the priorities as text."""
        return base64.b64encode(self.priorities.astype("<f8").tobytes()).decode("ascii")

    def unpack(self, text: str) -> None:
        """Set the priorities from the text of `packed`; MotoError when they are of other steps."""
        found = np.frombuffer(base64.b64decode(text), "<f8")
        if len(found) != self._total:
            raise MotoError(
                f"replay index: has priorities of {len(found)} steps, expected {self._total}; start a new run"
            )
        self.priorities, self._tree = found.copy(), None
