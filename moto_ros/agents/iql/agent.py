"""Implicit Q-learning (IQL, arXiv 2110.06169): offline RL without a model, on the encoder of FOWM."""

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
from moto_ros.agents.common.in_sample import (
    MAX_RELATIVE_WEIGHT,
    advantage_weight,
    cloning,
    expectile,
    polyak_update,
    td_target,
    worth_cloning,
)
from moto_ros.agents.common.optimizer import Optimizer
from moto_ros.agents.common.replay_settings import WHOLE_EPISODES, ReplaySettings
from moto_ros.agents.common.running_range import RunningRange
from moto_ros.agents.common.tdmpc2_layers import HeadEnsemble, NormedMLP, orthogonal
from moto_ros.agents.interface import ActRequest, Batch, Data, Decision, Metrics, Spaces, State
from moto_ros.config import parameter


@dataclass(frozen=True)
class IqlSettings(EncoderSettings, AveragingSettings, ReplaySettings):
    """Everything that shapes the agent and its updates."""

    hidden: int = parameter(512, "units of policy and values", low=1, high=4096)
    heads: int = parameter(2, "Q heads; their minimum counts, their spread is the uncertainty", low=2, high=32)
    discount: float = parameter(0.9, "gamma", low=0.0, high=1.0)
    expectile: float = parameter(0.9, "tau of the value function", low=0.0, high=1.0)
    advantage_scale: float = parameter(
        3.0, "beta of the advantage-weighted policy; in units of the range of Q where episodes end at success", low=0.0
    )
    noise: float = parameter(0.05, "standard deviation of the exploring noise", low=0.0, high=1.0)
    target_rate: float = parameter(0.005, "how far the target heads follow at each update", low=0.0, high=1.0)
    rate: float = parameter(3e-4, "learning rate", low=0.0, high=1.0)
    clip: float = parameter(10.0, "global gradient norm above which gradients are scaled down", low=0.0)
    batch: int = parameter(256, "steps per update", low=1, high=65_536)
    offline_joint_updates: int = parameter(25_000, "updates before the first online episode", low=0)
    online_joint_updates: int = parameter(25, "updates after each online episode", low=0)
    online_episodes: int = parameter(1000, "online episodes of a run", low=0, extent=True)


class IqlNetwork(nn.Module):
    """Encoder, Q heads with a target copy, V and policy on latents (B, D)."""

    def __init__(self, settings: IqlSettings, spaces: Spaces) -> None:
        super().__init__()
        size, hidden = settings.latent_size, settings.hidden
        self.encoder = Encoder(spaces, settings)
        self.q = HeadEnsemble(settings.heads, size + spaces.action, hidden, 1)
        self.v = HeadEnsemble(1, size, hidden, 1)
        self.policy_head = NormedMLP(size, hidden, spaces.action)
        self.q_range = None if settings.steps_after_success == WHOLE_EPISODES else RunningRange()
        orthogonal(self)
        # Checkpoints have its tensors under this name.
        self.add_module("slow_q", deepcopy(self.q).requires_grad_(False))

    @property
    def target_q(self) -> nn.Module:
        """Return the target copy of the Q heads."""
        return self.get_submodule("slow_q")

    def q_values(self, latent: Tensor, action: Tensor, target: bool = False) -> Tensor:
        """Return Q (heads, B), of the target heads where `target` says so."""
        return (self.target_q if target else self.q)(torch.cat((latent, action), -1)).squeeze(-1)

    def value(self, latent: Tensor) -> Tensor:
        """Return V (B,)."""
        return self.v(latent).view(-1)

    def policy(self, latent: Tensor) -> Tensor:
        """Return the mean action (B, A) in (-1, 1)."""
        return torch.tanh(self.policy_head(latent))


LEARNED_JOINTLY = ("encoder", "q", "v")


class IqlAgent(NetworkAgent):
    """Values of actions in the data, and a policy that clones them by their advantage; no filter state.

    Where episodes end at success (`steps_after_success`), the policy clones only what led to success.
    """

    name: ClassVar[str] = "iql"
    settings_class: ClassVar[type] = IqlSettings
    phases: tuple[str, ...] = ("joint",)
    acting = ("encoder", "q", "policy_head")
    settings: IqlSettings
    network: IqlNetwork
    actor: IqlNetwork

    def build(self) -> nn.Module:
        """Return encoder, values and policy."""
        return IqlNetwork(self.settings, self.spaces)

    def build_optimizers(self) -> dict[str, Optimizer]:
        """Return one optimiser of encoder, Q and V, and one of the policy."""
        joint = nn.ModuleDict({name: getattr(self.network, name) for name in LEARNED_JOINTLY})
        parts = {"values": joint, "policy": self.network.policy_head}
        return {
            name: Optimizer(part, self.settings.rate, 1e-8, self.settings.clip, 0.0) for name, part in parts.items()
        }

    def start(self, batch: int) -> State:
        """Return no state."""
        return {}

    @torch.inference_mode()
    def act(self, observation: Batch, state: State, request: ActRequest) -> Decision:
        """Act by the policy, with noise to explore."""
        latent = self.actor.encoder(self.to_device(observation))
        action = self.actor.policy(latent)
        if request.sample:
            noise = torch.randn(action.shape, generator=request.generator or self.exploring, device=action.device)
            action = (action + self.settings.noise * noise).clamp(-1, 1)
        return Decision(action, state, self.actor.q_values(latent, action).std(0))

    @torch.inference_mode()
    def expected_return(self, observation: Batch, state: State, action: Tensor) -> Tensor:
        """Return V, the expectile of Q over the actions in the data, whatever `action` is."""
        return self.actor.value(self.actor.encoder(self.to_device(observation)))

    def improve(self, phase: str, data: Data) -> Metrics:
        """Update values and encoder, then the policy, on one batch of steps."""
        settings, network = self.settings, self.network
        batch = self.to_device(data.windows("all", settings.batch, 2))
        network.encoder.update_normaliser(batch)
        if "image" in batch and settings.shift:
            image = batch["image"]
            batch["image"] = random_shift(image.flatten(0, 1), self.drawing).view(image.shape)
        # Latents (B, D) of s, with gradient, and of s', without
        latent = network.encoder(observation(batch, 0))
        with torch.no_grad():
            reached = network.encoder(observation(batch, 1))
        action = batch["action"][:, 1]
        # Q, V and encoder; then the policy, on latents without gradient
        value_loss, terms = self._value_loss(latent, reached, action, batch)
        values_norm = self.optimizers["values"].step(value_loss)
        policy_loss, weight = self._policy_loss(latent.detach(), action, batch)
        policy_norm = self.optimizers["policy"].step(policy_loss)
        # Target Q heads
        polyak_update(list(network.target_q.parameters()), list(network.q.parameters()), settings.target_rate)
        norms = {"values_norm": values_norm, "policy_norm": policy_norm}
        return to_numbers(terms | norms | {"policy_loss": policy_loss, "advantage_weight": weight.mean()})

    def _value_loss(self, latent: Tensor, reached: Tensor, action: Tensor, batch: Batch) -> tuple[Tensor, Terms]:
        """Return L_Q + L_V (equations 6 and 5) and the terms, of latents (B, D) and actions (B, A)."""
        settings, network = self.settings, self.network
        # Minimum over the target heads, and r + gamma V(s')
        with torch.no_grad():
            q_min = network.q_values(latent, action, target=True).amin(0)
            reward, terminal = batch["reward"][:, 1], batch["is_terminal"][:, 1]
            target = td_target(reward, terminal, network.value(reached), settings.discount)
        # L_Q: squared error of every head
        values = network.q_values(latent, action)
        q_loss = (values - target).square().sum(0).mean()
        # L_V: V as the expectile of Q over the actions in the data
        value_loss = expectile(q_min - network.value(latent), settings.expectile).mean()
        terms = {
            "q_loss": q_loss,
            "value_loss": value_loss,
            "q_mean": values.mean(),
            "uncertainty": values.std(0).mean(),
        }
        return q_loss + value_loss, terms

    def _policy_loss(self, latent: Tensor, action: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return L_pi, cloning weighted by exp(beta (Q - V)) (equation 7), and the weights (B,).

        Where episodes end at success, the advantage is in units of the running range of Q, so that one beta serves
        every reward, and actions of failures and after success have weight 0: exp(0) = 1 would clone them.
        """
        network, beta = self.network, self.settings.advantage_scale
        with torch.no_grad():
            q_min = network.q_values(latent, action, target=True).amin(0)
            advantage = q_min - network.value(latent)
            if network.q_range is None:
                weight = advantage_weight(advantage, beta)
            else:
                network.q_range.update(q_min)
                weight = advantage_weight(advantage / network.q_range.range, beta, MAX_RELATIVE_WEIGHT)
                weight = weight * worth_cloning(batch)[:, 0]
        return (weight * cloning(network.policy(latent), action)).mean(), weight
