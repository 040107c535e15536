"""`moto finetune`: demonstrations, offline phase, online phase, evaluations and report, with one command."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from moto_ros.bringup import System, resolve, run_folder
from moto_ros.cli.arguments import OVERRIDES, add_arguments, given_arguments
from moto_ros.cli.processes import run_system
from moto_ros.cli.report import report_on
from moto_ros.data.bag_files import METADATA
from moto_ros.errors import MotoError
from moto_ros.training.run_folder import RunFolder

NUMBER = re.compile(r"episode_(\d+)")
"""The episode's number in the name of its bag."""


@dataclass(frozen=True)
class Recorded:
    """Demonstrations: how many there shall be, how many are there, and the number of the next."""

    wanted: int
    there: int
    next: int


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the system's arguments and --fresh."""
    add_arguments(parser)
    parser.add_argument("--fresh", action="store_true", help="set an existing run folder aside and start anew")


def run(options: argparse.Namespace) -> int:
    """Run every system that is still to run, then write the report."""
    given = given_arguments(options)
    folder = RunFolder(run_folder(given))
    if options.fresh and (aside := folder.set_aside()):
        print(f"set aside: {aside}", flush=True)
    for title, system in _systems(given, folder):
        print(f"== {title}", flush=True)
        if status := run_system(system):
            return status
    return report_on([folder.path])


def _systems(given: dict[str, str], run: RunFolder) -> Iterator[tuple[str, System]]:
    """Yield each system that is still to run, with what it will do, once the one before has ended well."""
    finetune = resolve("finetune", given)
    if not given.get("bags"):
        yield from _recording(given, run)
    resumes = any(run.checkpoints.glob("*")) if run.checkpoints.is_dir() else False
    yield f"{'go on with' if resumes else 'start'} the run in {run.path}: pre-train, fine-tune, evaluate", finetune


def _recording(given: dict[str, str], run: RunFolder) -> Iterator[tuple[str, System]]:
    """Yield the recording of the demonstrations that are still missing, those of an interrupted recording kept."""
    recorded = _recorded(resolve("record", _without_episodes(given)), run.bag_folder("offline"))
    if recorded.there >= recorded.wanted:
        print(f"{recorded.there} demonstrations are there, none to record", flush=True)
        return
    missing = recorded.wanted - recorded.there
    overrides = f"{given.get(OVERRIDES, '')} episode.first_episode:={recorded.next}".strip()
    wanted = _without_episodes(given) | {"episodes": str(missing), OVERRIDES: overrides}
    title = f"record {missing} of {recorded.wanted} demonstrations into {run.bag_folder('offline')}"
    yield title, resolve("record", wanted)


def _without_episodes(given: dict[str, str]) -> dict[str, str]:
    """Return the arguments without the number of online episodes, which says nothing about demonstrations."""
    return {name: value for name, value in given.items() if name != "episodes"}


def _recorded(system: System, folder: Path) -> Recorded:
    """Count the closed bags in `folder` against what the task asks for."""
    episode = next(process for process in system.processes if process.node == "episode").parameters
    wanted, first = (int(str(episode.get(name, 0))) for name in ("automatic_episodes", "first_episode"))
    if wanted == 0:
        raise MotoError(
            f"{system.name}: the task names no number of demonstrations; set episode.automatic_episodes in it"
        )
    numbers = [int(found[1]) for path in folder.glob("*") if (found := NUMBER.search(path.name))]
    there = len(list(folder.glob(f"*/{METADATA}")))
    return Recorded(wanted, there, max([first - 1, *numbers]) + 1)
