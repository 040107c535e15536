"""Settings of FOWM; the defaults are those of the paper's image tasks (xArm)."""

from __future__ import annotations

from dataclasses import dataclass

from moto_ros.agents.common.averaging import AveragingSettings
from moto_ros.agents.common.base_policy import BasePolicySettings
from moto_ros.agents.common.encoder import EncoderSettings
from moto_ros.agents.common.exploration import ExplorationSettings
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
    penalty_relative: bool = parameter(
        False,
        "measure the uncertainty in units of its running mean on data, and the penalty in units of the range of Q: "
        "lambda then keeps its meaning while uncertainty grows or shrinks during fine-tuning",
        before=False,
    )
    plan_proposals: str = parameter(
        "published",
        "candidates: random ones and the policy's, refined as published, or plan_policy_samples noisy copies of what "
        "the base policy would do, of which the best acts only where it beats the base policy (needs base_policy)",
        choices=("published", "base"),
        before="published",
    )
    plan_margin: float = parameter(
        0.02,
        "score above that of the base policy's own sequence from which a plan acts, with plan_proposals: base",
        low=0.0,
        before=0.02,
    )
    plan_noise: float = parameter(
        0.2,
        "standard deviation of the correlated noise of the candidates of plan_proposals: base",
        low=0.0,
        high=2.0,
        before=0.2,
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
class FowmSettings(
    ModelSettings, PlannerSettings, AveragingSettings, BasePolicySettings, ExplorationSettings, ReplaySettings
):
    """All settings of the agent: networks, planner, losses, replay, phases."""

    base_policy: str = parameter(
        "none",
        "clone a policy from what may be imitated before anything else is learned: the encoder begins from its encoder "
        "where their sizes are equal, it is an arm that acts, and cloning stays a part of the losses",
        choices=("none", "cloned"),
        before="none",
    )
    bc_scale: float = parameter(
        1.0,
        "weight of cloning what may be imitated in the losses of model and policy, with base_policy: cloned",
        low=0.0,
        before=1.0,
    )
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
    advantage_mask: str = parameter(
        "published",
        "actions that the policy clones by advantage: all, weighted at most 100, or those before the success of "
        "solved episodes, by their advantage in units of the range of Q and weighted at most 10",
        choices=("published", "solved"),
        before="published",
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
        """Raise MotoError for more elites than candidates, and for a plan around a base policy that there is not."""
        if self.plan_proposals == "base":
            if self.base_policy == "none":
                raise MotoError(
                    "parameter 'plan_proposals' is base, but 'base_policy' is none, expected cloned; set base_policy"
                )
            if not self.plan_policy_samples:
                raise MotoError(
                    "parameter 'plan_policy_samples' is 0, expected 1 or more with plan_proposals: base; raise it"
                )
        elif self.plan_elites > self.candidates:
            raise MotoError(
                f"parameter 'plan_elites' is {self.plan_elites}, expected at most the {self.candidates} candidates "
                "(plan_samples + plan_policy_samples); lower it"
            )

    @property
    def cloning_scale(self) -> float:
        """Return the weight of cloning in the losses: 0 without a base policy."""
        return self.bc_scale if self.base_policy == "cloned" else 0.0

    @property
    def values_are_chances(self) -> bool:
        """Return whether success ends an episode, so that rewards and values lie in [0, 1]."""
        return self.steps_after_success >= 0

    @property
    def iterations(self) -> int:
        """Return the iterations of a whole plan."""
        return 1 if self.plan_proposals == "base" else self.plan_iterations

    @property
    def length(self) -> int:
        """Return the rows of a window: one more than the imagined steps."""
        return self.horizon + 1
