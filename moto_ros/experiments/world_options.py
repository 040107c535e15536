"""Parameters of a simulated world that a task may set. No simulator is imported here."""

from __future__ import annotations

from dataclasses import dataclass

from moto_ros.config import parameter


@dataclass(frozen=True, kw_only=True)
class WorldOptions:
    """How a world rewards, how long an action lasts, what is shown; by default as the world has it."""

    reward: str = parameter(
        "sparse", "1 while success holds; or the task's shaped reward, 0 to 1", choices=("sparse", "dense")
    )
    action_repeat: int = parameter(
        0, "simulator steps of a control step; 0: as the world has it", unit="steps", low=0, high=100
    )

    goal_radius: float = parameter(
        0.0, "radius of the ball that shows the goal; 0: as the world draws it", unit="m", low=0.0, high=0.5
    )
    expert_aim: float = parameter(
        0.0,
        "standard deviation, each axis, of where the scripted expert takes the goal to be, drawn each episode",
        unit="m",
        low=0.0,
        high=1.0,
    )

    @property
    def options(self) -> dict[str, str | int | float]:
        """Return what the world is to be made with, beside its name and image size: all that is not its own."""
        own = WorldOptions.__dataclass_fields__.values()
        return {field.name: getattr(self, field.name) for field in own if getattr(self, field.name) != field.default}
