"""A suite of experiments: tasks x rows x demonstrations x seeds, read from one file of config/suites."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from moto_ros.agents.registry import AGENTS, agent_settings, preset_file
from moto_ros.config import (
    REQUIRED,
    Spec,
    Value,
    build,
    check,
    flatten,
    parameter,
    parse,
    read_parameters,
    shipped,
    specs,
)
from moto_ros.data.layout import StepLayout
from moto_ros.data.prior import RULES
from moto_ros.errors import MotoError
from moto_ros.experiments.world_options import WorldOptions

DATA = ("script", "medium", "medium_replay")
"""Kinds of demonstrations: the scripted expert's; those of experts from able to poor; an agent's who learns."""

TASK, AGENT = "task.", "agent."
"""Prefixes, in a suite's file, of what holds for every task, and for every agent that has the setting."""


@dataclass(frozen=True)
class SuiteSettings:
    """What a suite runs. A budget counts updates of each phase; shares of presets keep their different batches fair."""

    tasks: tuple[str, ...] = parameter(REQUIRED, "names or paths of task files, or worlds like metaworld/hammer-v3")
    rows: tuple[str, ...] = parameter(
        REQUIRED, "what is compared, each as 'label: agent[/preset] [[task.]name:=value ...]'"
    )
    seeds: tuple[int, ...] = parameter((0,), "seeds of the runs", low=0, high=2**31 - 1)
    demonstrations: tuple[int, ...] = parameter((10,), "numbers of demonstrations, each a run of its own", low=1)
    data: tuple[str, ...] = parameter(("script",), "kinds of demonstrations, each a run of its own", choices=DATA)
    data_seed: int = parameter(-1, "draws the demonstrations; -1: the seed of the run", low=-1, high=2**31 - 1)
    only_successful: bool = parameter(True, "keep demonstrations that succeed, and make others in place of the rest")
    prior_rule: str = parameter("success_at_end", "what a behaviour prior may imitate", choices=tuple(RULES))
    preset: str = parameter("quick", "sizes of the agents, where a row does not name its own")
    update_share: float = parameter(1.0, "share of the presets' updates that is done", low=0.0, high=100.0)
    offline_updates: int = parameter(-1, "updates of each phase before the first online episode; -1: presets", low=-1)
    online_updates: int = parameter(-1, "updates of each phase after each online episode; -1: presets", low=-1)
    online_episodes: int = parameter(-1, "online episodes; -1: the preset's", low=-1)
    evaluation_episodes: int = parameter(20, "episodes of an evaluation, by mode and again by sample", low=1, high=500)
    evaluation_every: int = parameter(10, "online episodes between evaluations", low=1)
    checkpoint_every: float = parameter(60.0, "most that a kill may cost", unit="s", low=1.0)
    threads: int = parameter(1, "CPU threads of a run", low=1, high=1024)
    memory: float = parameter(2.0, "memory of a run, which bounds how many run at once", unit="GiB", low=0.1)
    device: str = parameter("auto", "where the runs learn", choices=("auto", "cpu", "cuda"))


@dataclass(frozen=True, kw_only=True)
class TaskSettings(StepLayout, WorldOptions):
    """A task: its world, what is seen of it, and its demonstrations. Frames are rendered at `image_size`."""

    world: str = parameter(REQUIRED, "simulated world")
    max_steps: int = parameter(200, "length of an episode", unit="steps", low=1)
    full_reward: float = parameter(
        0.0, "score is the best reward of an episode over this; 0: score is the rate of success", low=0.0
    )
    expert_noise: float = parameter(0.1, "standard deviation of the noise on scripted actions", low=0.0, high=10.0)


@dataclass(frozen=True)
class Row:
    """One line of a figure: an agent with settings of its own, and what it must see differently of the tasks."""

    label: str
    agent: str
    preset: str = ""
    overrides: tuple[tuple[str, str], ...] = ()
    task_overrides: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Cell:
    """One run, completely described: what its process needs, and what tells it from the others."""

    id: str
    suite: str
    task: str
    row: str
    agent: str
    preset: str
    seed: int
    demonstrations: int
    data: str
    data_seed: int
    only_successful: bool
    prior_rule: str
    task_values: dict[str, Any]
    agent_values: dict[str, Any]
    trainer_values: dict[str, Any]


@dataclass(frozen=True)
class Suite:
    """A suite's settings, with what its file says of all tasks and of all agents."""

    name: str
    settings: SuiteSettings
    rows: tuple[Row, ...]
    task_values: Mapping[str, Any]
    agent_values: Mapping[str, Any]


def read_suite(name: str, overrides: Sequence[str] = ()) -> Suite:
    """Read `config/suites/<name>.yaml`, or the file `name`; `overrides` are the user's `name:=value`.

    Raises MotoError for what is unknown, an agent that is not there included: before anything runs.
    """
    path = shipped("suites", name)
    values = read_parameters(path)
    known = specs(SuiteSettings)
    for text in overrides:
        key, sign, value = text.partition(":=")
        if not sign:
            raise MotoError(f"parameters: '{text}' is not an assignment, expected name:=value")
        values[key] = parse(known[key], value, "parameters") if key in known else _plain(key, value)
    own = {key: value for key, value in values.items() if not key.startswith((TASK, AGENT))}
    settings = build(SuiteSettings, own, str(path))
    rows = tuple(read_row(text, str(path)) for text in settings.rows)
    if len({row.label for row in rows}) < len(rows):
        raise MotoError(f"{path}: rows {[row.label for row in rows]}, expected each label once; rename one")
    suite = Suite(path.stem, settings, rows, _under(TASK, values), _under(AGENT, values))
    _check_shared(suite)
    cells(suite)
    return suite


def _under(prefix: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {key.removeprefix(prefix): value for key, value in values.items() if key.startswith(prefix)}


def _plain(key: str, text: str) -> Any:
    """Return the value of an override for tasks or agents: of the type that the parameter has."""
    found = specs(TaskSettings) if key.startswith(TASK) else {}
    for agent in AGENTS if key.startswith(AGENT) else ():
        found = settings_of(agent) | found
    name = key.partition(".")[2]
    if name not in found:
        raise MotoError(f"parameters: unknown parameter '{key}'; name one of the suite's, task.<name> or agent.<name>")
    return parse(found[name], text, "parameters")


def read_row(text: str, source: str) -> Row:
    """Return the row that 'label: agent [[task.]name:=value ...]' says; MotoError for what is unknown."""
    label, colon, rest = text.partition(":")
    words = shlex.split(rest)
    if not colon or not words or ":=" in words[0]:
        raise MotoError(f"{source}: row '{text}', expected 'label: agent [name:=value ...]'; mend it")
    agent, _, preset = words[0].partition("/")
    try:
        known = settings_of(agent)
    except MotoError as error:
        raise MotoError(f"{source}: row '{label}': {error}") from error
    known = known | {TASK + name: spec for name, spec in specs(TaskSettings).items()}
    given = {name: value for name, _, value in (word.partition(":=") for word in words[1:])}
    for name, value in given.items():
        if name not in known:
            raise MotoError(f"{source}: row '{label}': agent '{agent}' has no setting '{name}'; mend the row")
        parse(known[name], value, f"{source}: row '{label}'")
    own = tuple((name, value) for name, value in given.items() if not name.startswith(TASK))
    return Row(label.strip(), agent, preset, own, tuple(_under(TASK, given).items()))


def settings_of(agent: str) -> dict[str, Spec]:
    """Return every setting of an agent; MotoError for an agent that is not there."""
    return specs(cast(Any, agent_settings(agent)))


def cells(suite: Suite) -> list[Cell]:
    """Return the runs of a suite, seed by seed, so that the first seed's picture is complete early."""
    settings = suite.settings
    return [
        _cell(suite, task, row, kind, count, seed)
        for seed in settings.seeds
        for task in settings.tasks
        for kind in settings.data
        for count in settings.demonstrations
        for row in suite.rows
    ]


def _cell(suite: Suite, task: str, row: Row, kind: str, demonstrations: int, seed: int) -> Cell:
    settings = suite.settings
    name = Path(task).stem if kind == "script" else f"{Path(task).stem}-{kind}"
    return Cell(
        id="--".join((slug(name), slug(row.label), f"d{demonstrations}", f"s{seed}")),
        suite=suite.name,
        task=name,
        row=row.label,
        agent=row.agent,
        preset=row.preset or settings.preset,
        seed=seed,
        demonstrations=demonstrations,
        data=kind,
        data_seed=seed if settings.data_seed < 0 else settings.data_seed,
        only_successful=settings.only_successful,
        prior_rule=settings.prior_rule,
        task_values=task_values(suite, task, row.task_overrides),
        agent_values=agent_values(suite, row),
        trainer_values=trainer_values(settings, seed),
    )


def slug(text: str) -> str:
    """Return a text as a part of a file name."""
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")


def task_values(suite: Suite, task: str, own: Iterable[tuple[str, str]] = ()) -> dict[str, Value]:
    """Return every parameter of a task: its file's, or those of a world by name, under the suite's, under a row's."""
    is_world = "/" in task and not task.endswith((".yaml", ".yml"))
    given = {"world": task} if is_world else read_parameters(shipped("tasks", task))
    known = specs(TaskSettings)
    of_file = {name: value for name, value in given.items() if name in known}
    source = f"suite '{suite.name}', task '{task}'"
    of_row = {name: parse(known[name], text, source) for name, text in own}
    return flatten(build(TaskSettings, of_file | dict(suite.task_values) | of_row, source))


def agent_values(suite: Suite, row: Row) -> dict[str, Value]:
    """Return every setting of a row's agent: preset, the suite's budget, the suite's settings, the row's own."""
    kind = agent_settings(row.agent)
    preset = row.preset or suite.settings.preset
    known, path = settings_of(row.agent), preset_file(row.agent, preset)
    of_preset = flatten(build(kind, {} if path is None else _under(AGENT, read_parameters(path)), str(path)))
    values = of_preset | budget(suite.settings, of_preset)
    values |= {name: value for name, value in suite.agent_values.items() if name in known}
    values |= {name: parse(known[name], text, f"row '{row.label}'") for name, text in row.overrides}
    return flatten(build(kind, values, str(path)))


def _check_shared(suite: Suite) -> None:
    """Raise MotoError when the whole suite, of which a user may choose rows, has no agent with a setting for all."""
    everywhere = {name: spec for row in suite.rows for name, spec in settings_of(row.agent).items()}
    for name, value in suite.agent_values.items():
        if name not in everywhere:
            raise MotoError(f"suite '{suite.name}': no agent of it has the setting '{name}'; mend agent.{name}")
        check(everywhere[name], value, f"suite '{suite.name}'")


def budget(settings: SuiteSettings, preset: Mapping[str, Value]) -> dict[str, int]:
    """Return `online_episodes` and each phase's `offline_`, `online_<phase>_updates`: the suite's, or its share."""
    own = {"offline": settings.offline_updates, "online": settings.online_updates}
    found = {"online_episodes": settings.online_episodes} if settings.online_episodes >= 0 else {}
    for name, value in preset.items():
        if name.endswith("_updates"):
            chosen_one = own[name.partition("_")[0]]
            found[name] = round(float(str(value)) * settings.update_share) if chosen_one < 0 else chosen_one
    return found


def trainer_values(settings: SuiteSettings, seed: int) -> dict[str, Value]:
    """Return the training settings of a run; its evaluations share their start states with every other run's."""
    return {
        "seed": seed,
        "evaluation_episodes": settings.evaluation_episodes,
        "evaluation_every": settings.evaluation_every,
        "checkpoint_every": settings.checkpoint_every,
        "checkpoint_rounds": 5,
        "threads": settings.threads,
        "device": settings.device,
    }


def chosen(suite: Suite, *, tasks: Collection[str], rows: Collection[str], seeds: Sequence[int]) -> Suite:
    """Return the part of a suite that the user asks for; an empty choice takes all. MotoError for an unknown name."""
    labels = {slug(row.label): row for row in suite.rows}
    names = {slug(Path(task).stem): task for task in suite.settings.tasks}
    picked = [_known(slug(label), labels, "row") for label in rows] or list(suite.rows)
    part = replace(
        suite.settings,
        tasks=tuple(_known(slug(Path(task).stem), names, "task") for task in tasks) or suite.settings.tasks,
        seeds=tuple(seeds) or suite.settings.seeds,
    )
    return replace(suite, settings=part, rows=tuple(picked))


def _known(name: str, known: Mapping[str, Any], what: str) -> Any:
    if name not in known:
        raise MotoError(f"{what} '{name}' is not of the suite, expected one of {', '.join(known)}")
    return known[name]
