"""Percentiles over the newest samples of a duration. No ROS."""

from __future__ import annotations

from collections import deque

import numpy as np

MAX_SAMPLES = 1000


class Latency:
    """Durations in seconds, the newest `MAX_SAMPLES` of them."""

    def __init__(self) -> None:
        """Start without samples."""
        self._samples: deque[float] = deque(maxlen=MAX_SAMPLES)

    def add(self, seconds: float) -> None:
        """Add a sample."""
        self._samples.append(seconds)

    def __len__(self) -> int:
        """Return how many samples are held."""
        return len(self._samples)

    def figures(self, name: str) -> dict[str, float]:
        """Return `<name>_p50_ms`, `_p95_ms`, `_p99_ms` and `_max_ms`; nothing before the first sample."""
        if not self._samples:
            return {}
        found = np.percentile(np.array(self._samples), (50, 95, 99, 100)) * 1e3
        return {f"{name}_{q}_ms": float(ms) for q, ms in zip(("p50", "p95", "p99", "max"), found, strict=True)}
