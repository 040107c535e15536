"""A sum tree: draws from many items in proportion to their weights, in logarithmic time, all draws at once."""

from __future__ import annotations

import numpy as np


class SumTree:
    """Weights >= 0 of items 0..N-1; each inner node holds the sum of its two children.

    Every node is the sum of its children, whatever the order of changes, so that equal weights give equal draws.
    """

    def __init__(self, weights: np.ndarray) -> None:
        """Build the tree over weights (N,), N >= 1."""
        self._leaves = 1 << (len(weights) - 1).bit_length()
        self._count = len(weights)
        self._nodes = np.zeros(2 * self._leaves)
        self._nodes[self._leaves : self._leaves + self._count] = weights
        level = self._leaves
        while level > 1:
            children = self._nodes[level : 2 * level]
            self._nodes[level // 2 : level] = children[0::2] + children[1::2]
            level //= 2

    def __len__(self) -> int:
        return self._count

    @property
    def total(self) -> float:
        """Return the sum of all weights."""
        return float(self._nodes[1])

    def weights(self, items: np.ndarray) -> np.ndarray:
        """Return the weights of items (n,)."""
        return self._nodes[self._leaves + items]

    def update(self, items: np.ndarray, weights: np.ndarray) -> None:
        """Set the weights (n,) of items (n,); of an item given twice the last one counts."""
        nodes = items + self._leaves
        self._nodes[nodes] = weights
        while len(nodes) and nodes[0] > 1:
            nodes = np.unique(nodes // 2)
            self._nodes[nodes] = self._nodes[2 * nodes] + self._nodes[2 * nodes + 1]

    def draw(self, size: int, generator: np.random.Generator) -> np.ndarray:
        """Draw `size` items with replacement, each with chance weight / total, which must be positive."""
        rest = generator.random(size) * self.total
        nodes = np.ones(size, np.int64)
        while nodes[0] < self._leaves:
            nodes *= 2
            left = self._nodes[nodes]
            # A side without weight is never entered, whatever the rounding of `rest`.
            right = (rest >= left) & (self._nodes[nodes + 1] > 0)
            rest = np.where(right, rest - left, rest)
            nodes += right
        return nodes - self._leaves
