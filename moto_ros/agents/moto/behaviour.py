"""Actor and critics learning in imagination: the objective of the policy phase."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from moto_ros.agents.common.returns import discount_weights, lambda_return
from moto_ros.agents.interface import Batch, Spaces
from moto_ros.agents.moto.actor import Actor, cloning_loss
from moto_ros.agents.moto.config import MotoSettings
from moto_ros.agents.moto.critics import Critics, expanded_target, imagined_loss, real_loss
from moto_ros.agents.moto.imagination import Rollout, imagine
from moto_ros.agents.moto.rssm import Latent
from moto_ros.agents.moto.world_model import Terms, WorldModel


@dataclass(frozen=True)
class Losses:
    """What one policy update descends, and its figures."""

    actor: Tensor
    critic: Tensor
    terms: Terms


def actor_objective(
    rewards: Tensor, values: Tensor, entropy: Tensor, discount: float, mix: float, entropy_scale: float
) -> Tensor:
    """Return J, the discounted mean of lambda-returns; rewards (H-1, rows), the least critic's values (H, rows).

    J = mean_k discount^k [(1 - mix) Q_k + mix G_k + entropy_scale * entropy_k], k = 0..H-2.
    """
    returns = lambda_return(rewards, values, discount, mix)[:-1]
    gain = (1 - mix) * values[:-1] + mix * returns + entropy_scale * entropy[:-1]
    return (discount_weights(len(returns), discount, returns) * gain).mean()


class Behaviour(nn.Module):
    """Policy and critics on a frozen world model."""

    updates: Tensor

    def __init__(self, settings: MotoSettings, spaces: Spaces, feature: int) -> None:
        """Build actor and critics."""
        super().__init__()
        self.settings = settings
        self.alpha = settings.alpha if settings.uncertainty else 0.0
        self.actor = Actor(settings, feature, spaces.action)
        self.critics = Critics(settings, feature, spaces.action)
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    def losses(
        self, model: WorldModel, latent: Latent, batch: Batch, generator: torch.Generator, prior_loss: Tensor | None
    ) -> Losses:
        """Return both losses, from detached posteriors (B, L, ...) of `batch` and the behaviour-prior term."""
        start = Latent(*(part.flatten(0, 1) for part in latent))
        rollout = imagine(model, self.actor, start, self.settings.horizon, generator)
        rewards = rollout.penalised(self.alpha)
        values = self.critics.values(rollout.feature, rollout.action)
        actor, actor_terms = self._actor_loss(rollout, rewards, values, prior_loss)
        critic, critic_terms = self._critic_loss(rollout, rewards, values, latent, batch, generator)
        return Losses(actor, critic, actor_terms | critic_terms)

    def cloning_loss(self, latent: Latent, batch: Batch) -> Tensor:
        """Return L_BC of the policy on posteriors (B, L, ...) of successful episodes."""
        return cloning_loss(self.actor, latent.feature, batch)

    def count_update(self) -> None:
        """Count one update and copy the critics to the target when it is due."""
        self.updates += 1
        if int(self.updates) % self.settings.target_every == 0:
            self.critics.copy_to_target()

    def _actor_loss(
        self, rollout: Rollout, rewards: Tensor, values: Tensor, prior_loss: Tensor | None
    ) -> tuple[Tensor, Terms]:
        settings, entropy = self.settings, rollout.policy.entropy()
        least = values.amin(0)
        objective = actor_objective(rewards, least, entropy, settings.discount, settings.mix, settings.entropy)
        loss = -objective if prior_loss is None else settings.beta * prior_loss - objective
        terms = {
            "actor_loss": loss,
            "objective": objective,
            "entropy": entropy.mean(),
            "actor_std": rollout.policy.std.mean(),
            "imagined_reward": rollout.reward.mean(),
            "uncertainty": rollout.uncertainty.mean(),
            "penalty": self.alpha * rollout.uncertainty.mean(),
            "critic_spread": values.std(0, correction=0).mean(),
        }
        return loss, terms if prior_loss is None else terms | {"bc_loss": prior_loss}

    def _critic_loss(
        self,
        rollout: Rollout,
        rewards: Tensor,
        values: Tensor,
        latent: Latent,
        batch: Batch,
        generator: torch.Generator,
    ) -> tuple[Tensor, Terms]:
        settings = self.settings
        targets, returns = self._targets(rollout, rewards, generator)
        loss = imagined_loss(values, returns, settings.discount)
        terms = {"critic_model_loss": loss, "imagined_return": returns[0].mean(), "q_mean": values[:, 0].mean()}
        if settings.value_expansion:
            shape = batch["reward"].shape
            real = self._real_loss(latent, batch, targets[0].view(shape), returns[0].view(shape))
            loss, terms = loss + real, terms | {"critic_real_loss": real}
        return loss, terms | {"critic_loss": loss}

    @torch.no_grad()
    def _targets(self, rollout: Rollout, rewards: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return one random target critic's values and the lambda-returns they give, both (H, rows)."""
        members = self.critics.target.members
        member = int(torch.randint(members, (), generator=generator, device=generator.device))
        values = self.critics.target_value(rollout.feature, rollout.action, member)
        return values, lambda_return(rewards, values, self.settings.discount, self.settings.mix)

    def _real_loss(self, latent: Latent, batch: Batch, values: Tensor, returns: Tensor) -> Tensor:
        """Return L_real; `values` and `returns` (B, L) are the target's at every posterior."""
        target = expanded_target(
            batch["reward"][:, 1:],
            batch["is_terminal"][:, 1:],
            values[:, 1:],
            returns[:, 1:],
            self.settings.discount,
            self.settings.mix,
        )
        predicted = self.critics.values(latent.feature[:, :-1], batch["action"][:, 1:])
        return real_loss(predicted, target, batch["is_first"][:, 1:])
