"""The bags of a run as a source of episodes: demonstrations, and episodes that a killed trainer did not learn from."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from moto_ros.data.bag_files import METADATA, find_bags
from moto_ros.data.bag_folder import PURPOSE_FOLDERS
from moto_ros.data.bag_reader import read_episodes
from moto_ros.data.cache import known_keys, rows_of
from moto_ros.data.episode import Episode
from moto_ros.data.joints import JointOrder
from moto_ros.data.layout import StepLayout, TopicMap
from moto_ros.data.reading_progress import ReadingProgress
from moto_ros.data.replay import ReplayStore
from moto_ros.errors import MotoError


@dataclass(frozen=True)
class Differences:
    """Bags added since a run last learned, and bags it has learned from that are gone or changed."""

    added: list[Path] = field(default_factory=list)
    removed: list[Path] = field(default_factory=list)
    changed: list[Path] = field(default_factory=list)

    def sentence(self) -> str:
        """Return what differs in words; empty without any difference."""
        kinds = (("new", self.added), ("gone", self.removed), ("changed", self.changed))
        return ", ".join(f"{len(bags)} {what} ({_names(bags)})" for what, bags in kinds if bags)


def _names(bags: list[Path]) -> str:
    return ", ".join(bag.name for bag in bags[:3]) + (", ..." if len(bags) > 3 else "")


USABLE = ("success", "time_limit", "failure")
"""Outcomes of episodes that are learned from."""

DEMONSTRATIONS = PURPOSE_FOLDERS["demonstration"]


class BagLibrary:
    """Reads bags with one layout and order of joints; `problems` of the last reading are sentences for a person."""

    def __init__(
        self,
        bags: Path,
        layout: StepLayout,
        joints: JointOrder | None = None,
        log: Callable[[str], None] = print,
    ) -> None:
        """Use the folder `bags`, with its sub-folders `offline`, `online`...

        `joints` is the order of joints of the run, to which its bags may add. `log` is called with the progress of a
        long reading.
        """
        self.joints = JointOrder() if joints is None else joints
        self.bags, self._layout, self._log = bags, layout, log
        self.problems: list[str] = []
        self.left_out: list[str] = []
        """Problems of the bags without any usable demonstration."""

    def demonstrations(self, folder: Path, topics: TopicMap, store: ReplayStore) -> Iterator[tuple[Path, Episode]]:
        """Yield the episodes of every bag in `folder` that `store` does not hold, in the order of their names."""
        known = {bag.resolve() for bag in (*store.bags(), *store.recorded())}
        bags = find_bags(folder) if folder.exists() else []
        progress = ReadingProgress(self._log, len(bags))
        for bag in bags:
            progress.begin(bag)
            if bag.resolve() in known:
                continue
            episodes, self.problems = store.cache.read(bag, self._layout, topics, self.joints, progress)
            self.left_out += [] if episodes else [f"{bag}: {problem}" for problem in self.problems]
            for episode in episodes:
                yield bag, episode

    def differences(self, folder: Path, topics: TopicMap, store: ReplayStore, since: float) -> Differences:
        """Compare the bags in `folder` with those whose episodes `store` holds or has held.

        By content: a bag that was moved or copied is the same. Bags that no process wrote to after `since` (s since
        1970) are not read again.
        """
        known = {bag.resolve(): keys for bag, keys in store.recorded().items()}
        learned, present, found = set[str]().union(*known.values()), set[str](), Differences()
        bags = _bags_in(folder)
        if not bags or not known:
            return found  # bags that were moved after the run has learned from them are not required
        for bag in bags:
            own = known.get(bag.resolve(), set())
            if own and _changed_at(bag) < since:
                present |= own
                continue
            episodes, self.problems = store.cache.read(bag, self._layout, topics, self.joints)
            read = [known_keys(rows_of(episode)) for episode in episodes]
            keys = set[str]().union(*read)
            if own - keys or not all(one & learned for one in read):
                (found.changed if own else found.added).append(bag)
            present |= keys | own
        found.removed.extend(bag for bag, keys in known.items() if keys - present)
        return found

    def inside(self, uri: str) -> Path | None:
        """Return the path in a message if it is a folder inside the run's bags; any program may send a message."""
        try:
            path, root = Path(os.path.abspath(uri)), Path(os.path.abspath(self.bags))
            is_inside = root in path.parents or root.resolve() in path.resolve().parents
            return path if is_inside and path.is_dir() else None
        except (OSError, ValueError, RuntimeError):  # too long, a NUL byte, symbolic links in a circle
            return None

    def recorded(self, episode: int) -> tuple[Path, Episode] | None:
        """Return a whole, usable recording of an online or evaluation episode, the newest one; None without."""
        for bag in recordings(self.bags, episode):
            found = self.whole(bag, episode)
            if found is not None:
                return bag, found
        return None

    def whole(self, bag: Path, episode: int) -> Episode | None:
        """Return the episode of a bag if every step is there and it was not aborted or discarded."""
        try:
            reading = read_episodes(bag, self._layout, joints=self.joints)
        except MotoError as error:
            self.problems = [str(error)]
            return None
        self.problems = reading.problems
        parts = [part for part in reading.episodes if part.info["id"] == episode]
        usable = len(parts) == 1 and not parts[0].info["lost_steps"] and parts[0].info["outcome"] in USABLE
        return parts[0] if usable else None


def recordings(bags: Path, episode: int) -> list[Path]:
    """Return the closed bags of an online or evaluation episode in a run's folder of bags, the newest one first."""
    name = re.compile(rf"episode_{episode:06d}(-\d+)?")
    found = [bag for bag in bags.glob(f"*/episode_{episode:06d}*") if name.fullmatch(bag.name)]
    closed = [bag for bag in found if bag.parent.name != DEMONSTRATIONS and (bag / METADATA).is_file()]
    return sorted(closed, key=lambda bag: (len(bag.name), bag.name), reverse=True)


def _bags_in(folder: Path) -> list[Path]:
    try:
        return find_bags(folder)
    except MotoError:
        return []


def _changed_at(bag: Path) -> float:
    """Return when a bag's files were last written, renamed or replaced, s since 1970; copying does not preserve it."""
    files = [bag, *bag.iterdir()] if bag.is_dir() else [bag]
    return max(path.stat().st_ctime for path in files)
