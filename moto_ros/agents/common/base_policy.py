"""The base policy: an ensemble cloned from demonstrations, learned first and then kept as it is.

Fine-tuning starts from it, may always fall back on it, and is compared with it. Agent `bc` is this network alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from moto_ros.agents.common.augment import random_shift
from moto_ros.agents.common.averaging import averaged
from moto_ros.agents.common.base import Terms, copy_into, observation
from moto_ros.agents.common.encoder import Encoder, EncoderSettings
from moto_ros.agents.common.optimizer import Optimizer
from moto_ros.agents.common.tdmpc2_layers import HeadEnsemble, orthogonal
from moto_ros.agents.interface import Batch, Data, Spaces
from moto_ros.config import parameter

SETTLED_UPDATES = 1_000_000
"""Updates after which an average of any decay has forgotten how it began."""


@dataclass(frozen=True)
class BasePolicySettings:
    """Sizes and rates of the base policy of an agent that has one; the defaults suit two CPU cores."""

    base_latent_size: int = parameter(
        48, "entries of the latent of the base policy's encoder", low=1, high=4096, before=48
    )
    base_channels: int = parameter(
        16, "channels of every convolution of the base policy's encoder", low=1, high=512, before=16
    )
    base_hidden: int = parameter(128, "units of the base policy's layers", low=1, high=4096, before=128)
    base_heads: int = parameter(5, "policies that the base policy averages", low=2, high=32, before=5)
    base_rate: float = parameter(1e-3, "learning rate of the base policy", low=0.0, high=1.0, before=1e-3)
    base_batch: int = parameter(64, "steps per update of the base policy", low=1, high=65_536, before=64)
    base_shift: bool = parameter(
        True,
        "base policy and critics learn from images shifted at random by up to a 21st of their side",
        before=True,
    )
    base_ema: float = parameter(
        0.998,
        "share of the base policy's weights that an update keeps; it acts by their average",
        low=0.001,
        high=0.99999,
        before=0.998,
    )

    offline_base_updates: int = parameter(
        0, "updates of the base policy, before all others; for agents set to have one", low=0, before=0
    )
    online_base_updates: int = parameter(
        0, "0: the base policy stays as it is while the agent is fine-tuned", low=0, high=0, before=0
    )

    @property
    def base_encoder(self) -> EncoderSettings:
        """Return the sizes of the base policy's encoder."""
        return EncoderSettings(
            latent_size=self.base_latent_size,
            conv_channels=self.base_channels,
            encoder="map",
            state_units=128,
            fusion="project",
            normalise=True,
        )


class ClonedPolicy(nn.Module):
    """Observations to the actions of several heads."""

    def __init__(self, spaces: Spaces, encoder: EncoderSettings, hidden: int, heads: int) -> None:
        """Build an encoder and `heads` policies on its latents."""
        super().__init__()
        self.encoder = Encoder(spaces, encoder)
        self.heads = HeadEnsemble(heads, encoder.latent_size, hidden, spaces.action)
        orthogonal(self)

    def forward(self, seen: Batch) -> Tensor:
        """Return actions (heads, B, A) in (-1, 1) for observations (B, ...)."""
        return torch.tanh(self.heads(self.encoder(seen)))

    def loss(self, batch: Batch, shift: bool, generator: torch.Generator, *, imitable_only: bool = True) -> Tensor:
        """Return the mean squared error of every head against the actions of windows (B, 2, ...).

        Actions that may not be imitated count only without `imitable_only`.
        """
        self.encoder.update_normaliser(batch)
        seen = observation(batch, 0)
        if "image" in seen and shift:
            seen["image"] = random_shift(seen["image"], generator)
        errors = (self(seen) - batch["action"][:, 1]).square().mean((0, 2))
        if not imitable_only:
            return errors.mean()
        imitable = batch["imitable"][:, 1].to(errors.dtype)
        return (errors * imitable).sum() / imitable.sum().clamp(min=1)


class BasePolicy(nn.Module):
    """A cloned policy that learns, and the average of its weights, which acts."""

    def __init__(self, settings: BasePolicySettings, spaces: Spaces) -> None:
        """Build both with equal weights."""
        super().__init__()
        self.newest = ClonedPolicy(spaces, settings.base_encoder, settings.base_hidden, settings.base_heads)
        average = averaged(self.newest, settings.base_ema)
        assert average is not None, "base_ema is above 0"
        self.average = average
        self._batch, self._shift = settings.base_batch, settings.base_shift

    @property
    def acting(self) -> ClonedPolicy:
        """Return the policy that acts."""
        policy = self.average.module
        assert isinstance(policy, ClonedPolicy)
        return policy

    @torch.no_grad()
    def actions(self, seen: Batch) -> Tensor:
        """Return the actions of every head (heads, B, A) for observations (B, ...)."""
        heads: Tensor = self.acting(seen)
        return heads

    def take(self, cloned: dict[str, Tensor], what: str) -> None:
        """Take the weights of a policy that was cloned before; MotoError, naming `what`, where they do not fit."""
        copy_into(self.acting.state_dict(), cloned, what)
        self.newest.load_state_dict(self.acting.state_dict())
        # As after many updates: the next one must not replace what was taken.
        self.average.n_averaged.fill_(SETTLED_UPDATES)

    def draw(self, data: Data) -> Batch:
        """Return a batch of windows (B, 2, ...) of what may be imitated; where nothing may, of all, to imitate all."""
        if data.holds("successful"):
            return data.windows("successful", self._batch, 2)
        batch = data.windows("all", self._batch, 2)
        return batch | {"imitable": torch.ones_like(batch["imitable"])}

    def update(self, batch: Batch, optimizer: Optimizer, generator: torch.Generator) -> Terms:
        """Clone the actions of windows (B, 2, ...) that may be imitated, in one step of `optimizer`, that of `newest`.

        Returns the scalars.
        """
        loss = self.newest.loss(batch, self._shift, generator)
        norm = optimizer.step(loss)
        self.average.update_parameters(self.newest)
        return {"base_loss": loss, "base_norm": norm}


def cloned_policy(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of what acts in the state dict of agent `bc`: its average, where it has one."""
    parts = ("average/module.", "network/")
    prefix = next((part for part in parts if any(name.startswith(part) for name in state)), parts[-1])
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


class BaseActions:
    """The base policy's actions for the rows of the replay, computed once a row: it does not change.

    Rows are computed one at a time, so that what a row gets does not depend on the others of its batch, and a resumed
    run computes the same.
    """

    def __init__(self, actions: Callable[[Batch], Tensor]) -> None:
        """Take `actions`, observations (B, ...) -> (heads, B, A)."""
        self._actions = actions
        self._known: Tensor | None = None
        self._rows = torch.zeros(0, dtype=torch.bool)

    def __call__(self, seen: Batch, frame: Tensor) -> Tensor:
        """Return the actions of every head (B, heads, A) for observations (B, ...) of rows `frame` int64 (B,)."""
        numbers = frame.cpu()
        self._grow(int(numbers.max()) + 1)
        missing = (~self._rows[numbers]).nonzero()[:, 0].tolist()
        for place in missing:
            if self._rows[numbers[place]]:
                continue
            one = self._actions({name: tensor[place : place + 1] for name, tensor in seen.items()})[:, 0]
            if self._known is None:
                self._known = one.new_zeros(len(self._rows), *one.shape)
            self._known[numbers[place]] = one
            self._rows[numbers[place]] = True
        assert self._known is not None
        return self._known[frame]

    def clear(self) -> None:
        """Forget everything: the base policy has changed."""
        self._known, self._rows = None, torch.zeros(0, dtype=torch.bool)

    def _grow(self, rows: int) -> None:
        if rows <= len(self._rows):
            return
        size = max(rows, 2 * len(self._rows))
        more = size - len(self._rows)
        self._rows = torch.cat((self._rows, torch.zeros(more, dtype=torch.bool)))
        if self._known is not None:
            self._known = torch.cat((self._known, self._known.new_zeros(more, *self._known.shape[1:])))
