"""How a planner keeps its deadlines, added up over decisions: for diagnostics. No ROS."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping

from moto_ros.policy.latency import SAMPLES, Latency

COUNTED = {"plan_cut": "plans_cut", "policy_answered": "policy_answers", "deadline_missed": "deadlines_missed"}
"""Figure of a decision -> the count that it adds to."""

TOLERATED = 0.1
"""Share of an episode's plans that may miss their deadline before it is worth a warning."""


class PlanTally:
    """Counts since the start and of the running episode, and the times and iterations of the newest plans.

    Counts: plans; plans_cut: fewer iterations than set; policy_answers: acted on in place of a plan; deadlines_missed:
    plans that were late by their deadline. When planning ahead also plans_late: not there when their step came, and
    plans_dropped: for a step that came too late, or not at all.
    """

    def __init__(self) -> None:
        """Start with nothing planned."""
        self._seconds = Latency()
        self._iterations: deque[float] = deque(maxlen=SAMPLES)
        self._all: Counter[str] = Counter()
        self._episode: Counter[str] = Counter()

    def begin(self) -> None:
        """Start an episode."""
        self._episode.clear()

    def count(self, *names: str) -> None:
        """Add one to counts."""
        for counts in (self._all, self._episode):
            counts.update(names)

    def add(self, figures: Mapping[str, float]) -> None:
        """Take in the figures of a decision (`Decision.figures`); those of an agent that does not plan are empty."""
        if "plan_s" not in figures:
            return
        self.count("plans", *(name for figure, name in COUNTED.items() if figures.get(figure)))
        self._seconds.add(figures["plan_s"])
        self._iterations.append(figures["plan_iterations"])

    def figures(self) -> dict[str, float]:
        """Return counts, those of the running episode, times of plans and their mean iterations; nothing at first."""
        if not self._all:
            return {}
        found = {name: float(self._all[name]) for name in ("plans", *COUNTED.values())} | dict(self._all)
        mean = sum(self._iterations) / max(1, len(self._iterations))
        of_episode = {f"episode_{name}": float(self._episode[name]) for name in found}
        return found | of_episode | {"plan_iterations_mean": mean} | self._seconds.figures("plan")

    def sentence(self) -> str:
        """Return one sentence when the running episode's plans miss their deadlines too often."""
        missed, plans = self._episode["deadlines_missed"], self._episode["plans"]
        if missed <= TOLERATED * plans:
            return ""
        return (
            f"{missed} of the {plans} plans of this episode were late; lower agent.plan_samples or "
            "agent.plan_iterations, take a smaller preset, or raise plan_time_fraction"
        )
