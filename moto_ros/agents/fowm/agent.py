"""FOWM as an agent: acts by the planner or the policy head; one phase updates everything."""

from __future__ import annotations

import time
from typing import ClassVar

import torch
from torch import Tensor, nn

from moto_ros.agents.common.augment import random_shift
from moto_ros.agents.common.base import NetworkAgent, to_numbers
from moto_ros.agents.common.optimizer import Optimizer
from moto_ros.agents.fowm.config import FowmSettings
from moto_ros.agents.fowm.losses import Windows, model_loss, policy_loss
from moto_ros.agents.fowm.model import FowmModel, noisy, uncertainty
from moto_ros.agents.fowm.planner import Plan, Planner, shifted
from moto_ros.agents.fowm.planning_time import PlanningTime, Stopwatch
from moto_ros.agents.interface import ActRequest, Batch, Data, Decision, Metrics, Prioritised, State

ADAM_EPSILON = 1e-8
LEARNED_JOINTLY = ("encoder", "dynamics", "reward_head", "q", "v")


class FowmAgent(NetworkAgent):
    """Model and policy are trained together; the filter state is the last plan's mean, for a warm start."""

    name: ClassVar[str] = "fowm"
    settings_class: ClassVar[type] = FowmSettings
    phases: tuple[str, ...] = ("joint",)
    plans: ClassVar[bool] = True
    acting = ("encoder", "dynamics", "reward_head", "policy_head", "q", "q_range")
    settings: FowmSettings
    network: FowmModel
    actor: FowmModel

    def build(self) -> nn.Module:
        """Return the world model with policy, Q and V."""
        return FowmModel(self.settings, self.spaces)

    def build_optimizers(self) -> dict[str, Optimizer]:
        """Return one optimiser for the policy, one for all else; make the planner, as the networks exist by now."""
        self.planner, self.planning_time = Planner(self.actor, self.settings), PlanningTime()
        joint = nn.ModuleDict({name: getattr(self.network, name) for name in LEARNED_JOINTLY})
        parts = {"model": joint, "policy": self.network.policy_head}
        rate, clip = self.settings.rate, self.settings.clip
        return {name: Optimizer(part, rate, ADAM_EPSILON, clip, 0.0) for name, part in parts.items()}

    # Acting.

    def start(self, batch: int) -> State:
        """Return a plan of zeros."""
        shape = batch, self.settings.plan_horizon, self.spaces.action
        return {"mean": torch.zeros(shape, device=self.device)}

    @torch.inference_mode()
    def act(self, observation: Batch, state: State, request: ActRequest) -> Decision:
        """Plan from what is seen; the policy head answers where planning is off or does not fit the deadline."""
        sample, generator = request.sample, request.generator or self.exploring
        watch = Stopwatch(self.planning_time, time.perf_counter(), request.deadline)
        latent = self._advance_pending(self.actor.encoder(self.to_device(observation)), request.pending)
        watch.lap("encoder")
        mean = shifted(state["mean"].transpose(0, 1), request.elapsed)
        plan = None
        if self.settings.plan:
            plan = self.planner.plan(latent, mean, sample=sample, generator=generator, watch=watch)
        action = self._by_policy(latent, sample, generator) if plan is None else plan.action
        kept = mean if plan is None else plan.mean
        u = uncertainty(self.actor.q_values(latent, action)) / self.planner.scorer.unit
        watch.lap("answer")
        return Decision(action, {"mean": kept.transpose(0, 1)}, u, self._figures(plan, watch))

    @torch.inference_mode()
    def expected_return(self, observation: Batch, state: State, action: Tensor) -> Tensor:
        """Return the mean of the Q heads at the planned action."""
        return self.actor.q_values(self.actor.encoder(self.to_device(observation)), action).mean(0)

    def _advance_pending(self, latent: Tensor, pending: Tensor | None) -> Tensor:
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
            self.planning_time.answered(watch.late)
        elif watch.given:
            self.planning_time.decay_estimates("proposals", "iteration")
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
        """Update encoder, dynamics, reward, Q and V by one batch, then the policy on its latents."""
        settings, network = self.settings, self.network
        # Batch: half offline, half online; images shifted.
        draws = self._draw(data)
        windows = Windows.of(self._prepare([batch for _, batch in draws]), settings.rho)
        # Model, Q and V.
        loss = model_loss(network, windows, settings, self.drawing)
        model_norm = self.optimizers["model"].step(loss.total)
        network.update_q_range(loss.values)
        # Policy, on the latents of the model's rollout.
        actor_loss, terms = policy_loss(network, loss.latents, windows, settings, self.drawing)
        policy_norm = self.optimizers["policy"].step(actor_loss)
        # Priorities and target networks.
        self._set_priorities(data, draws, loss.priority)
        network.updates += 1
        if int(network.updates) % settings.target_every == 0:
            network.step_targets(settings.target_rate)
        relative = loss.terms["uncertainty"] / network.q_range
        figures = {"q_range": network.q_range, "relative_uncertainty": relative}
        return to_numbers(loss.terms | terms | {"model_norm": model_norm, "policy_norm": policy_norm} | figures)

    def _draw(self, data: Data) -> list[tuple[str, Batch]]:
        """Draw windows by source: half from each where both have episodes."""
        settings = self.settings
        sources = [source for source in ("offline", "online") if settings.balanced and data.holds(source)] or ["all"]
        order = Prioritised(settings.priority_alpha, settings.priority_beta) if settings.prioritised else None
        sizes = [settings.batch] if len(sources) == 1 else [settings.batch - settings.batch // 2, settings.batch // 2]
        return [
            (source, self.to_device(data.windows(source, size, settings.length, order)))
            for source, size in zip(sources, sizes, strict=True)
        ]

    def _prepare(self, batches: list[Batch]) -> Batch:
        """Return one batch of the batches, images shifted."""
        batch = {name: torch.cat([part[name] for part in batches]) for name in batches[0]}
        self.network.encoder.update_normaliser(batch)
        if "image" in batch and self.settings.shift:
            image = batch["image"]
            batch["image"] = random_shift(image.flatten(0, 1), self.drawing).view(image.shape)
        return batch

    def _set_priorities(self, data: Data, draws: list[tuple[str, Batch]], priority: Tensor) -> None:
        if not self.settings.prioritised:
            return
        sizes = [len(batch["index"]) for _, batch in draws]
        for (source, batch), part in zip(draws, priority.split(sizes), strict=True):
            data.prioritise(source, batch["index"], part)
