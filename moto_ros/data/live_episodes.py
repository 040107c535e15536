"""Live episodes: assembles the messages of the running episode for the learner. No ROS."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass, field
from typing import Any

from moto_ros.data.assembler import EpisodeAssembler
from moto_ros.data.joints import JointOrder
from moto_ros.data.layout import StepLayout
from moto_ros.data.pool import MessagePool

MAX_MESSAGES_AFTER_END = 200
"""Messages added after an episode's end, for its last observation; later ones are ignored."""


@dataclass
class LiveEpisode:
    """One episode as received: its messages, and by step what the policy estimated and whether it edited the action."""

    assembler: EpisodeAssembler
    uncertainty: dict[int, float] = field(default_factory=dict)
    rank: dict[int, float] = field(default_factory=dict)
    success_probability: dict[int, float] = field(default_factory=dict)
    edited: dict[int, float] = field(default_factory=dict)
    after: int = 0

    def uncertainties(self, steps: int) -> list[float]:
        """Return the uncertainty at each step that was received."""
        return [self.uncertainty[step] for step in range(steps) if step in self.uncertainty]

    def ranks(self, steps: int) -> list[float]:
        """Return the rank of the uncertainty at each step that was received."""
        return [self.rank[step] for step in range(steps) if step in self.rank]

    def success_probabilities(self, steps: int) -> list[float]:
        """Return the estimated probability of success at each step that was received."""
        return [self.success_probability[step] for step in range(steps) if step in self.success_probability]

    def edited_share(self, steps: int) -> float | None:
        """Return the share of the steps that the policy edited, of those where it says so; None where it never does."""
        known = [edited for step, edited in self.edited.items() if step < steps and math.isfinite(edited)]
        return sum(known) / len(known) if known else None

    def add(self, role: str, message: Any) -> None:
        """Add a message in its role."""
        self.after += self.assembler.ended
        if self.after > MAX_MESSAGES_AFTER_END:
            return
        self.assembler.add(role, message)
        if role == "action" and message.episode == self.assembler.episode:
            self.uncertainty[int(message.step)] = float(message.uncertainty)
            self.rank[int(message.step)] = float(message.uncertainty_rank)
            self.success_probability[int(message.step)] = float(getattr(message, "success_probability", math.nan))
            self.edited[int(message.step)] = float(getattr(message, "edited", math.nan))


class LiveEpisodes:
    """Assembles the running episode and keeps the one before until it is fetched. Thread-safe."""

    def __init__(self, layout: StepLayout, joints: JointOrder | None = None) -> None:
        """Start with no episode; `joints` is the order of joints."""
        self._joints = JointOrder() if joints is None else joints
        self._layout, self._lock = layout, threading.Lock()
        self._episodes: dict[int, LiveEpisode] = {}
        self._running: int | None = None

    def begin(self, episode: int) -> None:
        """Add messages from now on to `episode`."""
        with self._lock:
            kept = {number: live for number, live in self._episodes.items() if number == self._running}
            pool = MessagePool(self._layout, joints=self._joints)
            self._episodes = kept | {episode: LiveEpisode(EpisodeAssembler(self._layout, episode, pool))}
            self._running = episode

    def add(self, role: str, message: Any) -> None:
        """Add a message of the running episode in its role, see `EpisodeAssembler.add`."""
        with self._lock:
            live = None if self._running is None else self._episodes.get(self._running)
            if live is not None:
                live.add(role, message)

    def stop(self) -> None:
        """Ignore messages until the next episode begins."""
        with self._lock:
            self._running = None

    def fetch(self, episode: int) -> LiveEpisode | None:
        """Return an episode and forget it; None when its beginning was not received."""
        with self._lock:
            return self._episodes.pop(episode, None)
