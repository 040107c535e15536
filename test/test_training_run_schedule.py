"""The order of a fine-tuning run: nothing skipped, nothing twice, also after a kill at any point."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moto_ros.errors import MotoError
from moto_ros.training.run_schedule import (
    Action,
    Done,
    EpisodeResult,
    Offline,
    Publish,
    RunEpisode,
    RunSchedule,
    Update,
    Wait,
    episode_seed,
)
from moto_ros.training.settings import TrainerSettings, UpdateBudget

BUDGET = UpdateBudget(offline={"model": 5}, online={"model": 2}, online_episodes=4)
SETTINGS = TrainerSettings(evaluation_episodes=2, evaluation_every=2)


def conductor_of(settings: TrainerSettings = SETTINGS, budget: UpdateBudget = BUDGET) -> RunSchedule:
    return RunSchedule(settings, budget)


def result(id: int, steps: int = 10) -> EpisodeResult:
    return EpisodeResult(id, True, 1.0, steps)


def do(schedule: RunSchedule, action: Action) -> None:
    """Carry out an action as the trainer node does."""
    match action:
        case Offline():
            schedule.offline_ended()
        case Publish(version):
            schedule.published(version)
        case Update():
            schedule.update_ended()
        case RunEpisode():
            schedule.episode_started(action)
        case Wait(episode):
            schedule.episode_ended(result(episode))


def acts(schedule: RunSchedule) -> Iterator[Action]:
    """Carry the run out and yield what was done, Done left out."""
    while not isinstance(action := schedule.next(), Done):
        yield action
        do(schedule, action)


def shown(action: Action) -> str:
    match action:
        case RunEpisode(id, purpose):
            return f"{purpose} {id}"
        case Wait():
            return "wait"
    return type(action).__name__.lower()


def test_phases_come_in_order_with_periodic_evaluations() -> None:
    """A run would skip an evaluation, learn from nothing, or never end."""
    done = [shown(action) for action in acts(conductor_of()) if not isinstance(action, (Wait, Publish))]
    learn = [["training 0", "update", "training 1", "update"], ["training 2", "update", "training 3", "update"]]
    tests = [[f"evaluation {1_000_000 + number * 1000 + index}" for index in range(2)] for number in range(3)]
    assert done == ["offline", *tests[0], *learn[0], *tests[1], *learn[1], *tests[2]]


def test_weights_are_published_after_every_learning() -> None:
    """The robot would act with old weights."""
    versions = [action.version for action in acts(conductor_of()) if isinstance(action, Publish)]
    assert versions == [1, 2, 3, 4, 5]


def test_evaluations_share_their_seeds_and_act_by_the_mode() -> None:
    """Success before and after could not be compared episode by episode."""
    episodes = [a for a in acts(conductor_of()) if isinstance(a, RunEpisode)]
    rounds = [[e.seed for e in episodes if (e.id - 1_000_000) // 1000 == number] for number in range(3)]
    assert rounds[0] == rounds[1] == rounds[2]
    assert len({e.seed for e in episodes if e.purpose == "training"}) == 4
    assert all(e.sample == (e.purpose == "training") for e in episodes)
    assert episode_seed(1, "training", 0) != episode_seed(0, "training", 0)


def test_overlap_starts_the_next_episode_before_the_updates() -> None:
    """On the arm, the robot would stand still while the trainer learns; and an evaluation would find it busy."""
    order = [shown(a) for a in acts(conductor_of(replace(SETTINGS, overlap=True))) if not isinstance(a, Publish)]
    first = order.index("training 0")
    assert order[first : first + 5] == ["training 0", "wait", "training 1", "update", "wait"]
    assert order[first + 5 : first + 7] == ["update", "evaluation 1001000"]


@settings(max_examples=50)
@given(st.lists(st.booleans(), max_size=60), st.booleans())
def test_a_run_killed_anywhere_goes_on_as_if_it_had_not_been(kills: list[bool], overlap: bool) -> None:
    """After a kill and a restart, episodes would be skipped, repeated or get other seeds."""
    chosen = replace(SETTINGS, overlap=overlap)
    whole = list(acts(conductor_of(chosen)))
    schedule, done = conductor_of(chosen), []
    for killed in [*kills, *[False] * 100]:
        if killed:
            state = json.loads(json.dumps(schedule.state()))
            schedule = conductor_of(chosen)
            schedule.load_state(state)
        action = schedule.next()
        if isinstance(action, Done):
            break
        done.append(action)
        do(schedule, action)
    assert done == whole


def test_a_lost_episode_is_run_again_with_the_same_start() -> None:
    """An aborted episode would count as learned from, or its number would be used for two bags."""
    schedule = conductor_of(replace(SETTINGS, evaluate_before=False))
    schedule.offline_ended()
    schedule.published(1)
    first = schedule.next()
    assert isinstance(first, RunEpisode)
    schedule.episode_started(first)
    schedule.episode_lost(first.id, "aborted")
    assert schedule.next() == replace(first, id=1)


def test_a_robot_that_never_gives_an_episode_stops_the_run() -> None:
    """A broken robot would be restarted for ever."""
    schedule = conductor_of(replace(SETTINGS, max_lost_episodes=2))
    schedule.offline_ended()
    schedule.published(1)
    schedule.episode_lost(1_000_000, "robot fault")
    with pytest.raises(MotoError, match="robot fault; 2 episodes in a row"):
        schedule.episode_lost(1_000_001, "robot fault")


def test_a_finished_run_can_be_prolonged() -> None:
    """More online episodes would need a new run from the start."""
    schedule = conductor_of()
    list(acts(schedule))
    longer = conductor_of(budget=replace(BUDGET, online_episodes=5))
    longer.load_state(schedule.state())
    done = [shown(action) for action in acts(longer) if not isinstance(action, (Wait, Publish))]
    assert done == ["training 4", "update", "evaluation 1003000", "evaluation 1003001"]


@given(st.lists(st.integers(1, 200), min_size=1, max_size=20))
def test_updates_per_step_never_drift(lengths: list[int]) -> None:
    """With short episodes the rounding would eat the updates they earned."""
    budget = replace(BUDGET, per_step=True, reference_steps=7)
    done = sum(budget.due(i, sum(lengths[:i]), steps)["model"] for i, steps in enumerate(lengths))
    assert done == 2 * sum(lengths) // 7
