"""Settings of MOTO; the defaults are the recommended full-size values."""

from __future__ import annotations

from dataclasses import dataclass

from moto_ros.agents.common.averaging import AveragingSettings
from moto_ros.agents.common.base_policy import BasePolicySettings
from moto_ros.agents.common.exploration import ExplorationSettings
from moto_ros.agents.common.replay_settings import ReplaySettings
from moto_ros.config import parameter
from moto_ros.errors import MotoError


@dataclass(frozen=True)
class MotoSettings(AveragingSettings, BasePolicySettings, ExplorationSettings, ReplaySettings):
    """Everything that shapes the agent and its updates.

    The three switches give the ablations. With all of them off the agent is a DreamerV2 that has Q(s, a) in place of
    V(s): one transition head, no penalty, no behaviour prior, and one critic that learns from imagination alone.
    """

    uncertainty: bool = parameter(True, "penalise disagreement of the ensemble; off: one transition head, no penalty")
    behaviour_prior: bool = parameter(
        True, "keep the policy near successful episodes; off: beta and model_bc_scale count as 0"
    )
    value_expansion: bool = parameter(
        True, "train several critics on real transitions too; off: one critic, imagined transitions only"
    )

    policy: str = parameter(
        "imagined",
        "what acts: an actor that learns in imagination (as published), or a cloned base policy and bounded edits of "
        "it that critics choose, learned from real episodes",
        choices=("imagined", "edit"),
        before="imagined",
    )
    edit_limit: float = parameter(
        0.2,
        "largest change of an entry of the base policy's action, actions being in [-1, 1]",
        low=0.0,
        high=2.0,
        before=0.2,
    )
    edit_limit_first: float = parameter(
        0.05, "the same at the end of edit_warm_up; it grows evenly", low=0.0, high=2.0, before=0.05
    )
    edit_limit_updates: int = parameter(
        3000, "policy updates from there until edit_limit is reached", unit="updates", low=1, before=3000
    )
    edit_warm_up: int = parameter(
        0,
        "policy updates before a candidate may replace the base action: until then critics only learn",
        unit="updates",
        low=0,
        before=0,
    )
    edit_critics: int = parameter(8, "critics that choose", low=2, high=64, before=8)
    edit_head_share: float = parameter(
        0.6,
        "share of the episodes that each choosing critic learns from, its own, so that they differ where data are few",
        low=0.1,
        high=1.0,
        before=0.6,
    )
    edit_caution: float = parameter(
        1.0,
        "standard deviations over critics that are taken off the gain of a candidate over the base policy",
        low=0.0,
        before=1.0,
    )
    edit_margin: float = parameter(
        0.02,
        "gain in the chance of success above which a candidate replaces the base action",
        low=0.0,
        high=1.0,
        before=0.02,
    )
    edit_penalty: float = parameter(0.01, "weight of the square of an edit over its limit", low=0.0, before=0.01)
    edit_steps: int = parameter(5, "steps of the critics' targets (n-step)", unit="steps", low=1, high=100, before=5)
    edit_monte_carlo: float = parameter(
        0.2, "share of the episode's achieved return in the critics' targets", low=0.0, high=1.0, before=0.2
    )
    edit_batch: int = parameter(
        128,
        "transitions per policy update: half demonstrations and successes, half online",
        low=2,
        high=65_536,
        before=128,
    )
    edit_rate: float = parameter(
        3e-4, "learning rate of the choosing critics and of the edit", low=0.0, high=1.0, before=3e-4
    )
    edit_target_rate: float = parameter(
        0.01, "how far the choosing critics' target follows an update", low=0.0, high=1.0, before=0.01
    )
    latent: str = parameter("gaussian", "kind of stochastic latent", choices=("gaussian", "categorical"))
    stoch: int = parameter(64, "size of a Gaussian latent, or number of categorical variables", low=1, high=1024)
    classes: int = parameter(32, "values per categorical variable", low=2, high=256)
    deter: int = parameter(400, "size of the recurrent state", low=1, high=8192)
    hidden: int = parameter(400, "units of the world model's inner layers", low=1, high=8192)
    conv_depth: int = parameter(48, "channels of the first convolution; later ones double it", low=1, high=256)
    head_units: int = parameter(400, "units of reward, actor and critic layers", low=1, high=8192)
    head_layers: int = parameter(4, "hidden layers of reward, actor and critics", low=1, high=16)
    proprio_units: int = parameter(128, "units of the proprioception encoder and decoder layers", low=1, high=4096)
    ensemble: int = parameter(7, "members of the ensemble", low=1, high=64)
    ensemble_kind: str = parameter(
        "transition",
        "what is ensembled: the prior heads, or side networks that predict the next posterior (Plan2Explore)",
        choices=("transition", "side"),
    )
    critics: int = parameter(5, "number of critics", low=1, high=32)

    image_scale: float = parameter(1.0, "weight of the image term of the model loss", low=0.0)
    reward_scale: float = parameter(1.0, "weight of the reward term of the model loss", low=0.0)
    proprio_scale: float = parameter(1.0, "weight of the proprioception term of the model loss", low=0.0)
    kl_scale: float = parameter(1.0, "weight of the KL term of the model loss", low=0.0)
    kl_balance: float = parameter(0.8, "share of the KL gradient that trains the prior", low=0.0, high=1.0)
    free_nats: float = parameter(1.0, "KL below which the KL term gives no gradient", unit="nat", low=0.0)
    kl_at_chunk_start: bool = parameter(
        True,
        "charge the KL term at the first step of every chunk, where no prior can know the state; off: only where an "
        "episode begins there",
        before=True,
    )
    kl_all_heads: bool = parameter(False, "sum the KL terms of all heads instead of one random head a step")
    model_bc_scale: float = parameter(
        0.0,
        "weight of cloning what may be imitated inside the model loss, which so shapes the states; 0: off",
        low=0.0,
        formerly="bc_in_model",
    )
    image_shift: int = parameter(
        0,
        "model updates see each chunk shifted by up to this much, either way; 0: not at all",
        unit="px",
        low=0,
        high=32,
    )
    decode_fraction: float = parameter(
        1.0, "share of frames reconstructed in an update, drawn each time", low=0.01, high=1.0, formerly="decoded_share"
    )

    model_rate: float = parameter(3e-4, "learning rate of the world model", low=0.0, high=1.0)
    actor_rate: float = parameter(8e-5, "learning rate of the actor", low=0.0, high=1.0)
    critic_rate: float = parameter(8e-5, "learning rate of the critics", low=0.0, high=1.0)
    adam_epsilon: float = parameter(1e-5, "Adam's epsilon", low=0.0)
    clip: float = parameter(100.0, "global gradient norm above which gradients are scaled down", low=0.0)
    decay: float = parameter(1e-6, "share of every weight removed at each step", low=0.0, high=1.0)

    batch: int = parameter(64, "chunks per update", low=1, high=4096)
    policy_batch: int = parameter(
        0, "chunks per policy update, from each step of which imagination starts; 0: as many as batch", low=0, high=4096
    )
    encoding_cache_frames: int = parameter(
        0,
        "frames, the first of the replay, whose encodings policy updates share until the model changes; a batch with a "
        "later one shares none: for frames that are few and drawn often; 0: never",
        low=0,
        operational=True,
        formerly="remembered_frames",
    )
    prior_batch: int = parameter(64, "chunks of successful episodes per policy update", low=1, high=4096)
    length: int = parameter(50, "length of a chunk", unit="steps", low=2, high=1000)
    horizon: int = parameter(15, "imagined states per start", unit="steps", low=2, high=200)
    discount: float = parameter(0.99, "gamma", low=0.0, high=1.0)
    lambda_: float = parameter(0.95, "lambda of the returns", low=0.0, high=1.0, formerly="mix")
    alpha: float = parameter(10.0, "weight of the uncertainty penalty; 2.5 suits categorical latents", low=0.0)
    beta: float = parameter(10.0, "weight of the behaviour prior", low=0.0)
    entropy: float = parameter(0.0, "weight of the policy's entropy", low=0.0)
    eval_action: str = parameter(
        "mode",
        "action where none is drawn: the policy's most likely one, as published, or its mean; they differ where the "
        "limits of actions cut a tail off",
        choices=("mode", "mean"),
        formerly="acts_by",
    )
    reset_actor_ema: bool = parameter(
        False,
        "restart the average of the policy when the model has changed, for that changes its input",
        formerly="average_anew",
    )
    target_every: int = parameter(100, "policy updates between copies of the critics to the target", low=1)

    offline_model_updates: int = parameter(10_000, "world-model updates before the first online episode", low=0)
    offline_policy_updates: int = parameter(10_000, "policy updates before the first online episode", low=0)
    online_base_updates: int = parameter(
        0,
        "updates after each online episode of a copy of the base policy, which also learns from what succeeded online, "
        "a person's steps included; edits then start from the copy; the base policy stays as it is",
        low=0,
        before=0,
    )
    online_model_updates: int = parameter(50, "world-model updates after each online episode", low=0)
    online_policy_updates: int = parameter(50, "policy updates after each online episode", low=0)
    online_episodes: int = parameter(500, "online episodes of a run", low=0, extent=True)

    precision: str = parameter(
        "float32",
        "of the products in an update; bfloat16 is for GPUs and processors that have it, and slow elsewhere",
        choices=("float32", "bfloat16"),
        operational=True,
    )

    compile_steps: bool = parameter(
        False,
        "compile the steps of filter and imagination at the first update (minutes); falls back where that fails",
        operational=True,
    )

    def __post_init__(self) -> None:
        """Raise MotoError for an average that the policy does not act by."""
        if self.policy == "edit" and self.actor_ema:
            raise MotoError(
                f"parameter 'actor_ema' is {self.actor_ema}, expected 0 with policy: edit, whose edits act by their "
                "newest weights; leave it out, or set base_ema"
            )

    @property
    def heads(self) -> int:
        """Return the number of transition heads of the world model."""
        return self.ensemble if self.uncertainty and self.ensemble_kind == "transition" else 1

    @property
    def cloning_scale(self) -> float:
        """Return the weight of the cloning term of the model loss: without behaviour prior nothing is cloned."""
        return self.model_bc_scale if self.behaviour_prior else 0.0

    @property
    def side_heads(self) -> int:
        """Return the number of side networks (0 unless they are what is ensembled)."""
        return self.ensemble if self.uncertainty and self.ensemble_kind == "side" else 0

    @property
    def critic_count(self) -> int:
        """Return the number of critics in use."""
        return self.critics if self.value_expansion else 1
