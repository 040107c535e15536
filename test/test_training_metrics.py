"""Metrics survive kills and resumes without a lost, torn or repeated row."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from moto_ros.errors import MotoError
from moto_ros.training.metrics import MetricsLog, MetricsWriter, read_metrics
from moto_ros.training.run_folder import RunFolder


def test_a_resumed_run_does_not_repeat_rows(tmp_path: Path) -> None:
    """After a kill, the learning curve would show the repeated updates twice."""
    run = RunFolder(tmp_path)
    with MetricsWriter(run, tensorboard=False) as metrics:
        metrics.row("update", loss=1.0)
        metrics.clock.updates = 50
        saved = metrics.state()
        metrics.row("update", loss=2.0)
    with MetricsWriter(run, tensorboard=False) as resumed:
        resumed.load_state(saved)
        resumed.row("update", loss=3.0)
    rows = read_metrics(run.metrics_file)
    assert [(row["loss"], row["updates"]) for row in rows] == [(1.0, 0), (3.0, 50)]


def test_a_torn_last_line_is_cut_and_the_next_row_is_whole(tmp_path: Path) -> None:
    """A kill in the middle of a write would make the file unreadable for ever."""
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"kind": "update"}\n{"kind": "upd')
    assert len(read_metrics(path)) == 1
    log = MetricsLog(path)
    log.write({"kind": "episode"})
    log.close()
    assert [row["kind"] for row in read_metrics(path)] == ["update", "episode"]


def test_numbers_that_json_lacks_become_null(tmp_path: Path) -> None:
    """Other programs could not read the file (NaN is not JSON)."""
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.write({"loss": math.nan})
    log.close()
    assert read_metrics(log.path) == [{"loss": None}]


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    """A report over a damaged file would silently miss rows."""
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"kind": "update"}\nnonsense\n{"kind": "update"}\n')
    with pytest.raises(MotoError, match="line 2"):
        read_metrics(path)


def test_tensorboard_shows_the_same_numbers(tmp_path: Path) -> None:
    """TensorBoard would show nothing, or other numbers than the report."""
    run = RunFolder(tmp_path)
    with MetricsWriter(run) as metrics:
        metrics.clock.updates = 50
        metrics.row("update", phase="model", model_loss=0.5)
    events = EventAccumulator(str(run.tensorboard)).Reload()
    (scalar,) = events.Scalars("update/model/model_loss")
    assert (scalar.step, scalar.value) == (50, 0.5)
