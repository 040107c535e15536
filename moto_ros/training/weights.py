"""Acting weights as bytes: what the trainer publishes and the policy takes."""

from __future__ import annotations

import hashlib

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from moto_ros.agents.interface import Agent
from moto_ros.errors import MotoError
from moto_ros.training.checkpoint import require_finite, storable


def pack(agent: Agent) -> tuple[bytes, str]:
    """Return the agent's acting weights as a safetensors file and its hexadecimal SHA-256; never NaN or infinity."""
    weights = agent.weights()
    require_finite(weights)
    content = save(storable(weights))
    return content, hashlib.sha256(content).hexdigest()


def unpack(content: bytes, sha256: str, source: str) -> dict[str, Tensor]:
    """Return tensors by name; MotoError, naming `source`, when the bytes are not what was sent."""
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise MotoError(f"{source}: weights with sha256 {found[:12]}, expected {sha256[:12]}; send them again")
    try:
        return load(content)
    except SafetensorError as error:
        raise MotoError(f"{source}: weights are not a safetensors file ({error}); send them again") from error
