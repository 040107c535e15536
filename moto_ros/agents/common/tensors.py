"""Named tensors: checks of names and shapes before loading, copies on the CPU, trainable modules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from moto_ros.errors import MotoError


def require_fit(expected: Mapping[str, Tensor], given: Mapping[str, Tensor], what: str) -> None:
    """Raise MotoError naming the first missing, extra, misshapen or non-finite tensor of `given`."""
    for name, tensor in expected.items():
        if name not in given:
            raise MotoError(f"{what}: tensor '{name}' is missing; use weights of the same agent and settings")
        _require_same(name, tensor, given[name], what)
    for name in given:
        if name not in expected:
            raise MotoError(f"{what}: tensor '{name}' is unknown here; use weights of the same agent and settings")


def _require_same(name: str, expected: Tensor, given: Tensor, what: str) -> None:
    found, wanted = (f"{tuple(tensor.shape)} {tensor.dtype}" for tensor in (given, expected))
    if found != wanted:
        raise MotoError(f"{what}: tensor '{name}' is {found}, expected {wanted}; use weights of the same settings")
    if given.is_floating_point() and not torch.isfinite(given).all():
        raise MotoError(f"{what}: tensor '{name}' holds NaN or infinity, expected finite numbers; keep the old weights")


def prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors with `prefix/` before their names."""
    return {f"{prefix}/{name}": tensor for name, tensor in tensors.items()}


def on_cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return detached contiguous copies on the CPU."""
    return {
        name: tensor.detach().to("cpu", copy=True).contiguous(memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }


@contextmanager
def trainable(module: nn.Module) -> Iterator[None]:
    """Let gradients reach the module's parameters inside the block only."""
    module.requires_grad_(True)
    try:
        yield
    finally:
        module.requires_grad_(False)
