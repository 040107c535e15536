"""MOTO behind the agent interface: filtering, acting, the two phases of updates, weights and resumption."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from moto_ros.agents.common.augment import shift_chunks
from moto_ros.agents.common.base import NetworkAgent, Terms, to_numbers
from moto_ros.agents.common.distributions import TruncatedNormal
from moto_ros.agents.common.networks import initialise
from moto_ros.agents.common.optimizer import Optimizer
from moto_ros.agents.common.tensors import prefixed, trainable
from moto_ros.agents.interface import ActRequest, Batch, Data, Decision, Metrics, Spaces, State
from moto_ros.agents.moto.actor import Actor
from moto_ros.agents.moto.behaviour import Behaviour
from moto_ros.agents.moto.config import MotoSettings
from moto_ros.agents.moto.encoding_cache import FrameMemory
from moto_ros.agents.moto.rssm import Latent
from moto_ros.agents.moto.world_model import ACTING_PARTS, WorldModel
from moto_ros.errors import MotoError


class MotoNetwork(nn.Module):
    """World model, and the actor and critics that learn in it."""

    def __init__(self, settings: MotoSettings, spaces: Spaces) -> None:
        """Build all with fresh weights; the model gets gradients in its own updates only."""
        super().__init__()
        self.model = WorldModel(settings, spaces)
        self.behaviour = Behaviour(settings, spaces, self.model.rssm.feature_size)
        initialise(self)
        self.model.requires_grad_(False)


class MotoAgent(NetworkAgent):
    """Offline: all model updates, then all policy updates on the frozen model; online: both after each episode."""

    name: ClassVar[str] = "moto"
    phases: ClassVar[tuple[str, ...]] = ("model", "policy")
    acting = ACTING_PARTS
    settings: MotoSettings
    network: MotoNetwork
    actor: Actor

    def __init__(self, spaces: Spaces, settings: MotoSettings, seed: int, device: torch.device | str = "cpu") -> None:
        """Build the agent; equal seeds give equal weights and, on equal data, equal updates."""
        super().__init__(spaces, settings, seed, device)
        self._frames = FrameMemory(self.model.encode, settings.remembered_frames)

    def build(self) -> nn.Module:
        """Return world model, actor and critics."""
        return MotoNetwork(self.settings, self.spaces)

    def build_optimizers(self) -> dict[str, Optimizer]:
        """Return one optimiser each for the world model, the actor and the critics."""
        settings, behaviour = self.settings, self.behaviour
        parts: dict[str, tuple[nn.Module, float]] = {
            "model": (self.model, settings.model_rate),
            "actor": (behaviour.actor, settings.actor_rate),
            "critic": (behaviour.critics.online, settings.critic_rate),
        }
        shared = settings.adam_epsilon, settings.clip, settings.decay
        return {name: Optimizer(part, rate, *shared) for name, (part, rate) in parts.items()}

    @property
    def model(self) -> WorldModel:
        """Return the world model."""
        return self.network.model

    @property
    def behaviour(self) -> Behaviour:
        """Return actor and critics."""
        return self.network.behaviour

    def start(self, batch: int) -> State:
        """Return the zero filter state."""
        return self.model.rssm.start(batch)._asdict()

    @torch.inference_mode()
    def act(self, observation: Batch, state: State, request: ActRequest) -> Decision:
        """Filter one observation with a sampled latent; act by a sample, the mode or the mean of the policy."""
        generator = request.generator or self.exploring
        seen = self.to_device(observation)
        latent = self.model.rssm.filter(Latent(**state), self.model.embed(seen), seen["action"], generator)
        action = self._choose(self.actor(latent.feature), generator if request.sample else None)
        doubt = self.model.uncertainty(latent, action, self.model.rssm.advance(latent, action))
        return Decision(action, latent._asdict(), doubt)

    def _choose(self, policy: TruncatedNormal, generator: torch.Generator | None) -> Tensor:
        if generator is not None:
            return policy.sample(generator)
        return policy.mode() if self.settings.acts_by == "mode" else policy.mean()

    @torch.inference_mode()
    def expected_return(self, observation: Batch, state: State, action: Tensor) -> Tensor:
        """Return the minimum of the critics' Q, what the policy is trained on: of penalised rewards."""
        return self.behaviour.critics.values(Latent(**state).feature, action).amin(0)

    def improve(self, phase: str, data: Data) -> Metrics:
        """Do one update of the phase "model" or "policy"."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.precision == "bfloat16"):
            terms = self._update_model(data) if phase == "model" else self._update_policy(data)
        return to_numbers(terms)

    def _update_model(self, data: Data) -> Terms:
        batch = self._shifted(self._draw(data, "all", self.settings.batch))
        self._frames.forget()
        with trainable(self.model):
            loss, terms = self.model.loss(batch, self.drawing)
            return terms | {"model_norm": self.optimizers["model"].step(loss)}

    def _shifted(self, batch: Batch) -> Batch:
        """Return `batch` with its images moved as `image_shift` says."""
        if not self.settings.image_shift or "image" not in batch:
            return batch
        return batch | {"image": shift_chunks(batch["image"], self.settings.image_shift, self.drawing)}

    def _update_policy(self, data: Data) -> Terms:
        batch = self._draw(data, "all", self.settings.policy_batch or self.settings.batch)
        latent, cloning = self._filtered(batch, data)
        losses = self.behaviour.losses(self.model, latent, batch, self.drawing, cloning)
        norms = {
            "actor_norm": self.optimizers["actor"].step(losses.actor, retain_graph=True),
            "critic_norm": self.optimizers["critic"].step(losses.critic),
        }
        self.behaviour.count_update()
        return losses.terms | norms

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
        return self.model.posterior(batch, self.drawing, self._frames).latent

    def _draw(self, data: Data, source: str, size: int) -> Batch:
        return self.to_device(data.batch(source, size, self.settings.length))

    @torch.inference_mode()
    def video(self, batch: Batch, context: int = 5) -> tuple[np.ndarray, np.ndarray]:
        """Return truth and open-loop prediction, uint8 (B, L, H, W, C) each.

        The first `context` frames are reconstructed from the posterior; the rest is imagined from the data's actions.
        """
        if self.model.decoder is None:
            raise MotoError("the agent has no camera, so there is no video to predict; name a camera in 'cameras'")
        chunk = self.to_device(batch)
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

    def averaged_part(self) -> nn.Module:
        """Return the actor, the part that acts by its average."""
        return self.behaviour.actor

    def update_average(self, phase: str) -> None:
        """Update the average of the actor after a policy update; restart it after a model update where set so.

        Actors from before a model update were made for other latents.
        """
        if phase == "policy":
            super().update_average(phase)
        elif self.average is not None and self.settings.average_anew:
            self.average.n_averaged.zero_()

    def saved_parts(self) -> dict[str, nn.Module]:
        """Return model and behaviour, under the names that checkpoints have had from the first."""
        return {"model": self.model, "behaviour": self.behaviour}

    def acting_tensors(self) -> dict[str, Tensor]:
        """Return the encoder side of the model, its transition heads and the actor; not copied."""
        model = {name: value for name, value in self.model.state_dict().items() if name.split(".")[0] in self.acting}
        return prefixed("model", model) | prefixed("actor", self.actor.state_dict())

    def on_loaded(self) -> None:
        """Drop encodings by the encoder before."""
        self._frames.forget()
