"""FOWM as an agent: acts by the planner or the policy head; one phase updates everything.

With `base_policy: cloned` a phase before that clones a base policy, which stays as it is. It can act by itself, as an
arm; and with `plan_proposals: base` it acts wherever no plan is better by a margin.
"""

from __future__ import annotations

import time
from typing import ClassVar

import torch
from torch import Tensor, nn

from moto_ros.agents.common.augment import random_shift
from moto_ros.agents.common.base import NetworkAgent, to_numbers
from moto_ros.agents.common.base_policy import BasePolicy
from moto_ros.agents.common.exploration import CorrelatedNoise
from moto_ros.agents.common.optimizer import Optimizer
from moto_ros.agents.common.tensors import prefixed
from moto_ros.agents.fowm.config import FowmSettings
from moto_ros.agents.fowm.losses import Windows, model_loss, policy_loss
from moto_ros.agents.fowm.model import FowmModel, noisy, uncertainty
from moto_ros.agents.fowm.planner import Plan, Planner, shifted
from moto_ros.agents.fowm.planning_time import PlanningTime, Stopwatch
from moto_ros.agents.interface import (
    BASE,
    POLICY,
    SUCCESS_PROBABILITY,
    ActRequest,
    Batch,
    Data,
    Decision,
    Metrics,
    Prioritised,
    Spaces,
    State,
)

ADAM_EPSILON = 1e-8
LEARNED_JOINTLY = ("encoder", "dynamics", "reward_head", "q", "v")


class FowmAgent(NetworkAgent):
    """Model and policy are trained together; the filter state is the last plan's mean, for a warm start.

    `base` is the cloned policy, None without one.
    """

    name: ClassVar[str] = "fowm"
    settings_class: ClassVar[type] = FowmSettings
    phases: tuple[str, ...] = ("base", "joint")
    plans: ClassVar[bool] = True
    acting = ("encoder", "dynamics", "reward_head", "policy_head", "q", "q_range", "data_uncertainty")
    settings: FowmSettings
    network: FowmModel
    actor: FowmModel
    base: BasePolicy | None

    def __init__(self, spaces: Spaces, settings: FowmSettings, seed: int, device: torch.device | str = "cpu") -> None:
        """Build the agent; equal seeds give equal weights and, on equal data, equal updates."""
        super().__init__(spaces, settings, seed, device)
        self._noise = CorrelatedNoise(settings)
        if self.base is None:
            self.phases = ("joint",)
        else:
            self.arms = (BASE, POLICY)

    def build(self) -> nn.Module:
        """Return the world model with policy, Q and V; make the base policy, which no average includes."""
        model = FowmModel(self.settings, self.spaces)
        cloned = self.settings.base_policy == "cloned"
        self.base = BasePolicy(self.settings, self.spaces).to(self.device) if cloned else None
        return model

    def build_optimizers(self) -> dict[str, Optimizer]:
        """Return optimisers for policy, base policy and all else; make the planner, as the networks exist by now."""
        self.planner, self.planning_time = Planner(self.actor, self.settings), PlanningTime()
        joint = nn.ModuleDict({name: getattr(self.network, name) for name in LEARNED_JOINTLY})
        parts = {"model": joint, "policy": self.network.policy_head}
        rate, clip = self.settings.rate, self.settings.clip
        optimizers = {name: Optimizer(part, rate, ADAM_EPSILON, clip, 0.0) for name, part in parts.items()}
        if self.base is not None:
            optimizers["base"] = Optimizer(self.base.newest, self.settings.base_rate, ADAM_EPSILON, clip, 0.0)
        return optimizers

    # Acting.

    def start(self, batch: int) -> State:
        """Return a plan of zeros, and with a base policy the exploring noise before the first step."""
        shape = batch, self.settings.plan_horizon, self.spaces.action
        state = {"mean": torch.zeros(shape, device=self.device)}
        return state if self.base is None else state | self._noise.start(batch, self.spaces.action, self.device)

    @torch.inference_mode()
    def act(self, observation: Batch, state: State, request: ActRequest) -> Decision:
        """Plan from what is seen; the policy head answers where planning is off or does not fit the deadline.

        The arm "base" is the cloned policy alone. It also answers in place of the policy head where it is what plans
        begin from.
        """
        settings, generator = self.settings, request.generator or self.exploring
        watch = Stopwatch(self.planning_time, time.perf_counter(), request.deadline)
        seen = self.to_device(observation)
        latent = self._advance_pending(self.actor.encoder(seen), request.pending)
        by_base = self.base is not None and request.arm == BASE
        around_base = by_base or (settings.plan and settings.plan_proposals == "base")
        base = self._base_action(seen, latent, request.pending) if around_base else None
        watch.lap("encoder")
        # The action, with the published noise where there is no base policy.
        mean, plan = shifted(state["mean"].transpose(0, 1), request.elapsed), None
        sample = request.sample and self.base is None
        if settings.plan and not by_base:
            if base is None:
                plan = self.planner.plan(latent, mean, sample=sample, generator=generator, watch=watch)
            else:
                plan = self.planner.improve_base(latent, base, generator=generator, watch=watch)
        if plan is not None:
            action = plan.action
        elif base is not None:
            action = base
        else:
            action = self._by_policy(latent, sample, generator)
        kept = {"mean": (mean if plan is None else plan.mean).transpose(0, 1)}
        if self.base is not None:
            kept |= self._noise.part(state)
            if request.sample:
                noise, drawn = self._noise.draw(kept, generator)
                action, kept = (action + noise).clamp(-1, 1), kept | drawn
        values = self.actor.q_values(latent, action)
        u = uncertainty(values) / self.planner.scorer.unit
        watch.lap("answer")
        figures = {} if by_base else self._figures(plan, watch)
        if settings.values_are_chances and int(self.actor.updates):
            figures[SUCCESS_PROBABILITY] = float(values.mean(0).clamp(0, 1).mean())
        return Decision(action, kept, u, figures)

    @torch.inference_mode()
    def expected_return(self, observation: Batch, state: State, action: Tensor) -> Tensor:
        """Return the mean of the Q heads at the planned action."""
        value = self.actor.q_values(self.actor.encoder(self.to_device(observation)), action).mean(0)
        return value.clamp(0, 1) if self.settings.values_are_chances else value

    def _base_action(self, seen: Batch, latent: Tensor, pending: Tensor | None) -> Tensor:
        """Return the base policy's action (B, A); of an imagined latent its clone there, the policy head, knows it."""
        assert self.base is not None
        return self.base.actions(seen).mean(0) if pending is None else self.actor.policy(latent)

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
        figures = {
            "plan_s": watch.elapsed,
            "plan_iterations": iterations,
            "plan_cut": float(iterations < self.settings.iterations),
            "policy_answered": float(plan is None),
            "deadline_missed": float(watch.late),
        }
        if plan is not None and plan.better is not None:
            figures["plan_better"] = float(plan.better.float().mean())
        return figures

    # Learning.

    def take_base(self, cloned: dict[str, Tensor], what: str) -> None:
        """Take a cloned policy as the base policy, with `base_policy: cloned`."""
        if self.base is None:
            super().take_base(cloned, what)
        else:
            self.base.take(cloned, what)

    def improve(self, phase: str, data: Data) -> Metrics:
        """Do one update of the base policy (phase "base"), or of everything else ("joint")."""
        return self._update_base(data) if phase == "base" else self._update_joint(data)

    def _update_base(self, data: Data) -> Metrics:
        """Do one update of the base policy by cloning what may be imitated."""
        assert self.base is not None
        batch = self.to_device(self.base.draw(data))
        return to_numbers(self.base.update(batch, self.optimizers["base"], self.drawing))

    def _update_joint(self, data: Data) -> Metrics:
        """Update encoder, dynamics, reward, Q and V by one batch, then the policy on its latents."""
        settings, network = self.settings, self.network
        if self.base is not None and not int(network.updates):
            network.begin_from(self.base.acting.encoder)
        # Batch: half offline, half online; images shifted.
        draws = self._draw(data)
        windows = Windows.of(self._prepare([batch for _, batch in draws]), settings.rho)
        # Model, Q and V.
        loss = model_loss(network, windows, settings, self.drawing)
        model_norm = self.optimizers["model"].step(loss.total)
        network.update_q_range(loss.values)
        network.update_data_uncertainty(loss.values, windows.mask > 0)
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
        if network.data_uncertainty is not None:
            figures["data_uncertainty"] = network.data_uncertainty
        return to_numbers(loss.terms | terms | {"model_norm": model_norm, "policy_norm": policy_norm} | figures)

    def update_average(self, phase: str) -> None:
        """Update the average after an update of what it is of: the base policy has its own."""
        if phase == "joint":
            super().update_average(phase)

    def saved_parts(self) -> dict[str, nn.Module]:
        """Return the world model, and the base policy if there is one."""
        return super().saved_parts() | ({} if self.base is None else {"base": self.base})

    def acting_tensors(self) -> dict[str, Tensor]:
        """Return what planner, policy head and base policy need; not copied."""
        tensors = super().acting_tensors()
        if self.settings.values_are_chances:
            tensors["updates"] = self.actor.updates
        return tensors if self.base is None else tensors | prefixed("base", self.base.acting.state_dict())

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
