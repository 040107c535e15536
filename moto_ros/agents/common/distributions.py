"""Distributions: Gaussian and categorical latents, and the policy's truncated normal, as plain tensor functions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

ACTION_MARGIN = 1e-6
"""Sampled and imitated actions are clamped to [-1 + margin, 1 - margin]."""

LOG_SQRT_2PI = 0.5 * math.log(2 * math.pi)


def sigmoid2(raw: Tensor, floor: float = 0.1) -> Tensor:
    """Return the standard deviation 2 sigmoid(raw / 2) + floor (DreamerV2's `sigmoid2`)."""
    return 2 * torch.sigmoid(raw / 2) + floor


def uniform(shape: torch.Size, like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Draw from U[0, 1) on the device and in the dtype of `like`."""
    return torch.rand(shape, generator=generator, device=like.device, dtype=like.dtype)


class LatentSpace(Protocol):
    """A family of latent distributions: statistics (..., stats) to latents (..., size)."""

    @property
    def size(self) -> int:
        """Return the latent's size."""
        ...

    @property
    def stats(self) -> int:
        """Return the number of statistics."""
        ...

    @property
    def centres(self) -> int:
        """Return the number of statistics that members of an ensemble are compared by."""
        ...

    def noise(self, rows: torch.Size, like: Tensor, generator: torch.Generator | None) -> Tensor:
        """Draw the random numbers that `draw` needs for (rows, stats), on the device and in the dtype of `like`."""
        ...

    def draw(self, stats: Tensor, noise: Tensor) -> Tensor:
        """Return the latent drawn by `noise`, reparameterised: with gradient to the statistics."""
        ...

    def sample(self, stats: Tensor, generator: torch.Generator | None) -> Tensor:
        """Draw noise and return the latent."""
        ...

    def mode(self, stats: Tensor) -> Tensor:
        """Return the most likely latent."""
        ...

    def centre(self, stats: Tensor) -> Tensor:
        """Return what ensemble members are compared by: means or logits (..., centres)."""
        ...

    def kl_divergence(self, left: Tensor, right: Tensor) -> Tensor:
        """Return KL(left || right) in nats, summed over the latent's dimensions: (..., stats) -> (...)."""
        ...


@dataclass(frozen=True)
class GaussianSpace:
    """Diagonal Gaussian latents; statistics are the mean and the raw standard deviation, concatenated."""

    size: int

    @property
    def stats(self) -> int:
        """Return the number of statistics."""
        return 2 * self.size

    @property
    def centres(self) -> int:
        """Return the number of means."""
        return self.size

    def noise(self, rows: torch.Size, like: Tensor, generator: torch.Generator | None) -> Tensor:
        """Draw from the standard normal: (rows, size)."""
        return torch.randn((*rows, self.size), generator=generator, device=like.device, dtype=like.dtype)

    def draw(self, stats: Tensor, noise: Tensor) -> Tensor:
        """Return mean + std * noise."""
        mean, raw = stats.chunk(2, -1)
        return torch.addcmul(mean, sigmoid2(raw), noise)

    def sample(self, stats: Tensor, generator: torch.Generator | None) -> Tensor:
        """Draw noise and return the latent."""
        return self.draw(stats, self.noise(stats.shape[:-1], stats, generator))

    def mode(self, stats: Tensor) -> Tensor:
        """Return the mean."""
        return self.centre(stats)

    def centre(self, stats: Tensor) -> Tensor:
        """Return the mean."""
        return stats.chunk(2, -1)[0]

    def kl_divergence(self, left: Tensor, right: Tensor) -> Tensor:
        """Return the KL divergence between two diagonal Gaussians, summed over dimensions."""
        left_mean, left_std = self._moments(left)
        right_mean, right_std = self._moments(right)
        ratio = left_std / right_std
        shift = (left_mean - right_mean) / right_std
        return (0.5 * (ratio.square() + shift.square() - 1) - ratio.log()).sum(-1)

    def _moments(self, stats: Tensor) -> tuple[Tensor, Tensor]:
        mean, raw = stats.chunk(2, -1)
        return mean, sigmoid2(raw)


@dataclass(frozen=True)
class CategoricalSpace:
    """`groups` one-hot variables of `classes` values each, with straight-through gradients; statistics are logits."""

    groups: int
    classes: int

    @property
    def size(self) -> int:
        """Return the latent's size."""
        return self.groups * self.classes

    @property
    def stats(self) -> int:
        """Return the number of logits."""
        return self.size

    @property
    def centres(self) -> int:
        """Return the number of logits."""
        return self.size

    def noise(self, rows: torch.Size, like: Tensor, generator: torch.Generator | None) -> Tensor:
        """Draw from the exponential distribution: (rows, groups, classes)."""
        shape = (*rows, self.groups, self.classes)
        return torch.empty(shape, device=like.device, dtype=like.dtype).exponential_(generator=generator)

    def draw(self, stats: Tensor, noise: Tensor) -> Tensor:
        """Return one-hot values whose gradient is that of the probabilities.

        Among exponential variables of rates p_i, i has the minimum with probability p_i.
        """
        probs = self._log_probs(stats).exp()
        return self._straight_through((probs.detach() / noise).argmax(-1), probs)

    def sample(self, stats: Tensor, generator: torch.Generator | None) -> Tensor:
        """Draw noise and return the latent."""
        return self.draw(stats, self.noise(stats.shape[:-1], stats, generator))

    def mode(self, stats: Tensor) -> Tensor:
        """Return the most likely one-hot values."""
        probs = self._log_probs(stats).exp()
        return self._straight_through(probs.argmax(-1), probs)

    def centre(self, stats: Tensor) -> Tensor:
        """Return the logits."""
        return stats

    def kl_divergence(self, left: Tensor, right: Tensor) -> Tensor:
        """Return the KL divergence, summed over the groups."""
        first, second = self._log_probs(left), self._log_probs(right)
        return (first.exp() * (first - second)).sum((-2, -1))

    def _log_probs(self, stats: Tensor) -> Tensor:
        return functional.log_softmax(stats.unflatten(-1, (self.groups, self.classes)), -1)

    def _straight_through(self, index: Tensor, probs: Tensor) -> Tensor:
        hard = functional.one_hot(index, self.classes).to(probs.dtype)
        return (hard + probs - probs.detach()).flatten(-2)


class TruncatedNormal:
    """Normal(loc, std) restricted to [-1, 1], independent per action dimension; loc and std are (..., A)."""

    def __init__(self, loc: Tensor, std: Tensor) -> None:
        """Precompute the probability mass left and right of the interval."""
        self.loc, self.std = loc, std
        self._low, self._high = (-1 - loc) / std, (1 - loc) / std
        self._below = torch.special.ndtr(self._low)
        self._mass = torch.special.ndtr(self._high) - self._below

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """Draw by the inverse distribution function: gradients reach loc and std, also where the result is clamped."""
        return self.icdf(uniform(self.loc.shape, self.loc, generator))

    def icdf(self, quantile: Tensor) -> Tensor:
        """Return the inverse distribution function at `quantile` (..., A) in [0, 1]."""
        probability = self._below + self._mass * quantile
        value = self.loc + self.std * torch.special.ndtri(probability.clamp(ACTION_MARGIN, 1 - ACTION_MARGIN))
        return value + (value.clamp(-1 + ACTION_MARGIN, 1 - ACTION_MARGIN) - value).detach()

    def mode(self) -> Tensor:
        """Return the most likely action."""
        return self.loc.clamp(-1 + ACTION_MARGIN, 1 - ACTION_MARGIN)

    def mean(self) -> Tensor:
        """Return the expected action; where the interval cuts a tail off, it lies nearer to zero than the mode."""
        return self.loc + self.std * (_density(self._low) - _density(self._high)) / self._mass

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log density, summed over action dimensions; `value` is clamped inside the interval."""
        scaled = (value.clamp(-1 + ACTION_MARGIN, 1 - ACTION_MARGIN) - self.loc) / self.std
        return (-0.5 * scaled.square() - LOG_SQRT_2PI - self.std.log() - self._mass.log()).sum(-1)

    def entropy(self) -> Tensor:
        """Return the differential entropy in nats, summed over action dimensions."""
        low, high = self._low * _density(self._low), self._high * _density(self._high)
        each = LOG_SQRT_2PI + 0.5 + (self.std * self._mass).log() + (low - high) / (2 * self._mass)
        return each.sum(-1)


def _density(value: Tensor) -> Tensor:
    return torch.exp(-0.5 * value.square() - LOG_SQRT_2PI)
