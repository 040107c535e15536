"""The reward node, for hardware: rewards from a rule over the robot state, the operator, or a user's own node."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from moto_msgs.msg import Action, EpisodeState, OperatorEvent, Reward, RobotState
from moto_ros.config import group, parameter, part
from moto_ros.contract import topics
from moto_ros.contract.episodes import Phase, Purpose
from moto_ros.contract.peers import Peers
from moto_ros.contract.stamps import NSEC_PER_SEC
from moto_ros.episode.reward_assigner import AssignedReward, RewardAssigner, StepReward
from moto_ros.episode.reward_rules import Measured, RuleSettings
from moto_ros.ros import process, qos
from moto_ros.ros.convert import to_nanoseconds, to_time
from moto_ros.ros.diagnostics import NodeReport
from moto_ros.ros.discovery import Readiness
from moto_ros.ros.node import MotoNode


@dataclass(frozen=True)
class RewardSettings(Peers, RuleSettings):
    """Parameters of the reward node."""

    reset: RuleSettings = group(RuleSettings)
    """The rule of episodes in which a policy resets the scene."""
    control_rate: float = parameter(10.0, "rate of control steps", unit="Hz", low=0.1, high=1000.0)
    reward_lag: int = parameter(
        1, "a step is rewarded at most this many steps after its action was executed", unit="steps", low=1, high=100
    )


class RewardNode(MotoNode[RewardSettings]):
    """Shell of `RewardAssigner`: states, actions and operator events in, rewards out."""

    def __init__(self, given: Mapping[str, Any] | None = None) -> None:
        """Create the topics."""
        super().__init__("reward", RewardSettings, given)
        self._rules = {True: self.settings.reset, False: part(self.settings, RuleSettings)}
        self._assigner = RewardAssigner(round(NSEC_PER_SEC / self.settings.control_rate), self.settings.reward_lag)
        self._resetting: int | None = None
        self._rewards = self.advertise(Reward, topics.REWARD, qos.event())
        self.subscribe(EpisodeState, topics.EPISODE_STATE, self._on_episode_state, qos.latched(10))
        self.subscribe(RobotState, topics.ROBOT_STATE, self._on_robot_state, qos.every())
        self.subscribe(Action, topics.ACTION, self._on_action, qos.event())
        self.subscribe(OperatorEvent, topics.OPERATOR_EVENT, self._on_operator_event, qos.event())
        self.subscribe(Reward, topics.EXTERNAL_REWARD, self._on_external_reward, qos.event(), outside=True)
        self._ready = Readiness(self, self.settings.wait_for)

    def _on_episode_state(self, state: EpisodeState) -> None:
        if state.phase == Phase.RESETTING:
            self._resetting = state.episode
        elif state.phase == Phase.RUNNING and self._assigner.episode != state.episode:
            rules = self._rules[state.purpose == Purpose.RESET]
            known = self._resetting == state.episode
            self._assigner.begin(state.episode, to_nanoseconds(state.start), rules, from_start=known)
        if state.phase != Phase.RUNNING:
            self._assigner.end()

    def _on_robot_state(self, message: RobotState) -> None:
        place = message.ee_pose.position
        position = np.array([place.x, place.y, place.z])
        stamp = to_nanoseconds(message.header.stamp)
        self._publish(
            self._assigner.state(Measured(stamp, message.episode, message.step, position, message.gripper_width))
        )

    def _on_action(self, message: Action) -> None:
        self._publish(self._assigner.action(message.episode, message.step, to_nanoseconds(message.state_stamp)))

    def _on_external_reward(self, message: Reward) -> None:
        reward = AssignedReward(message.value, message.success, message.terminal, message.source or "external")
        self._publish(self._assigner.external(message.episode, message.step, reward))

    def _on_operator_event(self, message: OperatorEvent) -> None:
        if message.event in (OperatorEvent.SUCCESS, OperatorEvent.FAILURE):
            self._publish(self._assigner.operator(success=message.event == OperatorEvent.SUCCESS))

    def _publish(self, rewards: Sequence[StepReward]) -> None:
        for reward in rewards:
            message = Reward(episode=self._assigner.episode, step=reward.step, source=reward.assigned.source)
            message.header.stamp = to_time(reward.stamp)
            message.value, message.success = reward.assigned.value, reward.assigned.success
            message.terminal = reward.assigned.terminal
            self._rewards.publish(message)

    def report(self) -> NodeReport:
        """Return the number of rewards from each source, and why the newest refused one was refused."""
        assigner = self._assigner
        values = {
            "rule": self.settings.rule,
            "taken": assigner.taken,
            "rewarded": assigner.rewarded or 0,
            **assigner.counts,
        }
        return NodeReport(values, warning=assigner.refusal or self.health.sentence())


def main() -> None:
    """Run the node's process."""
    sys.exit(process.run(RewardNode))


if __name__ == "__main__":
    main()
