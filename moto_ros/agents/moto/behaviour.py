"""Actor and critics learning in imagination: critics, imagined trajectories, and the objective of the policy phase."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from moto_ros.agents.common.distributions import TruncatedNormal, uniform
from moto_ros.agents.common.networks import BatchedMLP
from moto_ros.agents.common.returns import discount_weights, lambda_return
from moto_ros.agents.interface import Batch, Spaces
from moto_ros.agents.moto.actor import Actor, cloning_loss
from moto_ros.agents.moto.config import MotoSettings
from moto_ros.agents.moto.rssm import Latent
from moto_ros.agents.moto.world_model import Terms, WorldModel


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


def imagined_loss(values: Tensor, returns: Tensor, discount: float) -> Tensor:
    """Return L_model: values (N, H, rows) against returns (H, rows), weighted by discount^(k+1), k = 0..H-2."""
    error = values[:, :-1] - returns[:-1]
    weights = discount * discount_weights(len(returns) - 1, discount, returns)
    return (weights * 0.5 * error.square()).mean()


def expanded_target(
    reward: Tensor, terminal: Tensor, value: Tensor, returns: Tensor, discount: float, mix: float
) -> Tensor:
    """Return y_t of real transitions: the logged reward, then the model's return from the state reached.

    All are (B, T), of the state reached: `value` is Qbar(s', a'), `returns` the lambda-return imagined from s'
    (model-based value expansion with TD(lambda) mixing).
    """
    future = (1 - mix) * value + mix * returns
    return reward + discount * (~terminal).to(reward.dtype) * future


def real_loss(values: Tensor, target: Tensor, is_first: Tensor) -> Tensor:
    """Return L_real: values (N, B, T) against targets (B, T), leaving out pairs that straddle two episodes."""
    valid = (~is_first).to(target.dtype)
    error = 0.5 * (values - target).square() * valid
    return error.mean(0).sum() / valid.sum().clamp(min=1)


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
    """Roll the policy out from rows (rows, ...), one random transition head a step; policy inputs are detached."""
    latent, states, actions, policies = start, [start], [], []
    shape = torch.Size((len(start.deter), model.spaces.action))
    heads = model.rssm.draw_heads(horizon - 1, generator).tolist()
    for step in range(horizon):
        action, *moments = actor.draw(latent.feature.detach(), uniform(shape, start.deter, generator))
        policies.append(moments)
        actions.append(action)
        if step < horizon - 1:
            latent = model.rssm.imagine(latent, action, heads[step], generator)
            states.append(latent)
    return _rollout(model, Latent(*_stacked(states)), torch.stack(actions), policies)


def _rollout(model: WorldModel, latent: Latent, action: Tensor, policies: list[list[Tensor]]) -> Rollout:
    feature = latent.feature
    before = Latent(*(part[:-1].flatten(0, 1) for part in latent))
    doubt = model.uncertainty(before, action[:-1].flatten(0, 1), latent.deter[1:].flatten(0, 1))
    loc, std = _stacked(policies)
    return Rollout(
        feature=feature,
        action=action,
        reward=model.reward(feature[1:]),
        uncertainty=doubt.unflatten(0, feature[1:].shape[:2]),
        policy=TruncatedNormal(loc, std),
    )


def _stacked(rows: list[Latent] | list[list[Tensor]]) -> list[Tensor]:
    return [torch.stack(column) for column in zip(*rows, strict=True)]


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
        objective = actor_objective(rewards, least, entropy, settings.discount, settings.lambda_, settings.entropy)
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
        return values, lambda_return(rewards, values, self.settings.discount, self.settings.lambda_)

    def _real_loss(self, latent: Latent, batch: Batch, values: Tensor, returns: Tensor) -> Tensor:
        """Return L_real; `values` and `returns` (B, L) are the target's at every posterior."""
        target = expanded_target(
            batch["reward"][:, 1:],
            batch["is_terminal"][:, 1:],
            values[:, 1:],
            returns[:, 1:],
            self.settings.discount,
            self.settings.lambda_,
        )
        predicted = self.critics.values(latent.feature[:, :-1], batch["action"][:, 1:])
        return real_loss(predicted, target, batch["is_first"][:, 1:])
