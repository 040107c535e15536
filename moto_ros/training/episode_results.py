"""Acting without ROS, the results of episodes, and summaries of evaluations."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from moto_ros.agents.interface import EDITED, ActRequest, Agent, Batch
from moto_ros.data.episode import Episode
from moto_ros.data.records import GUARDS
from moto_ros.training.run_schedule import EpisodeResult
from moto_ros.training.statistics import wilson


class Player:
    """Acts in one episode: observations in, actions out; equal seeds and observations give equal actions."""

    def __init__(
        self, agent: Agent, action_size: int, seed: int, *, sample: bool, device: str = "cpu", arm: str = ""
    ) -> None:
        self._agent = agent
        self._device = torch.device(device)
        generator = torch.Generator(self._device).manual_seed(seed)
        self._request = ActRequest(sample=sample, arm=arm, generator=generator)
        self._state = agent.start(1)
        self._action = torch.zeros(1, action_size, device=self._device)
        self.uncertainty: list[float] = []
        self.success_probability: list[float] = []
        self._edited: list[float] = []

    @property
    def edited(self) -> float | None:
        """Return the share of the steps that were edited; None of an agent that edits nothing."""
        return sum(self._edited) / len(self._edited) if self._edited else None

    def __call__(self, images: Mapping[str, np.ndarray], proprio: np.ndarray) -> np.ndarray:
        """Return the action (A,) for camera frames (H, W, 3), in camera order, and proprioception (P,)."""
        decision = self._agent.act(self._observation(images, proprio), self._state, self._request)
        self._state, self._action = decision.state, decision.action
        self.uncertainty.append(float(decision.uncertainty))
        self.success_probability.append(decision.success_probability)
        if EDITED in decision.figures:
            self._edited.append(decision.figures[EDITED])
        return decision.action[0].cpu().numpy()

    def executed(self, action: np.ndarray) -> None:
        """Note that `action` (A,) was executed in place of the last answer: a person took over."""
        self._action = torch.as_tensor(action, dtype=torch.float32, device=self._device)[None]

    def _observation(self, images: Mapping[str, np.ndarray], proprio: np.ndarray) -> Batch:
        seen: dict[str, Tensor] = {"proprio": torch.as_tensor(proprio, dtype=torch.float32), "action": self._action[0]}
        if images:
            seen["image"] = torch.from_numpy(np.concatenate(list(images.values()), axis=-1))
        return {name: rows.unsqueeze(0).to(self._device) for name, rows in seen.items()}


def result_of(episode: Episode, id: int) -> EpisodeResult:
    """Return how an episode went; success is reaching it at any step, as Meta-World counts it."""
    arm, helped = str(episode.info.get("arm", "")), episode.human_share > 0
    return EpisodeResult(id, episode.succeeded, float(episode.reward.sum()), len(episode), arm, helped)


def interventions_of(episode: Episode) -> dict[str, float]:
    """Return the share of human steps, and the numbers of guarded steps, robot faults and camera gaps."""
    counts = {f"guard_{name}": int((episode.guard == number).sum()) for number, name in enumerate(GUARDS) if number}
    incidents = {name: float(episode.info.get(name, 0)) for name in ("faults", "camera_gaps")}
    edited = {EDITED: float(episode.info[EDITED])} if EDITED in episode.info else {}
    return {"human_share": episode.human_share} | counts | incidents | edited


def finite_mean(values: Sequence[float]) -> float | None:
    """Return the mean of the values that are numbers, None where none is."""
    known = [value for value in values if math.isfinite(value)]
    return sum(known) / len(known) if known else None


def chunk_of(episode: Episode, length: int) -> dict[str, np.ndarray]:
    """Return the first `length` observations (at most) of an episode as a chunk batch of one (1, L, ...)."""
    rows = slice(0, min(length, len(episode) + 1))
    chunk = {name: getattr(episode, name)[None, rows] for name in ("proprio", "action", "reward", "is_terminal")}
    first = np.zeros_like(chunk["is_terminal"])
    first[:, 0] = True
    image = {"image": np.concatenate(list(episode.images.values()), axis=-1)[None, rows]} if episode.images else {}
    return image | chunk | {"is_first": first}


def rate_fields(successes: int, trials: int) -> dict[str, Any]:
    """Return n, successes, success rate and its Wilson interval, as rows of metrics hold them."""
    rate = wilson(successes, trials)
    return {"n": trials, "successes": successes, "success_rate": rate.mean, "low": rate.low, "high": rate.high}


def summary(results: Sequence[EpisodeResult]) -> dict[str, Any]:
    """Return the figures of an evaluation: n, successes, success rate and its interval, mean return and steps."""
    return rate_fields(sum(result.success for result in results), len(results)) | {
        "return": float(np.mean([result.reward for result in results])),
        "steps": float(np.mean([result.steps for result in results])),
        "outcomes": [int(result.success) for result in results],
    }
