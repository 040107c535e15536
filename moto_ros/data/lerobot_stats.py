"""Statistics of a LeRobot dataset: minimum, maximum, mean, deviation and quantiles, by episode and in all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}

MAX_FRAMES = 100
"""Frames of an episode that its image statistics are computed from, evenly spread."""

Stats = dict[str, np.ndarray]
"""Statistics of a feature by name; each has the shape of an entry, but `count` (1,)."""


def of_column(values: np.ndarray) -> Stats:
    """Return the statistics of a feature (N,) or (N, n); entries have shape (1,) or (n,)."""
    rows = values.reshape(len(values), -1).astype(np.float64)
    return _stats(rows, len(rows))


def of_images(frames: np.ndarray) -> Stats:
    """Return the statistics of frames, uint8 (N, H, W, 3), by channel: entries have shape (3, 1, 1), 0 to 1."""
    chosen = np.unique(np.linspace(0, len(frames) - 1, min(len(frames), MAX_FRAMES)).round().astype(int))
    pixels = frames[chosen].reshape(-1, frames.shape[-1])
    found = _stats(pixels.astype(np.float32) / 255.0, len(chosen))
    return {name: value if name == "count" else value.reshape(-1, 1, 1) for name, value in found.items()}


def _stats(rows: np.ndarray, count: int) -> Stats:
    parts = np.quantile(rows, list(QUANTILES.values()), axis=0)
    whole = {"min": rows.min(0), "max": rows.max(0), "mean": rows.mean(0), "std": rows.std(0)}
    return whole | {"count": np.array([count])} | dict(zip(QUANTILES, parts, strict=True))


class Totals:
    """Statistics of all episodes so far; quantiles are the mean of the episodes', weighted by their frames."""

    def __init__(self) -> None:
        self._known: dict[str, Stats] = {}

    def add(self, episode: dict[str, Stats]) -> None:
        """Add the statistics of an episode, by feature."""
        for key, stats in episode.items():
            known = self._known.get(key)
            self._known[key] = stats if known is None else _merged(known, stats)

    def as_json(self) -> dict[str, dict[str, Any]]:
        """Return the statistics by feature as plain lists."""
        return {key: {name: value.tolist() for name, value in stats.items()} for key, stats in self._known.items()}


def _merged(first: Stats, second: Stats) -> Stats:
    count = first["count"] + second["count"]
    share = second["count"][0] / count[0]
    mean = (1 - share) * first["mean"] + share * second["mean"]
    # The variance about the common mean: Chan, Golub and LeVeque 1979, equation 1.5b.
    variance = (1 - share) * first["std"] ** 2 + share * second["std"] ** 2
    variance += share * (1 - share) * (second["mean"] - first["mean"]) ** 2
    found = {"min": np.minimum(first["min"], second["min"]), "max": np.maximum(first["max"], second["max"])}
    found |= {"mean": mean, "std": np.sqrt(variance), "count": count}
    return found | {name: (1 - share) * first[name] + share * second[name] for name in QUANTILES}


def flat(episode: dict[str, Stats]) -> dict[str, Any]:
    """Return the statistics of an episode as the columns `stats/<feature>/<name>` of its row."""
    columns: Sequence[tuple[str, str, np.ndarray]] = [
        (key, name, value) for key, stats in episode.items() for name, value in stats.items()
    ]
    return {f"stats/{key}/{name}": value.tolist() for key, name, value in columns}
