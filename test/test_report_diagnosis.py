"""Breaks the user's next hour: a report that does not say, or says wrongly, why a run is not improving."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moto_ros.report.diagnosis import CHECKS, Figures, Finding, auc, diagnose, figures_of
from moto_ros.report.history import History
from moto_ros.training.run_folder import SCHEMA
from moto_ros.training.statistics import wilson

PAGE = Path(__file__).parent.parent / "docs" / "no_improvement.md"
FINE = Figures(
    episodes=40,
    by_arm={"base": wilson(8, 12), "policy": wilson(24, 28)},
    auc=0.9,
    edited=0.2,
    rank=0.6,
    predicted=0.8,
    balance=0.7,
)
WRONG = {
    "No episode succeeds": replace(FINE, by_arm={"base": wilson(0, 5), "policy": wilson(0, 6)}),
    "No episode fails": replace(FINE, by_arm={"base": wilson(6, 6), "policy": wilson(9, 9)}),
    "Too few episodes": replace(FINE, episodes=7),
    "The critics do not tell success from failure": replace(FINE, auc=0.55),
    "The base policy does better": replace(FINE, by_arm={"base": wilson(9, 12), "policy": wilson(14, 28)}),
    "The arm is where nothing was recorded": replace(FINE, rank=0.97),
    "Values promise too much": replace(FINE, by_arm={"policy": wilson(8, 40)}, predicted=0.7),
    "The prior holds the policy where it is": replace(FINE, balance=0.01),
    "The base policy's action is nearly always chosen": replace(FINE, edited=0.005),
}


def test_a_run_that_improves_gets_no_finding() -> None:
    assert diagnose(FINE) == []
    nothing_known = Figures(40, {"policy": wilson(20, 40)}, None, None, None, None)
    assert diagnose(nothing_known) == [], "an agent without critics is judged by figures that it does not have"


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_found_and_comes_first(name: str) -> None:
    found = diagnose(WRONG[name])
    assert found[0].name == name
    assert all(re.fullmatch(r"[A-Z].*\.", part) for part in (found[0].what, found[0].do))


def test_every_finding_is_explained_in_the_docs_and_the_other_way_round() -> None:
    assert len(WRONG) == len(CHECKS)
    assert set(re.findall(r"^## (.*)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)) == set(WRONG)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20), st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_auc_is_the_share_of_pairs_in_order(solved: list[float], failed: list[float]) -> None:
    pairs = [1.0 if high > low else 0.5 if high == low else 0.0 for high in solved for low in failed]
    assert auc(solved, failed) == pytest.approx(np.mean(pairs))
    assert auc(solved, []) is None


def test_figures_come_from_the_training_episodes_of_a_run(tmp_path: Path) -> None:
    rows = [
        {"kind": "episode", "purpose": "training", "success": solved, "arm": arm, "edited": edited}
        | {"success_probability": chance, "success_probability_mean": chance, "uncertainty_rank": 0.5}
        for solved, arm, edited, chance in [(1, "base", 0.0, 0.9), (0, "policy", 0.4, 0.3), (1, "policy", 0.2, 0.7)]
    ]
    rows.append({"kind": "episode", "purpose": "evaluation", "success": 0, "arm": "policy", "edited": 0.9})
    rows.append({"kind": "episode", "purpose": "training", "success": 1, "success_probability": None})
    history = history_of(tmp_path, rows)
    found = figures_of(history)
    assert found.episodes == 4
    assert {arm: (rate.mean, rate.n) for arm, rate in found.by_arm.items()} == {
        "base": (1.0, 1),
        "policy": (pytest.approx(2 / 3), 3),
    }
    assert found.auc == 1.0
    assert found.edited == pytest.approx(0.3)
    assert found.predicted == pytest.approx(np.mean([0.9, 0.3, 0.7]))
    assert found.rank == pytest.approx(0.5)


def history_of(folder: Path, rows: list[dict[str, object]]) -> History:
    stamp = {"time": 0.0, "updates": 0, "env_steps": 0, "episode": 0}
    (folder / "metrics.jsonl").write_text("".join(json.dumps(stamp | row) + "\n" for row in rows), encoding="utf-8")
    (folder / "identity.json").write_text(
        json.dumps(
            {"schema": SCHEMA, "seed": 0, "configuration": {}, "sessions": [{"started": "2026-01-01T00:00:00"}]}
        ),
        encoding="utf-8",
    )
    return History(folder)


def test_a_finding_reads_as_two_sentences() -> None:
    assert Finding("x", "That is so.", "Do this.").text() == "That is so. Do this."
