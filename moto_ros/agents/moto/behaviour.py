"""Actor and critics that learn in imagination: rollouts of the policy in the model, actor loss and critic loss."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from moto_ros.agents.common.base import Terms
from moto_ros.agents.common.distributions import TruncatedNormal, uniform
from moto_ros.agents.common.networks import BatchedMLP
from moto_ros.agents.common.returns import discount_weights, lambda_return
from moto_ros.agents.interface import Batch, Spaces
from moto_ros.agents.moto.actor import Actor
from moto_ros.agents.moto.config import MotoSettings
from moto_ros.agents.moto.rssm import Latent
from moto_ros.agents.moto.world_model import WorldModel


class Critics(nn.Module):
    """N functions Q_i(s, a), and a target copy of them."""

    def __init__(self, settings: MotoSettings, feature: int, action: int) -> None:
        """Build N critics on feature and action; the target starts equal."""
        super().__init__()
        hidden = (settings.head_units,) * settings.head_layers
        self.online = BatchedMLP(settings.critic_count, feature + action, hidden, 1)
        self.target = BatchedMLP(settings.critic_count, feature + action, hidden, 1).requires_grad_(False)
        self.copy_to_target()

    def values(self, feature: Tensor, action: Tensor) -> Tensor:
        """Return Q_i of every online critic: (..., F), (..., A) -> (N, ...)."""
        joined = torch.cat((feature, action), -1)
        return self.online(joined.flatten(0, -2)).view(self.online.members, *joined.shape[:-1])

    def target_value(self, feature: Tensor, action: Tensor, member: int) -> Tensor:
        """Return one target critic's value: (..., F), (..., A) -> (...)."""
        joined = torch.cat((feature, action), -1)
        return self.target.single(joined.flatten(0, -2), member).view(joined.shape[:-1])

    def copy_to_target(self) -> None:
        """Make the target equal to the online critics."""
        self.target.load_state_dict(self.online.state_dict())


@dataclass(frozen=True)
class Rollout:
    """H states and actions from each of `rows` starts; everything carries gradient to the actor.

    feature (H, rows, F); action (H, rows, A); reward and uncertainty of the H-1 transitions (H-1, rows); policy is
    the distribution the actions were drawn from.
    """

    feature: Tensor
    action: Tensor
    reward: Tensor
    uncertainty: Tensor
    policy: TruncatedNormal

    def penalised(self, alpha: float) -> Tensor:
        """Return the reward less alpha times the uncertainty (H-1, rows)."""
        return self.reward - alpha * self.uncertainty


def imagine(model: WorldModel, actor: Actor, start: Latent, horizon: int, generator: torch.Generator) -> Rollout:
    """Roll the policy out in the model, `horizon` states from each of the posteriors `start` (rows, ...).

    a_k ~ pi(. | sg(s_k)), s_{k+1} ~ p_j(. | s_k, a_k), where one transition head j is drawn a step for all rows, and
    sg stops the gradient: actions answer for later rewards through the dynamics, not through the policy's input.
    """
    shape = torch.Size((len(start.deter), model.spaces.action))
    heads = model.rssm.draw_heads(horizon - 1, generator).tolist()
    latent, states, actions, moments = start, [start], [], []
    for k in range(horizon):
        # a_k ~ pi(. | sg(s_k))
        action, *loc_and_std = actor.draw(latent.feature.detach(), uniform(shape, start.deter, generator))
        actions.append(action)
        moments.append(loc_and_std)
        # s_{k+1} ~ p_j(. | s_k, a_k)
        if k < horizon - 1:
            latent = model.rssm.imagine(latent, action, heads[k], generator)
            states.append(latent)
    latents, action = Latent(*map(torch.stack, zip(*states, strict=True))), torch.stack(actions)
    # u(s_k, a_k) and r(s_{k+1}) of all transitions at once, k = 0..H-2
    before = Latent(*(part[:-1].flatten(0, 1) for part in latents))
    uncertainty = model.uncertainty(before, action[:-1].flatten(0, 1), latents.deter[1:].flatten(0, 1))
    feature = latents.feature
    return Rollout(
        feature=feature,
        action=action,
        reward=model.reward(feature[1:]),
        uncertainty=uncertainty.unflatten(0, feature[1:].shape[:2]),
        policy=TruncatedNormal(*map(torch.stack, zip(*moments, strict=True))),
    )


class Behaviour(nn.Module):
    """Policy pi and critics Q_i on a frozen world model."""

    updates: Tensor

    def __init__(self, settings: MotoSettings, spaces: Spaces, feature: int) -> None:
        """Build actor and critics."""
        super().__init__()
        self.settings = settings
        self.alpha = settings.alpha if settings.uncertainty else 0.0
        self.actor = Actor(settings, feature, spaces.action)
        self.critics = Critics(settings, feature, spaces.action)
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    def actor_loss(
        self, rollout: Rollout, rewards: Tensor, values: Tensor, cloning: Tensor | None
    ) -> tuple[Tensor, Terms]:
        """Return L_actor = beta L_BC - J and its terms.

        J = mean_k gamma^k [(1 - lambda) Q_k + lambda G_k + eta entropy_k], k = 0..H-2, with Q_k = min_i Q_i(s_k, a_k)
        and the lambda-return G_k of the penalised `rewards` (H-1, rows). `values` (N, H, rows) are the online critics';
        `cloning` is L_BC, None without behaviour prior.
        """
        settings = self.settings
        gamma, lambda_ = settings.discount, settings.lambda_
        # G_k, bootstrapped by the minimum of the critics
        q = values.amin(0)
        returns = lambda_return(rewards, q, gamma, lambda_)[:-1]
        # J; its gradient flows through Q, the rewards, the uncertainty and the chain of latents
        entropy = rollout.policy.entropy()
        gain = (1 - lambda_) * q[:-1] + lambda_ * returns + settings.entropy * entropy[:-1]
        objective = (discount_weights(len(returns), gamma, returns) * gain).mean()
        # L_actor
        loss = -objective if cloning is None else settings.beta * cloning - objective
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
        return loss, terms if cloning is None else terms | {"bc_loss": cloning}

    def critic_loss(
        self,
        rollout: Rollout,
        rewards: Tensor,
        values: Tensor,
        latent: Latent,
        batch: Batch,
        generator: torch.Generator,
    ) -> tuple[Tensor, Terms]:
        """Return L_critic = L_model + L_real and its terms; L_real only with value expansion.

        `rollout` began at every posterior `latent` (B, L, ...) of `batch`, so it has rows = B L; penalised `rewards`
        (H-1, rows); `values` (N, H, rows) of the online critics along the rollout.
        """
        settings, critics = self.settings, self.critics
        gamma, lambda_ = settings.discount, settings.lambda_
        # Targets: Qbar of one random target critic, and the lambda-return G_k that it bootstraps
        with torch.no_grad():
            member = int(torch.randint(critics.target.members, (), generator=generator, device=generator.device))
            target_values = critics.target_value(rollout.feature, rollout.action, member)
            returns = lambda_return(rewards, target_values, gamma, lambda_)
        # L_model = mean_{i,k} gamma^(k+1) 1/2 (Q_i(s_k, a_k) - G_k)^2, imagined states k = 0..H-2
        weights = gamma * discount_weights(len(returns) - 1, gamma, returns)
        loss = (weights * 0.5 * (values[:, :-1] - returns[:-1]).square()).mean()
        terms = {"critic_model_loss": loss, "imagined_return": returns[0].mean(), "q_mean": values[:, 0].mean()}
        if settings.value_expansion:
            # y_t = r_t + gamma [(1 - lambda) Qbar(s_{t+1}, a') + lambda G_0(s_{t+1})], a' ~ pi, real r_t and s_{t+1}
            reward, terminal, is_first = (batch[name][:, 1:] for name in ("reward", "is_terminal", "is_first"))
            value, expanded = (rows[0].view(batch["reward"].shape)[:, 1:] for rows in (target_values, returns))
            future = (1 - lambda_) * value + lambda_ * expanded
            target = reward + gamma * (~terminal).to(reward.dtype) * future
            # L_real = mean_{i,t} 1/2 (Q_i(s_t, a_t) - y_t)^2, leaving out pairs that straddle two episodes
            predicted = critics.values(latent.feature[:, :-1], batch["action"][:, 1:])
            valid = (~is_first).to(target.dtype)
            real = (0.5 * (predicted - target).square() * valid).mean(0).sum() / valid.sum().clamp(min=1)
            loss, terms = loss + real, terms | {"critic_real_loss": real}
        return loss, terms | {"critic_loss": loss}
