"""Arrays that a trainer saves for the report: open-loop predictions and rollouts. Plain npz files, no pickle."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch

from moto_ros.agents.interface import Agent, Batch
from moto_ros.data.episode import Episode
from moto_ros.training.episode_results import chunk_of

CONTEXT = 5
"""Frames that the model is given before it predicts open-loop."""

VIDEO_LENGTH = 45


@runtime_checkable
class VideoPredictor(Protocol):
    """An agent that can predict video."""

    def video(self, batch: Batch, context: int = 5) -> tuple[np.ndarray, np.ndarray]:
        """Return truth and open-loop prediction, uint8 (B, L, H, W, C) each."""
        ...


def save_prediction(folder: Path, tag: str, agent: Agent, episode: Episode, device: torch.device) -> Path | None:
    """Save `prediction_<tag>.npz`: true and imagined frames of an episode; None where there are no pictures."""
    if not isinstance(agent, VideoPredictor) or not episode.images or len(episode) < CONTEXT + 1:
        return None
    chunk = {name: torch.from_numpy(rows.copy()).to(device) for name, rows in chunk_of(episode, VIDEO_LENGTH).items()}
    truth, imagination = agent.video(chunk, CONTEXT)
    arrays = {"truth": truth[0], "imagination": imagination[0], "context": np.int64(CONTEXT)}
    return _save(folder / f"prediction_{tag}.npz", arrays)


def save_rollout(
    folder: Path, tag: str, episode: Episode, uncertainty: Sequence[float], success_probability: Sequence[float] = ()
) -> Path | None:
    """Save `rollout_<tag>.npz`: frames of the first camera, rewards, success, actions, and the policy's estimates."""
    if not episode.images:
        return None
    arrays = {
        "frames": next(iter(episode.images.values())),
        "reward": episode.reward,
        "success": episode.success,
        "action": episode.action,
        "uncertainty": np.asarray(uncertainty, np.float32),
        "success_probability": np.asarray(success_probability, np.float32),
        "id": np.int64(episode.info.get("id", 0)),
    }
    return _save(folder / f"rollout_{tag}.npz", arrays)


def _save(path: Path, arrays: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}")
    np.savez_compressed(part, **arrays)
    part.replace(path)
    return path


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read an npz file of this module."""
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}
