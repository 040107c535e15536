"""Messages of the contract as plain records, with the fields that the step assembler needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from moto_ros.contract.stamps import to_nanoseconds

PURPOSES = ("demonstration", "training", "evaluation", "reset")
"""Names of EpisodeState.PURPOSE_*."""

OUTCOMES = ("none", "success", "time_limit", "failure", "aborted", "discarded")
"""Names of EpisodeState.OUTCOME_*."""

SOURCES = ("policy", "human", "script")
"""Names of Action.SOURCE_*; an episode keeps their numbers."""

HUMAN = SOURCES.index("human")

UNKNOWN_SOURCE = 255
"""Source of a row without a known source: the first row, and those of foreign bags."""

GUARDS = ("none", "slowed", "held", "asked")
"""Names of Action.GUARD_*; an episode keeps their numbers."""

PHASE_ENDED = 3
"""EpisodeState.PHASE_ENDED."""


def name_of(names: tuple[str, ...], number: int) -> str:
    """Return the name of an enumeration's value; a number without a name stays a number."""
    return names[number] if 0 <= number < len(names) else str(number)


@dataclass(frozen=True)
class Action:
    """moto_msgs/Action: the stamps of observation k (ns) and the command sent at it, float32 (A,)."""

    episode: int
    step: int
    sent: int
    state_stamp: int
    camera_stamps: tuple[tuple[str, int], ...]
    values: np.ndarray
    source: str
    policy_version: int
    guard: int = 0
    arm: str = ""

    @property
    def source_number(self) -> int:
        """Return Action.SOURCE_*, `UNKNOWN_SOURCE` for one without a name."""
        return SOURCES.index(self.source) if self.source in SOURCES else UNKNOWN_SOURCE

    @property
    def order(self) -> tuple[int, bytes]:
        """Which of two actions for the same step counts: the one sent first, as at the robot."""
        return self.sent, self.values.tobytes()


@dataclass(frozen=True)
class Reward:
    """moto_msgs/Reward: earned by reaching observation `step`, whose robot state is stamped `stamp` (ns)."""

    episode: int
    step: int
    stamp: int
    value: float
    success: bool
    terminal: bool

    @property
    def order(self) -> tuple[int, float, bool, bool]:
        """Which of two rewards for the same step counts."""
        return self.stamp, self.value, self.success, self.terminal


@dataclass(frozen=True)
class PhaseRecord:
    """moto_msgs/EpisodeState: state of an episode; once ended, `steps` and `outcome` are final."""

    episode: int
    stamp: int
    ended: bool
    start: int
    steps: int
    purpose: str
    outcome: str
    reason: str

    @property
    def order(self) -> tuple[bool, int, int, str, str]:
        """Which of two states of the same episode counts: an ending before anything else, then the first."""
        return not self.ended, self.stamp, self.steps, self.outcome, self.reason


def read_action(message: Any) -> Action:
    """Return the record of a moto_msgs/Action; values are not checked."""
    stamps = [to_nanoseconds(stamp) for stamp in message.camera_stamps]
    return Action(
        episode=int(message.episode),
        step=int(message.step),
        sent=to_nanoseconds(message.header.stamp),
        state_stamp=to_nanoseconds(message.state_stamp),
        camera_stamps=tuple(zip(map(str, message.cameras), stamps, strict=False)),
        values=np.array(message.values, np.float32).reshape(-1),
        source=name_of(SOURCES, int(message.source)),
        policy_version=int(message.policy_version),
        guard=int(getattr(message, "guard", 0)),  # bags of version 0.1 have none
        arm=str(getattr(message, "arm", "")),
    )


def read_reward(message: Any) -> Reward:
    """Return the record of a moto_msgs/Reward."""
    return Reward(
        episode=int(message.episode),
        step=int(message.step),
        stamp=to_nanoseconds(message.header.stamp),
        value=float(message.value),
        success=bool(message.success),
        terminal=bool(message.terminal),
    )


def read_phase(message: Any) -> PhaseRecord:
    """Return the record of a moto_msgs/EpisodeState."""
    return PhaseRecord(
        episode=int(message.episode),
        stamp=to_nanoseconds(message.header.stamp),
        ended=int(message.phase) == PHASE_ENDED,
        start=to_nanoseconds(message.start),
        steps=int(message.step),
        purpose=name_of(PURPOSES, int(message.purpose)),
        outcome=name_of(OUTCOMES, int(message.outcome)),
        reason=str(message.reason),
    )
