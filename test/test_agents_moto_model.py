"""The world model of MOTO: filtering, ensemble uncertainty, loss terms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from agents_data import SPACES, RandomData, make_tiny, tiny

from moto_ros.agents.common.distributions import GaussianSpace
from moto_ros.agents.interface import Batch, Spaces
from moto_ros.agents.moto.actor import cloning_loss
from moto_ros.agents.moto.rssm import Latent
from moto_ros.agents.moto.world_model import WorldModel, balanced_kl, disagreement
from moto_ros.errors import MotoError


def rows(latent: Latent, count: int = 5) -> Latent:
    """Return `count` random states of the sizes of `latent`."""
    return Latent(*(torch.randn(count, part.shape[-1]) for part in latent))


def test_uncertainty_is_the_population_spread_of_member_means_averaged_over_dimensions() -> None:
    means = np.random.default_rng(0).normal(size=(4, 3, 5))
    np.testing.assert_allclose(disagreement(torch.tensor(means)).numpy(), means.std(axis=0).mean(axis=-1))


@pytest.mark.parametrize("changes", [{}, {"latent": "categorical", "classes": 4}, {"ensemble_kind": "side"}])
def test_uncertainty_is_zero_when_all_members_are_equal(changes: dict[str, object]) -> None:
    model = make_tiny(**changes).model
    networks = model.side.networks if model.side else model.rssm.heads
    latent, action = rows(model.rssm.start(1)), torch.rand(5, 3)
    reached = model.rssm.advance(latent, action)
    assert (model.uncertainty(latent, action, reached) > 0).all()
    for layer in networks.layers:
        layer.weight.copy_(layer.weight[:1].expand_as(layer.weight))
    torch.testing.assert_close(model.uncertainty(latent, action, reached), torch.zeros(5), atol=1e-6, rtol=0)


def test_filtering_a_chunk_at_once_equals_filtering_it_step_by_step_as_the_policy_does() -> None:
    """Otherwise the policy would act on states that never occur in training."""
    agent, data = make_tiny(latent="categorical", classes=4), RandomData()
    batch = data.batch("all", 2, 5)
    batch["action"][:, 0] = 0
    together = agent.model.posterior(batch, torch.Generator().manual_seed(1)).latent
    generator, latent = torch.Generator().manual_seed(1), agent.model.rssm.start(2)
    for step in range(5):
        seen = {name: tensor[:, step] for name, tensor in batch.items()}
        latent = agent.model.rssm.filter(latent, agent.model.embed(seen), seen["action"], generator)
        torch.testing.assert_close(latent.deter, together.deter[:, step], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(latent.stoch, together.stoch[:, step], atol=1e-5, rtol=1e-4)


def test_an_episode_that_begins_inside_a_chunk_starts_from_the_zero_state() -> None:
    agent = make_tiny()
    batch = RandomData().batch("all", 1, 6)
    batch["is_first"][0, 3] = True
    changed = {name: tensor.clone() for name, tensor in batch.items()}
    changed["proprio"][0, :3] += 1
    found = [agent.model.posterior(each, torch.Generator().manual_seed(0)).latent.feature for each in (batch, changed)]
    assert not torch.allclose(found[0][0, 2], found[1][0, 2])
    torch.testing.assert_close(found[0][0, 3:], found[1][0, 3:])


def test_kl_below_the_free_nats_gives_no_gradient_and_above_them_splits_it_by_the_balance() -> None:
    space = GaussianSpace(3)
    for shift, active in ((0.01, 0.0), (3.0, 1.0)):
        posterior = torch.full((2, 4, 6), shift, requires_grad=True)
        prior = torch.zeros(2, 4, 6, requires_grad=True)
        loss, value = balanced_kl(space, posterior, prior, 0.8, 1.0)
        assert loss.item() == pytest.approx(max(value.item(), 1.0))
        expected = torch.autograd.grad(space.kl_divergence(posterior, prior).mean(), (posterior, prior))
        loss.backward()
        for tensor, gradient, share in zip((posterior, prior), expected, (0.2, 0.8), strict=True):
            assert tensor.grad is not None
            torch.testing.assert_close(tensor.grad, active * share * gradient)


def test_the_kl_is_charged_at_the_first_step_only_where_an_episode_begins() -> None:
    """A third of the term asks of the prior what nothing can know, and the model spends itself on it."""
    spaces = Spaces(image=(32, 32, 3), proprio=0, action=3)
    chunk = RandomData(spaces).batch("all", 4, 6)
    chunk["begins"][1, 0] = True
    all_steps, inside = (make_tiny(0, spaces, kl_at_chunk_start=start).model for start in (True, False))
    posterior = inside.posterior(chunk, torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(0)
    inside.posterior(chunk, generator)
    prior = inside.rssm.prior(posterior.latent.deter, inside.rssm.draw_heads(6, generator))
    each = inside.rssm.space.kl_divergence(posterior.stats, prior)
    charged = torch.ones(4, 6, dtype=torch.bool)
    charged[[0, 2, 3], 0] = False
    found = inside.loss(chunk, torch.Generator().manual_seed(0))[1]
    assert found["kl"].item() == pytest.approx(each[charged].mean().item(), rel=1e-4)
    assert found["kl_inside"].item() == pytest.approx(each[:, 1:].mean().item(), rel=1e-4)
    whole = all_steps.loss(chunk, torch.Generator().manual_seed(0))[1]["kl"].item()
    assert whole == pytest.approx(each.mean().item(), rel=1e-4)


def numpy_terms(model: WorldModel, batch: Batch, feature: torch.Tensor) -> dict[str, float]:
    """Compute the reconstruction terms from the heads' outputs without torch arithmetic."""
    assert model.decoder is not None
    assert model.proprio_decoder is not None
    assert model.normaliser is not None
    flat = feature.flatten(0, 1)
    pictures = model.decoder(flat).detach().numpy().astype(np.float64)
    wanted = batch["image"].flatten(0, 1).numpy() / 255.0 - 0.5
    rewards = model.reward(feature).detach().numpy() - batch["reward"].numpy()
    body = model.proprio_decoder(feature).detach().numpy() - model.normaliser(batch["proprio"]).numpy()
    return {
        "image_loss": 0.5 * ((pictures - wanted) ** 2).reshape(len(flat), -1).sum(1).mean(),
        "reward_loss": 0.5 * (rewards**2).mean(),
        "proprio_loss": 0.5 * (body**2).sum(-1).mean(),
    }


def test_reconstruction_terms_follow_their_equations() -> None:
    model, batch = make_tiny().model, RandomData().batch("all", 3, 6)
    _, terms = model.loss(batch, torch.Generator().manual_seed(2))
    feature = model.posterior(batch, torch.Generator().manual_seed(2)).latent.feature
    for name, value in numpy_terms(model, batch, feature).items():
        assert terms[name].item() == pytest.approx(value, rel=1e-4)


def test_two_steps_train_at_most_two_heads_unless_all_heads_are_asked_for() -> None:
    for every, learning in ((False, {1, 2}), (True, {3})):
        model = make_tiny(free_nats=0.0, kl_all_heads=every).model.requires_grad_(True)
        chunk = RandomData().batch("all", 2, 2)
        model.loss(chunk, torch.Generator().manual_seed(0))[0].backward()
        gradient = model.rssm.heads.layers[0].bias.grad
        assert gradient is not None
        assert int((gradient.abs().sum((1, 2)) > 0).sum()) in learning


def test_decoding_a_share_of_the_frames_estimates_the_same_image_loss() -> None:
    batch, generator = RandomData().batch("all", 8, 6), torch.Generator().manual_seed(0)
    full, part = (make_tiny(decode_fraction=share).model for share in (1.0, 0.25))
    expected = full.loss(batch, generator)[1]["image_loss"].item()
    assert part.loss(batch, generator)[1]["image_loss"].item() == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize(
    ("spaces", "names"),
    [
        (Spaces(image=None, proprio=4, action=3), {"proprio_loss"}),
        (Spaces(image=(32, 32, 3), proprio=0, action=3), {"image_loss"}),
        (SPACES, {"image_loss", "proprio_loss"}),
    ],
)
def test_the_model_works_from_state_alone_from_images_alone_and_from_both(spaces: Spaces, names: set[str]) -> None:
    model = make_tiny(spaces=spaces).model
    _, terms = model.loss(RandomData(spaces).batch("all", 2, 4), torch.Generator().manual_seed(0))
    assert {name for name in terms if name in {"image_loss", "proprio_loss"}} == names


def test_an_agent_without_observations_is_an_error() -> None:
    with pytest.raises(MotoError, match="neither a camera nor proprioception"):
        WorldModel(tiny(), Spaces(image=None, proprio=0, action=3))


def test_cloning_in_the_model_uses_imitable_actions_only() -> None:
    """Latents would be shaped by failed episodes, and by what an episode does long after its success."""
    agent, batch = make_tiny(model_bc_scale=10.0), RandomData().batch("all", 2, 6)
    batch["imitable"][0], batch["imitable"][1, 4:] = False, False
    changed = batch | {"action": batch["action"].clone()}
    changed["action"][0, 1:] *= -1
    changed["action"][1, 4:] *= -1
    latent = rows(agent.model.rssm.start(1), 12).feature.unflatten(0, (2, 6))
    losses = [cloning_loss(agent.model.cloner, latent, each) for each in (batch, changed)]
    assert losses[0] == losses[1] != 0
    batch["imitable"][:] = False
    assert cloning_loss(agent.model.cloner, latent, batch) == 0


def test_behaviour_cloning_shapes_the_model_only_when_switched_on() -> None:
    """Breaks an ablation: the method without behaviour prior would still learn from demonstrated actions."""
    batch, generator = RandomData().batch("all", 2, 4), torch.Generator().manual_seed(0)
    assert "bc_model_loss" not in make_tiny().model.loss(batch, generator)[1]
    terms = make_tiny(model_bc_scale=10.0).model.loss(batch, generator)[1]
    assert torch.isfinite(terms["bc_model_loss"])
    assert "bc_model_loss" not in make_tiny(model_bc_scale=10.0, behaviour_prior=False).model.loss(batch, generator)[1]
