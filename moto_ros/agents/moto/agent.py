"""MOTO behind the agent interface: filtering, acting, the two phases of updates, weights and resumption."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from moto_ros.agents.common.augment import shift_chunks
from moto_ros.agents.common.averaging import averaged
from moto_ros.agents.common.base import copy_into, to_numbers
from moto_ros.agents.common.distributions import TruncatedNormal
from moto_ros.agents.common.networks import initialise
from moto_ros.agents.common.optimizer import Optimizer
from moto_ros.agents.common.tensors import on_cpu, prefixed, require_fit, trainable
from moto_ros.agents.interface import Agent, Batch, Budget, Data, Decision, Metrics, Spaces, State
from moto_ros.agents.moto.behaviour import Behaviour
from moto_ros.agents.moto.config import MotoSettings
from moto_ros.agents.moto.encoding_cache import FrameMemory
from moto_ros.agents.moto.rssm import Latent
from moto_ros.agents.moto.world_model import ACTING_PARTS, Terms, WorldModel
from moto_ros.errors import MotoError


class MotoAgent(Agent):
    """Offline: all model updates, then all policy updates on the frozen model; online: both after each episode."""

    name: ClassVar[str] = "moto"
    settings_class: ClassVar[type] = MotoSettings
    phases: ClassVar[tuple[str, ...]] = ("model", "policy")

    def __init__(self, spaces: Spaces, settings: MotoSettings, seed: int, device: torch.device | str = "cpu") -> None:
        """Build the agent; equal seeds give equal weights and, on equal data, equal updates."""
        self.spaces, self.settings, self.device = spaces, settings, torch.device(device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.model, self.behaviour = build_networks(spaces, settings)
        self.model.to(self.device).requires_grad_(False)
        self.behaviour.to(self.device)
        self._average = averaged(self.behaviour.actor, settings.average)
        self._actor = self.behaviour.actor if self._average is None else self._average.module
        self._generator = torch.Generator(self.device).manual_seed(seed)
        self._acting = torch.Generator(self.device).manual_seed(seed)
        self._optimizers = {
            "model": self._optimizer(self.model, settings.model_rate),
            "actor": self._optimizer(self.behaviour.actor, settings.actor_rate),
            "critic": self._optimizer(self.behaviour.critics.online, settings.critic_rate),
        }
        self._frames = FrameMemory(self.model.encode, settings.remembered_frames)

    def _optimizer(self, module: torch.nn.Module, rate: float) -> Optimizer:
        settings = self.settings
        return Optimizer(module, rate, settings.adam_epsilon, settings.clip, settings.decay)

    def start(self, batch: int) -> State:
        """Return the zero filter state."""
        return self.model.rssm.start(batch)._asdict()

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
        """Filter one observation with a sampled latent; act by a sample, the mode or the mean of the policy."""
        generator = generator or self._acting
        seen = self._to_device(observation)
        latent = self.model.rssm.filter(Latent(**state), self.model.embed(seen), seen["action"], generator)
        action = self._choose(self._actor(latent.feature), generator if sample else None)
        doubt = self.model.uncertainty(latent, action, self.model.rssm.advance(latent, action))
        return Decision(action, latent._asdict(), doubt)

    def _choose(self, policy: TruncatedNormal, generator: torch.Generator | None) -> Tensor:
        if generator is not None:
            return policy.sample(generator)
        return policy.mode() if self.settings.acts_by == "mode" else policy.mean()

    def update(self, phase: str, data: Data) -> Metrics:
        """Do one update of the phase "model" or "policy"."""
        if phase not in self.phases:
            raise MotoError(f"agent moto has no phase '{phase}', expected one of {', '.join(self.phases)}")
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.precision == "bfloat16"):
            terms = self._update_model(data) if phase == "model" else self._update_policy(data)
        return to_numbers(terms)

    def _update_model(self, data: Data) -> Terms:
        batch = self._shifted(self._draw(data, "all", self.settings.batch))
        self._frames.forget()
        with trainable(self.model):
            loss, terms = self.model.loss(batch, self._generator)
            self._begin_average()
            return terms | {"model_norm": self._optimizers["model"].step(loss)}

    def _shifted(self, batch: Batch) -> Batch:
        """Return `batch` with its images moved as `image_shift` says."""
        if not self.settings.image_shift or "image" not in batch:
            return batch
        return batch | {"image": shift_chunks(batch["image"], self.settings.image_shift, self._generator)}

    def _update_policy(self, data: Data) -> Terms:
        batch = self._draw(data, "all", self.settings.policy_batch or self.settings.batch)
        latent, cloning = self._filtered(batch, data)
        losses = self.behaviour.losses(self.model, latent, batch, self._generator, cloning)
        norms = {
            "actor_norm": self._optimizers["actor"].step(losses.actor, retain_graph=True),
            "critic_norm": self._optimizers["critic"].step(losses.critic),
        }
        self.behaviour.count_update()
        if self._average is not None:
            self._average.update_parameters(self.behaviour.actor)
        return losses.terms | norms

    def _begin_average(self) -> None:
        """Let the next policy update begin the average anew: older policies were made for what the model was."""
        if self._average is not None and self.settings.average_anew:
            self._average.n_averaged.zero_()

    def _filtered(self, batch: Batch, data: Data) -> tuple[Latent, Tensor | None]:
        """Return the posteriors of `batch`, and the behaviour-prior loss on a batch of successes when it is on."""
        wanted = self.settings.behaviour_prior and self.settings.beta > 0
        if not wanted or not data.holds("successful"):
            return self._posterior(batch), None
        imitated = self._draw(data, "successful", self.settings.prior_batch)
        if imitated["action"].shape[1] != batch["action"].shape[1]:
            # Successful prefixes may be shorter than a chunk.
            return self._posterior(batch), self.behaviour.cloning_loss(self._posterior(imitated), imitated)
        # One pass over both batches costs less than two: the recurrence runs once.
        latent = self._posterior({name: torch.cat((batch[name], imitated[name])) for name in batch})
        size = len(batch["action"])
        first, second = (Latent(*(part[rows] for part in latent)) for rows in (slice(size), slice(size, None)))
        return first, self.behaviour.cloning_loss(second, imitated)

    @torch.no_grad()
    def _posterior(self, batch: Batch) -> Latent:
        return self.model.posterior(batch, self._generator, self._frames).latent

    def _draw(self, data: Data, source: str, size: int) -> Batch:
        return self._to_device(data.batch(source, size, self.settings.length))

    def _to_device(self, batch: Batch) -> Batch:
        return {name: tensor.to(self.device, non_blocking=True) for name, tensor in batch.items()}

    @torch.inference_mode()
    def video(self, batch: Batch, context: int = 5) -> tuple[np.ndarray, np.ndarray]:
        """Return truth and open-loop prediction, uint8 (B, L, H, W, C) each.

        The first `context` frames are reconstructed from the posterior; the rest is imagined from the data's actions.
        """
        if self.model.decoder is None:
            raise MotoError("the agent has no camera, so there is no video to predict; name a camera in 'cameras'")
        chunk = self._to_device(batch)
        seen = {name: tensor[:, :context] for name, tensor in chunk.items()}
        generator = torch.Generator(self.device).manual_seed(0)
        known = self.model.posterior(seen, generator).latent
        latent, features = Latent(*(part[:, -1] for part in known)), list(known.feature.unbind(1))
        for action in chunk["action"][:, context:].unbind(1):
            latent = self.model.rssm.imagine(latent, action, 0, generator)
            features.append(latent.feature)
        shape = chunk["action"].shape[:2]
        pixels = self.model.decoder(torch.stack(features, 1).flatten(0, 1)).add(0.5).mul(255).round().clamp(0, 255)
        return chunk["image"].cpu().numpy(), pixels.to(torch.uint8).unflatten(0, shape).cpu().numpy()

    def weights(self) -> dict[str, Tensor]:
        """Return the encoder side of the model, its transition heads and the actor."""
        return on_cpu(self._acting_tensors())

    def load_weights(self, weights: dict[str, Tensor]) -> None:
        """Take acting weights, all or none of them."""
        copy_into(self._acting_tensors(), weights, "weights of agent moto")
        self._frames.forget()

    def state_dict(self) -> dict[str, Tensor]:
        """Return networks, optimisers, counters and random state."""
        random = {"rng/update": self._generator.get_state(), "rng/act": self._acting.get_state()}
        return on_cpu(self._all_tensors()) | random

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore everything, or raise MotoError and change nothing."""
        state = dict(state)
        streams = {"rng/update": self._generator, "rng/act": self._acting}
        what = "checkpoint of agent moto"
        require_fit(self._all_tensors() | {name: g.get_state() for name, g in streams.items()}, state, what)
        for name, generator in streams.items():
            generator.set_state(state.pop(name))
        copy_into(self._all_tensors(), state, what)
        self._frames.forget()

    def _acting_tensors(self) -> dict[str, Tensor]:
        model = {name: value for name, value in self.model.state_dict().items() if name.split(".")[0] in ACTING_PARTS}
        return prefixed("model", model) | prefixed("actor", self._actor.state_dict())

    def _all_tensors(self) -> dict[str, Tensor]:
        tensors = prefixed("model", self.model.state_dict()) | prefixed("behaviour", self.behaviour.state_dict())
        if self._average is not None:
            tensors |= prefixed("average", self._average.state_dict())
        for name, optimizer in self._optimizers.items():
            tensors |= prefixed(f"optimizer/{name}", optimizer.tensors())
        return tensors


def build_networks(spaces: Spaces, settings: MotoSettings) -> tuple[WorldModel, Behaviour]:
    """Build world model, actor and critics with fresh weights from the global random state."""
    model = WorldModel(settings, spaces)
    behaviour = Behaviour(settings, spaces, model.rssm.feature_size)
    initialise(model)
    initialise(behaviour)
    return model, behaviour
