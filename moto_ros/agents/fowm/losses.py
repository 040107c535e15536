"""The losses of FOWM on windows; time first: H imagined steps, B windows."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from moto_ros.agents.common.base import Terms
from moto_ros.agents.common.in_sample import advantage_weight, cloning, expectile, pair, td_target
from moto_ros.agents.fowm.config import FowmSettings
from moto_ros.agents.fowm.model import FowmModel, noisy
from moto_ros.agents.interface import Batch

LARGEST_PRIORITY = 1e4
SMALLEST_PRIORITY = 1e-6


@dataclass(frozen=True)
class Windows:
    """Windows, time first: observations (H+1, B, ...), actions and what they led to (H, B, ...), weight (B,).

    `mask` (H, B) is rho^j where step j is inside the episode, else 0.
    """

    observation: Batch
    action: Tensor
    reward: Tensor
    terminal: Tensor
    mask: Tensor
    weight: Tensor

    @classmethod
    def of(cls, batch: Batch, rho: float) -> Windows:
        """Cut a batch (B, H+1, ...) of `Data.windows`."""
        seen: Batch = {name: batch[name].transpose(0, 1).contiguous() for name in ("image", "proprio") if name in batch}
        steps = {name: batch[name][:, 1:].transpose(0, 1) for name in ("action", "reward", "is_terminal", "valid")}
        powers = rho ** torch.arange(len(steps["valid"]), device=batch["reward"].device)
        return cls(
            observation=seen,
            action=steps["action"],
            reward=steps["reward"],
            terminal=steps["is_terminal"],
            mask=steps["valid"] * powers[:, None],
            weight=batch["weight"],
        )


@dataclass(frozen=True)
class ModelLoss:
    """What the model update descends, and what follows from it: latents (H, B, D), priorities (B,), Q (heads, H, B)."""

    total: Tensor
    latents: Tensor
    priority: Tensor
    values: Tensor
    terms: Terms


def model_loss(
    model: FowmModel, windows: Windows, settings: FowmSettings, generator: torch.Generator | None
) -> ModelLoss:
    """Return the loss of encoder, dynamics, reward, Q and V, divided by H, so that its gradient is the published."""
    first, seen, consistent = _encoded(model, windows)
    latents = _rollout(model, first, windows.action)
    before, action = latents[:-1], windows.action
    logits = model.q_logits(before, action)
    target = _target(model, windows, seen, settings, generator)
    parts = {
        "consistency": settings.consistency_scale * (latents[1:] - consistent).square().mean(-1),
        "reward": settings.reward_scale * model.misfit(model.reward_logits(before, action), windows.reward),
        "q": settings.q_scale * model.misfit(logits, target).sum(0),
        "value": settings.value_scale * _value_error(model, before, action, settings, generator),
    }
    each = torch.stack(list(parts.values())).sum(0)
    loss = ((each * windows.mask).sum(0) * windows.weight).mean() / len(action)
    values = model.scalar(logits.detach())
    terms = {f"{name}_loss": (part.detach() * windows.mask).sum(0).mean() for name, part in parts.items()}
    terms |= {"q_mean": values.mean(), "uncertainty": values.std(0).mean(), "target_mean": target.mean()}
    return ModelLoss(loss, latents[:-1].detach(), priorities(values, target, windows.mask), values, terms)


def _encoded(model: FowmModel, windows: Windows) -> tuple[Tensor, Tensor, Tensor]:
    """Return the first latent (with gradient), and those of the later observations by the encoder and its target."""
    first = model.encoder({name: rows[0] for name, rows in windows.observation.items()})
    later = {name: rows[1:] for name, rows in windows.observation.items()}
    with torch.no_grad():
        return first, model.encoder(later), model.slow_encoder(later)


def _rollout(model: FowmModel, first: Tensor, action: Tensor) -> Tensor:
    latents = [first]
    for step in action:
        latents.append(model.advance(latents[-1], step))
    return torch.stack(latents)


@torch.no_grad()
def _target(
    model: FowmModel, windows: Windows, seen: Tensor, settings: FowmSettings, generator: torch.Generator | None
) -> Tensor:
    """Return y (H, B): the reward and V of the observation reached, or what the policy would do there."""
    if settings.value_target == "in_sample":
        value = model.value(seen)
    else:
        noise = torch.randn(windows.action.shape, generator=generator, device=seen.device)
        action = noisy(model.policy(seen), settings.policy_noise, noise)
        value = _least(model, seen, action, settings, generator)
    return td_target(windows.reward, windows.terminal, value, settings.discount)


def _least(
    model: FowmModel, latents: Tensor, action: Tensor, settings: FowmSettings, generator: torch.Generator | None
) -> Tensor:
    """Return the smaller of two random slow Q heads."""
    members = pair(settings.heads, generator, latents.device)
    return model.q_values(latents, action, slow=True, members=members).amin(0)


def _value_error(
    model: FowmModel, latents: Tensor, action: Tensor, settings: FowmSettings, generator: torch.Generator | None
) -> Tensor:
    with torch.no_grad():
        least = _least(model, latents, action, settings, generator)
    return expectile(least - model.value(latents), settings.expectile)


def priorities(values: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Return the priority (B,) of each window: its weighted TD errors, all heads."""
    error = ((values - target).abs().sum(0) * mask).sum(0)
    return error.clamp(max=LARGEST_PRIORITY) + SMALLEST_PRIORITY


def policy_loss(
    model: FowmModel, latents: Tensor, windows: Windows, settings: FowmSettings, generator: torch.Generator | None
) -> tuple[Tensor, Terms]:
    """Return the policy's loss on detached latents (H, B, D); steps past an episode's end do not count."""
    mean = model.policy(latents)
    if settings.policy_objective == "max_q":
        members = pair(settings.heads, generator, latents.device)
        each, terms = -model.q_values(latents, mean, members=members).amin(0), {}
    else:
        with torch.no_grad():
            advantage = _least(model, latents, windows.action, settings, generator) - model.value(latents)
            weight = advantage_weight(advantage, settings.advantage_scale)
        each = weight * cloning(mean, windows.action)
        terms = {"advantage": advantage.mean(), "advantage_weight": weight.mean()}
    loss = (each * windows.mask).mean(1).sum() / len(latents)
    return loss, {"policy_loss": loss.detach()} | terms
