"""Two-hot encoding of scalars over bins on the symlog scale (DreamerV3, TD-MPC2)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

BINS = 101
SYMLOG_LIMIT = 10.0
"""The bins cover symlog values from -10 to 10: scalars up to 22,000."""


def symlog(value: Tensor) -> Tensor:
    """Return sign(x) log(1 + |x|)."""
    return value.sign() * value.abs().log1p()


def symexp(value: Tensor) -> Tensor:
    """Return the inverse of `symlog`."""
    return value.sign() * value.abs().expm1()


def decode(logits: Tensor) -> Tensor:
    """Return the scalar (...) of logits (..., BINS): symexp of the mean bin."""
    bins = torch.linspace(-SYMLOG_LIMIT, SYMLOG_LIMIT, BINS, device=logits.device, dtype=logits.dtype)
    return symexp((logits.softmax(-1) * bins).sum(-1))


def two_hot(value: Tensor) -> Tensor:
    """Return weights (..., BINS) on the two bins around each scalar, whose mean is its symlog."""
    position = (symlog(value).clamp(-SYMLOG_LIMIT, SYMLOG_LIMIT) + SYMLOG_LIMIT) * (BINS - 1) / (2 * SYMLOG_LIMIT)
    low = position.floor().clamp(max=BINS - 2)
    fraction = (position - low)[..., None]
    index = low.long()
    return functional.one_hot(index, BINS) * (1 - fraction) + functional.one_hot(index + 1, BINS) * fraction


def cross_entropy(logits: Tensor, value: Tensor) -> Tensor:
    """Return the loss (...) of logits (..., BINS) against scalars that broadcast to (...)."""
    return -(two_hot(value) * functional.log_softmax(logits, -1)).sum(-1)
