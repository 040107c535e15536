"""Behaviour cloning: a policy that imitates the actions in the data; the smallest agent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from moto_ros.agents.common.averaging import AveragingSettings
from moto_ros.agents.common.base import NetworkAgent, to_numbers
from moto_ros.agents.common.base_policy import ClonedPolicy
from moto_ros.agents.common.encoder import EncoderSettings
from moto_ros.agents.common.optimizer import Optimizer
from moto_ros.agents.common.replay_settings import ReplaySettings
from moto_ros.agents.interface import ActRequest, Batch, Data, Decision, Metrics, State
from moto_ros.config import parameter


@dataclass(frozen=True)
class BcSettings(EncoderSettings, AveragingSettings, ReplaySettings):
    """Sizes and update budget; those of the encoder and of averaging come with it."""

    hidden: int = parameter(512, "units of the policy's layers", low=1, high=4096)
    heads: int = parameter(5, "policies that are averaged; their spread is the uncertainty", low=2, high=32)
    source: str = parameter("successful", "episodes to imitate", choices=("successful", "all"))
    noise: float = parameter(0.05, "standard deviation of the exploring noise", low=0.0, high=1.0)
    rate: float = parameter(3e-4, "learning rate", low=0.0, high=1.0)
    clip: float = parameter(10.0, "global gradient norm above which gradients are scaled down", low=0.0)
    batch: int = parameter(256, "steps per update", low=1, high=65_536)
    offline_policy_updates: int = parameter(25_000, "updates before the first online episode", low=0)
    online_policy_updates: int = parameter(25, "updates after each online episode", low=0)
    online_episodes: int = parameter(1000, "online episodes of a run", low=0, extent=True)


class BcAgent(NetworkAgent):
    """Imitates successful episodes, or all while there are none; there is no filter state."""

    name: ClassVar[str] = "bc"
    settings_class: ClassVar[type] = BcSettings
    phases: tuple[str, ...] = ("policy",)
    acting = ("encoder", "heads")
    network: ClonedPolicy

    def build(self) -> nn.Module:
        """Return encoder and policy heads."""
        return ClonedPolicy(self.spaces, self.settings, self.settings.hidden, self.settings.heads)

    def build_optimizers(self) -> dict[str, Optimizer]:
        """Return one optimiser of the whole network."""
        return {"policy": Optimizer(self.network, self.settings.rate, 1e-8, self.settings.clip, 0.0)}

    def start(self, batch: int) -> State:
        """Return no state."""
        return {}

    @torch.inference_mode()
    def act(self, observation: Batch, state: State, request: ActRequest) -> Decision:
        """Act by the mean of the heads, with noise to explore."""
        heads = self.actor(self.to_device(observation))
        action = heads.mean(0)
        if request.sample:
            noise = torch.randn(action.shape, generator=request.generator or self.exploring, device=action.device)
            action = (action + self.settings.noise * noise).clamp(-1, 1)
        return Decision(action, state, heads.std(0).mean(-1))

    def improve(self, phase: str, data: Data) -> Metrics:
        """Move every head towards the actions that were taken."""
        source = self.settings.source if data.holds(self.settings.source) else "all"
        batch = self.to_device(data.windows(source, self.settings.batch, 2))
        loss = self.network.loss(batch, self.settings.shift, self.drawing, imitable_only=source == "successful")
        return to_numbers({"policy_loss": loss, "policy_norm": self.optimizers["policy"].step(loss)})
