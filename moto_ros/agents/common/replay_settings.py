"""What of recorded episodes an agent learns from; part of the settings of every agent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from moto_ros.config import parameter

WHOLE_EPISODES = -1
"""Value of `steps_after_success` for episodes that are learned from whole."""


@dataclass(frozen=True)
class ReplaySettings:
    """Where an episode ends for learning."""

    steps_after_success: int = parameter(
        WHOLE_EPISODES,
        "steps after the first success that are learned from; success is then the end of an episode, worth its reward "
        "once, for tasks whose reward is 1 for success and 0 else; -1: whole episodes",
        unit="steps",
        low=-1,
        before=WHOLE_EPISODES,
    )


def steps_after_success(settings: Any) -> int:
    """Return the setting of an agent; agents from elsewhere that lack it learn from whole episodes."""
    return int(getattr(settings, "steps_after_success", WHOLE_EPISODES))
