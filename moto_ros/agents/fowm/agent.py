"""FOWM behind the agent interface: planning or policy to act; one phase that updates everything."""

from __future__ import annotations

import time
from typing import ClassVar

import torch
from torch import Tensor, nn

from moto_ros.agents.common.augment import random_shift
from moto_ros.agents.common.base import NetworkAgent, Terms, to_numbers
from moto_ros.agents.common.optimizer import Optimizer
from moto_ros.agents.fowm.config import FowmSettings
from moto_ros.agents.fowm.losses import Windows, model_loss, policy_loss
from moto_ros.agents.fowm.model import FowmModel, doubt, noisy
from moto_ros.agents.fowm.planner import Plan, Planner, shifted
from moto_ros.agents.fowm.planning_time import PlanningTime, Stopwatch
from moto_ros.agents.interface import Batch, Budget, Data, Decision, Metrics, Prioritised, State

ADAM_EPSILON = 1e-8
LEARNED_JOINTLY = ("encoder", "dynamics", "reward_head", "q", "v")


class FowmAgent(NetworkAgent):
    """Model and policy learn together, update by update; the filter state is the plan to start the next one from."""

    name: ClassVar[str] = "fowm"
    settings_class: ClassVar[type] = FowmSettings
    phases: ClassVar[tuple[str, ...]] = ("joint",)
    plans: ClassVar[bool] = True
    acting = ("encoder", "dynamics", "reward_head", "policy_head", "q", "q_range")
    settings: FowmSettings
    network: FowmModel
    actor: FowmModel

    def build(self) -> nn.Module:
        """Return model, policy and values, and what acts with them."""
        return FowmModel(self.settings, self.spaces)

    def build_optimizers(self) -> dict[str, Optimizer]:
        """Return one optimiser for the policy, one for all else; and the planner, which needs the networks in place."""
        self.planner, self.pace = Planner(self.actor, self.settings), PlanningTime()
        joint = nn.ModuleDict({name: getattr(self.network, name) for name in LEARNED_JOINTLY})
        parts = {"model": joint, "policy": self.network.policy_head}
        rate, clip = self.settings.rate, self.settings.clip
        return {name: Optimizer(part, rate, ADAM_EPSILON, clip, 0.0) for name, part in parts.items()}

    # Acting.

    def start(self, batch: int) -> State:
        """Return the plan of nothing: zeros."""
        shape = batch, self.settings.plan_horizon, self.spaces.action
        return {"mean": torch.zeros(shape, device=self.device)}

    @torch.inference_mode()
    def act(
        self,
        observation: Batch,
        state: State,
        *,
        sample: bool,
        generator: torch.Generator | None = None,
        budget: Budget | None = None,
    ) -> Decision:
        """Plan from what is seen; the policy head answers where planning is off or does not fit the deadline."""
        budget, generator = budget or Budget(), generator or self.exploring
        watch = Stopwatch(self.pace, time.perf_counter(), budget.deadline)
        latent = self._ahead(self.actor.encoder(self.to_device(observation)), budget.pending)
        watch.lap("encoder")
        mean = shifted(state["mean"].transpose(0, 1), budget.elapsed)
        plan = None
        if self.settings.plan:
            plan = self.planner.plan(latent, mean, sample=sample, generator=generator, watch=watch)
        action = self._by_policy(latent, sample, generator) if plan is None else plan.action
        kept = mean if plan is None else plan.mean
        uncertainty = doubt(self.actor.q_values(latent, action)) / self.planner.scorer.unit
        watch.lap("answer")
        return Decision(action, {"mean": kept.transpose(0, 1)}, uncertainty, self._figures(plan, watch))

    def _ahead(self, latent: Tensor, pending: Tensor | None) -> Tensor:
        for action in () if pending is None else pending.to(self.device).unbind(1):
            latent = self.actor.advance(latent, action)
        return latent

    def _by_policy(self, latent: Tensor, sample: bool, generator: torch.Generator) -> Tensor:
        mean = self.actor.policy(latent)
        if not sample:
            return mean
        noise = torch.randn(mean.shape, generator=generator, device=mean.device)
        return noisy(mean, self.settings.policy_noise, noise)

    def _figures(self, plan: Plan | None, watch: Stopwatch) -> Metrics:
        if not self.settings.plan:
            return {}
        if plan is not None:
            self.pace.answered(watch.late)
        elif watch.given:
            self.pace.doubt("proposals", "iteration")
        iterations = 0 if plan is None else plan.iterations
        return {
            "plan_s": watch.elapsed,
            "plan_iterations": iterations,
            "plan_cut": float(iterations < self.settings.plan_iterations),
            "policy_answered": float(plan is None),
            "deadline_missed": float(watch.late),
        }

    # Learning.

    def improve(self, phase: str, data: Data) -> Metrics:
        """Update encoder, dynamics, reward and values by one batch, then the policy on the latents of it."""
        shares = self._draw(data)
        windows = Windows.of(self._prepared([share for _, share in shares]), self.settings.rho)
        terms, priority = self._learn(windows)
        self._give_back(data, shares, priority)
        self.network.updates += 1
        if int(self.network.updates) % self.settings.target_every == 0:
            self.network.step_targets(self.settings.target_rate)
        return to_numbers(terms)

    def _learn(self, windows: Windows) -> tuple[Terms, Tensor]:
        settings = self.settings
        found = model_loss(self.network, windows, settings, self.drawing)
        norm = self.optimizers["model"].step(found.total)
        self.network.learn_range(found.values)
        loss, terms = policy_loss(self.network, found.latents, windows, settings, self.drawing)
        norms = {"model_norm": norm, "policy_norm": self.optimizers["policy"].step(loss)}
        scale = {
            "q_range": self.network.q_range,
            "relative_uncertainty": found.terms["uncertainty"] / self.network.q_range,
        }
        return found.terms | terms | norms | scale, found.priority

    def _draw(self, data: Data) -> list[tuple[str, Batch]]:
        """Draw the batch: half from each source where both have episodes."""
        settings = self.settings
        sources = [source for source in ("offline", "online") if settings.balanced and data.holds(source)] or ["all"]
        order = Prioritised(settings.priority_alpha, settings.priority_beta) if settings.prioritised else None
        sizes = [settings.batch] if len(sources) == 1 else [settings.batch - settings.batch // 2, settings.batch // 2]
        return [
            (source, self.to_device(data.windows(source, size, settings.length, order)))
            for source, size in zip(sources, sizes, strict=True)
        ]

    def _prepared(self, shares: list[Batch]) -> Batch:
        """Return one batch of the shares, images shifted."""
        batch = {name: torch.cat([share[name] for share in shares]) for name in shares[0]}
        self.network.encoder.learn(batch)
        if "image" in batch and self.settings.shift:
            image = batch["image"]
            batch["image"] = random_shift(image.flatten(0, 1), self.drawing).view(image.shape)
        return batch

    def _give_back(self, data: Data, shares: list[tuple[str, Batch]], priority: Tensor) -> None:
        if not self.settings.prioritised:
            return
        sizes = [len(share["index"]) for _, share in shares]
        for (source, share), part in zip(shares, priority.split(sizes), strict=True):
            data.prioritise(source, share["index"], part)
