"""When a task counts as solved: shared by who ends an episode, who learns from it, and benchmarks. No ROS."""

from __future__ import annotations

from dataclasses import dataclass

from moto_ros.config import parameter


@dataclass(frozen=True)
class SuccessRule:
    """After how many successful steps in a row an episode ends as a success."""

    success_steps: int = parameter(
        0,
        "end as a success after this many successful steps in a row; 0 runs to the limit",
        unit="steps",
        low=0,
        before=0,
    )

    @property
    def success_hold(self) -> int:
        """Return for how many steps in a row success must hold to count: 1 where no number is set."""
        return max(1, self.success_steps)
