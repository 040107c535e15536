"""Network layers of all agents: dense stacks, batched ensembles of them, convolutional encoder and decoder."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from moto_ros.errors import MotoError

DECODER_KERNELS = {32: (5, 6, 6), 64: (5, 5, 6, 6), 128: (5, 5, 5, 6, 6)}
"""Kernels of the stride-2 transposed convolutions that grow one pixel to each supported image side (DreamerV2)."""

ENCODER_KERNEL = 4


def initialise(module: nn.Module) -> None:
    """Set every weight to Glorot-uniform and every bias to zero, the defaults of the reference implementations."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


class MLP(nn.Sequential):
    """Dense layers with ELU between them and a linear output: (..., inputs) -> (..., outputs)."""

    def __init__(self, inputs: int, hidden: tuple[int, ...], outputs: int) -> None:
        """Build a stack with one dense layer per entry of `hidden`, then the output layer."""
        layers: list[nn.Module] = []
        for size_in, size_out in pairwise((inputs, *hidden)):
            layers += [nn.Linear(size_in, size_out), nn.ELU(inplace=True)]
        super().__init__(*layers, nn.Linear((inputs, *hidden)[-1], outputs))


class BatchedLinear(nn.Module):
    """M dense layers side by side, evaluated by one batched product."""

    def __init__(self, members: int, inputs: int, outputs: int) -> None:
        """Draw each member's weights on its own, Glorot-uniform; biases are zero."""
        super().__init__()
        limit = math.sqrt(6.0 / (inputs + outputs))
        self.weight = nn.Parameter(torch.empty(members, inputs, outputs).uniform_(-limit, limit))
        self.bias = nn.Parameter(torch.zeros(members, 1, outputs))

    def forward(self, inputs: Tensor) -> Tensor:
        """Map (members, rows, inputs) to (members, rows, outputs)."""
        return torch.baddbmm(self.bias, inputs, self.weight)

    def shared(self, inputs: Tensor) -> Tensor:
        """Map rows (rows, inputs) that all members see to (members, rows, outputs), as a single product."""
        members, size_in, size_out = self.weight.shape
        flat = functional.linear(inputs, self.weight.transpose(1, 2).reshape(members * size_out, size_in))
        return flat.view(-1, members, size_out).transpose(0, 1) + self.bias

    def single(self, inputs: Tensor, member: int) -> Tensor:
        """Map rows (rows, inputs) by one member."""
        return torch.addmm(self.bias[member], inputs, self.weight[member])


class BatchedMLP(nn.Module):
    """M independent MLPs with ELU, evaluated together; the results are float32 in mixed precision too."""

    def __init__(self, members: int, inputs: int, hidden: tuple[int, ...], outputs: int) -> None:
        """Build `members` stacks of the same sizes with different random weights."""
        super().__init__()
        sizes = pairwise((inputs, *hidden, outputs))
        self.layers = nn.ModuleList(BatchedLinear(members, size_in, size_out) for size_in, size_out in sizes)

        self.members = members

    def _stack(self) -> list[BatchedLinear]:
        return cast("list[BatchedLinear]", list(self.layers))

    def forward(self, inputs: Tensor) -> Tensor:
        """Evaluate all members on the same rows: (rows, inputs) -> (members, rows, outputs)."""
        first, *others = self._stack()
        value = first.shared(inputs)
        for layer in others:
            value = layer(functional.elu_(value))
        return value.float()

    def chosen(self, inputs: Tensor, members: Tensor) -> Tensor:
        """Evaluate member members[t] on block t: (blocks, rows, inputs) -> (blocks, rows, outputs).

        All blocks of one member are evaluated together: copying its weights for each block would cost more.
        """
        order = members.argsort(stable=True)
        counts = members.bincount(minlength=self.members).tolist()
        parts = [(member, part) for member, part in enumerate(inputs[order].split(counts)) if len(part)]
        values = [self.single(part.flatten(0, 1), member).unflatten(0, part.shape[:2]) for member, part in parts]
        return torch.cat(values)[order.argsort()]

    def single(self, inputs: Tensor, member: int) -> Tensor:
        """Evaluate one member: (rows, inputs) -> (rows, outputs)."""
        first, *others = self._stack()
        value = first.single(inputs, member)
        for layer in others:
            value = layer.single(functional.elu_(value), member)
        return value.float()


def decoder_kernels(image: tuple[int, int, int]) -> tuple[int, ...]:
    """Return the decoder's kernels for an image (H, W, C); raise MotoError for an image size without a decoder."""
    height, width, _ = image
    if height != width or height not in DECODER_KERNELS:
        sides = ", ".join(f"{side}x{side}" for side in DECODER_KERNELS)
        raise MotoError(f"image size is {height}x{width}, the agent takes {sides}; set image_height and image_width")
    return DECODER_KERNELS[height]


class ConvEncoder(nn.Module):
    """Kernel-4 stride-2 convolutions with ELU; 64x64 goes 64-31-14-6-2 (DreamerV2)."""

    def __init__(self, image: tuple[int, int, int], depth: int) -> None:
        """Build one layer per halving, with depth, 2 depth, 4 depth... channels."""
        super().__init__()
        stages = len(decoder_kernels(image))
        channels = [image[2], *(depth * 2**stage for stage in range(stages))]
        self.layers = nn.ModuleList(nn.Conv2d(into, out, ENCODER_KERNEL, stride=2) for into, out in pairwise(channels))
        self.outputs = channels[-1] * 4

    def forward(self, image: Tensor) -> Tensor:
        """Map images (rows, H, W, C) in [-0.5, 0.5] to embeddings (rows, outputs)."""
        value = image.permute(0, 3, 1, 2)
        for layer in self.layers:
            value = functional.elu_(layer(value))
        return value.flatten(1)


class ConvDecoder(nn.Module):
    """Transposed convolutions from one pixel up to the image, linear at the end; 1-5-13-30-64 (DreamerV2)."""

    def __init__(self, inputs: int, image: tuple[int, int, int], depth: int) -> None:
        """Build the mirror of `ConvEncoder`, fed by a dense layer."""
        super().__init__()
        kernels = decoder_kernels(image)
        channels = [depth * 2**stage for stage in reversed(range(len(kernels) - 1))]
        self.dense = nn.Linear(inputs, 32 * depth)
        stack = zip(pairwise([32 * depth, *channels, image[2]]), kernels, strict=True)
        self.layers = nn.ModuleList(nn.ConvTranspose2d(into, out, size, stride=2) for (into, out), size in stack)

    def forward(self, features: Tensor) -> Tensor:
        """Map features (rows, inputs) to images (rows, H, W, C), centred on 0."""
        first, *middle, last = cast("list[nn.ConvTranspose2d]", list(self.layers))
        value = functional.elu_(_grow_pixel(first, self.dense(features)))
        for layer in middle:
            value = functional.elu_(layer(value))
        return last(value).permute(0, 2, 3, 1)


def _grow_pixel(layer: nn.ConvTranspose2d, value: Tensor) -> Tensor:
    """Return layer(value) for one-pixel input (rows, C): a dense product, ten times faster than the convolution."""
    size = layer.kernel_size[0]
    grown = (value @ layer.weight.flatten(1)).view(-1, layer.out_channels, size, size)
    # Channels last: the convolutions that follow are faster on it.
    return (grown + cast("Tensor", layer.bias)[:, None, None]).contiguous(memory_format=torch.channels_last)
