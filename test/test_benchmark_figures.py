"""Figures and aggregates of a benchmark, from its JSON lines alone."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moto_ros.cli.main import main
from moto_ros.errors import MotoError
from moto_ros.experiments.aggregate import aggregate, interquartile_mean
from moto_ros.experiments.comparison import comparison
from moto_ros.experiments.figures import seeds_of, task_curves, with_uncertainty
from moto_ros.experiments.page import write_page
from moto_ros.experiments.results import read_rows, write_rows
from moto_ros.experiments.suite import read_suite, runs_of
from moto_ros.experiments.suite_folder import SuiteFolder
from moto_ros.experiments.table import Results
from moto_ros.training.statistics import wilson


def row(task: str, label: str, seed: int, after: int, rate: float, demonstrations: int = 10) -> dict[str, Any]:
    """Return the row of an evaluation."""
    rates = {
        "n": 20,
        "successes": round(20 * rate),
        "success_rate": rate,
        "score": rate,
        "low": rate / 2,
        "high": (1 + rate) / 2,
        "return": 40 * rate,
    }
    return {
        "suite": "mine",
        "cell": f"{task}-{label}-{seed}-{demonstrations}",
        "task": task,
        "row": label,
        "seed": seed,
        "demonstrations": demonstrations,
        "after": after,
        "updates": 100 + after,
        "wall_s": 61.0,
        "commit": "abc",
        "machine": {"cores": 2},
        "versions": {"torch": "2"},
        "uncertainty": 0.5,
        "model_error": [0.1, 0.2],
        "predicted": [1.0, 2.0],
        "achieved": [0.5, 1.5],
        "sampled": dict(rates),
        "online": {"success": [0] * 5, "uncertainty": [2.0, 1.8, 1.5, 1.2, 1.0]} if after else {"uncertainty": []},
        **rates,
    }


def suite_rows() -> list[dict[str, Any]]:
    return [
        row(task, label, seed, after, min(1.0, 0.1 * seed + (0.08 if label == "MOTO" else 0.03) * after), count)
        for task in ("reach", "push")
        for label in ("MOTO", "BC")
        for seed in (0, 1, 2)
        for count in (5, 10)
        for after in (0, 5, 10)
    ]


def test_the_page_is_one_file_that_names_the_n_of_each_figure(tmp_path: Path) -> None:
    """Breaks reading on a phone: the page would ask for other files; and honesty: a mean without its n."""
    folder = SuiteFolder(tmp_path)
    write_rows(folder.results_file, suite_rows())
    page = write_page(read_rows(folder.results_file), folder).read_text()
    assert page.count("data:image/png;base64,") == 7
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert 'name="viewport"' in page
    assert "n = 6 runs" in page


def test_success_is_that_of_the_newest_evaluation_not_of_the_best() -> None:
    """Breaks honesty: a policy that got worse would look as good as it once was."""
    rows = [row("reach", "MOTO", 0, after, rate) for after, rate in ((0, 0.2), (5, 0.9), (10, 0.4))]
    final = Results(rows).final("MOTO")
    assert final is not None
    assert final.mean == pytest.approx(0.4)


def test_the_comparison_pools_the_episodes_of_all_seeds_and_shows_each_seed() -> None:
    """Breaks the evidence: an interval of one seed for all of them, or a bad seed hidden in a mean."""
    rows = [row("reach", "MOTO", seed, after, rate) for seed, rate in ((0, 0.2), (1, 1.0)) for after in (0, 5)]
    table = comparison(Results(rows))
    found = dict(zip(table.header, table.rows[0], strict=True))
    rate = wilson(24, 40)
    assert found["online, %"] == f"60 [{100 * rate.low:.0f}, {100 * rate.high:.0f}]"
    assert (found["online, each seed"], found["online episodes"], found["seeds x episodes"]) == (
        "20 100",
        "5",
        "2 x 20",
    )


def test_the_comparison_says_what_was_not_run_and_how_unequal_runs_are() -> None:
    """Breaks honesty: half-run rows would stand beside finished ones as if they were equal."""
    rows = [one for one in suite_rows() if one["row"] == "MOTO" or (one["task"], one["after"]) == ("reach", 0)]
    rows = [one for one in rows if one["demonstrations"] == 10 and (one["seed"], one["after"]) != (2, 10)]
    lines = {line[0]: line[1:] for line in comparison(Results(rows)).rows}
    assert lines["push, BC"] == ("not run", "not run", "", "not run", "0")
    assert lines["reach, BC"][1:] == ("not run", "", "not run", "3 x 20")
    assert lines["reach, MOTO"][3:] == ("5 to 10", "3 x 20")


def test_where_success_is_rare_the_comparison_has_the_share_that_was_done() -> None:
    """Breaks the kitchen: every row would show zero, though some complete three of four elements."""
    rows = [{**row("kitchen", "MOTO", seed, after, 0.0), "score": 0.75} for seed in (0, 1) for after in (0, 5)]
    table = comparison(Results(rows))
    assert dict(zip(table.header, table.rows[0], strict=True))["best share online, %"] == "75 [75, 75]"


def test_the_report_prints_the_table_that_is_on_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Breaks the documentation: the table would have to be typed off the page."""
    (run, *_) = runs_of(read_suite("ci"))
    folder = SuiteFolder(tmp_path)
    folder.run_folder(run).mkdir(parents=True)
    write_rows(folder.results(run), [row("drawer_open", "MOTO", 0, after, 0.5) for after in (0, 2)])
    assert main(["benchmark", "ci", "--output", str(tmp_path), "--report"]) == 0
    assert re.search(r"\| drawer_open, MOTO +\| 50 \[30, 70\]", capsys.readouterr().out)
    assert "50 [30, 70]" in folder.page_file.read_text()


def test_runs_that_are_not_there_are_said(tmp_path: Path) -> None:
    """Breaks honesty: a hole in the table would go unnoticed."""
    rows = [one for one in suite_rows() if (one["task"], one["row"]) != ("push", "BC")]
    rows = [one for one in rows if not (one["seed"] == 2 and one["after"] == 10)]
    page = write_page(rows, SuiteFolder(tmp_path)).read_text()
    assert "BC: no run of push." in page
    assert "seed 2: evaluated after 5 of 10 online episodes" in page


def test_the_interquartile_mean_is_the_mean_of_the_middle_half() -> None:
    """Breaks comparison with other papers: another aggregate under the same name."""
    assert interquartile_mean(np.array([[-9.0, 1.0], [3.0, 99.0]])) == 2.0
    assert interquartile_mean(np.arange(8.0)) == np.arange(2.0, 6.0).mean()


@given(st.lists(st.lists(st.floats(0, 1), min_size=1, max_size=5), min_size=1, max_size=6))
def test_an_aggregate_lies_between_its_scores_and_counts_them(scores: list[list[float]]) -> None:
    found, flat = aggregate(scores, np.random.default_rng(0)), [value for one in scores for value in one]
    assert found.n == len(flat)
    assert min(flat) - 1e-9 <= found.low <= found.high <= max(flat) + 1e-9


def test_seeds_are_drawn_within_their_task() -> None:
    """Breaks the interval: easy and hard tasks would be taken for chance."""
    assert aggregate([[0.1] * 3, [0.9] * 3], np.random.default_rng(0)).low == pytest.approx(0.5)
    wide = aggregate([[0.0, 1.0, 0.5], [0.2, 0.9, 0.4]], np.random.default_rng(0))
    assert wide.low < wide.mean < wide.high


@pytest.mark.parametrize("line", ["not json", json.dumps({"cell": "a"}), "[]"])
def test_a_bad_line_of_results_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text(json.dumps(suite_rows()[0]) + "\n" + line + "\n")
    with pytest.raises(MotoError, match="line 2"):
        read_rows(path)


def test_figures_show_what_the_runs_of_the_usual_number_of_demonstrations_have(tmp_path: Path) -> None:
    """Breaks `moto benchmark --report`: a method whose uncertainty only other runs have ended it with a traceback."""
    rows = [one for one in suite_rows() if (one["row"], one["demonstrations"]) != ("BC", 10)]
    results = Results(rows)
    assert with_uncertainty(results) == ["MOTO"]
    assert "Uncertainty during fine-tuning" in write_page(rows, SuiteFolder(tmp_path)).read_text()


def test_a_panel_names_the_seeds_of_each_method_not_the_sum_of_all_runs() -> None:
    """Breaks honesty: one seed of two methods was called two runs."""
    rows = [row("reach", label, 0, after, 0.5) for label in ("MOTO", "BC") for after in (0, 5)]
    axes = [axis for axis in task_curves(Results(rows)).axes if axis.get_visible()]
    assert [axis.get_title(loc="left") for axis in axes] == ["reach, 1 seed"]
    rows += [row("reach", "MOTO", seed, 0, 0.5) for seed in (1, 2)]
    assert seeds_of(Results(rows), "reach") == "1 to 3 seeds"
