"""Rules for which rows of an episode the behaviour prior imitates: the data set D_BC of the MOTO paper."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from moto_ros.data.records import HUMAN

Rows = Mapping[str, np.ndarray]

EXTRA_STEPS = 10
"""Steps that are imitated after the last completion (MOTO, Kitchen)."""


def success_at_end(rows: Rows) -> int:
    """Return how many rows to imitate: all of an episode that ends in success, else none (Meta-World, Adroit)."""
    return len(rows["success"]) if rows["success"][-1] else 0


def any_success(rows: Rows) -> int:
    """Return how many rows to imitate: all of an episode in which success held at any step, else none."""
    return len(rows["success"]) if rows["success"].any() else 0


def success_prefix(rows: Rows) -> int:
    """Return how many rows to imitate: those up to the first success and `EXTRA_STEPS` more; 0 without success.

    For episodes that continue long after success, as Meta-World's do: most of their steps do not show the skill, and
    some leave the goal.
    """
    success = rows["success"]
    return min(len(success), int(np.argmax(success)) + EXTRA_STEPS + 1) if success.any() else 0


def reward_prefix(rows: Rows) -> int:
    """Return how many rows to imitate: up to the last rise to the final reward and `EXTRA_STEPS` more; 0 if it is 0.

    The Kitchen rule where the reward is the number of completed elements and their order is not recorded.
    """
    reward = rows["reward"]
    if reward[-1] <= 0:
        return 0
    below = np.flatnonzero(reward < reward[-1])
    reached = int(below[-1]) + 1 if len(below) else 0
    return min(len(reward), reached + EXTRA_STEPS + 1)


def element_prefix(completed: np.ndarray, targets: Sequence[int]) -> int:
    """Return how many rows to imitate of an episode that completes `targets`, indices of elements, in that order.

    completed: bool (T+1, E), which of the E elements are in their goal state at each row. The elements that are
    complete in the last row are put in the order of their first completion. The rows end `EXTRA_STEPS` after the first
    completion of the last element up to which this order and `targets` agree; 0 where they differ from the beginning.
    """
    first = {element: int(np.argmax(completed[:, element])) for element in np.flatnonzero(completed[-1])}
    order = sorted(first, key=lambda element: first[element])
    matched = 0
    while matched < min(len(order), len(targets)) and order[matched] == targets[matched]:
        matched += 1
    return min(len(completed), first[order[matched - 1]] + EXTRA_STEPS + 1) if matched else 0


def whole(rows: Rows) -> int:
    """Return how many rows to imitate: all of every episode, as for behaviour cloning of the whole data set."""
    return len(rows["reward"])


def success_or_human(rows: Rows) -> int:
    """Return how many rows to imitate: all if it ends in success or a person chose every action, else none.

    For demonstrations whose rewards were not recorded. Help in the middle of an episode counts by its success.
    """
    return len(rows["success"]) if bool((rows["source"][1:] == HUMAN).all()) else success_at_end(rows)


DEFAULT_RULE = "success_prefix"
FORMER_DEFAULT_RULE = "success_at_end"
"""The rule of runs that were begun without one, now and by earlier versions."""

RULES: dict[str, Callable[[Rows], int]] = {
    "success_at_end": success_at_end,
    "any_success": any_success,
    "success_prefix": success_prefix,
    "reward_prefix": reward_prefix,
    "whole": whole,
    "success_or_human": success_or_human,
}
"""Rules by the name that configuration uses."""
