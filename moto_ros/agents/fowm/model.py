"""The world model of FOWM: encoder, latent dynamics, reward, policy, Q heads, V, and target networks."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn import functional

from moto_ros.agents.common.distributions import ACTION_MARGIN
from moto_ros.agents.common.encoder import Encoder
from moto_ros.agents.common.in_sample import polyak_update
from moto_ros.agents.common.tdmpc2_layers import HeadEnsemble, LatentBound, NormedMLP, orthogonal
from moto_ros.agents.common.two_hot import BINS, cross_entropy, decode
from moto_ros.agents.fowm.config import FowmSettings
from moto_ros.agents.interface import Spaces

NOISE_LIMIT = 0.3
"""The policy's noise is clipped here."""

Q_RANGE_RATE = 0.01
Q_RANGE_QUANTILES = (0.05, 0.95)
MIN_Q_RANGE = 1e-3

DATA_UNCERTAINTY_RATE = 0.01
MIN_DATA_UNCERTAINTY = 1e-4
"""Fresh Q heads agree about everything; nothing may be divided by that."""


class FowmModel(nn.Module):
    """All networks; latents are (..., D), actions (..., A). Only encoder and Q heads have targets."""

    q_range: Tensor
    updates: Tensor
    data_uncertainty: Tensor | None

    def __init__(self, settings: FowmSettings, spaces: Spaces) -> None:
        """Build with orthogonal weights; the last layers of reward and Q are zero."""
        super().__init__()
        size, hidden, outputs = settings.latent_size, settings.hidden, BINS if settings.two_hot else 1
        self._two_hot, self.actions, self.heads = settings.two_hot, spaces.action, settings.heads
        self.encoder = Encoder(spaces, settings)
        self.dynamics = nn.Sequential(NormedMLP(size + spaces.action, hidden, size), LatentBound(size, settings.latent))
        self.reward_head = NormedMLP(size + spaces.action, hidden, outputs)
        self.policy_head = NormedMLP(size, hidden, spaces.action)
        self.q = HeadEnsemble(settings.heads, size + spaces.action, hidden, outputs, settings.heads_style)
        self.v = HeadEnsemble(1, size, hidden, 1, settings.heads_style)
        self.register_buffer("q_range", torch.ones(()))
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))
        # Runs that were begun without it do not have it in their checkpoints.
        self.register_buffer("data_uncertainty", torch.ones(()) if settings.penalty_relative else None)
        orthogonal(self)
        nn.init.zeros_(self.reward_head.output.weight)
        nn.init.zeros_(self.q.last.weight)
        self._make_targets()

    def _make_targets(self) -> None:
        # Checkpoints name the tensors of the targets slow_*.
        self.slow_encoder = deepcopy(self.encoder).requires_grad_(False)
        self.slow_encoder.normaliser = self.encoder.normaliser
        self.slow_q = deepcopy(self.q).requires_grad_(False)

    @property
    def target_encoder(self) -> Encoder:
        """Return the target network of the encoder."""
        return self.slow_encoder

    @property
    def target_q(self) -> HeadEnsemble:
        """Return the target networks of the Q heads."""
        return self.slow_q

    def advance(self, latent: Tensor, action: Tensor) -> Tensor:
        """Return the latent after an action."""
        return self.dynamics(torch.cat((latent, action), -1))

    def reward_logits(self, latent: Tensor, action: Tensor) -> Tensor:
        """Return the outputs of the reward head (..., outputs)."""
        return self.reward_head(torch.cat((latent, action), -1))

    def reward(self, latent: Tensor, action: Tensor) -> Tensor:
        """Return the expected reward of an action (...)."""
        return self.scalar(self.reward_logits(latent, action))

    def policy(self, latent: Tensor) -> Tensor:
        """Return the policy's mean action (..., A) in (-1, 1)."""
        return torch.tanh(self.policy_head(latent))

    def q_logits(self, latent: Tensor, action: Tensor, target: bool = False, members: Tensor | None = None) -> Tensor:
        """Return the outputs of the Q heads, or of `members` of them: (members, ..., outputs)."""
        rows = torch.cat((latent, action), -1)
        heads = self.target_q if target else self.q
        return heads(rows.flatten(0, -2), members).unflatten(1, rows.shape[:-1])

    def q_values(self, latent: Tensor, action: Tensor, target: bool = False, members: Tensor | None = None) -> Tensor:
        """Return Q (members, ...)."""
        return self.scalar(self.q_logits(latent, action, target, members))

    def value(self, latent: Tensor) -> Tensor:
        """Return V (...)."""
        return self.v(latent.flatten(0, -2)).view(latent.shape[:-1])

    def scalar(self, logits: Tensor) -> Tensor:
        """Return the scalars (...) that outputs (..., outputs) mean."""
        return decode(logits) if self._two_hot else logits.squeeze(-1)

    def prediction_loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss (...) of outputs (..., outputs) against scalars: squared error, or cross entropy."""
        return (
            cross_entropy(logits, target)
            if self._two_hot
            else functional.mse_loss(logits.squeeze(-1), target.expand(logits.shape[:-1]), reduction="none")
        )

    def step_targets(self, rate: float) -> None:
        """Move the target networks towards the online ones by `rate` of the difference."""
        for target, online in ((self.target_encoder, self.encoder), (self.target_q, self.q)):
            polyak_update(list(target.parameters()), list(online.parameters()), rate)

    @torch.no_grad()
    def update_q_range(self, values: Tensor) -> None:
        """Update the running range of Q, from its 5 % to its 95 % quantile, by the values of a batch."""
        low, high = torch.quantile(values.flatten(), torch.tensor(Q_RANGE_QUANTILES, device=values.device))
        self.q_range.lerp_((high - low).clamp(min=MIN_Q_RANGE), Q_RANGE_RATE)

    @torch.no_grad()
    def update_data_uncertainty(self, values: Tensor, inside: Tensor) -> None:
        """Update the running mean of u on data, if it is kept, by Q (heads, ...) of rows `inside` bool (...).

        The first updates count evenly, so that the value before them does not.
        """
        if self.data_uncertainty is not None:
            mean = (uncertainty(values) * inside).sum() / inside.sum().clamp(min=1)
            rate = (1 / (self.updates + 1)).clamp(min=DATA_UNCERTAINTY_RATE)
            self.data_uncertainty.lerp_(mean, rate)

    @property
    def penalty_scale(self) -> Tensor:
        """Return the range of Q over u on data: what lambda u is multiplied by where the penalty is relative."""
        assert self.data_uncertainty is not None, "kept with penalty_relative"
        return self.q_range / self.data_uncertainty.clamp(min=MIN_DATA_UNCERTAINTY)

    def begin_from(self, encoder: Encoder) -> bool:
        """Begin encoder and target from the weights of another encoder; return False where sizes differ."""
        given, own = encoder.state_dict(), self.encoder.state_dict()
        if {name: value.shape for name, value in given.items()} != {name: value.shape for name, value in own.items()}:
            return False
        self.encoder.load_state_dict(given)
        self.target_encoder.load_state_dict(given)
        return True


def noisy(mean: Tensor, std: float, noise: Tensor) -> Tensor:
    """Return the policy's mean with noise, clipped to +-0.3 and kept inside (-1, 1)."""
    return (mean + (std * noise).clamp(-NOISE_LIMIT, NOISE_LIMIT)).clamp(-1 + ACTION_MARGIN, 1 - ACTION_MARGIN)


def uncertainty(values: Tensor) -> Tensor:
    """Return the uncertainty (...): the sample standard deviation over heads of Q (heads, ...)."""
    return values.std(0)
