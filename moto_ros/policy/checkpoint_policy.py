"""Policy of a checkpoint, to act without a trainer. No ROS."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from moto_ros.agents.bc.agent import BcAgent
from moto_ros.agents.common.base_policy import cloned_policy
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
    Identity,
    check_manifest,
    damage,
    numbers,
)

QUANTILES = "uncertainty_quantiles"
"""Entry of a checkpoint's state: quantiles of the uncertainty on recorded data; older checkpoints have none."""

JointNames = tuple[str, ...]

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
    version = max(1, int(state[SCHEDULE]["published"]))
    arm = str(state.get(ARM, ""))
    return Weights(version, time.monotonic_ns() - age, agent.weights(), quantiles, _joint_names(state), arm)


def load_base(path: Path, agent: Agent) -> JointNames:
    """Have `agent` take the policy of a checkpoint of agent `bc` as its base policy; return the joints it was for.

    Raises MotoError when the checkpoint is damaged, and when its policy is of other sizes than the agent's.
    """
    folder = _whole(path)
    try:
        agent.take_base(cloned_policy(load_file(folder / AGENT)), str(folder))
    except MotoError as error:
        raise MotoError(f"{error} (the presets quick of agents bc, moto and fowm fit each other)") from error
    return _joint_names(read_json(folder / STATE))


def is_cloned(path: Path) -> bool:
    """Return whether the checkpoint that `path` means is of agent `bc`; MotoError when there is none, or a damaged."""
    return read_json(_whole(path) / MANIFEST).get("agent") == BcAgent.name


def find_checkpoint(path: Path, identity: Identity) -> Path:
    """Return the folder of the checkpoint that `path` means; raises the same as `load_policy`."""
    folder = _whole(path)
    check_manifest(folder, identity)
    return folder


def _whole(path: Path) -> Path:
    folder = path if (path / MANIFEST).exists() else _newest(path)
    defect = damage(folder)
    if defect:
        raise MotoError(f"{folder}: {defect}, expected a whole checkpoint; choose another one")
    return folder


def _newest(path: Path) -> Path:
    folder = path / "checkpoints" if (path / "checkpoints").is_dir() else path
    whole = [number for number in numbers(folder) if not damage(folder / f"checkpoint_{number:06d}")]
    if not whole:
        raise MotoError(f"{path}: no whole checkpoint, expected a run folder or checkpoint_*; train first")
    return folder / f"checkpoint_{whole[-1]:06d}"


def _joint_names(state: Mapping[str, Any]) -> JointNames:
    return tuple(state.get("replay", {}).get(JOINTS, {}).get(STATE_JOINTS, ()))
