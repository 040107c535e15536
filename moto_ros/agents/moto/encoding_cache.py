"""Cache of image encodings for policy updates, which draw the same frames again and again and change no encoder."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

ENCODE_MULTIPLE = 16
"""Frames are encoded in multiples of this: in some odd numbers convolutions on several threads round otherwise, and
a run resumed from a checkpoint, whose cache is empty, must learn the same to the bit."""


class EncodingCache:
    """Encodes frames that are new to it and keeps their encodings by frame number, up to `limit` frames (0: none)."""

    def __init__(self, encode: Callable[[Tensor], Tensor], limit: int) -> None:
        """Start empty; `encode` maps images uint8 (rows, H, W, C) to encodings (rows, E), each row for itself."""
        self._encode, self._limit = encode, limit
        self.clear()

    def clear(self) -> None:
        """Drop all encodings: the encoder has changed."""
        self._table: Tensor | None = None
        self._known = torch.zeros(0, dtype=torch.bool)

    @torch.no_grad()
    def __call__(self, images: Tensor, frames: Tensor) -> Tensor:
        """Return the encodings (B, L, E) of images uint8 (B, L, H, W, C), whose numbers are `frames` int64 (B, L).

        Frames of one number are taken to be the same. When a number is beyond the limit nothing is kept.
        """
        numbers, flat = frames.flatten(), images.flatten(0, 1)
        needed = int(numbers.max()) + 1
        if needed > self._limit:
            return self._encode(flat).unflatten(0, frames.shape)
        self._encode_new(flat, numbers, needed)
        assert self._table is not None
        return self._table[numbers].unflatten(0, frames.shape)

    def _encode_new(self, images: Tensor, numbers: Tensor, needed: int) -> None:
        """Encode what is new among the images of these numbers, each once."""
        self._known = _grown(self._known.to(numbers.device), needed)
        (new,) = (~self._known[numbers]).nonzero(as_tuple=True)
        if not len(new):
            return
        found, which = numbers[new].unique(return_inverse=True)
        rows = found.scatter(0, which, new)
        encoded = self._encode(images[_padded(rows)])[: len(rows)]
        table = encoded.new_zeros(0, encoded.shape[-1]) if self._table is None else self._table
        self._table = _grown(table, len(self._known))
        self._table[found], self._known[found] = encoded, True


def _grown(table: Tensor, needed: int) -> Tensor:
    """Return the table with at least `needed` rows, twice as many as before where that is more, zeros at the end."""
    if len(table) >= needed:
        return table
    return torch.cat((table, table.new_zeros(max(needed, 2 * len(table)) - len(table), *table.shape[1:])))


def _padded(rows: Tensor) -> Tensor:
    """Return the row numbers, with the first one repeated up to a multiple of ENCODE_MULTIPLE."""
    return torch.cat((rows, rows[:1].expand(-len(rows) % ENCODE_MULTIPLE)))
