"""Parameters of the operator node. No ROS."""

from __future__ import annotations

from dataclasses import dataclass

from moto_ros.config import parameter
from moto_ros.contract.peers import Peers
from moto_ros.episode.control_pace import PaceSettings
from moto_ros.errors import MotoError
from moto_ros.teleop.arbiter import BlendRules
from moto_ros.teleop.human import DIRECTIONS, HumanSettings
from moto_ros.teleop.uncertainty_guard import UncertaintyRules


@dataclass(frozen=True)
class OperatorSettings(Peers, PaceSettings, HumanSettings, BlendRules, UncertaintyRules):
    """Parameters of the operator node."""

    proposals: str = parameter(
        "policy",
        "whose actions a person may replace: those of the policy, or of nobody (recording)",
        choices=("policy", "none"),
    )
    wait_for_human: bool = parameter(
        True, "without a policy: an episode's first action waits until the person first moves"
    )

    def __post_init__(self) -> None:
        """Refuse axes that do not fit the action, and a recording in which the person can move nothing."""
        super().__post_init__()
        axes, size = self.action_axes, self.action_size
        if len(axes) != size:
            raise MotoError(
                f"parameter 'action_axes' is {list(axes)}, expected {size} entries, the 'action_size'; set both alike"
            )
        if self.proposals == "none" and not set(axes) & set(DIRECTIONS):
            raise MotoError(
                f"parameter 'action_axes' is {list(axes)}, expected one of {', '.join(DIRECTIONS)}: a person moves the "
                "end effector; demonstrate with Cartesian actions"
            )
