"""Breaks learning: rows after success drown those before it, and a value that has no end never becomes usable."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moto_ros.data.success_end import NEVER, ended_at_success, first_success, success_row


def rows(success: list[bool]) -> dict[str, np.ndarray]:
    size = len(success)
    return {
        "success": np.array(success, bool),
        "is_terminal": np.zeros(size, bool),
        "reward": np.array(success, np.float32),
        "action": np.arange(size, dtype=np.float32)[:, None],
    }


@given(st.lists(st.booleans(), min_size=2, max_size=60), st.integers(0, 8), st.integers(1, 4))
def test_an_episode_ends_after_its_first_held_success_and_nowhere_else(
    success: list[bool], steps_after: int, hold: int
) -> None:
    given_rows = rows(success)
    found = ended_at_success(given_rows, steps_after, hold)
    ends = [at for at in range(len(success)) if at >= hold - 1 and all(success[at - hold + 1 : at + 1])]
    expected = min(ends[0] + steps_after + 1, len(success)) if ends else len(success)
    assert all(len(values) == expected for values in found.values())
    before = ends[0] if ends else expected
    assert found["is_terminal"].tolist() == [False] * before + [True] * (expected - before)
    assert np.array_equal(found["action"], given_rows["action"][:expected])
    assert not given_rows["is_terminal"].any(), "what the bag gave must stay as it is"


def test_without_the_setting_an_episode_is_learned_from_whole() -> None:
    found = ended_at_success(rows([False, True, False, False]), NEVER)
    assert len(found["reward"]) == 4
    assert not found["is_terminal"].any()


def test_success_that_ended_the_episode_counts_however_short_it_was() -> None:
    """An operator's success, or that of a bag whose last step is one, would be learned from as a failure."""
    short = rows([False, False, True])
    assert success_row(short, 3) is None
    short["is_terminal"][2] = True
    assert success_row(short, 3) == 2
    failed = rows([False, True, False])
    failed["is_terminal"][2] = True
    assert success_row(failed, 2) is None


@pytest.mark.parametrize(
    ("success", "hold", "at"), [([0, 1, 1, 0], 1, 1), ([0, 1, 0, 1, 1], 2, 4), ([0, 1, 0], 2, None)]
)
def test_success_counts_from_where_it_has_held(success: list[int], hold: int, at: int | None) -> None:
    assert first_success(np.array(success, bool), hold) == at
