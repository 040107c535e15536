"""Results of runs as rows, one an evaluation, made of run folders alone and kept as JSON lines."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import numpy as np

from moto_ros.errors import MotoError, read_text
from moto_ros.experiments.suite import SuiteRun
from moto_ros.files import canonical, write_durably
from moto_ros.report.history import History
from moto_ros.training.artifacts import read_arrays
from moto_ros.training.metrics import Row
from moto_ros.training.run_schedule import EVALUATION_IDS, ROUND_IDS
from moto_ros.training.statistics import wilson

PROBE = "probe"
"""Kind of the metrics rows beside an evaluation episode: the predicted return, and what a sampled twin did, if any."""

RUN_FIELDS = ("suite", "task", "agent", "preset", "seed", "demonstrations", "data", "data_seed")
ESTIMATED = ("uncertainty", "success_probability")
"""What the policy estimated: uncertainty, mean over an episode, and probability of success at its first step."""

PLAIN = ("n", "successes", "success_rate", "low", "high", "return", "steps", "outcomes")


def results_of(run: SuiteRun, folder: Path) -> list[Row]:
    """Return a row for each finished evaluation of a run."""
    history = History(folder)
    session = history.identity["sessions"][-1]
    common = {name: getattr(run, name) for name in RUN_FIELDS} | {
        "cell": run.id,
        "row": run.method,
        "world": run.task_values["world"],
        "config_digest": hashlib.sha256(canonical(history.configuration).encode()).hexdigest()[:16],
        "versions": session["versions"],
        "machine": session["machine"],
        "commit": session["commit"],
    }
    full = float(run.task_values["full_reward"])
    return [common | _evaluation(history, index, row, full) for index, row in enumerate(history.evaluations)]


def _evaluation(history: History, index: int, row: Row, full: float) -> Row:
    """Return the figures of one evaluation, and of the online episodes since the one before."""
    since = history.evaluations[index - 1]["after"] if index else 0
    online = [one for one in history.online if since < one["episode"] <= row["after"]]
    evaluated = _of_round(history.of("episode", purpose="evaluation"), index)
    counters = {name: row[name] for name in ("after", "updates", "env_steps")}
    return {
        **counters,
        "offline_updates": history.boundary,
        "wall_s": seconds_until(history, row),
        "arm": row.get("arm", ""),
        **{name: row[name] for name in PLAIN},
        **(probed := _probed(_of_round(history.of(PROBE), index))),
        "score": float(np.mean(probed["best"])) / full if full > 0 else row["success_rate"],
        **{name: _mean(evaluated, name) for name in ESTIMATED},
        "model_error": model_error(history, row["after"]),
        "online": {name: [one.get(name) for one in online] for name in ("success", "return", "steps", *ESTIMATED)},
    }


def _of_round(rows: Sequence[Row], index: int) -> list[Row]:
    return [row for row in rows if (row["id"] - EVALUATION_IDS) // ROUND_IDS == index]


def _mean(rows: Sequence[Row], name: str) -> float | None:
    found = [row[name] for row in rows if row.get(name) is not None]
    return float(np.mean(found)) if found else None


def _probed(rows: Sequence[Row]) -> Row:
    """Return success by sampled actions from the same start states, if played, and returns predicted and achieved."""
    found: Row = {"sampled": None, "best": [row["best"] for row in rows], "predicted": [], "achieved": []}
    twins = [row for row in rows if row.get("success") is not None]
    if twins:
        rate = wilson(sum(row["success"] for row in twins), len(twins))
        found["sampled"] = {
            "n": rate.n,
            "success_rate": rate.mean,
            "low": rate.low,
            "high": rate.high,
            "return": _mean(twins, "return"),
            "outcomes": [row["success"] for row in twins],
        }
    predicted = [row for row in rows if row.get("predicted") is not None]
    return found | {name: [row[name] for row in predicted] for name in ("predicted", "achieved")}


def model_error(history: History, after: int) -> list[float]:
    """Return the mean squared error (pixels / 255) of the open-loop prediction, by steps since the last frame seen."""
    path = history.pictures("prediction").get(after)
    if path is None:
        return []
    arrays = read_arrays(path)
    imagined = slice(int(arrays["context"]), None)
    error = (arrays["truth"][imagined] / 255.0 - arrays["imagination"][imagined] / 255.0) ** 2
    return [float(value) for value in error.mean(axis=(1, 2, 3))]


def seconds_until(history: History, row: Row) -> float:
    """Return the time from the run's first row to `row`, pauses between sessions left out, s."""
    starts = [datetime.fromisoformat(session["started"]).timestamp() for session in history.identity["sessions"]]
    known = [one for one in history.rows if one["time"] <= row["time"]]
    first = max(known[0]["time"] - starts[0], 0.0)
    return first + sum(
        later["time"] - earlier["time"]
        for earlier, later in pairwise(known)
        if not any(earlier["time"] < start <= later["time"] for start in starts[1:])
    )


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Replace a file of JSON lines in one step."""
    write_durably(path, "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows))


def read_rows(path: Path) -> list[Row]:
    """Return the rows of a file of JSON lines; MotoError, naming the line, for what is no row of this module."""
    if not path.exists():
        raise MotoError(f"{path}: no such file, expected results; run `moto benchmark` first, or name its folder")
    return list(_rows(path))


def _rows(path: Path) -> Iterator[Row]:
    for number, line in enumerate(read_text(path).splitlines(), 1):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise MotoError(f"{path}, line {number}: not JSON ({error}); remove the line") from error
        if not isinstance(row, dict) or not {"cell", "after", "score"} <= set(row):
            raise MotoError(f"{path}, line {number}: no result of an evaluation; remove the line")
        yield row
