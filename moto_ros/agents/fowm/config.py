"""Settings of FOWM; the defaults are those of the paper's image tasks (xArm)."""

from __future__ import annotations

from dataclasses import dataclass

from moto_ros.agents.common.averaging import AveragingSettings
from moto_ros.agents.common.encoder import EncoderSettings
from moto_ros.agents.common.replay_settings import ReplaySettings
from moto_ros.config import parameter
from moto_ros.errors import MotoError


@dataclass(frozen=True)
class ModelSettings(EncoderSettings):
    """Sizes of the networks."""

    hidden: int = parameter(512, "units of dynamics, reward, policy and values", low=1, high=4096)
    heads: int = parameter(5, "Q heads; their spread is the uncertainty", low=2, high=32)
    heads_style: str = parameter("published", "layers of the Q heads", choices=("published", "modern"))
    two_hot: bool = parameter(False, "predict reward and Q as two-hot distributions over bins (TD-MPC2)")


@dataclass(frozen=True)
class PlannerSettings:
    """Settings of the planner (MPPI) and of its score."""

    plan: bool = parameter(True, "act by the planner; off: by the policy head alone")
    plan_horizon: int = parameter(5, "imagined steps of a plan", unit="steps", low=1, high=50)
    plan_iterations: int = parameter(6, "refinements of a plan; a deadline may cut them", low=1, high=100)
    plan_samples: int = parameter(512, "random candidates of an iteration", low=1, high=100_000)
    plan_policy_samples: int = parameter(51, "candidates proposed by the policy", low=0, high=100_000)
    plan_elites: int = parameter(50, "best candidates that shape the next iteration", low=1, high=10_000)
    plan_temperature: float = parameter(0.5, "how much a better score counts among the elites", low=0.0)
    plan_momentum: float = parameter(0.1, "share of the old mean kept by an iteration", low=0.0, high=1.0)
    plan_min_std: float = parameter(0.05, "minimum spread of the candidates", low=0.0, high=10.0)
    plan_max_std: float = parameter(2.0, "spread of the first candidates, and the largest", low=0.0, high=10.0)
    penalty: float = parameter(1.0, "lambda, the weight of the uncertainty in a plan's score; 0 leaves it out", low=0.0)
    scale_free: bool = parameter(
        False,
        "divide scores by the running range of Q, so that one plan_temperature serves rewards of every scale; return "
        "and penalty are divided alike, so how much the penalty weighs does not change",
    )
    plan_exact: bool = parameter(
        True, "compute the uncertainty of every candidate that may be among the elites; off: of those that likely are"
    )
    compile: bool = parameter(
        False, "compile the planner at its first plan (up to a minute); falls back where that fails", operational=True
    )

    @property
    def candidates(self) -> int:
        """Return the number of candidates of an iteration."""
        return self.plan_samples + self.plan_policy_samples


@dataclass(frozen=True)
class FowmSettings(ModelSettings, PlannerSettings, AveragingSettings, ReplaySettings):
    """All settings of the agent: networks, planner, losses, replay, phases."""

    policy_noise: float = parameter(0.05, "standard deviation of the policy's noise, cut at 0.3", low=0.0, high=1.0)

    consistency_scale: float = parameter(20.0, "weight of the latent prediction in the model loss", low=0.0)
    reward_scale: float = parameter(0.5, "weight of the reward in the model loss", low=0.0)
    q_scale: float = parameter(0.1, "weight of each Q head in the model loss", low=0.0)
    value_scale: float = parameter(0.1, "weight of V in the model loss", low=0.0)
    rho: float = parameter(0.5, "weight of an imagined step of training, over that of the one before", low=0.0)
    horizon: int = parameter(5, "imagined steps of training", unit="steps", low=1, high=50)
    discount: float = parameter(0.9, "gamma; the paper takes 0.99 for episodes of 1000 steps", low=0.0, high=1.0)
    expectile: float = parameter(0.9, "tau of the value function", low=0.0, high=1.0)
    advantage_scale: float = parameter(3.0, "beta of the advantage-weighted policy", low=0.0)
    value_target: str = parameter(
        "in_sample",
        "TD target: V of the next state, or the minimum of two Q at the policy",
        choices=("in_sample", "policy"),
    )
    policy_objective: str = parameter(
        "advantage", "policy: advantage-weighted cloning, or the largest Q", choices=("advantage", "max_q")
    )
    target_rate: float = parameter(0.01, "how far a target network follows at once", low=0.0, high=1.0)
    target_every: int = parameter(2, "updates between steps of the target networks", low=1)

    rate: float = parameter(3e-4, "learning rate", low=0.0, high=1.0)
    clip: float = parameter(10.0, "global gradient norm above which gradients are scaled down", low=0.0)
    batch: int = parameter(256, "windows per update", low=2, high=65_536)
    balanced: bool = parameter(True, "half of each batch offline, half online; off: one merged buffer")
    prioritised: bool = parameter(True, "draw by TD error (prioritised replay); off: uniformly")
    priority_alpha: float = parameter(0.6, "exponent of the priorities", low=0.0, high=1.0)
    priority_beta: float = parameter(0.4, "exponent of the importance weights", low=0.0, high=1.0)

    offline_joint_updates: int = parameter(25_000, "updates before the first online episode", low=0)
    online_joint_updates: int = parameter(25, "updates after each online episode", low=0)
    online_episodes: int = parameter(1000, "online episodes of a run", low=0, extent=True)

    def __post_init__(self) -> None:
        """Raise MotoError when there are fewer candidates than elites."""
        if self.plan_elites > self.candidates:
            raise MotoError(
                f"parameter 'plan_elites' is {self.plan_elites}, expected at most the {self.candidates} candidates "
                "(plan_samples + plan_policy_samples); lower it"
            )

    @property
    def length(self) -> int:
        """Return the rows of a window: one more than the imagined steps."""
        return self.horizon + 1
