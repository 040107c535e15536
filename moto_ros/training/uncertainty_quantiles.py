"""Quantiles of the model's uncertainty on recorded data, among which its uncertainty while acting is ranked."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from moto_ros.agents.interface import ActRequest, Agent, Batch
from moto_ros.data.episode import Episode

QUANTILES = 101
"""0, 1, ... 100 %."""

EPISODES_AT_ONCE = 16
"""Episodes in one batch of the filter."""


def offline_quantiles(
    agent: Agent, episodes: Sequence[Episode], steps: int, device: torch.device, seed: int = 0
) -> list[float]:
    """Return the quantiles of the uncertainty when `agent` acts along recorded episodes; empty where it gives none.

    About `steps` steps are taken, of episodes spread evenly over all. The same weights, episodes and seed give the same
    numbers, and no other random state changes. Nothing is planned: of a planner, the actions of its policy head count.
    """
    chosen = _evenly_spread(episodes, steps)
    groups = [chosen[first : first + EPISODES_AT_ONCE] for first in range(0, len(chosen), EPISODES_AT_ONCE)]
    generator = torch.Generator(device).manual_seed(seed)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        found = [_uncertainty_along(agent, group, steps, device, generator) for group in groups]
    values = np.concatenate([np.zeros(0), *found])
    values = values[np.isfinite(values)]
    return np.quantile(values, np.linspace(0, 1, QUANTILES)).tolist() if len(values) else []


def _evenly_spread(episodes: Sequence[Episode], steps: int) -> list[Episode]:
    """Return episodes spread evenly, first and last included, that have about `steps` steps together."""
    if not episodes or steps < 1:
        return []
    mean = sum(len(episode) for episode in episodes) / len(episodes)
    count = min(len(episodes), max(1, round(steps / mean)))
    return [episodes[index] for index in sorted(set(np.linspace(0, len(episodes) - 1, count).round().astype(int)))]


def _uncertainty_along(
    agent: Agent, group: Sequence[Episode], most: int, device: torch.device, generator: torch.Generator
) -> np.ndarray:
    """Return the uncertainty at each step, at most `most` an episode; an episode that is over repeats its last row."""
    lengths = np.array([len(episode) for episode in group])
    request = ActRequest(sample=False, generator=generator, deadline=0.0)
    state, found = agent.start(len(group)), []
    for step in range(min(most, int(lengths.max()))):
        batch = _observation(group, np.minimum(step, lengths), device)
        decision = agent.act(batch, state, request)
        state = decision.state
        found.append(decision.uncertainty.cpu().double().numpy()[step < lengths])
    return np.concatenate(found)


def _observation(group: Sequence[Episode], rows: np.ndarray, device: torch.device) -> Batch:
    """Return what `Agent.act` takes, of one row of each episode."""

    def stacked(name: str) -> Tensor:
        values = [getattr(episode, name)[row] for episode, row in zip(group, rows, strict=True)]
        return torch.from_numpy(np.stack(values)).to(device)

    batch = {"proprio": stacked("proprio"), "action": stacked("action")}
    if group[0].images:
        frames = [_frame(episode, row) for episode, row in zip(group, rows, strict=True)]
        batch["image"] = torch.from_numpy(np.stack(frames)).to(device)
    return batch


def _frame(episode: Episode, row: int) -> np.ndarray:
    return np.concatenate([frames[row] for frames in episode.images.values()], axis=-1)
