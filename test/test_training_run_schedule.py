"""The order of a fine-tuning run: nothing skipped, nothing twice, also after a kill at any point."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moto_ros.agents.interface import BASE, POLICY
from moto_ros.errors import MotoError
from moto_ros.training.arm_bandit import ArmOutcome
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


ARMS = (BASE, POLICY)


def conductor_of(
    settings: TrainerSettings = SETTINGS, budget: UpdateBudget = BUDGET, arms: tuple[str, ...] = (POLICY,)
) -> RunSchedule:
    return RunSchedule(settings, budget, arms)


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
            running = schedule.position.running
            assert running is not None
            schedule.episode_ended(replace(result(episode), arm=running.arm, success=episode % 3 > 0))


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
@given(st.lists(st.booleans(), max_size=60), st.booleans(), st.sampled_from([ARMS, (POLICY,)]))
def test_a_run_killed_anywhere_goes_on_as_if_it_had_not_been(
    kills: list[bool], overlap: bool, arms: tuple[str, ...]
) -> None:
    """After a kill and a restart, episodes would be skipped, repeated, get other seeds or be acted by another arm."""
    chosen, budget = replace(SETTINGS, overlap=overlap, warm_up_episodes=1), replace(BUDGET, online_episodes=12)
    whole = list(acts(conductor_of(chosen, budget, arms)))
    schedule, done = conductor_of(chosen, budget, arms), []
    for killed in [*kills, *[False] * 200]:
        if killed:
            state = json.loads(json.dumps(schedule.state()))
            schedule = conductor_of(chosen, budget, arms)
            schedule.load_state(state)
        action = schedule.next()
        assert action == schedule.next()
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


def episodes_of(schedule: RunSchedule) -> list[RunEpisode]:
    return [action for action in acts(schedule) if isinstance(action, RunEpisode)]


def test_which_arm_acts_is_part_of_each_episode_and_of_no_seed() -> None:
    """The arms could not be compared, or their start states would differ."""
    budget, chosen = replace(BUDGET, online_episodes=12), replace(SETTINGS, evaluation_every=6)
    with_arms, alone = episodes_of(conductor_of(chosen, budget, ARMS)), episodes_of(conductor_of(chosen, budget))
    assert [(one.id, one.seed) for one in with_arms] == [(one.id, one.seed) for one in alone]
    training = [one for one in with_arms if one.purpose == "training"]
    assert [one.arm for one in training[:5]] == [BASE] * 5
    assert [training[number].arm_reason for number in (0, 7, 11)] == ["warm-up", "every fourth", "every fourth"]
    assert {one.arm for one in training} == set(ARMS)
    assert {(one.arm, one.arm_reason) for one in alone} == {(POLICY, "")}


def test_evaluations_act_by_the_better_arm_and_do_not_change_it() -> None:
    """What a run ends with would not be what was evaluated."""
    schedule = conductor_of(replace(SETTINGS, evaluation_every=0), arms=ARMS)
    before: list[RunEpisode] = []
    for action in acts(schedule):
        if isinstance(action, RunEpisode) and action.purpose == "evaluation":
            before.append(action)
        if isinstance(action, Update):
            break
    assert {(one.arm, one.arm_reason) for one in before} == {(BASE, "before online learning")}
    schedule.position.outcomes += [ArmOutcome(POLICY, True)] * 20
    after = [one for one in episodes_of(schedule) if one.purpose == "evaluation"]
    assert {(one.arm, one.arm_reason) for one in after} == {(POLICY, "better arm")}
    assert [one.arm for one in schedule.position.evaluations] == [BASE, POLICY]
    assert len(schedule.position.outcomes) == 24


def test_a_round_of_evaluation_keeps_the_arm_that_it_began_with() -> None:
    """A person who pins an arm in the middle of a round would mix two policies in one number."""
    schedule = conductor_of(arms=ARMS)
    schedule.offline_ended()
    schedule.published(1)
    do(schedule, schedule.next())
    do(schedule, schedule.next())
    schedule.pin(POLICY)
    second = schedule.next()
    assert isinstance(second, RunEpisode)
    assert (second.arm, second.arm_reason) == (BASE, "as the evaluation began")
    do(schedule, second)
    do(schedule, schedule.next())
    training = schedule.next()
    assert isinstance(training, RunEpisode)
    assert (training.arm, training.arm_reason) == (POLICY, "pinned")
    assert schedule.better_arm() == POLICY
    schedule.pin("")
    assert schedule.better_arm() == BASE


def test_a_success_with_a_persons_help_is_not_the_arms() -> None:
    """A policy that people rescue would be the better arm."""
    schedule = conductor_of(arms=ARMS)
    for helped in (True, False):
        schedule.episode_ended(EpisodeResult(0, True, 1.0, 10, POLICY, helped))
    assert [one.success for one in schedule.position.outcomes] == [False, True]


def test_an_arm_that_the_agent_does_not_have_is_not_pinned() -> None:
    """The robot would wait for actions of a policy that nobody has."""
    schedule = conductor_of()
    with pytest.raises(MotoError, match=r"trainer.pinned_arm is 'base', expected an arm of the agent: policy;"):
        schedule.pin(BASE)
    assert schedule.pinned == ""


def test_a_state_of_a_version_without_arms_loads() -> None:
    """Runs of earlier versions could not be resumed."""
    schedule = conductor_of()
    for action in acts(schedule):
        if isinstance(action, RunEpisode) and action.id == 2:
            break
    state = json.loads(json.dumps(schedule.state()))
    state["running"] = {"id": 2, "purpose": "training", "seed": 5, "sample": True}
    for name in ("outcomes", "first_arm"):
        del state[name]
    for evaluation in state["evaluations"]:
        del evaluation["arm"]
        for one in evaluation["results"]:
            del one["arm"], one["helped"]
    resumed = conductor_of(arms=ARMS)
    resumed.load_state(state)
    assert resumed.position.running == RunEpisode(2, "training", 5, True)
    assert resumed.position.evaluations[0].arm == ""
    assert resumed.better_arm() == BASE


def test_a_run_that_starts_from_a_checkpoint_is_first_evaluated_by_its_better_arm() -> None:
    """The evaluation before would measure another policy than the one that the run continues."""
    schedule = conductor_of(arms=ARMS)
    schedule.starts_from(POLICY)
    schedule.published(1)
    first = schedule.next()
    assert isinstance(first, RunEpisode)
    assert (first.purpose, first.arm) == ("evaluation", POLICY)
