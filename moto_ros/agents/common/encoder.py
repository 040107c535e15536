"""The encoder of FOWM: images, proprioception or both to one bounded latent; IQL and behaviour cloning use it too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from moto_ros.agents.common.normaliser import Normaliser
from moto_ros.agents.common.tdmpc2_layers import LatentBound
from moto_ros.agents.interface import Batch, Spaces
from moto_ros.config import parameter
from moto_ros.errors import MotoError

CONVOLUTIONS = {
    "published": ((7, 2), (5, 2), (3, 2), (3, 2)),
    "map": ((3, 2), (3, 2), (3, 1), (3, 1)),
}
"""Kernel and stride of the four convolutions: FOWM's take 64 px to a 2 x 2 map, "map" (DrQ's) to 11 x 11, which keeps
where things are; "map" also sees pixels centred at zero."""

MIN_IMAGE_SIDE = {"published": 39, "map": 23}
"""Side of the smallest image that leaves one pixel."""

CPU_BLOCK_IMAGES = 64
"""Images encoded at a time on a CPU, so that the output of one convolution is still in cache for the next."""


@dataclass(frozen=True)
class EncoderSettings:
    """Sizes of the encoder; the defaults are FOWM's."""

    latent_size: int = parameter(50, "entries of the latent", low=1, high=4096)
    encoder: str = parameter(
        "published",
        "convolutions: FOWM's four of stride 2, or four 3 x 3 that leave a map of 11 x 11 from 64 px",
        choices=tuple(CONVOLUTIONS),
        before="published",
    )
    latent: str = parameter("sigmoid", "how the latent is bounded", choices=("sigmoid", "simnorm"))
    conv_channels: int = parameter(32, "channels of every convolution", low=1, high=512)
    state_units: int = parameter(256, "units of the proprioception encoder", low=1, high=4096)
    fusion: str = parameter(
        "mean", "how the latents of image and proprioception become one", choices=("mean", "project")
    )
    normalise: bool = parameter(False, "bring proprioception to zero mean and unit variance first")
    shift: bool = parameter(True, "updates see images shifted at random, each by up to a 21st of its side")


class ImageEncoder(nn.Module):
    """Four convolutions with ReLU, a dense layer and the bound."""

    def __init__(self, image: tuple[int, int, int], settings: EncoderSettings) -> None:
        """Build the layers; raise MotoError for images too small for four convolutions."""
        super().__init__()
        height, width, inputs = image
        convolutions, smallest = CONVOLUTIONS[settings.encoder], MIN_IMAGE_SIDE[settings.encoder]
        if min(height, width) < smallest:
            raise MotoError(
                f"image size is {height}x{width}, the encoder takes {smallest}x{smallest} or more; set image_size"
            )
        for kernel, stride in convolutions:
            height, width = (height - kernel) // stride + 1, (width - kernel) // stride + 1
        channels = (inputs, *(settings.conv_channels for _ in convolutions))
        self.centre = 0.5 if settings.encoder == "map" else 0.0
        self.layers = nn.ModuleList(
            nn.Conv2d(channels[at], channels[at + 1], kernel, stride)
            for at, (kernel, stride) in enumerate(convolutions)
        )
        self.dense = nn.Linear(channels[-1] * height * width, settings.latent_size)
        self.bound = LatentBound(settings.latent_size, settings.latent)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (rows, H, W, C), uint8 or already float but still 0..255, to latents (rows, latent)."""
        blocks = images.split(CPU_BLOCK_IMAGES) if images.device.type == "cpu" else (images,)
        # To scale and shift a few weights is cheaper than to scale and shift every pixel.
        first = cast(nn.Conv2d, self.layers[0])
        weight, bias = first.weight / 255, cast(Tensor, first.bias)
        if self.centre:
            bias = bias - self.centre * first.weight.sum((1, 2, 3))
        return self.bound(self.dense(torch.cat([self._features(block, weight, bias) for block in blocks])))

    def _features(self, images: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Return what the last convolution finds (rows, features), the first convolving by `weight` and `bias`."""
        first, *others = cast("list[nn.Conv2d]", list(self.layers))
        value = images.to(weight.dtype).permute(0, 3, 1, 2)
        value = functional.relu_(functional.conv2d(value, weight, bias, first.stride))
        for layer in others:
            value = functional.relu_(layer(value))
        return value.flatten(1)


class Encoder(nn.Module):
    """Observations to latents: image and proprioception by a network each, then fused."""

    def __init__(self, spaces: Spaces, settings: EncoderSettings) -> None:
        """Build the networks of the observations that `spaces` has."""
        super().__init__()
        size = settings.latent_size
        self.image = None if spaces.image is None else ImageEncoder(spaces.image, settings)
        self.state = _state_encoder(spaces.proprio, settings) if spaces.proprio else None
        self.normaliser = Normaliser(spaces.proprio) if spaces.proprio and settings.normalise else None
        both = self.image is not None and self.state is not None
        project = both and settings.fusion == "project"
        self.join = nn.Sequential(nn.Linear(2 * size, size), LatentBound(size, settings.latent)) if project else None

    def forward(self, batch: Batch) -> Tensor:
        """Map image (..., H, W, C) and proprio (..., P) to latents (..., latent)."""
        parts = []
        if self.image is not None:
            image = batch["image"]
            parts.append(self.image(image.flatten(0, -4)).unflatten(0, image.shape[:-3]))
        if self.state is not None:
            proprio = batch["proprio"]
            parts.append(self.state(proprio if self.normaliser is None else self.normaliser(proprio)))
        if self.join is not None:
            return self.join(torch.cat(parts, -1))
        return torch.stack(parts).mean(0) if len(parts) > 1 else parts[0]

    def update_normaliser(self, batch: Batch) -> None:
        """Merge a batch into the statistics of the normaliser, if there is one."""
        if self.normaliser is not None:
            self.normaliser.update(batch["proprio"])


def _state_encoder(inputs: int, settings: EncoderSettings) -> nn.Sequential:
    dense = nn.Linear(inputs, settings.state_units), nn.ELU(), nn.Linear(settings.state_units, settings.latent_size)
    return nn.Sequential(*dense, LatentBound(settings.latent_size, settings.latent))
