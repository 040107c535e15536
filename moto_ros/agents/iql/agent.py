"""IQL behind the agent interface: offline RL without a model, on the encoder of FOWM (arXiv 2110.06169)."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from moto_ros.agents.common.augment import random_shift
from moto_ros.agents.common.averaging import AveragingSettings
from moto_ros.agents.common.base import NetworkAgent, Terms, observation, to_numbers
from moto_ros.agents.common.encoder import Encoder, EncoderSettings
from moto_ros.agents.common.in_sample import advantage_weight, cloning, expectile, follow, td_target
from moto_ros.agents.common.optimizer import Optimizer
from moto_ros.agents.common.tdmpc2_layers import HeadEnsemble, NormedMLP, orthogonal
from moto_ros.agents.interface import Batch, Budget, Data, Decision, Metrics, Spaces, State
from moto_ros.config import parameter


@dataclass(frozen=True)
class IqlSettings(EncoderSettings, AveragingSettings):
    """Everything that shapes the agent and its updates."""

    hidden: int = parameter(512, "units of policy and values", low=1, high=4096)
    heads: int = parameter(2, "Q heads; the least counts, their spread is the uncertainty", low=2, high=32)
    discount: float = parameter(0.9, "gamma", low=0.0, high=1.0)
    expectile: float = parameter(0.9, "tau of the value function", low=0.0, high=1.0)
    advantage_scale: float = parameter(3.0, "beta of the advantage-weighted policy", low=0.0)
    noise: float = parameter(0.05, "standard deviation of the exploring noise", low=0.0, high=1.0)
    target_rate: float = parameter(0.005, "how far the target heads follow at each update", low=0.0, high=1.0)
    rate: float = parameter(3e-4, "learning rate", low=0.0, high=1.0)
    clip: float = parameter(10.0, "global gradient norm above which gradients are scaled down", low=0.0)
    batch: int = parameter(256, "steps per update", low=1, high=65_536)
    offline_joint_updates: int = parameter(25_000, "updates before the first online episode", low=0)
    online_joint_updates: int = parameter(25, "updates after each online episode", low=0)
    online_episodes: int = parameter(1000, "online episodes of a run", low=0)


class IqlNetwork(nn.Module):
    """Encoder, Q heads with a slow copy, V and policy on latents (B, D)."""

    def __init__(self, settings: IqlSettings, spaces: Spaces) -> None:
        super().__init__()
        size, hidden = settings.latent_size, settings.hidden
        self.encoder = Encoder(spaces, settings)
        self.q = HeadEnsemble(settings.heads, size + spaces.action, hidden, 1)
        self.v = HeadEnsemble(1, size, hidden, 1)
        self.policy_head = NormedMLP(size, hidden, spaces.action)
        orthogonal(self)
        self.slow_q = deepcopy(self.q).requires_grad_(False)

    def q_values(self, latent: Tensor, action: Tensor, slow: bool = False) -> Tensor:
        """Return Q (heads, B)."""
        return (self.slow_q if slow else self.q)(torch.cat((latent, action), -1)).squeeze(-1)

    def value(self, latent: Tensor) -> Tensor:
        """Return V (B,)."""
        return self.v(latent).view(-1)

    def policy(self, latent: Tensor) -> Tensor:
        """Return the mean action (B, A) in (-1, 1)."""
        return torch.tanh(self.policy_head(latent))

    def step_target(self, rate: float) -> None:
        """Let the slow heads follow."""
        follow(list(self.slow_q.parameters()), list(self.q.parameters()), rate)


LEARNED_JOINTLY = ("encoder", "q", "v")


class IqlAgent(NetworkAgent):
    """Values of actions in the data, and a policy that clones them by their advantage; no filter state."""

    name: ClassVar[str] = "iql"
    settings_class: ClassVar[type] = IqlSettings
    phases: ClassVar[tuple[str, ...]] = ("joint",)
    acting = ("encoder", "q", "policy_head")
    settings: IqlSettings
    network: IqlNetwork
    actor: IqlNetwork

    def build(self) -> nn.Module:
        """Return encoder, values and policy."""
        return IqlNetwork(self.settings, self.spaces)

    def build_optimizers(self) -> dict[str, Optimizer]:
        """Return one optimiser for the policy, one for all else."""
        joint = nn.ModuleDict({name: getattr(self.network, name) for name in LEARNED_JOINTLY})
        parts = {"values": joint, "policy": self.network.policy_head}
        return {
            name: Optimizer(part, self.settings.rate, 1e-8, self.settings.clip, 0.0) for name, part in parts.items()
        }

    def start(self, batch: int) -> State:
        """Return no state."""
        return {}

    @torch.inference_mode()
    def act(
        self,
        observation: Batch,
        state: State,
        *,
        sample: bool,
        generator: torch.Generator | None = None,
        budget: Budget | None = None,
    ) -> Decision:
        """Act by the policy, with noise to explore."""
        latent = self.actor.encoder(self.to_device(observation))
        action = self.actor.policy(latent)
        if sample:
            noise = torch.randn(action.shape, generator=generator or self.exploring, device=action.device)
            action = (action + self.settings.noise * noise).clamp(-1, 1)
        return Decision(action, state, self.actor.q_values(latent, action).std(0))

    def improve(self, phase: str, data: Data) -> Metrics:
        """Update values and encoder, then the policy, on one batch of steps."""
        batch = self._draw(data)
        latent, reached = self._encoded(batch)
        action = batch["action"][:, 1]
        loss, terms = self._value_loss(latent, reached, action, batch)
        norm = self.optimizers["values"].step(loss)
        cloned, weight = self._policy_loss(latent.detach(), action)
        norms = {"values_norm": norm, "policy_norm": self.optimizers["policy"].step(cloned)}
        self.network.step_target(self.settings.target_rate)
        return to_numbers(terms | norms | {"policy_loss": cloned, "advantage_weight": weight.mean()})

    def _draw(self, data: Data) -> Batch:
        batch = self.to_device(data.windows("all", self.settings.batch, 2))
        self.network.encoder.learn(batch)
        if "image" in batch and self.settings.shift:
            image = batch["image"]
            batch["image"] = random_shift(image.flatten(0, 1), self.drawing).view(image.shape)
        return batch

    def _encoded(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the latents (B, D) acted from, with gradient, and those reached, without."""
        latent = self.network.encoder(observation(batch, 0))
        with torch.no_grad():
            return latent, self.network.encoder(observation(batch, 1))

    def _value_loss(self, latent: Tensor, reached: Tensor, action: Tensor, batch: Batch) -> tuple[Tensor, Terms]:
        settings, network = self.settings, self.network
        with torch.no_grad():
            least = network.q_values(latent, action, slow=True).amin(0)
            reward, terminal = batch["reward"][:, 1], batch["is_terminal"][:, 1]
            target = td_target(reward, terminal, network.value(reached), settings.discount)
        values = network.q_values(latent, action)
        q_loss = (values - target).square().sum(0).mean()
        value_loss = expectile(least - network.value(latent), settings.expectile).mean()
        terms = {
            "q_loss": q_loss,
            "value_loss": value_loss,
            "q_mean": values.mean(),
            "uncertainty": values.std(0).mean(),
        }
        return q_loss + value_loss, terms

    def _policy_loss(self, latent: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss of the policy, and the weights of its samples."""
        with torch.no_grad():
            advantage = self.network.q_values(latent, action, slow=True).amin(0) - self.network.value(latent)
            weight = advantage_weight(advantage, self.settings.advantage_scale)
        return (weight * cloning(self.network.policy(latent), action)).mean(), weight
