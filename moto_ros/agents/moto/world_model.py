"""The latent world model: encoders, RSSM, decoders, reward head, model loss and ensemble uncertainty."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from moto_ros.agents.common.base import Terms
from moto_ros.agents.common.distributions import LatentSpace
from moto_ros.agents.common.networks import MLP, BatchedMLP, ConvDecoder, ConvEncoder
from moto_ros.agents.common.normaliser import Normaliser
from moto_ros.agents.interface import Batch, Spaces
from moto_ros.agents.moto.actor import Actor, cloning_loss
from moto_ros.agents.moto.config import MotoSettings
from moto_ros.agents.moto.encoding_cache import EncodingCache
from moto_ros.agents.moto.rssm import RSSM, Latent, Posterior
from moto_ros.errors import MotoError

MIN_VARIANCE = 1e-14
"""Lower limit of a variance before its square root, whose gradient is infinite at zero."""


def disagreement(centres: Tensor) -> Tensor:
    """Return u(s, a) = mean over dimensions of the population std over members: (K, ..., d) -> (...).

    `centres` are each member's predicted means (Gaussian latents) or logits (categorical ones).
    """
    # Tensor.std over the leading dimension is much slower.
    variance = (centres - centres.mean(0)).square().mean(0)
    return variance.clamp(min=MIN_VARIANCE).sqrt().mean(-1)


class SideEnsemble(nn.Module):
    """K networks beside an ordinary prior that predict the next posterior from feature and action (Plan2Explore)."""

    def __init__(self, members: int, inputs: int, hidden: int, outputs: int) -> None:
        """Build K stacks of three hidden layers."""
        super().__init__()
        self.networks = BatchedMLP(members, inputs, (hidden,) * 3, outputs)

    def forward(self, feature: Tensor, action: Tensor) -> Tensor:
        """Predict (K, rows, outputs) from rows (rows, F) and (rows, A)."""
        return self.networks(torch.cat((feature, action), -1))

    def loss(self, feature: Tensor, action: Tensor, target: Tensor, generator: torch.Generator) -> Tensor:
        """Return the mean squared error where each row trains one random member; nothing flows into the inputs."""
        predicted = self(feature.detach(), action)
        members, rows = predicted.shape[:2]
        choice = torch.randint(members, (rows,), generator=generator, device=generator.device)
        chosen = predicted[choice, torch.arange(rows, device=generator.device)]
        return 0.5 * (chosen - target.detach()).square().sum(-1).mean()


ACTING_PARTS = ("encoder", "proprio_encoder", "normaliser", "rssm", "side")
"""The parts of the model that acting needs."""


def centred(image: Tensor) -> Tensor:
    """Return uint8 pixels as float32 in [-0.5, 0.5]."""
    return image.float().div_(255).sub_(0.5)


def balanced_kl(
    space: LatentSpace, posterior: Tensor, prior: Tensor, balance: float, free: float, charged: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return the KL loss with balancing and free nats, and the plain mean KL; statistics are (..., stats).

    The free nats are applied after the mean over batch and time, so the whole term has no gradient below them.
    With `charged`, bool (...), the mean is over these steps only.
    """
    to_posterior = _mean_over(space.kl_divergence(posterior, prior.detach()), charged)
    to_prior = _mean_over(space.kl_divergence(posterior.detach(), prior), charged)
    loss = (1 - balance) * to_posterior.clamp(min=free) + balance * to_prior.clamp(min=free)
    return loss, to_prior.detach()


def _inside_or_beginning(batch: Batch) -> Tensor:
    """Return bool (B, L): every step but the first of a chunk that begins in the middle of an episode."""
    charged = torch.ones_like(batch["is_first"])
    charged[:, 0] = batch["begins"][:, 0]
    return charged


def _mean_over(values: Tensor, charged: Tensor | None) -> Tensor:
    if charged is None:
        return values.mean()
    return (values * charged).sum() / charged.sum().clamp(min=1)


class WorldModel(nn.Module):
    """Filters images and proprioception into latents, predicts latents, rewards and observations."""

    def __init__(self, settings: MotoSettings, spaces: Spaces) -> None:
        """Build the parts that the spaces call for; raise MotoError when there is nothing to observe."""
        super().__init__()
        if spaces.image is None and not spaces.proprio:
            raise MotoError("the agent observes neither a camera nor proprioception; name at least one of them")
        self.settings, self.spaces = settings, spaces
        units, head = settings.proprio_units, (settings.head_units,) * settings.head_layers
        # Encoders
        self.encoder = ConvEncoder(spaces.image, settings.conv_depth) if spaces.image else None
        self.normaliser = Normaliser(spaces.proprio) if spaces.proprio else None
        self.proprio_encoder = MLP(spaces.proprio, (units,), units) if spaces.proprio else None
        embedding = (self.encoder.outputs if self.encoder else 0) + (units if spaces.proprio else 0)
        # Recurrent state-space model
        self.rssm = RSSM(settings, embedding, spaces.action)
        feature = self.rssm.feature_size
        # Decoders, reward head, cloned policy
        self.decoder = ConvDecoder(feature, spaces.image, settings.conv_depth) if spaces.image else None
        self.proprio_decoder = MLP(feature, (units,), spaces.proprio) if spaces.proprio else None
        self.reward_head = MLP(feature, head, 1)
        self.cloner = Actor(settings, feature, spaces.action) if settings.cloning_scale else None
        # Side ensemble
        members, inputs, outputs = settings.side_heads, feature + spaces.action, self.rssm.space.centres
        self.side = SideEnsemble(members, inputs, settings.hidden, outputs) if members else None

    def encode(self, image: Tensor) -> Tensor:
        """Return the encodings (rows, E) of images uint8 (rows, H, W, C)."""
        assert self.encoder is not None
        encoded: Tensor = self.encoder(centred(image))
        return encoded

    def embed(self, batch: Batch, encodings: EncodingCache | None = None) -> Tensor:
        """Return the joint embedding of images and proprioception (B, ..., E), all frames at once.

        `encodings` holds images that were encoded before, by the numbers of their frames.
        """
        parts = []
        if self.encoder is not None:
            image = batch["image"]
            if encodings is not None and "frame" in batch:
                parts.append(encodings(image, batch["frame"]))
            else:
                parts.append(self.encode(image.flatten(0, -4)).unflatten(0, image.shape[:-3]))
        if self.normaliser is not None and self.proprio_encoder is not None:
            parts.append(self.proprio_encoder(self.normaliser(batch["proprio"])))
        return torch.cat(parts, -1)

    def posterior(
        self, batch: Batch, generator: torch.Generator | None, encodings: EncodingCache | None = None
    ) -> Posterior:
        """Filter a batch of chunks; see `embed`."""
        return self.rssm.observe(self.embed(batch, encodings), batch["action"], batch["is_first"], generator)

    def reward(self, feature: Tensor) -> Tensor:
        """Return the reward expected at states (..., F), the ones reached: (...)."""
        return self.reward_head(feature).squeeze(-1)

    def uncertainty(self, latent: Latent, action: Tensor, reached: Tensor) -> Tensor:
        """Return u(s, a) (rows,) of states (rows, ...) and actions (rows, A) that led to recurrent states (rows, D)."""
        if self.side is not None:
            return disagreement(self.side(latent.feature, action))
        if self.rssm.heads.members == 1:
            return reached.new_zeros(len(reached))
        return disagreement(self.rssm.space.centre(self.rssm.heads(reached)))

    def loss(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Terms]:
        """Return L = the weighted sum of its terms on a batch of chunks (B, L, ...), and the terms.

        -ln p(o_t, r_t | s_t) of observations and rewards as unit-variance Gaussians without their constant, and the
        balanced KL(q(z_t | h_t, o_t) || p_j(z_t | h_t)) (DreamerV2, section 2.1), j being a random head each step.
        """
        settings, space = self.settings, self.rssm.space
        if self.normaliser is not None:
            self.normaliser.update(batch["proprio"])
        # Posteriors z_t ~ q(z_t | h_t, o_t)
        posterior = self.posterior(batch, generator)
        latent, feature = posterior.latent, posterior.latent.feature
        # Reward of the state reached
        error = self.reward(feature) - batch["reward"]
        terms = {"reward_loss": 0.5 * error.square().mean(), "reward_error": error.detach().abs().mean()}
        # Observations
        if self.decoder is not None:
            terms["image_loss"] = self._image_loss(self.decoder, batch["image"], feature, generator)
        if self.normaliser is not None and self.proprio_decoder is not None:
            error = self.proprio_decoder(feature) - self.normaliser(batch["proprio"])
            terms["proprio_loss"] = 0.5 * error.square().sum(-1).mean()
        # Cloning inside the model loss, off by default
        if self.cloner is not None:
            terms["bc_model_loss"] = cloning_loss(self.cloner, feature, batch)
        # KL of one random prior head a step, or of all heads when set so
        if settings.kl_all_heads:
            priors = self.rssm.heads(latent.deter.flatten(0, 1)).unflatten(1, latent.deter.shape[:2])
        else:
            priors = self.rssm.prior(latent.deter, self.rssm.draw_heads(latent.deter.shape[1], generator))[None]
        balance, free = settings.kl_balance, settings.free_nats
        charged = None if settings.kl_at_chunk_start else _inside_or_beginning(batch)
        pairs = [balanced_kl(space, posterior.stats, prior, balance, free, charged) for prior in priors]
        losses, values = zip(*pairs, strict=True)
        terms |= {"kl_loss": torch.stack(losses).sum(), "kl": torch.stack(values).mean()}
        # KL without the first step of each chunk, where the prior is that of the zero state: a figure only
        with torch.no_grad():
            later = space.kl_divergence(posterior.stats[:, 1:], priors[:, :, 1:])
            terms["kl_inside"] = later.mean()
        # Side ensemble: predicts the next posterior from s_t and a_t
        before, action = Latent(*(part[:, :-1].flatten(0, 1) for part in latent)), batch["action"][:, 1:].flatten(0, 1)
        if self.side is not None:
            following = space.centre(posterior.stats)[:, 1:].flatten(0, 1)
            terms["side_loss"] = self.side.loss(before.feature, action, following, generator)
        # Mean one-step u along the recorded actions, a figure only
        with torch.no_grad():
            reached = latent.deter[:, 1:].flatten(0, 1)
            terms["data_uncertainty"] = self.uncertainty(before, action, reached).mean()
        scales = self._scales()
        total = sum((scales[name] * term for name, term in terms.items() if name in scales), torch.zeros(()))
        return total, {name: term.detach() for name, term in terms.items()} | {"model_loss": total.detach()}

    def _scales(self) -> dict[str, float]:
        """Return the weights of the loss's terms by name; other terms are figures."""
        return {
            "image_loss": self.settings.image_scale,
            "proprio_loss": self.settings.proprio_scale,
            "reward_loss": self.settings.reward_scale,
            "kl_loss": self.settings.kl_scale,
            "bc_model_loss": self.settings.cloning_scale,
            "side_loss": 1.0,
        }

    def _image_loss(self, decoder: ConvDecoder, image: Tensor, feature: Tensor, generator: torch.Generator) -> Tensor:
        """Return half the squared error summed over pixels, mean over frames: all, or as large a share as is set."""
        frames, features = image.flatten(0, 1), feature.flatten(0, 1)
        if self.settings.decode_fraction < 1:
            count = max(1, round(len(frames) * self.settings.decode_fraction))
            chosen = torch.randperm(len(frames), generator=generator, device=frames.device)[:count]
            frames, features = frames[chosen], features[chosen]
        error = decoder(features) - centred(frames)
        return 0.5 * error.square().sum() / len(frames)
