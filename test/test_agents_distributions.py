"""Distributions of latents and actions against independent implementations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.integrate import trapezoid
from torch import Tensor
from torch.distributions import Categorical, Independent, Normal, kl_divergence

from moto_ros.agents.common.distributions import (
    ACTION_MARGIN,
    CategoricalSpace,
    GaussianSpace,
    TruncatedNormal,
    sigmoid2,
)

CASES = [(0.0, 1.1), (0.7, 0.3), (-0.999, 0.1), (0.95, 2.1)]


def density(loc: float, std: float) -> tuple[np.ndarray, np.ndarray]:
    """Return a fine grid over [-1, 1] and the truncated normal's density on it, normalised numerically."""
    grid = np.linspace(-1, 1, 200_001)
    raw = np.exp(-0.5 * ((grid - loc) / std) ** 2)
    return grid, raw / trapezoid(raw, grid)


def truncated(loc: float, std: float, rows: int = 1) -> TruncatedNormal:
    return TruncatedNormal(torch.full((rows, 1), loc), torch.full((rows, 1), std))


@pytest.mark.parametrize(("loc", "std"), CASES)
def test_behaviour_prior_weighs_actions_by_their_true_likelihood(loc: float, std: float) -> None:
    grid, expected = density(loc, std)
    for index in (1000, 50_000, 100_000, 160_000, 199_000):
        found = truncated(loc, std).log_prob(torch.tensor([[grid[index]]], dtype=torch.float32)).item()
        assert found == pytest.approx(np.log(expected[index]), abs=2e-3)


@pytest.mark.parametrize(("loc", "std"), CASES)
def test_entropy_is_the_integral_of_the_density(loc: float, std: float) -> None:
    grid, expected = density(loc, std)
    integrand = expected * np.log(np.maximum(expected, 1e-300))
    assert truncated(loc, std).entropy().item() == pytest.approx(-trapezoid(integrand, grid), abs=2e-3)


@pytest.mark.parametrize(("loc", "std"), CASES)
def test_sampled_actions_follow_the_density_and_stay_inside(loc: float, std: float) -> None:
    values = truncated(loc, std, 40_000).sample(torch.Generator().manual_seed(0))
    grid, expected = density(loc, std)
    mean = trapezoid(grid * expected, grid)
    spread = np.sqrt(trapezoid((grid - mean) ** 2 * expected, grid))
    assert values.mean().item() == pytest.approx(mean, abs=0.01)
    assert values.std().item() == pytest.approx(spread, abs=0.01)
    assert values.abs().max().item() <= 1 - ACTION_MARGIN


@pytest.mark.parametrize(("loc", "std"), CASES)
def test_mean_action_is_the_integral_over_the_density(loc: float, std: float) -> None:
    grid, expected = density(loc, std)
    assert truncated(loc, std).mean().item() == pytest.approx(trapezoid(grid * expected, grid), abs=1e-3)


def test_policy_gradient_reaches_mean_and_spread_through_samples_even_at_the_limits() -> None:
    loc, std = torch.full((64, 1), 0.999, requires_grad=True), torch.full((64, 1), 0.1, requires_grad=True)
    TruncatedNormal(loc, std).sample(torch.Generator().manual_seed(0)).sum().backward()
    for gradient in (loc.grad, std.grad):
        assert gradient is not None
        assert torch.isfinite(gradient).all()
        assert (gradient != 0).any()


def test_imitating_an_action_at_the_limit_gives_a_finite_loss() -> None:
    assert torch.isfinite(truncated(0.0, 0.1).log_prob(torch.tensor([[1.0]]))).all()


def random_stats(size: int, seed: int) -> Tensor:
    return torch.randn(6, size, generator=torch.Generator().manual_seed(seed))


def test_gaussian_kl_equals_the_reference() -> None:
    space, left, right = GaussianSpace(5), random_stats(10, 1), random_stats(10, 2)
    first, second = (Independent(Normal(s[:, :5], sigmoid2(s[:, 5:])), 1) for s in (left, right))
    torch.testing.assert_close(space.kl_divergence(left, right), kl_divergence(first, second))


def test_categorical_kl_equals_the_reference() -> None:
    space, left, right = CategoricalSpace(3, 4), random_stats(12, 1), random_stats(12, 2)
    first, second = (Independent(Categorical(logits=s.view(6, 3, 4)), 1) for s in (left, right))
    torch.testing.assert_close(space.kl_divergence(left, right), kl_divergence(first, second))


def test_categorical_latents_are_one_hot_and_pass_the_gradient_of_the_probabilities() -> None:
    space, stats = CategoricalSpace(3, 4), random_stats(12, 3).requires_grad_()
    sample = space.sample(stats, torch.Generator().manual_seed(0))
    assert torch.equal(sample.detach().view(6, 3, 4).round().sum(-1), torch.ones(6, 3))
    weights = torch.arange(12.0)
    (sample * weights).sum().backward()
    found, stats.grad = stats.grad, None
    (stats.view(6, 3, 4).softmax(-1).flatten(-2) * weights).sum().backward()
    torch.testing.assert_close(found, stats.grad)


def test_gaussian_latent_spread_never_falls_below_its_floor() -> None:
    assert sigmoid2(torch.tensor(-100.0)).item() == pytest.approx(0.1)
    assert sigmoid2(torch.tensor(0.0)).item() == pytest.approx(1.1)
