"""A suite of experiments: tasks x methods x demonstrations x seeds, read from one file of config/suites."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from moto_ros.agents.registry import agent_settings, preset_file
from moto_ros.config import (
    REQUIRED,
    Spec,
    Value,
    build,
    check,
    checked,
    flatten,
    former_names,
    parameter,
    parse,
    present_names,
    read_parameters,
    shipped,
    specs,
)
from moto_ros.data.layout import StepLayout
from moto_ros.data.prior import DEFAULT_RULE, RULES
from moto_ros.episode.success_rule import SuccessRule
from moto_ros.errors import MotoError
from moto_ros.experiments.world_options import WorldOptions

DATA = ("script", "medium", "medium_replay")
"""Kinds of demonstrations: of the scripted expert; of experts from good to poor; of an agent while it learns."""

TASK, AGENT = "task.", "agent."
"""Prefixes, in a suite's file, of what holds for every task, and for every agent that has the setting."""


@dataclass(frozen=True)
class SuiteSettings:
    """What a suite runs. Updates are counted by phase; shares of presets are fair to agents with other batch sizes."""

    tasks: tuple[str, ...] = parameter(REQUIRED, "names or paths of task files, or worlds like metaworld/hammer-v3")
    methods: tuple[str, ...] = parameter(
        REQUIRED,
        "what is compared, each as 'label: agent[/preset] [[task.]name:=value ...]'",
        formerly="rows",
    )
    seeds: tuple[int, ...] = parameter((0,), "seeds of the runs", low=0, high=2**31 - 1)
    demonstrations: tuple[int, ...] = parameter((10,), "numbers of demonstrations, each a run of its own", low=1)
    data: tuple[str, ...] = parameter(("script",), "kinds of demonstrations, each a run of its own", choices=DATA)
    data_seed: int = parameter(-1, "draws the demonstrations; -1: the seed of the run", low=-1, high=2**31 - 1)
    only_successful: bool = parameter(True, "keep demonstrations that succeed, and make others in place of the rest")
    prior_rule: str = parameter(
        DEFAULT_RULE,
        "what a behaviour prior may imitate; a folder whose runs were begun under another default keeps it",
        choices=tuple(RULES),
    )
    preset: str = parameter("quick", "sizes of the agents, where a method does not name its own")
    update_share: float = parameter(1.0, "share of the presets' updates that is done", low=0.0, high=100.0)
    offline_updates: int = parameter(-1, "updates of each phase before the first online episode; -1: presets", low=-1)
    online_updates: int = parameter(-1, "updates of each phase after each online episode; -1: presets", low=-1)
    online_episodes: int = parameter(-1, "online episodes; -1: the preset's", low=-1)
    evaluation_episodes: int = parameter(20, "episodes of an evaluation", low=1, high=500)
    sampled_twin: bool = parameter(
        False,
        "play each evaluation episode again by sampled actions, which doubles the time of evaluations",
        before=True,
    )
    evaluation_every: int = parameter(10, "online episodes between evaluations", low=1)
    checkpoint_every: float = parameter(60.0, "time between checkpoints inside a round of updates", unit="s", low=1.0)
    threads: int = parameter(1, "CPU threads of a run", low=1, high=1024)
    memory: float = parameter(2.0, "memory of a run; only as many run at once as fit", unit="GiB", low=0.1)
    device: str = parameter("auto", "where the runs learn", choices=("auto", "cpu", "cuda"))


@dataclass(frozen=True, kw_only=True)
class TaskSettings(StepLayout, WorldOptions, SuccessRule):
    """A task: its world, what is seen of it, and its demonstrations. Frames are rendered at `image_size`."""

    world: str = parameter(REQUIRED, "simulated world")
    max_steps: int = parameter(200, "length of an episode", unit="steps", low=1)
    full_reward: float = parameter(
        0.0, "score is the best reward of an episode over this; 0: score is the rate of success", low=0.0
    )
    expert_noise: float = parameter(0.1, "standard deviation of the noise on scripted actions", low=0.0, high=10.0)
    helped_episodes: int = parameter(
        0,
        "first online episodes in which a simulated person (the scripted expert) takes over when the hand stands still",
        unit="episodes",
        low=0,
        before=0,
    )
    helped_share: float = parameter(
        0.2, "largest share of the steps of such an episode that the person acts", low=0.0, high=1.0, before=0.2
    )


@dataclass(frozen=True)
class Method:
    """What is compared, a line of a figure: an agent, its own settings, and its own settings of the tasks."""

    label: str
    agent: str
    preset: str = ""
    overrides: tuple[tuple[str, str], ...] = ()
    task_overrides: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class SuiteRun:
    """One run, completely described: what its process needs, and what identifies it."""

    id: str
    suite: str
    task: str
    method: str
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
    sampled_twin: bool = True
    """What runs did that earlier versions described."""


@dataclass(frozen=True)
class Suite:
    """A suite's settings, with what its file sets for all tasks, and for all agents that have the setting.

    `given` names the settings that its file or the user sets; the others are defaults.
    """

    name: str
    settings: SuiteSettings
    methods: tuple[Method, ...]
    task_values: Mapping[str, Any]
    agent_values: Mapping[str, Mapping[str, Value]]
    """By agent."""
    given: frozenset[str] = frozenset()


def read_suite(name: str, overrides: Sequence[str] = ()) -> Suite:
    """Read `config/suites/<name>.yaml`, or the file `name`; `overrides` are the user's `name:=value`.

    Only the agents that its methods name are imported. Raises MotoError for what is unknown, agents included, before
    anything runs.
    """
    path = shipped("suites", name)
    own, of_tasks = specs(SuiteSettings), specs(TaskSettings, TASK)
    parameters = [*own.values(), *of_tasks.values()]
    in_file = present_names(parameters, read_parameters(path), str(path))
    texts = present_names(parameters, _assignments(overrides), OVERRIDES)
    given = {key: _parsed(key, text, own | of_tasks) for key, text in texts.items() if not key.startswith(AGENT)}
    values = in_file | given
    settings = build(SuiteSettings, {k: v for k, v in values.items() if not k.startswith((TASK, AGENT))}, str(path))
    methods = tuple(read_method(text, str(path)) for text in settings.methods)
    if len({method.label for method in methods}) < len(methods):
        raise MotoError(f"{path}: methods {[method.label for method in methods]}, expected each label once; rename one")
    agents = dict.fromkeys(method.agent for method in methods)
    of_agents = for_agents(agents, in_file, texts, str(path))
    suite = Suite(path.stem, settings, methods, _under(TASK, values), of_agents, frozenset(values))
    runs_of(suite)
    return suite


OVERRIDES = "parameters"
"""What messages call the user's `name:=value`."""


def _assignments(overrides: Sequence[str]) -> dict[str, str]:
    """Return the texts of `name:=value` by name."""
    found = {}
    for text in overrides:
        name, sign, value = text.partition(":=")
        if not sign:
            raise MotoError(f"{OVERRIDES}: '{text}' is not an assignment, expected name:=value")
        found[name] = value
    return found


def _parsed(key: str, text: str, known: Mapping[str, Spec]) -> Value:
    """Return the value of an override: of the type that the parameter has."""
    if key not in known:
        raise MotoError(f"{OVERRIDES}: unknown parameter '{key}'; name one of the suite's, task.<name> or agent.<name>")
    return parse(known[key], text, OVERRIDES)


def _under(prefix: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {key.removeprefix(prefix): value for key, value in values.items() if key.startswith(prefix)}


def for_agents(
    agents: Iterable[str], in_file: Mapping[str, Any], texts: Mapping[str, str], source: str
) -> dict[str, dict[str, Value]]:
    """Return what a suite sets for all agents, by agent: of these settings those that it has, by their present names.

    Former names are those of the agent itself. `in_file` are values of the file `source`, `texts` the user's overrides.
    Raises MotoError for a setting that no agent of the suite has.
    """
    found: dict[str, dict[str, Value]] = {}
    unknown = {key: where for where, keys in ((source, in_file), (OVERRIDES, texts)) for key in keys}
    for agent in agents:
        known = specs(cast(Any, agent_settings(agent)), AGENT)
        values = present_names(known.values(), in_file, source)
        overrides = present_names(known.values(), texts, OVERRIDES)
        found[agent] = _under(AGENT, {key: check(known[key], values[key], source) for key in values if key in known})
        found[agent] |= _under(AGENT, {key: _parsed(key, overrides[key], known) for key in overrides if key in known})
        unknown = {key: where for key, where in unknown.items() if key not in known | former_names(known.values())}
    for key, where in unknown.items():
        if key.startswith(AGENT):
            raise MotoError(f"{where}: no agent of the suite has the setting '{key.removeprefix(AGENT)}'; fix {key}")
    return found


def read_method(text: str, source: str) -> Method:
    """Return the method that 'label: agent [[task.]name:=value ...]' describes; MotoError for what is unknown."""
    label, colon, rest = text.partition(":")
    words = shlex.split(rest)
    if not colon or not words or ":=" in words[0]:
        raise MotoError(f"{source}: method '{text}', expected 'label: agent [name:=value ...]'; fix it")
    agent, _, preset = words[0].partition("/")
    try:
        known = settings_of(agent)
    except MotoError as error:
        raise MotoError(f"{source}: method '{label}': {error}") from error
    known = known | specs(TaskSettings, TASK)
    texts = {name: value for name, _, value in (word.partition(":=") for word in words[1:])}
    given = present_names(known.values(), texts, f"{source}: method '{label}'")
    for name, value in given.items():
        if name not in known:
            raise MotoError(f"{source}: method '{label}': agent '{agent}' has no setting '{name}'; fix the method")
        parse(known[name], value, f"{source}: method '{label}'")
    own = tuple((name, value) for name, value in given.items() if not name.startswith(TASK))
    return Method(label.strip(), agent, preset, own, tuple(_under(TASK, given).items()))


def settings_of(agent: str) -> dict[str, Spec]:
    """Return every setting of an agent; MotoError for an agent that is not there."""
    return specs(cast(Any, agent_settings(agent)))


def runs_of(suite: Suite) -> list[SuiteRun]:
    """Return the runs of a suite, seed by seed, so that the first seed is complete early."""
    settings = suite.settings
    return [
        _run(suite, task, method, kind, count, seed)
        for seed in settings.seeds
        for task in settings.tasks
        for kind in settings.data
        for count in settings.demonstrations
        for method in suite.methods
    ]


def _run(suite: Suite, task: str, method: Method, kind: str, demonstrations: int, seed: int) -> SuiteRun:
    settings = suite.settings
    name = Path(task).stem if kind == "script" else f"{Path(task).stem}-{kind}"
    return SuiteRun(
        id="--".join((slug(name), slug(method.label), f"d{demonstrations}", f"s{seed}")),
        suite=suite.name,
        task=name,
        method=method.label,
        agent=method.agent,
        preset=method.preset or settings.preset,
        seed=seed,
        demonstrations=demonstrations,
        data=kind,
        data_seed=seed if settings.data_seed < 0 else settings.data_seed,
        only_successful=settings.only_successful,
        prior_rule=settings.prior_rule,
        task_values=task_values(suite, task, method.task_overrides),
        agent_values=agent_values(suite, method),
        trainer_values=trainer_values(settings, seed),
        sampled_twin=settings.sampled_twin,
    )


def slug(text: str) -> str:
    """Return a text as a part of a file name."""
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")


def task_values(suite: Suite, task: str, own: Iterable[tuple[str, str]] = ()) -> dict[str, Value]:
    """Return every parameter of a task: its file's, or a world's by name, then the suite's, then a method's over it."""
    is_world = "/" in task and not task.endswith((".yaml", ".yml"))
    # When an episode ends is said in the episode node's section, too.
    given = {"world": task} if is_world else read_parameters(shipped("tasks", task), "episode")
    known, source = specs(TaskSettings), f"suite '{suite.name}', task '{task}'"
    given = present_names(known.values(), given, source)
    of_file = {name: value for name, value in given.items() if name in known}
    of_method = {name: parse(known[name], text, source) for name, text in own}
    return flatten(build(TaskSettings, of_file | dict(suite.task_values) | of_method, source))


def agent_values(suite: Suite, method: Method) -> dict[str, Value]:
    """Return every setting of a method's agent: preset, the suite's budget, the suite's settings, the method's own."""
    kind, known = agent_settings(method.agent), settings_of(method.agent)
    path, source = preset_file(method.agent, method.preset or suite.settings.preset), f"method '{method.label}'"
    of_preset = {} if path is None else checked(known, _under(AGENT, read_parameters(path)), str(path))
    values = of_preset | budget(suite.settings, known, of_preset) | dict(suite.agent_values[method.agent])
    values |= {name: parse(known[name], text, source) for name, text in method.overrides}
    return flatten(build(kind, values, f"suite '{suite.name}', {source}"))


def budget(settings: SuiteSettings, known: Mapping[str, Spec], preset: Mapping[str, Value]) -> dict[str, Value]:
    """Return `online_episodes` and each phase's `offline_`, `online_<phase>_updates`: the suite's, or its share.

    `known` are the agent's settings, `preset` the values of its preset; others have their default.
    """
    own = {"offline": settings.offline_updates, "online": settings.online_updates}
    found: dict[str, Value] = {"online_episodes": settings.online_episodes} if settings.online_episodes >= 0 else {}
    for name, spec in known.items():
        stage, value = name.partition("_")[0], preset.get(name, spec.default)
        # A phase that the preset leaves out stays out.
        if stage not in own or not name.endswith("_updates") or value == 0:
            continue
        if own[stage] >= 0:
            found[name] = own[stage]
        elif value is not REQUIRED:
            found[name] = round(float(str(value)) * settings.update_share)
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


def chosen(suite: Suite, *, tasks: Collection[str], methods: Collection[str], seeds: Sequence[int]) -> Suite:
    """Return the part of a suite that the user chose; an empty choice means all. MotoError for an unknown name."""
    labels = {slug(method.label): method for method in suite.methods}
    names = {slug(Path(task).stem): task for task in suite.settings.tasks}
    picked = [_known(slug(label), labels, "method") for label in methods] or list(suite.methods)
    part = replace(
        suite.settings,
        tasks=tuple(_known(slug(Path(task).stem), names, "task") for task in tasks) or suite.settings.tasks,
        seeds=tuple(seeds) or suite.settings.seeds,
    )
    return replace(suite, settings=part, methods=tuple(picked))


def _known(name: str, known: Mapping[str, Any], what: str) -> Any:
    if name not in known:
        raise MotoError(f"{what} '{name}' is not in the suite, expected one of {', '.join(known)}")
    return known[name]
