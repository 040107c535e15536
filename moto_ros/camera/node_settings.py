"""Parameters of the camera node."""

from __future__ import annotations

from dataclasses import dataclass

from moto_ros.camera.settings import CameraSettings
from moto_ros.contract.peers import Peers


@dataclass(frozen=True, kw_only=True)
class CameraNodeSettings(Peers, CameraSettings):
    """Parameters of the cameras, and the nodes to wait for."""
