"""An agent with two arms, from outside the package: behaviour cloning that goes on, and what it was offline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from moto_ros.agents.bc.agent import BcAgent, BcSettings
from moto_ros.agents.common.base_policy import ClonedPolicy
from moto_ros.agents.common.optimizer import Optimizer
from moto_ros.agents.interface import BASE, POLICY, ActRequest, Batch, Data, Decision, Metrics, Spaces, State
from moto_ros.config import parameter


@dataclass(frozen=True)
class TwoArmSettings(BcSettings):
    """Those of cloning; the last offline update keeps the policy as the base."""

    offline_base_updates: int = parameter(1, "copies of the policy to the base", low=1)
    online_base_updates: int = parameter(0, "none: the base stays", low=0)


class TwoArmNetwork(ClonedPolicy):
    """A policy that learns, and a copy that stays."""

    def __init__(self, spaces: Spaces, settings: BcSettings) -> None:
        super().__init__(spaces, settings, settings.hidden, settings.heads)
        self.base = ClonedPolicy(spaces, settings, settings.hidden, settings.heads).requires_grad_(False)


class TwoArmAgent(BcAgent):
    """Clones; arm "base" is the policy as it was at the end of the offline phase."""

    name: ClassVar[str] = "two_arms"
    settings_class: ClassVar[type] = TwoArmSettings
    phases: tuple[str, ...] = ("policy", "base")
    acting = ("encoder", "heads", "base")
    arms = (BASE, POLICY)
    network: TwoArmNetwork

    def build(self) -> nn.Module:
        """Return both networks."""
        return TwoArmNetwork(self.spaces, self.settings)

    def build_optimizers(self) -> dict[str, Optimizer]:
        """Return one optimiser of the policy alone."""
        learning = nn.ModuleDict({"encoder": self.network.encoder, "heads": self.network.heads})
        return {"policy": Optimizer(learning, self.settings.rate, 1e-8, self.settings.clip, 0.0)}

    @torch.inference_mode()
    def act(self, observation: Batch, state: State, request: ActRequest) -> Decision:
        """Act by the mean of the heads of the arm asked for, with noise to explore."""
        chosen = self.network.base if request.arm == BASE else self.network
        heads = chosen(self.to_device(observation))
        action: Tensor = heads.mean(0)
        if request.sample:
            noise = torch.randn(action.shape, generator=request.generator or self.exploring, device=action.device)
            action = (action + self.settings.noise * noise).clamp(-1, 1)
        return Decision(action, state, heads.std(0).mean(-1))

    def improve(self, phase: str, data: Data) -> Metrics:
        """Clone, or keep the policy as the base."""
        if phase == "policy":
            return super().improve(phase, data)
        own = {name: value for name, value in self.network.state_dict().items() if not name.startswith("base.")}
        self.network.base.load_state_dict(own)
        return {"kept": 1.0}
