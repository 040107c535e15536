"""Parameters of the camera node."""

from __future__ import annotations

from dataclasses import dataclass

from moto_ros.camera.settings import CameraSettings
from moto_ros.contract.peers import Peers


@dataclass(frozen=True, kw_only=True)
class CameraNodeSettings(Peers, CameraSettings):
    """What the cameras need, and whom the node waits for."""
