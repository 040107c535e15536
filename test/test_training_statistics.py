"""Success rates and means in the report come with the right intervals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from moto_ros.errors import MotoError
from moto_ros.training.statistics import bootstrap, moving_average, paired_difference, wilson


@given(st.integers(1, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_is_the_textbook_interval(sample: tuple[int, int]) -> None:
    """Success rates in the report would carry wrong confidence intervals."""
    successes, trials = sample
    ours = wilson(successes, trials)
    theirs = binomtest(successes, trials).proportion_ci(method="wilson")
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


@pytest.mark.parametrize(("successes", "trials"), [(0, 0), (3, 2), (-1, 5)])
def test_impossible_counts_are_refused(successes: int, trials: int) -> None:
    """A report would show a success rate of nothing."""
    with pytest.raises(MotoError, match="expected"):
        wilson(successes, trials)


def test_bootstrap_covers_the_mean_about_as_often_as_it_says() -> None:
    """The interval over seeds would be far too narrow or too wide."""
    generator = np.random.default_rng(0)
    intervals = [bootstrap(generator.normal(1.0, 2.0, 20), generator) for _ in range(100)]
    covered = sum(interval.low <= 1.0 <= interval.high for interval in intervals)
    assert 85 <= covered <= 99


def test_pairing_removes_the_difficulty_of_the_seeds() -> None:
    """A gain of exactly 0.25 on every seed would drown in the spread between seeds."""
    before = np.linspace(0, 1, 11)
    gain = paired_difference(list(before), list(before + 0.25), np.random.default_rng(0))
    assert (gain.mean, gain.low, gain.high) == pytest.approx((0.25, 0.25, 0.25))


def test_moving_average_uses_fewer_values_at_the_start() -> None:
    """The learning curve would start too low or have holes."""
    assert moving_average([1, 0, 0, 4], 2) == pytest.approx([1.0, 0.5, 0.0, 2.0])
