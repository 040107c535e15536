"""Network building blocks: shapes, ensembles, and the agent's image sizes."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from moto_ros.agents.common.networks import BatchedMLP, ConvDecoder, ConvEncoder
from moto_ros.agents.common.normaliser import Normaliser
from moto_ros.errors import MotoError


def test_encoder_halves_64_pixels_down_to_2() -> None:
    encoder, sides = ConvEncoder((64, 64, 3), 4), []
    value = torch.zeros(2, 3, 64, 64)
    for layer in encoder.layers:
        sides.append(value.shape[-1])
        value = layer(value)
    assert [*sides, value.shape[-1]] == [64, 31, 14, 6, 2]
    assert encoder(torch.zeros(2, 64, 64, 3)).shape == (2, encoder.outputs)


def test_decoder_grows_one_pixel_to_64() -> None:
    decoder, sides = ConvDecoder(7, (64, 64, 3), 4), []
    value = torch.zeros(2, 128, 1, 1)
    for layer in decoder.layers:
        sides.append(value.shape[-1])
        value = layer(value)
    assert [*sides, value.shape[-1]] == [1, 5, 13, 30, 64]


def test_decoder_short_cut_equals_its_convolutions() -> None:
    torch.manual_seed(0)
    decoder, features = ConvDecoder(7, (64, 64, 3), 4), torch.randn(3, 7)
    torch.nn.init.normal_(decoder.layers[0].bias)
    value = decoder.dense(features)[:, :, None, None]
    for layer in decoder.layers[:-1]:
        value = functional.elu(layer(value))
    expected = decoder.layers[-1](value).permute(0, 2, 3, 1)
    torch.testing.assert_close(decoder(features), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("side", [32, 64, 128])
def test_supported_image_sizes_are_reconstructed_at_their_own_size(side: int) -> None:
    image = (side, side, 6)
    embedding = ConvEncoder(image, 2)(torch.zeros(1, *image))
    assert ConvDecoder(embedding.shape[1], image, 2)(embedding).shape == (1, *image)


def test_an_image_size_without_a_decoder_is_an_error_that_names_it() -> None:
    with pytest.raises(MotoError, match="84x84"):
        ConvEncoder((84, 84, 3), 4)


@pytest.fixture
def ensemble() -> BatchedMLP:
    torch.manual_seed(0)
    return BatchedMLP(3, 5, (8, 6), 2)


def member(ensemble: BatchedMLP, index: int, rows: torch.Tensor) -> torch.Tensor:
    """Evaluate one member layer by layer, as an ordinary MLP."""
    layers = list(ensemble.layers)
    for layer in layers[:-1]:
        rows = functional.elu(rows @ layer.weight[index] + layer.bias[index])
    return rows @ layers[-1].weight[index] + layers[-1].bias[index]


def test_an_ensemble_equals_its_members_evaluated_one_by_one(ensemble: BatchedMLP) -> None:
    rows = torch.randn(4, 5)
    expected = torch.stack([member(ensemble, index, rows) for index in range(3)])
    torch.testing.assert_close(ensemble(rows), expected)
    torch.testing.assert_close(ensemble.single(rows, 2), expected[2])


def test_each_time_step_uses_the_head_drawn_for_it(ensemble: BatchedMLP) -> None:
    blocks, heads = torch.randn(4, 7, 5), torch.tensor([2, 0, 2, 1])
    expected = torch.stack([member(ensemble, int(head), block) for head, block in zip(heads, blocks, strict=True)])
    torch.testing.assert_close(ensemble.chosen(blocks, heads), expected)


def test_members_start_different_so_that_they_can_disagree(ensemble: BatchedMLP) -> None:
    weight = ensemble.layers[0].weight
    assert not torch.allclose(weight[0], weight[1])


def test_proprioception_of_any_unit_reaches_the_network_at_unit_scale() -> None:
    torch.manual_seed(0)
    scale, offset = torch.tensor([1e-2, 1.0, 300.0]), torch.tensor([0.5, -3.0, 1e3])
    values = torch.randn(40, 16, 4, 3) * scale + offset
    normaliser = Normaliser(3, limit=30)
    for batch in values:
        normaliser.update(batch)
    shown = values[:30].reshape(-1, 3)
    torch.testing.assert_close(normaliser.mean, shown.mean(0), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(normaliser.variance, shown.var(0, correction=0), rtol=1e-3, atol=1e-6)
    assert int(normaliser.seen) == 30


def test_a_sensor_that_never_moves_gives_no_infinite_input() -> None:
    normaliser = Normaliser(1)
    normaliser.update(torch.full((4, 1), 0.08))
    assert torch.isfinite(normaliser(torch.tensor([[0.08], [5.0]]))).all()
