"""Parameters of a simulated world that a task may set. No simulator is imported here."""

from __future__ import annotations

from dataclasses import dataclass

from moto_ros.config import parameter


@dataclass(frozen=True, kw_only=True)
class WorldOptions:
    """How a world pays and how long an action lasts; what is left as it is, is the world's own."""

    reward: str = parameter(
        "sparse", "1 while success holds; or the task's shaped reward, 0 to 1", choices=("sparse", "dense")
    )
    action_repeat: int = parameter(
        0, "simulator steps of a control step; 0: as the world has it", unit="steps", low=0, high=100
    )

    @property
    def options(self) -> dict[str, str | int]:
        """Return what the world is to be made with, beside its name and image size."""
        asked: dict[str, str | int] = {"action_repeat": self.action_repeat} if self.action_repeat else {}
        return asked | ({} if self.reward == "sparse" else {"reward": self.reward})
