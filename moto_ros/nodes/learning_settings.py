"""Parameters of the policy and trainer nodes; those of the agent are its own and come as the group `agent`. No ROS."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from moto_ros.agents.common.replay_settings import WHOLE_EPISODES, steps_after_success
from moto_ros.agents.interface import Spaces
from moto_ros.agents.registry import agent_plans, agent_settings
from moto_ros.config import REQUIRED, Value, flatten, group, parameter
from moto_ros.contract.peers import Peers
from moto_ros.data.layout import StepLayout, TopicMap
from moto_ros.data.prior import DEFAULT_RULE, FORMER_DEFAULT_RULE, RULES
from moto_ros.episode.control_pace import PaceSettings
from moto_ros.episode.success_rule import SuccessRule
from moto_ros.errors import MotoError
from moto_ros.training.run_folder import RunFolder
from moto_ros.training.settings import TrainerSettings

T = TypeVar("T")
DEFAULT_AGENT = "moto"


@dataclass(frozen=True)
class Learns(Peers):
    """Parameters that both nodes with an agent have."""

    agent_name: str = parameter(DEFAULT_AGENT, "learning algorithm")
    compressed: bool = parameter(False, "take the cameras' JPEG topics instead of the raw ones")


@dataclass(frozen=True)
class PolicySettings(Learns, PaceSettings):
    """Parameters of the policy node, without its agent's."""

    seed: int = parameter(0, "seed of the actions, together with the episode number", low=0, high=2**31 - 1)
    explore: str = parameter(
        "training",
        "in which episodes to explore: actions are drawn from the policy; in others the agent takes the best it knows",
        choices=("training", "always", "never"),
    )
    checkpoint: str = parameter("", "checkpoint to act with; empty waits for the trainer's weights")
    acting_arm: str = parameter(
        "", "arm that acts in episodes that name none: base (cloned) or policy (fine-tuned); empty: the better one"
    )
    device: str = parameter("cpu", "where the agent acts", choices=("auto", "cpu", "cuda"))
    threads: int = parameter(1, "CPU threads for acting; 0 takes every core", low=0, high=1024)
    operator_in_loop: bool = parameter(
        False, "propose actions to the operator node, which decides what is executed", formerly="arbitrated"
    )
    reset_only: bool = parameter(False, "act in episodes that reset the scene, and in no others")
    plan_time_fraction: float = parameter(
        0.6,
        "share of a control period in which an agent that plans must have decided (realtime)",
        low=0.01,
        high=1.0,
        formerly="plan_share",
    )
    plan_deadline: float = parameter(
        0.0,
        "time for a plan; 0: plan_time_fraction of the period in realtime, as long as it takes in lockstep",
        unit="s",
        low=0.0,
        high=60.0,
    )
    plan_ahead: bool = parameter(
        False, "plan beside the control loop, for the step after the action under way (realtime, agents that plan)"
    )

    def __post_init__(self) -> None:
        """Refuse to plan ahead where nothing is planned or the world waits."""
        super().__post_init__()
        if self.plan_ahead and not agent_plans(self.agent_name):
            raise MotoError(
                f"parameter 'plan_ahead' is true, but agent '{self.agent_name}' does not plan: it must see every "
                "observation when it arrives; leave plan_ahead out, or take an agent that plans, such as fowm"
            )
        if self.plan_ahead and self.lockstep:
            raise MotoError(
                "parameter 'plan_ahead' is true, but the clock is 'lockstep': the world waits for each plan; leave "
                "plan_ahead out, or set clock to realtime"
            )

    @property
    def plan_time(self) -> float | None:
        """Return the seconds in which an action must be decided, None for as long as it takes."""
        if self.plan_deadline:
            return self.plan_deadline
        return None if self.lockstep else self.plan_time_fraction / self.control_rate


@dataclass(frozen=True, kw_only=True)
class TrainerNodeSettings(Learns, TrainerSettings, StepLayout, SuccessRule):
    """Parameters of the trainer node, without its agent's."""

    run: str = parameter(REQUIRED, "run folder")
    task: str = parameter("", "name of the task, which the run keeps from its beginning to its end; empty: any")
    bags: str = parameter("", "demonstrations: bag, or folder of bags and files; empty: bags/offline of the run folder")
    checkpoint: str = parameter(
        "",
        "run folder or checkpoint to start a new run from, in place of its offline phase; one of agent bc takes the "
        "place of the base policy only; empty: none",
    )
    topics: TopicMap = group(TopicMap)
    prior_rule: str = parameter(
        DEFAULT_RULE,
        "what the behaviour prior may imitate; a run that was begun under another default keeps it",
        choices=tuple(RULES),
    )
    changed_bags: str = parameter(
        "refuse",
        "when bags were added, removed or changed since the run learned from them: refuse to resume, or ignore that",
        choices=("refuse", "ignore"),
    )
    memory: int = parameter(2048, "episodes beyond this size are kept on disk", unit="MiB", low=16)
    capacity: int = parameter(2_000_000, "beyond this the oldest episodes are forgotten", unit="steps", low=1000)
    nice: int = parameter(10, "how much learning yields CPU time to the control loop (nice value)", low=0, high=19)
    episode_timeout: float = parameter(600.0, "give up when an episode takes longer", unit="s", low=1.0)
    start_timeout: float = parameter(180.0, "give up when no episode is accepted for this long", unit="s", low=1.0)
    bag_timeout: float = parameter(30.0, "continue without the recorder's bag after this long", unit="s", low=0.1)
    policy_timeout: float = parameter(
        120.0, "give up when the policy has not taken new weights by then", unit="s", low=0.1
    )


@lru_cache
def with_agent(base: type[T], name: str) -> type[T]:
    """Return `base` with the parameters of agent `name` as the group `agent`; MotoError for an unknown agent."""
    settings = agent_settings(name)
    field = ("agent", settings, group(settings))
    return dataclasses.make_dataclass(base.__name__, [field], bases=(base,), frozen=True)


def policy_settings(given: Mapping[str, Any]) -> type[PolicySettings]:
    """Return the settings class of the policy node for the agent that `given` names."""
    return with_agent(PolicySettings, str(given.get("agent_name", DEFAULT_AGENT)))


def trainer_settings(given: Mapping[str, Any]) -> type[TrainerNodeSettings]:
    """Return the settings class of the trainer node for the agent that `given` names."""
    return with_agent(TrainerNodeSettings, str(given.get("agent_name", DEFAULT_AGENT)))


def agent_part(settings: Any) -> Any:
    """Return the agent's own settings out of those of a node."""
    return settings.agent


def as_begun(settings: TrainerNodeSettings, run: RunFolder) -> TrainerNodeSettings:
    """Return the settings with the prior's rule of the run in `run`, if there is one, where none is asked for.

    Defaults may change between versions; what a run learns from stays what it was when it began.
    """
    if settings.prior_rule != DEFAULT_RULE or not run.identity_file.exists():
        return settings
    rule = run.identity().get("data", {}).get("prior_rule", FORMER_DEFAULT_RULE)
    return settings if rule == settings.prior_rule else dataclasses.replace(settings, prior_rule=rule)


def data_part(settings: TrainerNodeSettings) -> dict[str, Value]:
    """Return the parameters that say what a run learns from; they are fixed when it starts, see `RunFolder.open`."""
    names = ("task", "cameras", "image_size", "proprio", "action_size", "prior_rule")
    start = str(Path(settings.checkpoint).expanduser().resolve()) if settings.checkpoint else ""
    # The default names are those of a live robot and do not describe bags.
    topics = {} if settings.topics == TopicMap() else flatten(settings.topics)
    own = {name: getattr(settings, name) for name in names} | {"checkpoint": start}
    if steps_after_success(agent_part(settings)) != WHOLE_EPISODES:
        own["success_hold"] = settings.success_hold  # it decides where episodes end
    return own | {f"topics.{name}": value for name, value in topics.items()}


def spaces_of(layout: StepLayout) -> Spaces:
    """Return the sizes of observations and actions that an agent is made for."""
    return Spaces(layout.image_shape, layout.proprio_size, layout.action_size)
