"""Aggregates over runs as rliable does (Agarwal et al. 2021): interquartile mean, stratified bootstrap over runs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import trim_mean

from moto_ros.errors import MotoError
from moto_ros.training.statistics import Interval

RESAMPLES = 2000


def interquartile_mean(scores: np.ndarray) -> float:
    """Return the mean of the middle half of all scores, whatever their shape."""
    return float(trim_mean(scores.ravel(), proportiontocut=0.25))


def aggregate(scores: Sequence[Sequence[float]], generator: np.random.Generator, confidence: float = 0.95) -> Interval:
    """Return the interquartile mean of scores by task (each a list over seeds), with its bootstrap interval.

    Seeds are resampled within each task, as rliable does; with one seed a task the interval has no width. `n` is the
    number of scores. Raises MotoError without any.
    """
    strata = [np.asarray(one, np.float64) for one in scores if len(one)]
    if not strata:
        raise MotoError("aggregate: no score given, expected at least one run; run one")
    drawn = [one[generator.integers(len(one), size=(RESAMPLES, len(one)))] for one in strata]
    resampled = np.concatenate(drawn, axis=1)
    means = trim_mean(resampled, 0.25, axis=1)
    tail = 50 * (1 - confidence)
    low, high = np.percentile(means, [tail, 100 - tail])
    whole = np.concatenate(strata)
    return Interval(interquartile_mean(whole), float(low), float(high), len(whole))
