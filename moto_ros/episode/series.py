"""A series of automatic episodes, for recording or evaluating without a trainer. No ROS."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from moto_ros.config import parameter
from moto_ros.contract.episodes import EpisodeStatus, Outcome, Purpose, Request
from moto_ros.errors import MotoError


@dataclass(frozen=True)
class SeriesSettings:
    """Parameters of automatic episodes."""

    automatic_episodes: int = parameter(0, "run this many episodes, then exit with status 0; 0: serve requests", low=0)
    first_episode: int = parameter(0, "number of the first automatic episode", low=0, high=2**32 - 1)
    purpose: str = parameter(
        "demonstration", "purpose of automatic episodes", choices=("demonstration", "training", "evaluation")
    )
    seed: int = parameter(0, "seed of the start states of automatic episodes", low=0, high=2**62)
    max_failures: int = parameter(3, "give up after this many aborted or unsaved episodes in a row", low=1)


class EpisodeSeries:
    """Requests episodes until the wanted number is on disk; an aborted one is replaced by another."""

    def __init__(self, settings: SeriesSettings) -> None:
        """Start with none done."""
        self._settings = settings
        self._asked = 0
        self._failures = 0
        self.done = 0
        self.successes = 0

    @property
    def wanted(self) -> bool:
        """Whether automatic episodes are configured."""
        return self._settings.automatic_episodes > 0

    @property
    def over(self) -> bool:
        """Whether all wanted episodes are on disk."""
        return self.done >= self._settings.automatic_episodes

    def next(self) -> Request:
        """Return the next episode to run."""
        episode = self._settings.first_episode + self._asked
        self._asked += 1
        purpose = Purpose[self._settings.purpose.upper()]
        return Request(episode, purpose, start_seed(self._settings.seed, purpose, episode))

    def finished(self, status: EpisodeStatus, problem: str, success: bool) -> None:
        """Count an episode. Raises MotoError after too many failures in a row."""
        if status.outcome is Outcome.ABORTED or problem:
            self._failures += 1
            if self._failures >= self._settings.max_failures:
                failed = f"{self._failures} episodes in a row failed, the last ({status.episode})"
                raise MotoError(f"{failed} because: {status.reason or problem}")
            return
        self._failures = 0
        self.done += status.outcome is not Outcome.DISCARDED
        self.successes += success and status.outcome is not Outcome.DISCARDED


def start_seed(seed: int, purpose: Purpose, episode: int) -> int:
    """Return the seed of an episode's start state: a function of run seed, purpose and number alone."""
    return int(np.random.SeedSequence([seed, int(purpose), episode]).generate_state(1, np.uint32)[0])
