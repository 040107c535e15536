"""The FOWM encoder, random shift and the TD-MPC layers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from moto_ros.agents.common.augment import random_shift, shift_chunks, shift_on_cpu, shift_on_gpu
from moto_ros.agents.common.encoder import Encoder, EncoderSettings, ImageEncoder
from moto_ros.agents.common.tdmpc2_layers import HeadEnsemble, LatentBound, elu, mish, tanh
from moto_ros.agents.interface import Batch, Spaces
from moto_ros.errors import MotoError

SIZES = {"latent_size": 16, "conv_channels": 4, "state_units": 8}


def observations(rows: int = 3) -> Batch:
    stream = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (rows, 2, 40, 48, 6), generator=stream, dtype=torch.uint8)
    return {"image": image, "proprio": torch.randn(rows, 2, 5, generator=stream)}


@pytest.mark.parametrize("shifted", [shift_on_cpu, shift_on_gpu])
def test_a_shift_equals_padding_by_repeated_edges_and_cutting(shifted: Callable[..., Tensor]) -> None:
    """By the CPU and by the GPU implementation."""
    images = torch.randint(0, 256, (4, 12, 10, 3), dtype=torch.uint8)
    down, right = torch.tensor([-3, 0, 2, 3]), torch.tensor([1, 0, -3, 3])
    found = shifted(images, down, right)
    for row in range(4):
        padded = np.pad(images[row].numpy(), ((3, 3), (3, 3), (0, 0)), mode="edge")
        top, left = int(down[row]) + 3, int(right[row]) + 3
        assert np.array_equal(found[row], padded[top : top + 12, left : left + 10])


def test_each_image_is_shifted_on_its_own_by_at_most_a_21st() -> None:
    """84 px: every shift of -4..4 in both directions, as published."""
    column = torch.arange(84, dtype=torch.uint8)
    images = torch.stack((column[:, None].expand(84, 84), column[None].expand(84, 84)), -1).expand(500, 84, 84, 2)
    centre = random_shift(images, torch.Generator().manual_seed(0))[:, 42, 42].long() - 42
    assert {tuple(shift) for shift in centre.tolist()} == {(y, x) for y in range(-4, 5) for x in range(-4, 5)}


def test_all_images_of_a_chunk_are_shifted_alike_and_each_chunk_on_its_own() -> None:
    """Otherwise a world model would learn that the camera shakes."""
    column = torch.arange(64, dtype=torch.uint8)
    image = torch.stack((column[:, None].expand(64, 64), column[None].expand(64, 64)), -1)
    found = shift_chunks(image.expand(300, 5, 64, 64, 2), 2, torch.Generator().manual_seed(0))[:, :, 32, 32].long() - 32
    assert (found == found[:, :1]).all()
    assert {tuple(shift) for shift in found[:, 0].tolist()} == {(y, x) for y in range(-2, 3) for x in range(-2, 3)}


def test_small_images_are_not_shifted() -> None:
    images = torch.randint(0, 256, (2, 20, 20, 3), dtype=torch.uint8)
    assert random_shift(images, None) is images


@pytest.mark.parametrize("fusion", ["mean", "project"])
def test_the_fused_latent_is_bounded_and_uses_both_parts(fusion: str) -> None:
    torch.manual_seed(0)
    encoder, seen = Encoder(Spaces((40, 48, 6), 5, 2), EncoderSettings(**SIZES, fusion=fusion)), observations()
    latent = encoder(seen)
    assert latent.shape == (3, 2, 16)
    assert (latent > 0).all()
    assert (latent < 1).all()
    for name in ("image", "proprio"):
        assert not torch.allclose(encoder(seen | {name: seen[name].flip(0)}), latent)


def test_the_published_fusion_is_the_mean_of_the_parts() -> None:
    torch.manual_seed(0)
    encoder, seen = Encoder(Spaces((40, 48, 6), 5, 2), EncoderSettings(**SIZES)), observations()
    assert encoder.image is not None
    assert encoder.state is not None
    parts = encoder.image(seen["image"].flatten(0, 1)).view(3, 2, 16), encoder.state(seen["proprio"])
    torch.testing.assert_close(encoder(seen), (parts[0] + parts[1]) / 2)


def test_uint8_and_float_images_give_the_same_latent() -> None:
    encoder, seen = Encoder(Spaces((40, 48, 6), 5, 2), EncoderSettings(**SIZES)), observations()
    assert torch.equal(encoder(seen), encoder(seen | {"image": seen["image"].float()}))


def test_the_map_encoder_keeps_an_11_by_11_map_of_centred_pixels() -> None:
    """Breaks learning from few demonstrations: a 2 x 2 map forgets where things are."""
    encoder = ImageEncoder((64, 64, 3), EncoderSettings(**SIZES, encoder="map"))
    assert encoder.dense.in_features == 11 * 11 * SIZES["conv_channels"]
    images = torch.randint(0, 256, (4, 64, 64, 3), dtype=torch.uint8)
    value = (images.float() / 255 - 0.5).permute(0, 3, 1, 2)
    for layer in encoder.layers:
        value = functional.relu(layer(value))
    torch.testing.assert_close(encoder(images), encoder.bound(encoder.dense(value.flatten(1))), atol=1e-5, rtol=1e-5)
    with pytest.raises(MotoError, match="22x64, the encoder takes 23x23 or more"):
        ImageEncoder((22, 64, 3), EncoderSettings(encoder="map"))


def test_simnorm_groups_of_eight_sum_to_one() -> None:
    latent = LatentBound(24, "simnorm")(torch.randn(5, 24))
    torch.testing.assert_close(latent.view(5, 3, 8).sum(-1), torch.ones(5, 3))


@pytest.mark.parametrize(("quick", "plain"), [(mish, functional.mish), (tanh, torch.tanh), (elu, functional.elu)])
def test_fast_activations_equal_those_of_pytorch(
    quick: Callable[[Tensor], Tensor], plain: Callable[[Tensor], Tensor]
) -> None:
    values = torch.cat((torch.linspace(-60, 60, 1001), torch.tensor([0.0, 200.0, -200.0])))
    with torch.no_grad():
        torch.testing.assert_close(quick(values.clone()), plain(values), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("style", ["published", "modern"])
def test_selected_heads_give_the_same_as_among_all_heads(style: str) -> None:
    heads = HeadEnsemble(5, 7, 12, 2, style)
    with torch.no_grad():
        for weight in heads.parameters():
            weight.add_(0.2 * torch.randn_like(weight))
    rows = torch.randn(9, 7)
    torch.testing.assert_close(heads(rows, torch.tensor([4, 1])), heads(rows)[[4, 1]])
