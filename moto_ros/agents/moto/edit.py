"""A cloned base policy, edited within a bound, where critics learned from real episodes choose.

Sources: IBRL (Hu et al. 2023: a cloned policy proposes, Q chooses, targets bootstrap from the better), EXPO and
Policy Decorator (bounded edits of a frozen policy), RLPD (LayerNorm ensembles, half of each batch from demonstrations),
self-imitation learning (Oh et al. 2018: returns bound values from below).

Values are chances: the reward is 1 at success, which ends an episode, so that Q(s, a) = E[gamma^(steps to success)]
lies in [0, 1], and critics are trained as classifiers with soft labels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from moto_ros.agents.common.augment import random_shift
from moto_ros.agents.common.base import Terms, observation
from moto_ros.agents.common.encoder import Encoder
from moto_ros.agents.common.tdmpc2_layers import HeadEnsemble, NormedMLP, orthogonal
from moto_ros.agents.interface import Batch, Spaces
from moto_ros.agents.moto.config import MotoSettings

FIRST_LOGIT = -2.0
"""Bias of a fresh critic's output: most states are far from success."""


class SuccessCritic(nn.Module):
    """An encoder of its own and N heads Q_i(s, a) in [0, 1], as logits."""

    def __init__(self, settings: MotoSettings, spaces: Spaces) -> None:
        """Build encoder and heads, with LayerNorm after each hidden layer."""
        super().__init__()
        self.encoder = Encoder(spaces, settings.base_encoder)
        inputs = settings.base_latent_size + spaces.action
        self.heads = HeadEnsemble(settings.edit_critics, inputs, settings.base_hidden, 1, style="modern")
        orthogonal(self)
        nn.init.constant_(self.heads.last.bias, FIRST_LOGIT)

    def logits(self, latent: Tensor, action: Tensor, members: Tensor | None = None) -> Tensor:
        """Return the logits of heads, all or `members`, for latents (..., D) and actions (..., A): (N, ...)."""
        joined = torch.cat((latent, action), -1)
        return self.heads(joined.flatten(0, -2), members).view(-1, *joined.shape[:-1])


@dataclass(frozen=True)
class Transitions:
    """n-step transitions, B of them: what was seen, done and reached.

    seen, reached: observations (B, ...). action (B, A). reward (B,) is the discounted sum up to the row reached or the
    first terminal one. discount (B,) is gamma^n there, 0 after a terminal row and at a time limit: a value is the
    chance within an episode's time. floor (B,) is the return that was achieved from here, gamma^(steps to success - 1),
    0 in episodes without success. frame, reached_frame int64 (B,) number the rows, episode int64 (B,) the episodes;
    solved bool (B,).
    """

    seen: Batch
    reached: Batch
    action: Tensor
    reward: Tensor
    discount: Tensor
    floor: Tensor
    frame: Tensor
    reached_frame: Tensor
    episode: Tensor
    solved: Tensor

    @classmethod
    def of(cls, batch: Batch, gamma: float) -> Transitions:
        """Cut windows (B, n + 1, ...) of `Data.windows`."""
        reward, terminal, valid = (batch[name][:, 1:] for name in ("reward", "is_terminal", "valid"))
        # Rewards count up to the first terminal row, and inside the episode
        before = terminal.long().cumsum(1) - terminal.long() == 0
        counted = (before & valid).to(reward.dtype)
        powers = gamma ** torch.arange(reward.shape[1], device=reward.device, dtype=reward.dtype)
        steps = reward.shape[1]
        # A window that passes the end of its episode is of a failure: nothing more was to come there.
        ended = (terminal | ~valid).any(1)
        to_success = batch["steps_to_success"][:, 0]
        solved = to_success >= 0
        floor = torch.where(solved, gamma ** (to_success - 1).clamp(min=0).to(reward.dtype), 0.0)
        return cls(
            seen=observation(batch, 0),
            reached=observation(batch, -1),
            action=batch["action"][:, 1],
            reward=(reward.clamp(0, 1) * counted * powers).sum(1).clamp(max=1),
            discount=torch.where(ended, 0.0, gamma**steps),
            floor=floor,
            frame=batch["frame"][:, 0],
            reached_frame=batch["frame"][:, -1],
            episode=batch["episode"],
            solved=solved,
        )


class EditPolicy(nn.Module):
    """Critics, their target, and the edit f: a = clip(b + eps tanh f(s, b))."""

    updates: Tensor

    def __init__(self, settings: MotoSettings, spaces: Spaces) -> None:
        """Build the networks; the target starts equal to the critic."""
        super().__init__()
        self.settings = settings
        self.critic = SuccessCritic(settings, spaces)
        self.target = SuccessCritic(settings, spaces).requires_grad_(False)
        self.target.load_state_dict(self.critic.state_dict())
        self.edit = NormedMLP(settings.base_latent_size + spaces.action, settings.base_hidden, spaces.action)
        nn.init.normal_(self.edit.output.weight, std=1e-3)
        nn.init.zeros_(self.edit.output.bias)
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    def begin_from(self, encoder: Encoder) -> None:
        """Start the critics' encoder from the base policy's."""
        self.critic.encoder.load_state_dict(encoder.state_dict())
        self.target.encoder.load_state_dict(encoder.state_dict())

    @property
    def warm(self) -> bool:
        """Return whether the critics have learned for long enough to choose."""
        return int(self.updates) > self.settings.edit_warm_up

    @property
    def limit(self) -> Tensor:
        """Return eps, the largest change of an action entry: it grows with the updates done."""
        first, last = self.settings.edit_limit_first, self.settings.edit_limit
        after = self.updates - self.settings.edit_warm_up
        share = (after / max(1, self.settings.edit_limit_updates)).clamp(0.0, 1.0)
        return first + (last - first) * share

    def edited(self, latent: Tensor, action: Tensor) -> Tensor:
        """Return actions (..., A) changed by at most `limit` in each entry, at latents (..., D)."""
        change = self.limit * torch.tanh(self.edit(torch.cat((latent, action), -1)))
        return (action + change).clamp(-1, 1)

    def critic_loss(self, rows: Transitions, base: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Terms]:
        """Return the critics' loss, their latents (B, D) and its terms; `base` (B, A) acts at the rows reached.

        Head i learns from its own share of the episodes, with its own target
        y_i = (1 - m) (sum_k gamma^k r_k + gamma^n Qbar_i(s', a')) + m G, at least G, the return that the episode
        achieved, 0 where it failed (so m counts for failures only: their values would fall slowly from the end on).
        a' is the better of {b, edit(b)} by the mean of the target heads, and b before edits act. Heads that share their
        targets agree, and their spread says nothing (MSG, Ghasemipour et al. 2022). The loss is the cross entropy with
        y_i.
        """
        settings = self.settings
        seen, reached = dict(rows.seen), dict(rows.reached)
        if "image" in seen and settings.base_shift:
            seen["image"] = random_shift(seen["image"], generator)
            reached["image"] = random_shift(reached["image"], generator)
        with torch.no_grad():
            latent = self.target.encoder(reached)
            choices = torch.stack((base, self.edited(latent, base)))
            values = self.target.logits(latent.expand(2, -1, -1), choices).sigmoid()
            edited = self.warm & (values[:, 1].mean(0) > values[:, 0].mean(0))
            values = torch.where(edited, values[:, 1], values[:, 0])
            mixed = torch.lerp(rows.reward + rows.discount * values, rows.floor, settings.edit_monte_carlo)
            target = torch.maximum(mixed, rows.floor).clamp(0, 1)
        latent = self.critic.encoder(seen)
        logits = self.critic.logits(latent, rows.action)
        mask = heads_of_episodes(rows.episode, len(logits), settings.edit_head_share).to(logits.dtype)
        errors = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
        loss = (errors * mask).sum() / mask.sum().clamp(min=1)
        value = logits.detach().sigmoid()
        terms = {
            "critic_loss": loss,
            "q_mean": value.mean(),
            "q_solved": _mean_where(value.mean(0), rows.solved),
            "q_failed": _mean_where(value.mean(0), ~rows.solved),
            "q_target": target.mean(),
            "critic_spread": value.std(0).mean(),
        }
        return loss, latent.detach(), terms

    def edit_loss(self, latent: Tensor, base: Tensor) -> tuple[Tensor, Tensor, Terms]:
        """Return the edit's loss at latents (B, D) and base actions (B, A), the part of it that is a price, its terms.

        The loss is the price of changes less mean_i Q_i.
        """
        change = torch.tanh(self.edit(torch.cat((latent, base), -1)))
        action = (base + self.limit * change).clamp(-1, 1)
        value = self.critic.logits(latent, action).sigmoid().mean()
        price = self.settings.edit_penalty * change.square().mean()
        terms = {"edit_size": (action - base).detach().abs().mean(), "edit_value": value, "edit_limit": self.limit}
        return price - value, price, terms

    @torch.no_grad()
    def step_target(self) -> None:
        """Move the target towards the critic, and count the update."""
        rate = self.settings.edit_target_rate
        torch._foreach_lerp_(list(self.target.parameters()), list(self.critic.parameters()), rate)
        for to, source in zip(self.target.buffers(), self.critic.buffers(), strict=True):
            to.copy_(source)
        self.updates += 1

    @torch.no_grad()
    def choose(self, latent: Tensor, heads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the action (B, A) that is surely better than the base's, or the base's; its chance and whether it is.

        Candidates are the base's mean and heads (heads, B, A), and the edit of each. (The base is here what edits start
        from: the base policy, or the copy of it that learned on.) The gain of a candidate over the
        base's mean is paired: head by head, mean minus `edit_caution` standard deviations, and must pass the margin.
        Returns action (B, A), chance of success (B,) and changed bool (B,).
        """
        settings = self.settings
        base = heads.mean(0, keepdim=True)
        plain = torch.cat((base, heads))
        candidates = torch.cat((plain, self.edited(latent.expand(len(plain), -1, -1), plain)))
        values = self.critic.logits(latent.expand(len(candidates), -1, -1), candidates).sigmoid()
        gains = values - values[:, :1]
        gain = gains.mean(0) - settings.edit_caution * gains.std(0)
        best = gain.argmax(0)
        rows = torch.arange(len(latent), device=latent.device)
        better = (best > 0) & (gain[best, rows] >= settings.edit_margin)
        chosen = torch.where(better, best, 0)
        return candidates[chosen, rows], values.mean(0)[chosen, rows], better


def heads_of_episodes(episode: Tensor, heads: int, share: float) -> Tensor:
    """Return which heads learn from episodes int64 (B,): bool (heads, B), true in `share`; the same for an episode."""
    number = episode * 7919 + torch.arange(1, heads + 1, device=episode.device)[:, None] * 104_729
    mixed = (number ^ (number >> 13)) * 1_274_126_177
    return ((mixed ^ (mixed >> 16)) & 0xFFFF) < round(share * 0x10000)


def _mean_where(value: Tensor, where: Tensor) -> Tensor:
    return (value * where).sum() / where.sum().clamp(min=1)
