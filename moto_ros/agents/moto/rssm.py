"""Recurrent state-space model with an ensemble of transition heads (DreamerV2's RSSM; heads after LOMPO and CMIL)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from moto_ros.agents.common.batched_recurrent_linear import BatchedRecurrentLinear
from moto_ros.agents.common.compiled import Compiled
from moto_ros.agents.common.distributions import CategoricalSpace, GaussianSpace, LatentSpace
from moto_ros.agents.common.networks import BatchedMLP
from moto_ros.agents.moto.config import MotoSettings


class Latent(NamedTuple):
    """A model state: deter (..., D) recurrent, stoch (..., Z) sampled."""

    deter: Tensor
    stoch: Tensor

    @property
    def feature(self) -> Tensor:
        """Return what every head reads: (..., Z + D)."""
        return torch.cat((self.stoch, self.deter), -1)


Layer = Callable[[Tensor], Tensor]


class RecurrentLayers(NamedTuple):
    """The dense layers of one filter step: the plain ones, or their batched stand-ins."""

    stoch_in: Layer
    cell: Layer
    deter_in: Layer
    posterior_out: Layer


class Posterior(NamedTuple):
    """Filtered chunks (B, L, ...): the latents and the statistics the stochastic part was drawn from."""

    latent: Latent
    stats: Tensor


def latent_space(settings: MotoSettings) -> LatentSpace:
    """Return the kind of stochastic latent that the settings name."""
    if settings.latent == "categorical":
        return CategoricalSpace(settings.stoch, settings.classes)
    return GaussianSpace(settings.stoch)


class NormGRUCell(nn.Module):
    """GRU with layer norm on the joint pre-activation and an update gate biased to remember (DreamerV2)."""

    def __init__(self, inputs: int, size: int) -> None:
        """Build one dense layer for the three gates."""
        super().__init__()
        self.dense = nn.Linear(inputs + size, 3 * size)
        self.norm = nn.LayerNorm(3 * size, eps=1e-3)

    def advance(self, dense: Layer, inputs: Tensor, state: Tensor) -> Tensor:
        """Return the next state (B, size); `dense` is the cell's dense layer or its batched stand-in."""
        reset, candidate, update = self.norm(dense(torch.cat((inputs, state), -1)).float()).chunk(3, -1)
        candidate = torch.tanh(torch.sigmoid(reset) * candidate)
        return torch.lerp(state, candidate, torch.sigmoid(update - 1))


class RSSM(nn.Module):
    """h = GRU(h, z, a); posterior q(z | h, embedding); K prior heads p_k(z | h), one of them drawn a step."""

    def __init__(self, settings: MotoSettings, embedding: int, action: int) -> None:
        """Build the shared recurrence, the posterior and `settings.heads` prior heads."""
        super().__init__()
        self.space = latent_space(settings)
        deter, hidden = settings.deter, settings.hidden
        self.deter = deter
        self.stoch_in = nn.Linear(self.space.size, hidden, bias=False)
        self.action_in = nn.Linear(action, hidden)
        self.cell = NormGRUCell(hidden, deter)
        self.deter_in = nn.Linear(deter, hidden, bias=False)
        self.embedding_in = nn.Linear(embedding, hidden)
        self.posterior_out = nn.Linear(hidden, self.space.stats)
        self.heads = BatchedMLP(settings.heads, deter, (hidden,), self.space.stats)
        self.filter_step = Compiled(self._plain_step) if settings.compile_steps else None
        self.advance_step = Compiled(self.advance) if settings.compile_steps else self.advance

    @property
    def feature_size(self) -> int:
        """Return the size of `Latent.feature`."""
        return self.deter + self.space.size

    def start(self, batch: int) -> Latent:
        """Return the zero state (batch, ...)."""
        like = self.action_in.weight
        return Latent(like.new_zeros(batch, self.deter), like.new_zeros(batch, self.space.size))

    def observe(
        self, embedding: Tensor, action: Tensor, is_first: Tensor, generator: torch.Generator | None
    ) -> Posterior:
        """Filter chunks: h_t = GRU(h_{t-1}, z_{t-1}, a_{t-1}), z_t ~ q(z | h_t, o_t).

        embedding (B, L, E) of o_t; action (B, L, A) that led to it; is_first (B, L), where the state starts from zero.
        """
        # What does not depend on the recurrence, for all steps at once
        keep = (~is_first).to(embedding.dtype).t().unsqueeze(-1)
        actions = self.action_in(action.transpose(0, 1) * keep)
        embeddings = self.embedding_in(embedding.transpose(0, 1))
        step = self.filter_step or partial(self._step, RecurrentLayers(*map(BatchedRecurrentLinear, self._layers())))
        # The recurrence
        (deter, stoch), steps = self.start(len(embedding)), []
        for kept, action_term, embedding_term in zip(keep, actions, embeddings, strict=True):
            noise = self.space.noise(kept.shape[:1], stoch, generator)
            deter, stoch, stats = step(deter, stoch, kept, action_term, embedding_term, noise)
            steps.append((deter, stoch, stats))
        deters, stochs, all_stats = (torch.stack(column, 1) for column in zip(*steps, strict=True))
        return Posterior(Latent(deters, stochs), all_stats)

    def filter(self, latent: Latent, embedding: Tensor, action: Tensor, generator: torch.Generator | None) -> Latent:
        """Return the posterior latent after the action (B, A) and the embedding (B, E) of the observation it led to."""
        deter = self.advance(latent, action)
        stats = self._posterior(deter, self.embedding_in(embedding), RecurrentLayers(*self._layers()))
        return Latent(deter, self.space.sample(stats, generator))

    def advance(self, latent: Latent, action: Tensor) -> Tensor:
        """Return the next recurrent state (rows, D) after `action` (rows, A); it is the same for all heads."""
        return self._advance(latent, self.action_in(action), RecurrentLayers(*self._layers()))

    def imagine(self, latent: Latent, action: Tensor, head: int, generator: torch.Generator | None) -> Latent:
        """Return s_{k+1} ~ p_j(. | s_k, a_k) of rows (rows, ...) by one prior head."""
        deter = self.advance_step(latent, action)
        return Latent(deter, self.space.sample(self.heads.single(deter, head), generator))

    def prior(self, deter: Tensor, heads: Tensor) -> Tensor:
        """Return the prior statistics of chunks (B, L, D), step t by head heads[t]: (B, L, stats)."""
        return self.heads.chosen(deter.transpose(0, 1), heads).transpose(0, 1)

    def draw_heads(self, steps: int, generator: torch.Generator) -> Tensor:
        """Draw one head index per dynamics step for the whole batch."""
        return torch.randint(self.heads.members, (steps,), generator=generator, device=generator.device)

    def _plain_step(self, *inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self._step(RecurrentLayers(*self._layers()), *inputs)

    def _step(
        self,
        layers: RecurrentLayers,
        deter: Tensor,
        stoch: Tensor,
        kept: Tensor,
        action_term: Tensor,
        embedding_term: Tensor,
        noise: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return h_t, z_t and the statistics of q(z | h_t, o_t); `kept` (B, 1) is 0 where an episode starts."""
        deter = self._advance(Latent(deter * kept, stoch * kept), action_term, layers)
        stats = self._posterior(deter, embedding_term, layers)
        return deter, self.space.draw(stats, noise), stats

    def _layers(self) -> tuple[nn.Linear, nn.Linear, nn.Linear, nn.Linear]:
        return self.stoch_in, self.cell.dense, self.deter_in, self.posterior_out

    def _advance(self, latent: Latent, action_term: Tensor, layers: RecurrentLayers) -> Tensor:
        inputs = functional.elu_(layers.stoch_in(latent.stoch) + action_term)
        return self.cell.advance(layers.cell, inputs, latent.deter)

    def _posterior(self, deter: Tensor, embedding_term: Tensor, layers: RecurrentLayers) -> Tensor:
        return layers.posterior_out(functional.elu_(layers.deter_in(deter) + embedding_term)).float()
