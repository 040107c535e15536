"""Where an episode ends for learning: at its first success, which is terminal, instead of at the time limit.

Demonstrations of Meta-World solve their task in the first quarter of their steps and then hold still. If all rows are
sampled alike, model and critics mostly learn to hold still, and without a terminal step no value shows that the task is
done.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

NEVER = -1
"""Value of `steps_after_success` for episodes that are learned from whole."""


def first_success(success: np.ndarray, hold: int = 1) -> int | None:
    """Return the row at which success (T+1,) has held for `hold` rows in a row for the first time, or None."""
    held = 0
    for row in np.flatnonzero(success):
        held = held + 1 if held and success[row - 1] else 1
        if held >= hold:
            return int(row)
    return None


def success_row(rows: Mapping[str, np.ndarray], hold: int = 1) -> int | None:
    """Return the row at which an episode is solved, or None: success has held, or has ended the episode.

    Success that ends an episode, as an operator's does, is terminal and counts however short it was.
    """
    held = first_success(rows["success"], hold)
    ended = first_success(rows["success"] & rows["is_terminal"])
    return min((row for row in (held, ended) if row is not None), default=None)


def ended_at_success(rows: Mapping[str, np.ndarray], steps_after: int, hold: int = 1) -> dict[str, np.ndarray]:
    """Return the rows up to `steps_after` after the first success, terminal from there on; all rows without success.

    Every row from the success on is terminal: what leads to it or beyond it is worth its reward and nothing more, so
    that the few rows afterwards, which show a model what success looks like, cannot make success worth more than once.

    rows: arrays (T+1, ...) by name, with success bool (T+1,) and is_terminal bool (T+1,). `steps_after` of -1 changes
    nothing. Arrays are views, but for is_terminal.
    """
    found = None if steps_after == NEVER else success_row(rows, hold)
    if found is None:
        return dict(rows)
    kept = {name: values[: found + steps_after + 1] for name, values in rows.items()}
    kept["is_terminal"] = kept["is_terminal"].copy()
    kept["is_terminal"][found:] = True
    return kept
