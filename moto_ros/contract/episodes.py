"""What is said about an episode: the values of moto_msgs/EpisodeState, without ROS."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Purpose(IntEnum):
    """What an episode is for; EpisodeState.PURPOSE_*."""

    DEMONSTRATION = 0
    TRAINING = 1
    EVALUATION = 2
    RESET = 3


class Phase(IntEnum):
    """Where an episode stands; EpisodeState.PHASE_*."""

    IDLE = 0
    RESETTING = 1
    RUNNING = 2
    ENDED = 3


class Outcome(IntEnum):
    """How an episode ended; EpisodeState.OUTCOME_*."""

    NONE = 0
    SUCCESS = 1
    TIME_LIMIT = 2
    FAILURE = 3
    ABORTED = 4
    DISCARDED = 5


@dataclass(frozen=True)
class Request:
    """One episode asked for; `max_steps` 0 takes the configured limit.

    `arm` is which of the policy's arms acts, empty for its better one; `arm_reason` why, in a few words.
    """

    episode: int
    purpose: Purpose
    seed: int
    max_steps: int = 0
    arm: str = ""
    arm_reason: str = ""


@dataclass(frozen=True)
class EpisodeStatus:
    """The present state of the episode; `start` in nanoseconds, `step` is T once ended."""

    episode: int = 0
    purpose: Purpose = Purpose.DEMONSTRATION
    phase: Phase = Phase.IDLE
    step: int = 0
    start: int = 0
    outcome: Outcome = Outcome.NONE
    reason: str = ""
    arm: str = ""
    arm_reason: str = ""
