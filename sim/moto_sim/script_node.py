"""The script node: acts as the task's scripted expert, with noise, while demonstrations are recorded."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from moto_msgs.msg import Action, EpisodeState
from moto_ros.contract import topics
from moto_ros.ros import process, qos
from moto_ros.ros.convert import to_nanoseconds, to_time
from moto_ros.ros.diagnostics import NodeReport
from moto_ros.ros.discovery import Readiness
from moto_ros.ros.node import MotoNode
from moto_sim.rollout import add_noise
from moto_sim.settings import ScriptSettings
from moto_sim.topics import EXPERT_ACTION


class ScriptNode(MotoNode[ScriptSettings]):
    """Answers each observation of the running episode once, with the expert's action for it plus noise."""

    def __init__(self, given: Mapping[str, Any] | None = None) -> None:
        """Create topics."""
        super().__init__("script", ScriptSettings, given)
        self._episode, self._suggestion = EpisodeState(), Action()
        self._noise = np.random.default_rng(0)
        self._sent, self._answered, self._last = 0, -1, Action()
        self._actions = self.advertise(Action, topics.ACTION, qos.event())
        self.subscribe(EpisodeState, topics.EPISODE_STATE, self._on_episode_state, qos.latched(10))
        self.subscribe(Action, EXPERT_ACTION, self._on_expert_action, qos.event())
        self._ready = Readiness(self, self.settings.wait_for)

    def _on_episode_state(self, state: EpisodeState) -> None:
        if state.phase == EpisodeState.PHASE_RESETTING:
            self._noise = np.random.default_rng([self.settings.seed, state.episode])
            self._sent = 0
        self._episode = state
        self._act()

    def _on_expert_action(self, suggestion: Action) -> None:
        self._suggestion = suggestion
        self._act()

    def _act(self) -> None:
        seen = to_nanoseconds(self._suggestion.state_stamp)
        running = self._episode.phase == EpisodeState.PHASE_RUNNING
        if not running or self._suggestion.episode != self._episode.episode or seen == self._answered:
            return
        if seen < to_nanoseconds(self._episode.start):
            return
        self._answered = seen
        if self._suggestion.step >= self._sent:
            self._last = self._next(self._suggestion)
        # Real time: resend the last action to a robot that still waits for it, so that later ones keep their steps.
        self._last.header.stamp = to_time(self.now(seen))
        self._actions.publish(self._last)

    def _next(self, action: Action) -> Action:
        action.step = self._sent
        action.values = add_noise(np.asarray(action.values, np.float32), self.settings.expert_noise, self._noise)
        self._sent += 1
        return action

    def report(self) -> NodeReport:
        """Return the step of the episode."""
        return NodeReport({"episode": self._episode.episode, "step": self._sent}, warning=self.health.sentence())


def main() -> None:
    """Run the node's process."""
    sys.exit(process.run(ScriptNode))


if __name__ == "__main__":
    main()
