"""The losses and targets of FOWM equal the published equations, built once more in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from agents_data import RandomData
from fowm_numpy import NumpyFowm
from torch import Tensor

from moto_ros.agents.common import two_hot
from moto_ros.agents.common.in_sample import advantage_weight, expectile, td_target
from moto_ros.agents.fowm.config import FowmSettings
from moto_ros.agents.fowm.losses import ModelLoss, Windows, model_loss, policy_loss
from moto_ros.agents.fowm.model import FowmModel
from moto_ros.agents.interface import Batch, Prioritised, Spaces

SPACES = Spaces((40, 40, 3), 4, 3)
SMALL = {"latent_size": 8, "conv_channels": 2, "state_units": 6, "hidden": 10, "batch": 5, "horizon": 4}


def small(**changes: object) -> FowmSettings:
    return FowmSettings(**(SMALL | changes))  # type: ignore[arg-type]


def random_model(settings: FowmSettings, spaces: Spaces = SPACES) -> FowmModel:
    """Return a model none of whose weights is zero, with targets that differ from the online networks."""
    torch.manual_seed(0)
    model = FowmModel(settings, spaces)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    return model


def drawn(settings: FowmSettings, spaces: Spaces = SPACES) -> Batch:
    return RandomData(spaces).windows("all", settings.batch, settings.length, Prioritised())


def pair(seed: int, heads: int = 5) -> list[int]:
    """Return the two heads that a stream with this seed picks first."""
    return torch.randperm(heads, generator=torch.Generator().manual_seed(seed))[:2].tolist()


def model_part(settings: FowmSettings, seed: int = 3) -> tuple[FowmModel, Batch, ModelLoss]:
    model, batch = random_model(settings), drawn(settings)
    found = model_loss(model, Windows.of(batch, settings.rho), settings, torch.Generator().manual_seed(seed))
    return model, batch, found


def expected_model_loss(model: FowmModel, batch: Batch, s: FowmSettings, seed: int) -> tuple[float, list[float]]:
    """Return J / H and the priorities, row by row from section 2 of the specification."""
    net, heads = NumpyFowm.of(model), pair(seed)
    rows = {name: value.double().numpy() for name, value in batch.items()}
    total, priorities = 0.0, []
    for b in range(s.batch):
        z, loss, priority = net.encode(rows["image"][b, 0], rows["proprio"][b, 0]), 0.0, 0.0
        for j in range(s.horizon):
            action, reward = rows["action"][b, j + 1], rows["reward"][b, j + 1]
            seen = rows["image"][b, j + 1], rows["proprio"][b, j + 1]
            y = reward + s.discount * (1 - rows["is_terminal"][b, j + 1]) * net.value(net.encode(*seen))
            q, ahead = net.q(z, action), net.advance(z, action)
            over = net.q(z, action, target=True)[heads].min() - net.value(z)
            mask = s.rho**j * rows["valid"][b, j + 1]
            loss += mask * (
                20 * ((ahead - net.encode(*seen, target=True)) ** 2).mean()
                + 0.5 * (net.reward(z, action) - reward) ** 2
                + 0.1 * ((q - y) ** 2).sum()
                + 0.1 * abs(s.expectile - (over < 0)) * over**2
            )
            priority += mask * abs(q - y).sum()
            z = ahead
        total += rows["weight"][b] * loss / s.batch
        priorities.append(min(priority, 1e4) + 1e-6)
    return total / s.horizon, priorities


def test_the_model_loss_is_the_published_one() -> None:
    settings = small()
    model, batch, found = model_part(settings)
    assert not batch["valid"].all(), "the batch must hold windows that pass an episode's end"
    assert batch["is_terminal"].any()
    expected, priorities = expected_model_loss(model, batch, settings, 3)
    np.testing.assert_allclose(found.total.item(), expected, rtol=1e-4)
    np.testing.assert_allclose(found.priority.numpy(), priorities, rtol=1e-4)


def expected_policy_loss(model: FowmModel, batch: Batch, s: FowmSettings, latents: Tensor, seed: int) -> float:
    net, heads = NumpyFowm.of(model), pair(seed)
    total = 0.0
    for j in range(s.horizon):
        for b in range(s.batch):
            z, action = latents[j, b].double().numpy(), batch["action"][b, j + 1].double().numpy()
            advantage = net.q(z, action, target=True)[heads].min() - net.value(z)
            weight = min(np.exp(s.advantage_scale * advantage), 100)
            cloned = 0.5 * ((net.policy(z) - action) ** 2).sum() + len(action) / 2 * np.log(2 * np.pi)
            total += s.rho**j * float(batch["valid"][b, j + 1]) * weight * cloned / s.batch
    return total / s.horizon


def test_the_policy_loss_is_the_published_one_with_the_episode_mask_applied() -> None:
    settings = small()
    model, batch, found = model_part(settings)
    stream = torch.Generator().manual_seed(7)
    loss, _ = policy_loss(model, found.latents, Windows.of(batch, settings.rho), settings, stream)
    expected = expected_policy_loss(model, batch, settings, found.latents, 7)
    np.testing.assert_allclose(loss.item(), expected, rtol=1e-4)


def test_the_max_q_ablation_raises_the_minimum_of_two_online_heads() -> None:
    settings = small(policy_objective="max_q")
    model, batch, found = model_part(settings)
    stream = torch.Generator().manual_seed(7)
    loss, _ = policy_loss(model, found.latents, Windows.of(batch, settings.rho), settings, stream)
    net, heads, expected = NumpyFowm.of(model), pair(7), 0.0
    for j, b in np.ndindex(settings.horizon, settings.batch):
        z = found.latents[j, b].double().numpy()
        smallest = net.q(z, net.policy(z))[heads].min()
        expected -= settings.rho**j * float(batch["valid"][b, j + 1]) * smallest / settings.batch / settings.horizon
    np.testing.assert_allclose(loss.item(), expected, rtol=1e-4)


def test_the_policy_target_ablation_asks_for_the_minimum_of_two_target_heads_at_the_policy() -> None:
    settings = small(value_target="policy", policy_noise=0.0)
    model, batch, found = model_part(settings)
    stream = torch.Generator().manual_seed(3)
    torch.randn(settings.horizon, settings.batch, SPACES.action, generator=stream)
    heads = torch.randperm(5, generator=stream)[:2].tolist()
    net, targets = NumpyFowm.of(model), []
    for j, b in np.ndindex(settings.horizon, settings.batch):
        z = net.encode(*(batch[name][b, j + 1].double().numpy() for name in ("image", "proprio")))
        value = net.q(z, net.policy(z), target=True)[heads].min()
        going = 1 - float(batch["is_terminal"][b, j + 1])
        targets.append(float(batch["reward"][b, j + 1]) + settings.discount * going * value)
    np.testing.assert_allclose(found.terms["target_mean"].item(), np.mean(targets), rtol=1e-4)


def test_rows_after_an_episodes_end_change_nothing() -> None:
    """Else the model would learn that an arm at rest jumps, and the policy would clone actions that nobody executed."""
    settings = small()
    model, batch, found = model_part(settings)
    later = ~batch["valid"]
    changed = {name: value.clone() for name, value in batch.items()}
    changed["action"][later] += 0.5
    changed["reward"][later] += 5
    changed["proprio"][later] -= 3
    windows = Windows.of(changed, settings.rho)
    again = model_loss(model, windows, settings, torch.Generator().manual_seed(3))
    torch.testing.assert_close(again.total, found.total)
    losses = [
        policy_loss(model, one.latents, Windows.of(rows, settings.rho), settings, torch.Generator().manual_seed(1))[0]
        for one, rows in ((found, batch), (again, changed))
    ]
    torch.testing.assert_close(*losses)


def test_gradients_reach_what_learns_and_nothing_else() -> None:
    """Dynamics and encoder learn from every term; targets and the policy do not move with the model."""
    model, _, found = model_part(small())
    found.total.backward()
    moved = {name.split(".")[0] for name, weight in model.named_parameters() if weight.grad is not None}
    assert moved == {"encoder", "dynamics", "reward_head", "q", "v"}


def test_expectile_target_and_weight_by_hand() -> None:
    error = torch.tensor([-2.0, 0.0, 3.0])
    np.testing.assert_allclose(expectile(error, 0.9).numpy(), [0.1 * 4, 0, 0.9 * 9], rtol=1e-6)
    ones, end = torch.ones(2), torch.tensor([False, True])
    np.testing.assert_allclose(td_target(ones, end, 2 * ones, 0.5).numpy(), [2, 1])
    np.testing.assert_allclose(advantage_weight(torch.tensor([0.0, 9.0]), 3.0).numpy(), [1, 100])


def test_parameter_counts_are_those_of_the_published_networks() -> None:
    """2.73 million for xArm: image 84 px, 4 numbers of state, 4 of action (specification, section 1)."""
    model = FowmModel(FowmSettings(), Spaces((84, 84, 3), 4, 4))
    counts = {
        name: sum(weight.numel() for weight in part.parameters()) / 1e6
        for name, part in model.named_children()
        if not name.startswith("slow")
    }
    published = {"q": 1.46, "dynamics": 0.319, "reward_head": 0.293, "policy_head": 0.293, "v": 0.290}
    for name, count in published.items():
        assert counts[name] == pytest.approx(count, rel=0.02), name
    assert counts["encoder"] == pytest.approx(0.063 + 0.014, rel=0.02)
    assert sum(counts.values()) == pytest.approx(2.73, rel=0.01)


@pytest.mark.parametrize("value", [-150.0, -0.3, 0.0, 1.0, 7.5, 2000.0])
def test_two_hot_targets_mean_the_scalar_they_were_made_of(value: float) -> None:
    target = two_hot.two_hot(torch.tensor([value], dtype=torch.float64))
    assert (target > 0).sum() <= 2
    np.testing.assert_allclose(target.sum().item(), 1)
    np.testing.assert_allclose(two_hot.decode((target + 1e-30).log()).item(), value, rtol=1e-6, atol=1e-9)


def test_modern_losses_are_cross_entropies_of_reward_and_every_head() -> None:
    settings = small(two_hot=True, heads_style="modern", latent="simnorm", reward_scale=0.7, q_scale=0.2)
    model, batch, found = model_part(settings)
    windows = Windows.of(batch, settings.rho)
    with torch.no_grad():
        before = found.latents
        reward = two_hot.cross_entropy(model.reward_logits(before, windows.action), windows.reward)
        later = {name: rows[1:] for name, rows in windows.observation.items()}
        target = td_target(windows.reward, windows.terminal, model.value(model.encoder(later)), settings.discount)
        heads = two_hot.cross_entropy(model.q_logits(before, windows.action), target).sum(0)
    for name, each in (("reward", 0.7 * reward), ("q", 0.2 * heads)):
        expected = (each * windows.mask).sum(0).mean()
        torch.testing.assert_close(found.terms[f"{name}_loss"], expected, rtol=1e-4, atol=1e-6)
