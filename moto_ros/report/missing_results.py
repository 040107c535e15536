"""The results that a run does not have, listed in its report."""

from __future__ import annotations

from moto_ros.report.history import History
from moto_ros.training.run_schedule import EVALUATION_IDS, ROUND_IDS

SWITCHES = ("uncertainty", "behaviour_prior", "value_expansion")


def missing_results(history: History, *, named: bool = False) -> list[str]:
    """Return one sentence for each planned or usual result that this run does not have; `named` adds the run's name."""
    found = [*_updates(history), *_online(history), *_evaluations(history)]
    if not named:
        found += [*_open_evaluation(history), *_usual(history)]
    return [f"{history.name}: {sentence}" for sentence in found] if named else found


def _updates(history: History) -> list[str]:
    planned = sum(n for name, n in history.plan.items() if name.startswith("offline_") and name.endswith("_updates"))
    done = history.boundary
    return [f"The offline phase did {done:,} of {planned:,} updates."] if done < planned else []


def _online(history: History) -> list[str]:
    planned, done = history.plan.get("online_episodes", 0), len(history.online)
    return [f"Online learning did {done} of {planned} episodes."] if done < planned else []


def _evaluations(history: History) -> list[str]:
    found = []
    if history.before is None:
        found.append("No finished evaluation after the offline phase.")
    if history.after is None:
        found.append("No finished evaluation after online episodes.")
    return found


def _open_evaluation(history: History) -> list[str]:
    """Return a sentence where the newest evaluation has begun and not ended."""
    ids = [row["id"] for row in history.of("episode", purpose="evaluation")]
    rounds = {(id - EVALUATION_IDS) // ROUND_IDS for id in ids}
    if len(rounds) <= len(history.evaluations):
        return []
    done = sum((id - EVALUATION_IDS) // ROUND_IDS == max(rounds) for id in ids)
    return [f"The newest evaluation stopped after {done} of {history.plan.get('evaluation_episodes', '?')} episodes."]


def _usual(history: History) -> list[str]:
    found = ["One seed: give several run folders to the report for an interval over seeds."]
    on = [name for name in SWITCHES if history.configuration.get(f"agent.{name}")]
    if on:
        found.append(
            f"No ablation in this page (switches: {', '.join(on)}); give their run folders to the report as well."
        )
    if not history.pictures("prediction"):
        found.append("No open-loop prediction: the agent has no camera, or no evaluation ran.")
    return found
