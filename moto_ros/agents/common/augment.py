"""Image augmentation: random shift."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

SHIFT_DIVISOR = 21
"""An image is shifted by up to 1/21 of its side: 4 px at 84 (DrQ, FOWM)."""


def random_shift(images: Tensor, generator: torch.Generator | None) -> Tensor:
    """Shift each of the images uint8 (rows, H, W, C) on its own by up to side / 21 px, edges repeated."""
    limit = images.shape[1] // SHIFT_DIVISOR
    if not limit:
        return images
    offsets = torch.randint(0, 2 * limit + 1, (2, len(images)), generator=generator, device=images.device)
    return shifted(images, offsets[0] - limit, offsets[1] - limit)


def shift_chunks(images: Tensor, limit: int, generator: torch.Generator | None) -> Tensor:
    """Shift each chunk of images uint8 (B, L, H, W, C) on its own by up to `limit` px, all its frames alike."""
    chunks, length = images.shape[:2]
    offsets = torch.randint(-limit, limit + 1, (2, chunks), generator=generator, device=images.device)
    down, right = offsets.repeat_interleave(length, 1)
    return shifted(images.flatten(0, 1), down, right).unflatten(0, (chunks, length))


def shifted(images: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Return images (rows, H, W, C) of which row i shows what was `down[i]`, `right[i]` px further, edges repeated."""
    return (shift_on_cpu if images.device.type == "cpu" else shift_on_gpu)(images, down, right)


def shift_on_cpu(images: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Shift image by image: on a CPU a copy of lines is several times faster than a gather of pixels."""
    _, height, width, channels = images.shape
    source, result = images.numpy(), np.empty(images.shape, images.numpy().dtype)
    limit = int(torch.stack((down, right)).abs().max())
    padded = np.empty((height + 2 * limit, width + 2 * limit, channels), source.dtype)
    top, bottom = padded[:limit], padded[limit + height :]
    left, middle, rest = np.split(padded, (limit, limit + width), axis=1)
    for row, (y, x) in enumerate(zip((down + limit).tolist(), (right + limit).tolist(), strict=True)):
        middle[limit : limit + height] = source[row]
        top[:], bottom[:] = padded[limit], padded[limit + height - 1]
        left[:], rest[:] = middle[:, :1], middle[:, -1:]
        result[row] = padded[y : y + height, x : x + width]
    return torch.from_numpy(result)


def shift_on_gpu(images: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Shift all images by one gather of pixels, which suits a GPU."""
    rows, height, width, channels = images.shape
    ys = (torch.arange(height, device=images.device) + down[:, None]).clamp(0, height - 1)
    xs = (torch.arange(width, device=images.device) + right[:, None]).clamp(0, width - 1)
    lines = torch.arange(rows, device=images.device)[:, None] * height + ys
    pixels = lines[:, :, None] * width + xs[:, None, :]
    return images.reshape(-1, channels).index_select(0, pixels.flatten()).view(images.shape)
