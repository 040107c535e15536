"""The losses of FOWM on windows; time first: H imagined steps, B windows."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from moto_ros.agents.common.base import Terms
from moto_ros.agents.common.in_sample import MAX_RELATIVE_WEIGHT, advantage_weight, cloning, expectile, pair, td_target
from moto_ros.agents.fowm.config import FowmSettings
from moto_ros.agents.fowm.model import FowmModel, noisy, uncertainty
from moto_ros.agents.interface import Batch

MAX_PRIORITY = 1e4
MIN_PRIORITY = 1e-6


@dataclass(frozen=True)
class Windows:
    """Windows, time first: observations (H+1, B, ...), actions and their results (H, B, ...), importance weight (B,).

    `mask` (H, B) is rho^j where step j is inside the episode, else 0. `imitable` bool (H, B): actions that cloning may
    repeat; `solving` bool (H, B): those of them that came before the success of a solved episode.
    """

    observation: Batch
    action: Tensor
    reward: Tensor
    terminal: Tensor
    mask: Tensor
    weight: Tensor
    imitable: Tensor
    solving: Tensor

    @classmethod
    def of(cls, batch: Batch, rho: float) -> Windows:
        """Cut a batch (B, H+1, ...) of `Data.windows`."""
        seen: Batch = {name: batch[name].transpose(0, 1).contiguous() for name in ("image", "proprio") if name in batch}
        steps = {name: batch[name][:, 1:].transpose(0, 1) for name in ("action", "reward", "is_terminal", "valid")}
        # Rows of which nobody says that they may be imitated are not.
        if "imitable" in batch and "steps_to_success" in batch:
            imitable = batch["imitable"][:, 1:].transpose(0, 1)
            solving = imitable & (batch["steps_to_success"][:, :-1].transpose(0, 1) > 0)
        else:
            imitable = solving = torch.zeros_like(steps["valid"])
        powers = rho ** torch.arange(len(steps["valid"]), device=batch["reward"].device)
        return cls(
            observation=seen,
            action=steps["action"],
            reward=steps["reward"],
            terminal=steps["is_terminal"],
            mask=steps["valid"] * powers[:, None],
            weight=batch["weight"],
            imitable=imitable,
            solving=solving,
        )


@dataclass(frozen=True)
class ModelLoss:
    """What the model update minimises, and its results: latents (H, B, D), priorities (B,), Q (heads, H, B)."""

    total: Tensor
    latents: Tensor
    priority: Tensor
    values: Tensor
    terms: Terms


@dataclass(frozen=True)
class CriticLoss:
    """Errors of Q and V by step (H, B); and, without gradient, Q (heads, H, B) and the TD target (H, B)."""

    q: Tensor
    value: Tensor
    values: Tensor
    target: Tensor


def model_loss(
    model: FowmModel, windows: Windows, settings: FowmSettings, generator: torch.Generator | None
) -> ModelLoss:
    """Return the loss J / H of encoder, dynamics, reward, Q and V."""
    # Encode: z_0 with gradient; the later observations by the online encoder (TD target) and the target encoder.
    later = {name: rows[1:] for name, rows in windows.observation.items()}
    z = [model.encoder({name: rows[0] for name, rows in windows.observation.items()})]
    with torch.no_grad():
        next_latents, target_latents = model.encoder(later), model.target_encoder(later)
    # Latent rollout: z_{j+1} = d(z_j, a_j).
    for action in windows.action:
        z.append(model.advance(z[-1], action))
    latents = torch.stack(z)
    before, after = latents[:-1], latents[1:]
    # Errors (H, B) of every imagined step: consistency, reward, Q heads, V.
    critic = critic_loss(model, before, next_latents, windows, settings, generator)
    reward = model.prediction_loss(model.reward_logits(before, windows.action), windows.reward)
    parts = {
        "consistency": settings.consistency_scale * (after - target_latents).square().mean(-1),
        "reward": settings.reward_scale * reward,
        "q": settings.q_scale * critic.q,
        "value": settings.value_scale * critic.value,
    }
    # Cloning shapes the latents; the policy head itself learns in its own loss.
    if settings.cloning_scale:
        squared = (model.policy(before) - windows.action).square().sum(-1)
        parts["cloning"] = settings.cloning_scale * windows.imitable * squared / 2
    # J = sum_j rho^j m_j (parts), weighted by importance; divided by H, as the published gradient is.
    each = torch.stack(list(parts.values())).sum(0)
    loss = ((each * windows.mask).sum(0) * windows.weight).mean() / len(windows.action)
    # Priority: sum_j rho^j m_j sum_i |Q_i - y|.
    error = ((critic.values - critic.target).abs().sum(0) * windows.mask).sum(0)
    priority = error.clamp(max=MAX_PRIORITY) + MIN_PRIORITY
    terms = {f"{name}_loss": (part.detach() * windows.mask).sum(0).mean() for name, part in parts.items()}
    terms |= {"q_mean": critic.values.mean(), "uncertainty": uncertainty(critic.values).mean()}
    terms["target_mean"] = critic.target.mean()
    return ModelLoss(loss, before.detach(), priority, critic.values, terms)


def critic_loss(
    model: FowmModel,
    latents: Tensor,
    next_latents: Tensor,
    windows: Windows,
    settings: FowmSettings,
    generator: torch.Generator | None,
) -> CriticLoss:
    """Return the errors of Q and V on imagined latents (H, B, D); `next_latents` are those of o_{j+1}, encoded."""
    logits = model.q_logits(latents, windows.action)
    with torch.no_grad():
        # TD target in sample (IQL): y_j = r_j + gamma mu_j V(E(o_{j+1})); ablation: min of two target Q at the policy.
        if settings.value_target == "in_sample":
            next_value = model.value(next_latents)
        else:
            noise = torch.randn(windows.action.shape, generator=generator, device=next_latents.device)
            action = noisy(model.policy(next_latents), settings.policy_noise, noise)
            next_value = min_target_q(model, next_latents, action, generator)
        reward = windows.reward
        if settings.values_are_chances:
            reward, next_value = reward.clamp(0, 1), next_value.clamp(0, 1)
        target = td_target(reward, windows.terminal, next_value, settings.discount)
        if settings.values_are_chances:
            target = target.clamp(0, 1)
    # Q: sum_i (Q_i(z_j, a_j) - y_j)^2, or cross entropies of two-hot heads.
    q = model.prediction_loss(logits, target).sum(0)
    # V: expectile loss L_tau(min of two target Q(z_j, a_j) - V(z_j)).
    with torch.no_grad():
        target_q = min_target_q(model, latents, windows.action, generator)
        if settings.values_are_chances:
            target_q = target_q.clamp(0, 1)
    value = expectile(target_q - model.value(latents), settings.expectile)
    return CriticLoss(q, value, model.scalar(logits.detach()), target)


@torch.no_grad()
def min_target_q(model: FowmModel, latents: Tensor, action: Tensor, generator: torch.Generator | None) -> Tensor:
    """Return the minimum (...) of two target Q heads, drawn at random at each call (REDQ)."""
    members = pair(model.heads, generator, latents.device)
    return model.q_values(latents, action, target=True, members=members).amin(0)


def policy_loss(
    model: FowmModel, latents: Tensor, windows: Windows, settings: FowmSettings, generator: torch.Generator | None
) -> tuple[Tensor, Terms]:
    """Return the policy's loss on detached latents (H, B, D); steps past an episode's end do not count."""
    mean = model.policy(latents)
    if settings.policy_objective == "max_q":
        # Ablation (TD-MPC): maximise the minimum of two online Q heads.
        members = pair(settings.heads, generator, latents.device)
        each, terms = -model.q_values(latents, mean, members=members).amin(0), {}
    else:
        # AWR: w times -log N(a; pi(z), 1).
        with torch.no_grad():
            advantage = min_target_q(model, latents, windows.action, generator) - model.value(latents)
            weight = policy_weight(advantage, model.q_range, windows.solving, settings)
        each = weight * cloning(mean, windows.action)
        terms = {"advantage": advantage.mean(), "advantage_weight": weight.mean()}
    if settings.cloning_scale:
        each = each + settings.cloning_scale * windows.imitable * cloning(mean, windows.action)
    loss = (each * windows.mask).mean(1).sum() / len(latents)
    return loss, {"policy_loss": loss.detach()} | terms


def policy_weight(advantage: Tensor, q_range: Tensor, solving: Tensor, settings: FowmSettings) -> Tensor:
    """Return the weights (H, B) by which the policy clones actions of advantage A = min Q - V.

    Published: min(exp(beta A), 100). "solved": min(exp(beta A / Q range), 10) where `solving`, else 0: a failure has
    A = 0 on average, and exp(0) = 1 would clone it.
    """
    if settings.advantage_mask == "published":
        return advantage_weight(advantage, settings.advantage_scale)
    return solving * advantage_weight(advantage / q_range, settings.advantage_scale, MAX_RELATIVE_WEIGHT)
