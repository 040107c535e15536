"""Updates in rounds: stoppable anywhere, resumable to the bit, stopped by the first bad number."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from training_support import SPACES, CloneAgent, CloneSettings, filled_store

from moto_ros.agents.interface import Agent, Data
from moto_ros.agents.interface import Metrics as Scalars
from moto_ros.agents.moto.agent import MotoAgent
from moto_ros.agents.moto.config import MotoSettings
from moto_ros.data.replay import ReplayStore
from moto_ros.errors import MotoError
from moto_ros.training.learner import Learner
from moto_ros.training.metrics import MetricsWriter, read_metrics
from moto_ros.training.run_folder import RunFolder

SMALL = MotoSettings(
    stoch=4,
    deter=8,
    hidden=8,
    head_units=8,
    head_layers=1,
    proprio_units=8,
    ensemble=3,
    critics=2,
    batch=3,
    length=5,
    horizon=3,
)


@pytest.fixture
def metrics(tmp_path: Path) -> Iterator[MetricsWriter]:
    with MetricsWriter(RunFolder(tmp_path), tensorboard=False) as opened:
        yield opened


@pytest.fixture
def store(tmp_path: Path) -> ReplayStore:
    return filled_store(tmp_path)


def clone() -> Agent:
    return CloneAgent(SPACES, CloneSettings(), seed=0)


def moto() -> Agent:
    return MotoAgent(SPACES, SMALL, seed=0)


def stop_after(updates: int) -> Callable[[], bool]:
    """Return a stop condition that lets `updates` updates through."""
    left = iter(range(updates))
    return lambda: next(left, None) is None


def same(first: Agent, second: Agent) -> bool:
    ours, theirs = first.state_dict(), second.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("make", [clone, moto])
@pytest.mark.parametrize("cut", [0, 1, 4, 7])
def test_a_split_round_is_the_whole_round_to_the_bit(
    make: Callable[[], Agent], cut: int, metrics: MetricsWriter, store: ReplayStore
) -> None:
    """A resumed run would not be the run it claims to be."""
    whole = Learner(make(), store, metrics, seed=3)
    budget = dict.fromkeys(whole.agent.phases, 4)
    assert whole.work("offline", budget)

    first = Learner(make(), store, metrics, seed=3)
    first.work("offline", budget, stop=stop_after(cut))
    second = Learner(make(), store, metrics, seed=99)
    second.agent.load_state_dict(first.agent.state_dict())
    second.load_state(json.loads(json.dumps(first.state())))
    assert second.work("offline", budget)

    assert same(whole.agent, second.agent)
    assert second.updates == budget
    assert second.state()["generator"] == whole.state()["generator"]


def test_rows_of_a_split_round_are_those_of_the_whole(tmp_path: Path, store: ReplayStore) -> None:
    """The loss curve of a resumed run would have a gap or average over other updates."""
    rows = []
    for cut in (100, 7):
        with MetricsWriter(RunFolder(tmp_path / str(cut)), tensorboard=False) as metrics:
            first = Learner(clone(), store, metrics, seed=0, log_every=5)
            first.work("offline", {"clone": 12}, stop=stop_after(cut))
            second = Learner(first.agent, store, metrics, seed=0, log_every=5)
            second.load_state(first.state())
            second.work("offline", {"clone": 12})
        found = read_metrics(RunFolder(tmp_path / str(cut)).metrics_file)
        rows.append([(row["updates"], row["count"], row["clone_loss"]) for row in found])
    assert rows[0] == rows[1]
    assert [row[:2] for row in rows[0]] == [(5, 5), (10, 5), (12, 2)]


def test_a_new_round_starts_after_a_finished_one(metrics: MetricsWriter, store: ReplayStore) -> None:
    """The second online round would do nothing."""
    learner = Learner(clone(), store, metrics, seed=0)
    learner.work("online-000000", {"clone": 3})
    learner.work("online-000000", {"clone": 3})
    assert learner.updates == {"clone": 3}
    learner.work("online-000001", {"clone": 3})
    assert learner.updates == {"clone": 6}


class Diverging(CloneAgent):
    """An agent whose loss leaves the finite numbers at its third update."""

    updates = 0

    def update(self, phase: str, data: Data) -> Scalars:
        self.updates += 1
        return super().update(phase, data) | ({"clone_loss": float("nan")} if self.updates == 3 else {})


def test_a_loss_that_is_not_finite_stops_the_run_in_one_sentence(metrics: MetricsWriter, store: ReplayStore) -> None:
    """NaN weights would be saved over the good ones and sent to the robot."""
    learner = Learner(Diverging(SPACES, CloneSettings(), seed=0), store, metrics, seed=0)
    with pytest.raises(MotoError, match="clone update 3: clone_loss is nan, expected a finite number"):
        learner.work("offline", {"clone": 10})
    assert learner.updates == {"clone": 2}


def test_an_unknown_phase_is_refused(metrics: MetricsWriter, store: ReplayStore) -> None:
    """A misspelt budget would silently train nothing."""
    learner = Learner(clone(), store, metrics, seed=0)
    with pytest.raises(MotoError, match="unknown phase"):
        learner.work("offline", {"clones": 10})


def test_progress_counts_over_the_whole_round(metrics: MetricsWriter, store: ReplayStore) -> None:
    """The progress bar of a resumed round would start at zero."""
    learner = Learner(clone(), store, metrics, seed=0)
    learner.work("offline", {"clone": 4}, stop=stop_after(3))
    seen: list[tuple[int, int]] = []
    learner.work("offline", {"clone": 4}, on_update=lambda progress: seen.append((progress.done, progress.total)))
    assert seen == [(4, 4)]
