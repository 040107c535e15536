"""Rewards on hardware: a rule over the robot state, the operator's word, or anybody's own reward node."""

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
from moto_ros.episode.reward_assigner import ExternalReward, RewardAssigner, StepReward
from moto_ros.episode.reward_rules import Measured, RuleSettings
from moto_ros.ros import process, qos
from moto_ros.ros.convert import to_nanoseconds, to_time
from moto_ros.ros.diagnostics import NodeReport
from moto_ros.ros.discovery import Readiness
from moto_ros.ros.node import MotoNode

SECOND = 1_000_000_000


@dataclass(frozen=True)
class RewardSettings(Peers, RuleSettings):
    """Parameters of the reward node."""

    reset: RuleSettings = group(RuleSettings)
    """The rule in episodes that bring the scene back by a policy."""
    control_rate: float = parameter(10.0, "Rate of control steps", unit="Hz", low=0.1, high=1000.0)
    reward_lag: int = parameter(
        1, "a step is paid at the latest this long after its action was taken", unit="steps", low=1, high=100
    )


class RewardNode(MotoNode[RewardSettings]):
    """Shell of `RewardAssigner`: states, actions and words in, rewards out."""

    def __init__(self, given: Mapping[str, Any] | None = None) -> None:
        """Create topics."""
        super().__init__("reward", RewardSettings, given)
        self._rules = {True: self.settings.reset, False: part(self.settings, RuleSettings)}
        self._payer = RewardAssigner(round(SECOND / self.settings.control_rate), self.settings.reward_lag)
        self._resetting: int | None = None
        self._rewards = self.advertise(Reward, topics.REWARD, qos.event())
        self.subscribe(EpisodeState, topics.EPISODE_STATE, self._episode, qos.latched(10))
        self.subscribe(RobotState, topics.ROBOT_STATE, self._state, qos.every())
        self.subscribe(Action, topics.ACTION, self._action, qos.event())
        self.subscribe(OperatorEvent, topics.OPERATOR_EVENT, self._said, qos.event())
        self.subscribe(Reward, topics.EXTERNAL_REWARD, self._external, qos.event(), outside=True)
        self._ready = Readiness(self, self.settings.wait_for)

    def _episode(self, state: EpisodeState) -> None:
        if state.phase == Phase.RESETTING:
            self._resetting = state.episode
        elif state.phase == Phase.RUNNING and self._payer.episode != state.episode:
            rules = self._rules[state.purpose == Purpose.RESET]
            known = self._resetting == state.episode
            self._payer.begin(state.episode, to_nanoseconds(state.start), rules, from_start=known)
        if state.phase != Phase.RUNNING:
            self._payer.end()

    def _state(self, message: RobotState) -> None:
        place = message.ee_pose.position
        position = np.array([place.x, place.y, place.z])
        stamp = to_nanoseconds(message.header.stamp)
        self._pay(self._payer.state(Measured(stamp, message.episode, message.step, position, message.gripper_width)))

    def _action(self, message: Action) -> None:
        self._pay(self._payer.action(message.episode, message.step, to_nanoseconds(message.state_stamp)))

    def _external(self, message: Reward) -> None:
        offer = ExternalReward(message.value, message.success, message.terminal, message.source or "external")
        self._pay(self._payer.external(message.episode, message.step, offer))

    def _said(self, message: OperatorEvent) -> None:
        if message.event in (OperatorEvent.SUCCESS, OperatorEvent.FAILURE):
            self._pay(self._payer.operator(success=message.event == OperatorEvent.SUCCESS))

    def _pay(self, payments: Sequence[StepReward]) -> None:
        for payment in payments:
            message = Reward(episode=self._payer.episode, step=payment.step, source=payment.offer.source)
            message.header.stamp = to_time(payment.stamp)
            message.value, message.success = payment.offer.value, payment.offer.success
            message.terminal = payment.offer.terminal
            self._rewards.publish(message)

    def report(self) -> NodeReport:
        """Return what was paid by whom, and the newest refusal."""
        payer = self._payer
        values = {"rule": self.settings.rule, "taken": payer.taken, "paid": payer.paid or 0, **payer.counts}
        return NodeReport(values, warning=payer.refusal or self.health.sentence())


def main() -> None:
    """Run the node's process."""
    sys.exit(process.run(RewardNode))


if __name__ == "__main__":
    main()
