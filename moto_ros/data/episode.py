"""An episode in the Dreamer storage convention."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from moto_ros.data.records import HUMAN, UNKNOWN_SOURCE
from moto_ros.errors import MotoError


@dataclass(frozen=True)
class Episode:
    """T steps and T + 1 observations; row t of `action` and `reward` led to observation t (row 0 is zero).

    images: camera name -> uint8 (T+1, H, W, 3); proprio: float32 (T+1, P); action: float32 (T+1, A) in [-1, 1];
    reward: float32 (T+1,); success: bool (T+1,); is_terminal: bool (T+1,), true only where no future exists (a time
    limit is a truncation, not a termination); stamps: int64 (T+1,), nanoseconds of the robot state observed.
    source: uint8 (T+1,), Action.SOURCE_* or `UNKNOWN_SOURCE` for each action; guard: uint8 (T+1,), Action.GUARD_*.
    """

    images: dict[str, np.ndarray]
    proprio: np.ndarray
    action: np.ndarray
    reward: np.ndarray
    success: np.ndarray
    is_terminal: np.ndarray
    stamps: np.ndarray
    info: dict[str, str | int | float | bool] = field(default_factory=dict)
    """Facts about the whole episode: id, origin ("offline" or "online"), source, gaps, policy_version..."""
    source: np.ndarray = field(default_factory=lambda: np.empty(0, np.uint8))
    guard: np.ndarray = field(default_factory=lambda: np.empty(0, np.uint8))

    def __post_init__(self) -> None:
        """Raise MotoError for arrays of different lengths or without a step; no sources mean `UNKNOWN_SOURCE`."""
        for name, nothing in (("source", UNKNOWN_SOURCE), ("guard", 0)):
            if len(getattr(self, name)) == 0:
                object.__setattr__(self, name, np.full(len(self.reward), nothing, np.uint8))
        lengths = {name: len(rows) for name, rows in self.arrays().items()}
        if len(set(lengths.values())) != 1 or len(self.reward) < 2:
            raise MotoError(f"episode {self.info.get('id', '?')}: rows {lengths}, expected one common length >= 2")

    def __len__(self) -> int:
        """Return T, the number of actions taken."""
        return len(self.reward) - 1

    @property
    def succeeded(self) -> bool:
        """Whether any step reached success."""
        return bool(self.success.any())

    @property
    def human_share(self) -> float:
        """Return the fraction of steps whose action a person chose."""
        return float((self.source[1:] == HUMAN).mean())

    def arrays(self) -> dict[str, np.ndarray]:
        """Return every row array by name; images as `image/<camera>`."""
        rows = {f"image/{camera}": pixels for camera, pixels in self.images.items()}
        names = ("proprio", "action", "reward", "success", "is_terminal", "stamps", "source", "guard")
        return rows | {name: getattr(self, name) for name in names}
