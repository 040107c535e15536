"""A simulated person who helps a policy: the scripted expert takes over where the hand stands still."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from moto_sim.snapshot import Snapshot
from moto_sim.world import Script, World

STILL_STEPS = 20
"""Steps over which the hand is watched."""

STILL_DISTANCE = 0.01
"""m; a hand that has moved less than this over `STILL_STEPS` is stuck."""

TURN = 20
"""Steps for which the person keeps hold, unless the task is solved or the allowance used up."""


class ScriptedHelp:
    """Decides for one episode, step by step, whether the person acts; at most `allowance` steps of it.

    A person lets a policy try again: after each turn the hand is watched anew.
    """

    def __init__(self, world: World, seed: int, allowance: int, executed: Callable[[np.ndarray], None]) -> None:
        """Help in the episode of `world` that `reset(seed)` starts; `executed` hears of each action of the person."""
        self._world, self._seed, self._left, self._executed = world, seed, allowance, executed
        self._expert: Script | None = None
        self._path: list[np.ndarray] = []
        self._turn = 0

    def action(self, snapshot: Snapshot) -> np.ndarray | None:
        """Return the person's action (A,) for what the world is like now, or None where the policy acts."""
        if self._expert is None:
            self._expert = self._world.expert(self._seed)
        suggested = self._expert.action()  # once a step, as scripts ask for
        self._path.append(snapshot.ee_position)
        if snapshot.success:
            self._turn = 0
            self._path.clear()
        elif not self._turn and self._stuck():
            self._turn = TURN
        if not self._turn or not self._left:
            return None
        self._turn, self._left = self._turn - 1, self._left - 1
        if not self._turn:
            self._path.clear()
        self._executed(suggested)
        return suggested

    def _stuck(self) -> bool:
        if len(self._path) <= STILL_STEPS:
            return False
        return float(np.linalg.norm(self._path[-1] - self._path[-1 - STILL_STEPS])) < STILL_DISTANCE
