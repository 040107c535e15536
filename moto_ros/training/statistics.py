"""Confidence intervals for success rates and for means over seeds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from moto_ros.errors import MotoError

RESAMPLES = 10_000


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence interval and the number of samples behind it."""

    mean: float
    low: float
    high: float
    n: int

    def percent(self) -> str:
        """Return the estimate as text, e.g. "75 % [53, 89], n = 20"."""
        return f"{100 * self.mean:.0f} % [{100 * self.low:.0f}, {100 * self.high:.0f}], n = {self.n}"


def wilson(successes: int, trials: int, confidence: float = 0.95) -> Interval:
    """Return the success rate with Wilson's score interval (Wilson 1927), which stays in [0, 1] at any n.

    Raises MotoError when there is no trial or more successes than trials.
    """
    if not 0 <= successes <= trials or trials == 0:
        raise MotoError(
            f"success rate of {successes} successes in {trials} trials: expected 0..n of n >= 1; add trials"
        )
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    rate, shrink = successes / trials, 1 + z**2 / trials
    centre = (rate + z**2 / (2 * trials)) / shrink
    half = z / shrink * math.sqrt(rate * (1 - rate) / trials + z**2 / (4 * trials**2))
    return Interval(rate, min(rate, max(0.0, centre - half)), max(rate, min(1.0, centre + half)), trials)


def bootstrap(values: Iterable[float], generator: np.random.Generator, confidence: float = 0.95) -> Interval:
    """Return the mean with its percentile bootstrap interval (Efron 1979); one value gives an interval of no width."""
    sample = np.fromiter(values, np.float64)
    if sample.size == 0:
        raise MotoError("mean over seeds: no value given, expected at least one; add a run")
    rows = generator.integers(sample.size, size=(RESAMPLES, sample.size))
    tail = 50 * (1 - confidence)
    low, high = np.percentile(sample[rows].mean(axis=1), [tail, 100 - tail])
    return Interval(float(sample.mean()), float(low), float(high), int(sample.size))


def paired_difference(
    before: Sequence[float], after: Sequence[float], generator: np.random.Generator, confidence: float = 0.95
) -> Interval:
    """Return the mean of `after - before` over episodes that share their seeds, with its bootstrap interval."""
    if len(before) != len(after):
        raise MotoError(
            f"paired difference of {len(before)} and {len(after)} values: expected equal numbers; pair them by seed"
        )
    return bootstrap((last - first for first, last in zip(before, after, strict=True)), generator, confidence)


def moving_average(values: Sequence[float], window: int) -> np.ndarray:
    """Return the mean over the last `window` values at each position, over fewer at the start."""
    total = np.concatenate([[0.0], np.cumsum(np.asarray(values, np.float64))])
    last = np.arange(1, total.size)
    first = np.maximum(0, last - window)
    return (total[last] - total[first]) / (last - first)
