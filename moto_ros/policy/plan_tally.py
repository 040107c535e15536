"""Statistics of a planner's deadlines and times over decisions, for diagnostics. No ROS."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping

from moto_ros.policy.latency import MAX_SAMPLES, Latency

COUNT_OF_FIGURE = {"plan_cut": "plans_cut", "policy_answered": "policy_answers", "deadline_missed": "deadlines_missed"}
"""Figure of a decision -> the count that it adds to."""

MAX_MISSED_FRACTION = 0.1
"""Fraction of an episode's plans that may miss their deadline without a warning."""


class PlanTally:
    """Counts since the start and of the running episode, and the times and iterations of the newest plans.

    Counts: plans; plans_cut: fewer iterations than set; policy_answers: used instead of a plan; deadlines_missed: plans
    later than their deadline. When planning ahead also plans_late: not ready when their step was due, and
    plans_dropped: for a step that was late or never due.
    """

    def __init__(self) -> None:
        """Start without plans."""
        self._seconds = Latency()
        self._iterations: deque[float] = deque(maxlen=MAX_SAMPLES)
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
        """Add the figures of a decision (`Decision.figures`); those of an agent that does not plan are empty."""
        if "plan_s" not in figures:
            return
        self.count("plans", *(name for figure, name in COUNT_OF_FIGURE.items() if figures.get(figure)))
        self._seconds.add(figures["plan_s"])
        self._iterations.append(figures["plan_iterations"])

    def figures(self) -> dict[str, float]:
        """Return counts, those of the running episode, plan times and mean iterations; empty before the first plan."""
        if not self._all:
            return {}
        found = {name: float(self._all[name]) for name in ("plans", *COUNT_OF_FIGURE.values())} | dict(self._all)
        mean = sum(self._iterations) / max(1, len(self._iterations))
        of_episode = {f"episode_{name}": float(self._episode[name]) for name in found}
        return found | of_episode | {"plan_iterations_mean": mean} | self._seconds.figures("plan")

    def sentence(self) -> str:
        """Return a warning if the running episode's plans miss their deadlines too often."""
        missed, plans = self._episode["deadlines_missed"], self._episode["plans"]
        if missed <= MAX_MISSED_FRACTION * plans:
            return ""
        return (
            f"{missed} of the {plans} plans of this episode were late; lower agent.plan_samples or "
            "agent.plan_iterations, take a smaller preset, or raise plan_time_fraction"
        )
