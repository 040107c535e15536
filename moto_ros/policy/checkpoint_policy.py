"""Policy of a checkpoint, to act without a trainer. No ROS."""

from __future__ import annotations

import time
from pathlib import Path

from safetensors.torch import load_file

from moto_ros.agents.interface import Agent
from moto_ros.data.joints import STATE as STATE_JOINTS
from moto_ros.data.replay import JOINTS
from moto_ros.errors import MotoError
from moto_ros.files import read_json
from moto_ros.policy.episode_policy import Weights
from moto_ros.training.checkpoint import (
    AGENT,
    MANIFEST,
    SCHEDULE,
    STATE,
    CheckpointFolder,
    Identity,
    check_manifest,
    damage,
)

QUANTILES = "uncertainty_quantiles"
"""Entry of a checkpoint's state: quantiles of the uncertainty on recorded data; older checkpoints have none."""

ARM = "arm"
"""Entry of a checkpoint's state: the better one of the agent's arms then; older checkpoints have none."""


def load_policy(path: Path, agent: Agent, identity: Identity) -> Weights:
    """Load a checkpoint into `agent` and return its acting weights.

    `path` is a run folder, its `checkpoints` (both: the newest whole checkpoint) or one checkpoint. Raises MotoError
    when there is none, or when it is damaged or of another agent or preset.
    """
    folder = find_checkpoint(path, identity)
    agent.load_state_dict(load_file(folder / AGENT))
    state = read_json(folder / STATE)
    age = max(0, time.time_ns() - (folder / MANIFEST).stat().st_mtime_ns)
    quantiles = tuple(state.get(QUANTILES, ()))
    joint_names = tuple(state.get("replay", {}).get(JOINTS, {}).get(STATE_JOINTS, ()))
    version = max(1, int(state[SCHEDULE]["published"]))
    arm = str(state.get(ARM, ""))
    return Weights(version, time.monotonic_ns() - age, agent.weights(), quantiles, joint_names, arm)


def find_checkpoint(path: Path, identity: Identity) -> Path:
    """Return the folder of the checkpoint that `path` means; raises the same as `load_policy`."""
    folder = path if (path / MANIFEST).exists() else _newest(path, identity)
    defect = damage(folder)
    if defect:
        raise MotoError(f"{folder}: {defect}, expected a whole checkpoint; choose another one")
    check_manifest(folder, identity)
    return folder


def _newest(path: Path, identity: Identity) -> Path:
    folder = path / "checkpoints" if (path / "checkpoints").is_dir() else path
    whole = [n for n in CheckpointFolder(folder, identity).numbers() if not damage(folder / f"checkpoint_{n:06d}")]
    if not whole:
        raise MotoError(f"{path}: no whole checkpoint, expected a run folder or checkpoint_*; train first")
    return folder / f"checkpoint_{whole[-1]:06d}"
