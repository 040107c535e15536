"""Trajectories of the current policy in the current model."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from moto_ros.agents.common.distributions import TruncatedNormal, uniform
from moto_ros.agents.moto.actor import Actor
from moto_ros.agents.moto.rssm import Latent
from moto_ros.agents.moto.world_model import WorldModel


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
