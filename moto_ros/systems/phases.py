"""The phases of a job, decided once for `moto` and for launch files: what runs, one system after the other.

A phase starts when the one before has succeeded. Before the first one, a job that cannot work is refused; after each
one, it is checked that its work was done, since a process may end with status 0 before that.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moto_ros.agents.registry import agent_phases
from moto_ros.config import part
from moto_ros.data.bag_files import METADATA
from moto_ros.data.bag_folder import PURPOSE_FOLDERS
from moto_ros.errors import MotoError
from moto_ros.files import read_json
from moto_ros.policy.checkpoint_policy import find_checkpoint
from moto_ros.systems.bringup import System, defaults, resolve
from moto_ros.systems.preflight import check, closed_bags, has_checkpoint, refuse_unused
from moto_ros.training.checkpoint import SCHEDULE, STATE
from moto_ros.training.run_folder import RunFolder
from moto_ros.training.run_schedule import Done, Offline, RunEpisode, RunSchedule
from moto_ros.training.settings import TrainerSettings, agent_identity, budget_of

NUMBER = re.compile(r"episode_(\d+)")
"""The episode's number in the name of its bag."""

Given = Mapping[str, str]


@dataclass(frozen=True)
class SystemPhase:
    """One system of a job, and what it does there."""

    title: str
    system: System


@dataclass(frozen=True)
class RecordedDemonstrations:
    """Demonstrations: how many are wanted, how many are recorded, and the number of the next."""

    wanted: int
    recorded: int
    next: int


def phases(name: str, given: Given) -> Iterator[SystemPhase]:
    """Yield the phases of `moto NAME` and of the launch file of that name."""
    return finetune(given) if name == "finetune" else single_phase(name, given)


def single_phase(name: str, given: Given) -> Iterator[SystemPhase]:
    """Yield one system, by itself."""
    refuse_unused(name, given, defaults())
    system = resolve(name, given)
    check(system)
    yield from _done(SystemPhase(f"{name} in {system.run}", system))


def finetune(given: Given, *, fresh: bool = False) -> Iterator[SystemPhase]:
    """Yield the recording of missing demonstrations, and the system that pre-trains, fine-tunes and evaluates.

    `fresh` sets an existing run folder aside, once it is known that the job can work.
    """
    system = resolve("finetune", given)
    run = RunFolder(system.run)
    records = not given.get("bags") and (fresh or not _learned_from_other_bags(run))
    check(system, records=records, fresh=fresh)
    if records:
        check(resolve("record", _without_episodes(given)))
        _recorded(given, run)
    if fresh and (aside := run.set_aside()):
        print(f"set aside: {aside}", flush=True)
    if records:
        yield from _recording(given, run)
        check(system)
    does = "resume" if has_checkpoint(run) else "start"
    yield from _done(SystemPhase(f"{does} the run in {run.path}: pre-train, fine-tune, evaluate", system))


def _learned_from_other_bags(run: RunFolder) -> bool:
    """Return whether a run has learned, but not from bags of its own: it would not learn from new ones."""
    return has_checkpoint(run) and not closed_bags(run.bag_folder("offline"))


def _recording(given: Given, run: RunFolder) -> Iterator[SystemPhase]:
    """Yield the recording of the demonstrations that are still missing, those of an interrupted recording kept."""
    recorded = _recorded(given, run)
    if recorded.recorded >= recorded.wanted:
        print(f"{recorded.recorded} demonstrations are recorded, none is missing", flush=True)
        return
    missing = recorded.wanted - recorded.recorded
    more = {"episode": {"first_episode": recorded.next}}
    system = resolve("record", _without_episodes(given) | {"episodes": str(missing)}, more)
    title = f"record {missing} of {recorded.wanted} demonstrations into {run.bag_folder('offline')}"
    yield from _done(SystemPhase(title, system))


def _without_episodes(given: Given) -> dict[str, str]:
    """Return the arguments without the number of online episodes, which is no number of demonstrations."""
    return {name: value for name, value in given.items() if name != "episodes"}


def _recorded(given: Given, run: RunFolder) -> RecordedDemonstrations:
    """Count the closed bags of demonstrations against what the task asks for."""
    system, folder = resolve("record", _without_episodes(given)), run.bag_folder("offline")
    episode = next(process for process in system.processes if process.node == "episode").parameters
    wanted, first = (int(str(episode.get(name, 0))) for name in ("automatic_episodes", "first_episode"))
    if wanted == 0:
        raise MotoError(
            f"{system.name}: the task sets no number of demonstrations; set episode.automatic_episodes in it"
        )
    numbers = [int(found[1]) for path in folder.glob("*") if (found := NUMBER.search(path.name))]
    recorded = len(list(folder.glob(f"*/{METADATA}")))
    return RecordedDemonstrations(wanted, recorded, max([first - 1, *numbers]) + 1)


# Whether the work was done.


def _done(phase: SystemPhase) -> Iterator[SystemPhase]:
    """Yield the phase and, once it has ended with status 0, raise MotoError unless its work was done."""
    settings = phase.system.settings()
    if "trainer" in settings:
        yield phase
        missing = unfinished(settings["trainer"], offline_only="policy" not in settings)
    else:
        folder, wanted = _bag_folder(settings), settings["episode"].automatic_episodes
        known = closed_bags(folder)
        yield phase
        found = len(closed_bags(folder, known))
        missing = f"{found} of {wanted} episodes are in {folder}" if found < wanted else ""
    if missing:
        raise MotoError(
            f"{phase.system.run}: {phase.system.name} has ended before its work was done: {missing}; see above which "
            "process ended first and why, then give the same command again"
        )


def _bag_folder(settings: Mapping[str, Any]) -> Path:
    """Return where the recorder puts the episodes that the episode node asks of itself."""
    recorder, purpose = settings["recorder"], settings["episode"].purpose
    folder = recorder.evaluation_folder if purpose == "evaluation" else PURPOSE_FOLDERS[purpose]
    return Path(recorder.bags).expanduser() / folder


def unfinished(trainer: Any, *, offline_only: bool = False) -> str:
    """Return what is left to do in the run of a trainer with these settings; empty where nothing is."""
    settings = part(trainer, TrainerSettings)
    identity = agent_identity(trainer.agent_name, trainer.agent)
    try:
        newest = find_checkpoint(Path(trainer.run).expanduser(), identity)
    except MotoError as error:
        return str(error)
    schedule = RunSchedule(settings, budget_of(settings, trainer.agent, agent_phases(trainer.agent_name)))
    schedule.load_state(read_json(newest / STATE)[SCHEDULE])
    schedule.position.running = None
    action = schedule.next()
    if isinstance(action, Done) or (offline_only and isinstance(action, RunEpisode)):
        return ""
    if isinstance(action, Offline):
        return "the offline phase has not ended"
    position, wanted = schedule.position, schedule.budget.online_episodes
    evaluated = sum(len(one.results) for one in position.evaluations)
    return f"{len(position.steps)} of {wanted} online episodes and {evaluated} evaluation episodes are done"
