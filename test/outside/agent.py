"""A learning algorithm from outside the package: linear imitation, in a few lines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from moto_ros.agents.interface import ActRequest, Agent, Batch, Data, Decision, Metrics, Spaces, State
from moto_ros.config import parameter


@dataclass(frozen=True)
class TheirSettings:
    """Its parameters; the updates of its one phase are among them."""

    rate: float = parameter(0.1, "learning rate", low=0.0)
    batch: int = parameter(16, "windows per update", low=1)
    offline_imitate_updates: int = parameter(40, "updates before the first online episode", low=0)
    online_imitate_updates: int = parameter(5, "updates after each online episode", low=0)
    online_episodes: int = parameter(2, "online episodes of a run", low=0, extent=True)


class TheirAgent(Agent):
    """An action is a linear function of proprioception; every update is a step of gradient descent."""

    name: ClassVar[str] = "theirs"
    settings_class: ClassVar[type] = TheirSettings
    phases: tuple[str, ...] = ("imitate",)

    def __init__(self, spaces: Spaces, settings: TheirSettings, seed: int, device: torch.device | str = "cpu") -> None:
        """Start with the zero function."""
        self.settings, self._spaces = settings, spaces
        self.matrix = torch.zeros(spaces.action, spaces.proprio)
        self.generator = torch.Generator().manual_seed(seed)

    def start(self, batch: int) -> State:
        """Return no state."""
        return {}

    def act(self, observation: Batch, state: State, request: ActRequest) -> Decision:
        """Return the action of the linear function, with a little noise to explore."""
        action = observation["proprio"] @ self.matrix.T
        if request.sample:
            action = action + 0.05 * torch.randn(action.shape, generator=self.generator)
        return Decision(action.clamp(-1, 1), state, torch.zeros(len(action)))

    def update(self, phase: str, data: Data) -> Metrics:
        """Do one gradient step towards the recorded actions."""
        batch = data.windows("all", self.settings.batch, 2)
        seen, wanted = batch["proprio"][:, 0], batch["action"][:, 1]
        error = seen @ self.matrix.T - wanted
        self.matrix = self.matrix - self.settings.rate * error.T @ seen / len(seen)
        return {"imitation_loss": float(error.square().mean())}

    def weights(self) -> dict[str, Tensor]:
        """Return the matrix."""
        return {"matrix": self.matrix.clone()}

    def load_weights(self, weights: dict[str, Tensor]) -> None:
        """Set the matrix."""
        self.matrix = weights["matrix"].clone()

    def state_dict(self) -> dict[str, Tensor]:
        """Return the matrix and the state of the noise."""
        return self.weights() | {"noise": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore what `state_dict` returned."""
        self.load_weights(state)
        self.generator.set_state(state["noise"])
