"""MOTO behind the agent interface: filtering, acting, the two phases of updates, weights and resumption."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from moto_ros.agents.common.augment import shift_chunks
from moto_ros.agents.common.base import NetworkAgent, Terms, to_numbers
from moto_ros.agents.common.base_policy import BaseActions, BasePolicy
from moto_ros.agents.common.exploration import CorrelatedNoise
from moto_ros.agents.common.networks import initialise
from moto_ros.agents.common.optimizer import Optimizer
from moto_ros.agents.common.tensors import prefixed, trainable
from moto_ros.agents.interface import (
    BASE,
    EDITED,
    POLICY,
    SUCCESS_PROBABILITY,
    ActRequest,
    Batch,
    Data,
    Decision,
    Metrics,
    Spaces,
    State,
)
from moto_ros.agents.moto.actor import Actor, cloning_loss
from moto_ros.agents.moto.behaviour import Behaviour, imagine
from moto_ros.agents.moto.config import MotoSettings
from moto_ros.agents.moto.edit import EditPolicy, Transitions
from moto_ros.agents.moto.encoding_cache import EncodingCache
from moto_ros.agents.moto.rssm import Latent
from moto_ros.agents.moto.world_model import ACTING_PARTS, WorldModel
from moto_ros.errors import MotoError


class MotoNetwork(nn.Module):
    """World model, and the actor and critics that learn in it; or a base policy and what edits it."""

    def __init__(self, settings: MotoSettings, spaces: Spaces) -> None:
        """Build all with fresh weights; the model gets gradients in its own updates only."""
        super().__init__()
        editing = settings.policy == "edit"
        self.model = WorldModel(settings, spaces)
        self.behaviour = None if editing else Behaviour(settings, spaces, self.model.rssm.feature_size)
        initialise(self)
        self.base = BasePolicy(settings, spaces) if editing else None
        self.copy = BasePolicy(settings, spaces) if editing and settings.online_base_updates else None
        if self.copy is not None and self.base is not None:
            self.copy.load_state_dict(self.base.state_dict())
        self.edit = EditPolicy(settings, spaces) if editing else None
        self.model.requires_grad_(False)


class MotoAgent(NetworkAgent):
    """Offline: all model updates, then all policy updates on the frozen model; online: both after each episode.

    With `policy: edit` a base policy is cloned before that, see `moto_ros.agents.moto.edit`.
    """

    name: ClassVar[str] = "moto"
    settings_class: ClassVar[type] = MotoSettings
    phases: tuple[str, ...] = ("base", "model", "policy")
    acting = ACTING_PARTS
    settings: MotoSettings
    network: MotoNetwork
    actor: Actor | EditPolicy

    def __init__(self, spaces: Spaces, settings: MotoSettings, seed: int, device: torch.device | str = "cpu") -> None:
        """Build the agent; equal seeds give equal weights and, on equal data, equal updates."""
        super().__init__(spaces, settings, seed, device)
        self._encodings = EncodingCache(self.model.encode, settings.encoding_cache_frames)
        self._base_actions = BaseActions(lambda seen: self._base.actions(seen))
        self._noise = CorrelatedNoise(settings)
        if self.network.edit is None:
            self.phases = ("model", "policy")
        else:
            self.arms = (BASE, POLICY)

    def build(self) -> nn.Module:
        """Return world model, actor and critics."""
        return MotoNetwork(self.settings, self.spaces)

    def build_optimizers(self) -> dict[str, Optimizer]:
        """Return one optimiser each for the world model, the actor and the critics."""
        settings, network = self.settings, self.network
        parts: dict[str, tuple[nn.Module, float]] = {"model": (self.model, settings.model_rate)}
        if network.edit is not None and network.base is not None:
            parts |= {
                "base": ((network.copy or network.base).newest, settings.base_rate),
                "actor": (network.edit.edit, settings.edit_rate),
                "critic": (network.edit.critic, settings.edit_rate),
            }
        else:
            parts |= {
                "actor": (self.behaviour.actor, settings.actor_rate),
                "critic": (self.behaviour.critics.online, settings.critic_rate),
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
        assert self.network.behaviour is not None
        return self.network.behaviour

    @property
    def _base(self) -> BasePolicy:
        assert self.network.base is not None
        return self.network.base

    @property
    def _learner(self) -> BasePolicy:
        """Return the base policy, or its copy that goes on learning."""
        return self.network.copy or self._base

    @property
    def _edit(self) -> EditPolicy:
        assert self.network.edit is not None
        return self.network.edit

    def start(self, batch: int) -> State:
        """Return the zero filter state."""
        state = self.model.rssm.start(batch)._asdict()
        if self.network.edit is None:
            return state
        return state | self._noise.start(batch, self.spaces.action, self.device)

    @torch.inference_mode()
    def act(self, observation: Batch, state: State, request: ActRequest) -> Decision:
        """Filter one observation with a sampled latent; act by a sample, the mode or the mean of the policy."""
        generator = request.generator or self.exploring
        seen = self.to_device(observation)
        before = Latent(state["deter"], state["stoch"])
        latent = self.model.rssm.filter(before, self.model.embed(seen), seen["action"], generator)
        kept, figures = latent._asdict(), Metrics()
        if self.network.edit is not None:
            action, noise, figures = self._act_by_edit(seen, state, request, generator)
            kept |= noise
        else:
            policy = self.actor(latent.feature)
            if request.sample:
                action = policy.sample(generator)
            else:
                action = policy.mode() if self.settings.eval_action == "mode" else policy.mean()
        uncertainty = self.model.uncertainty(latent, action, self.model.rssm.advance(latent, action))
        return Decision(action, kept, uncertainty, figures)

    def _act_by_edit(
        self, seen: Batch, state: State, request: ActRequest, generator: torch.Generator
    ) -> tuple[Tensor, State, Metrics]:
        """Return the base policy's action or a better one, with noise where it explores; its state; its figures."""
        start = self._base if request.arm == BASE else self._learner
        heads, figures = start.actions(seen), Metrics()
        action = heads.mean(0)
        if int(self._edit.updates):
            latent = self._edit.critic.encoder(seen)
            if request.arm == BASE or not self._edit.warm:
                chance = self._edit.critic.logits(latent, action).sigmoid().mean(0)
            else:
                action, chance, edited = self._edit.choose(latent, heads)
                figures[EDITED] = float(edited.float().mean())
            figures[SUCCESS_PROBABILITY] = float(chance.mean())
        kept = self._noise.part(state)
        if request.sample:
            noise, kept = self._noise.draw(kept, generator)
            action = (action + noise).clamp(-1, 1)
        return action, kept, figures

    @torch.inference_mode()
    def expected_return(self, observation: Batch, state: State, action: Tensor) -> Tensor:
        """Return the minimum of the critics' Q, what the policy is trained on: of penalised rewards.

        With `policy: edit` it is the mean of the choosing critics.
        """
        if self.network.edit is not None:
            latent = self._edit.critic.encoder(self.to_device(observation))
            return self._edit.critic.logits(latent, action).sigmoid().mean(0)
        return self.behaviour.critics.values(Latent(state["deter"], state["stoch"]).feature, action).amin(0)

    def take_base(self, cloned: dict[str, Tensor], what: str) -> None:
        """Take a cloned policy as the base policy, with `policy: edit`."""
        if self.network.base is None:
            super().take_base(cloned, what)
        for policy in {self._base, self._learner}:
            policy.take(cloned, what)
        self._base_actions.clear()

    def improve(self, phase: str, data: Data) -> Metrics:
        """Do one update of the phase "base", "model" or "policy"."""
        updates = {"base": self._update_base, "model": self._update_model, "policy": self._update_policy}
        if self.network.edit is not None:
            updates["policy"] = self._update_edit
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.precision == "bfloat16"):
            terms = updates[phase](data)
        return to_numbers(terms) if terms else {}

    def _update_base(self, data: Data) -> Terms:
        """Do one update of the base policy by cloning what may be imitated, or online of its copy."""
        learner, online = self._learner, data.holds("online")
        if online and not data.holds("successful"):
            return {}  # only failures are new, and the demonstrations do not say what succeeded
        terms = learner.update(self.to_device(learner.draw(data)), self.optimizers["base"], self.drawing)
        if learner is self._base:
            self._base_actions.clear()
        elif not online:
            self._base.acting.load_state_dict(learner.acting.state_dict())
            self._base_actions.clear()
        return terms

    def _update_edit(self, data: Data) -> Terms:
        """Do one update of the choosing critics and of the edit; none before there is a failure to tell apart.

        Both learn around the base policy, whose actions are known for every row, and act around its copy.
        """
        if not data.holds("failed"):
            return {}
        settings, edit = self.settings, self._edit
        if not int(edit.updates):
            edit.begin_from(self._base.acting.encoder)
        # Half of the batch: demonstrations and successes; half: all that was done online.
        half = settings.edit_batch // 2
        sources = {"successful": settings.edit_batch - half, "online" if data.holds("online") else "failed": half}
        parts = [
            self.to_device(data.windows(source, size, settings.edit_steps + 1))
            for source, size in sources.items()
            if data.holds(source)
        ]
        batch = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        rows = Transitions.of(batch, settings.discount)
        # Critics, then the edit on their latents.
        reached = self._base_actions(rows.reached, rows.reached_frame).mean(1)
        loss, latent, terms = edit.critic_loss(rows, reached, self.drawing)
        norms = {"critic_norm": self.optimizers["critic"].step(loss)}
        loss, prior, more = edit.edit_loss(latent, self._base_actions(rows.seen, rows.frame).mean(1))
        norms |= self.optimizers["actor"].step_with_prior(loss, prior)
        edit.step_target()
        return terms | more | norms

    def _update_model(self, data: Data) -> Terms:
        """Do one update of the world model on a batch of chunks; actor and critics stay as they are."""
        settings = self.settings
        batch = self._draw(data, "all", settings.batch)
        if settings.image_shift and "image" in batch:
            batch["image"] = shift_chunks(batch["image"], settings.image_shift, self.drawing)
        self._encodings.clear()
        with trainable(self.model):
            loss, terms = self.model.loss(batch, self.drawing)
            return terms | {"model_norm": self.optimizers["model"].step(loss)}

    def _update_policy(self, data: Data) -> Terms:
        """Do one update of actor and critics in imagination; the world model stays as it is."""
        settings, behaviour = self.settings, self.behaviour
        batch = self._draw(data, "all", settings.policy_batch or settings.batch)
        # Posteriors s_t of the batch (no gradient), and L_BC on successful episodes
        latent, cloning = self._posteriors_and_cloning(batch, data)
        # From every s_t imagine H states; rewards less alpha times the uncertainty
        start = Latent(*(part.flatten(0, 1) for part in latent))
        rollout = imagine(self.model, behaviour.actor, start, settings.horizon, self.drawing)
        rewards = rollout.penalised(behaviour.alpha)
        # Q_i(s_k, a_k) of the online critics serve both losses
        values = behaviour.critics.values(rollout.feature, rollout.action)
        actor_loss, actor_terms = behaviour.actor_loss(rollout, rewards, values, cloning)
        critic_loss, critic_terms = behaviour.critic_loss(rollout, rewards, values, latent, batch, self.drawing)
        prior = None if cloning is None else self.settings.beta * cloning
        norms = self.optimizers["actor"].step_with_prior(actor_loss, prior, retain_graph=True)
        norms["critic_norm"] = self.optimizers["critic"].step(critic_loss)
        # Hard copy to the target critics
        behaviour.updates += 1
        if int(behaviour.updates) % settings.target_every == 0:
            behaviour.critics.copy_to_target()
        return actor_terms | critic_terms | norms

    def _posteriors_and_cloning(self, batch: Batch, data: Data) -> tuple[Latent, Tensor | None]:
        """Return the posteriors (B, L, ...) of `batch`, and L_BC on a batch of successful episodes when it is on."""
        settings, actor = self.settings, self.behaviour.actor
        if not (settings.behaviour_prior and settings.beta > 0 and data.holds("successful")):
            return self._posterior(batch), None
        imitated = self._draw(data, "successful", settings.prior_batch)
        if imitated["action"].shape[1] != batch["action"].shape[1]:
            # Successful prefixes may be shorter than a chunk.
            return self._posterior(batch), cloning_loss(actor, self._posterior(imitated).feature, imitated)
        # One pass over both batches costs less than two: the recurrence runs once.
        latent = self._posterior({name: torch.cat((batch[name], imitated[name])) for name in batch})
        size = len(batch["action"])
        first, second = (Latent(*(part[rows] for part in latent)) for rows in (slice(size), slice(size, None)))
        return first, cloning_loss(actor, second.feature, imitated)

    @torch.no_grad()
    def _posterior(self, batch: Batch) -> Latent:
        return self.model.posterior(batch, self.drawing, self._encodings).latent

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
        return self.behaviour.actor if self.network.edit is None else self.network.edit

    def update_average(self, phase: str) -> None:
        """Update the average of the actor after a policy update; restart it after a model update where set so.

        Actors from before a model update were made for other latents.
        """
        if phase == "policy":
            super().update_average(phase)
        elif self.average is not None and self.settings.reset_actor_ema:
            self.average.n_averaged.zero_()

    def saved_parts(self) -> dict[str, nn.Module]:
        """Return model and behaviour, under the names that checkpoints have had from the first."""
        if self.network.edit is not None:
            copied = {} if self.network.copy is None else {"copy": self.network.copy}
            return {"model": self.model, "base": self._base, "edit": self._edit} | copied
        return {"model": self.model, "behaviour": self.behaviour}

    def acting_tensors(self) -> dict[str, Tensor]:
        """Return the encoder side of the model, its transition heads and the actor; not copied."""
        model = {name: value for name, value in self.model.state_dict().items() if name.split(".")[0] in self.acting}
        if self.network.edit is None:
            return prefixed("model", model) | prefixed("actor", self.actor.state_dict())
        edit = {name: value for name, value in self._edit.state_dict().items() if not name.startswith("target.")}
        tensors = prefixed("model", model) | prefixed("base", self._base.acting.state_dict()) | prefixed("edit", edit)
        if self.network.copy is not None:
            tensors |= prefixed("copy", self.network.copy.acting.state_dict())
        return tensors

    def on_loaded(self) -> None:
        """Drop what was computed by the weights before."""
        self._encodings.clear()
        self._base_actions.clear()
