"""The bags of a run as a source of episodes: demonstrations, and episodes that a killed trainer did not take in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from moto_ros.data.bag_files import find_bags
from moto_ros.data.bag_reader import read_episodes
from moto_ros.data.episode import Episode
from moto_ros.data.joints import JointOrder
from moto_ros.data.layout import StepLayout, TopicMap
from moto_ros.data.replay import ReplayStore
from moto_ros.errors import MotoError

USABLE = ("success", "time_limit", "failure")


class BagLibrary:
    """Reads bags with one layout and order of joints; `problems` of the last reading are sentences for a person."""

    def __init__(self, bags: Path, layout: StepLayout, joints: JointOrder | None = None) -> None:
        """Use the folder `bags`, with its sub-folders `offline`, `online`..."""
        self.joints = JointOrder() if joints is None else joints
        self.bags, self._layout = bags, layout
        self.problems: list[str] = []

    def demonstrations(self, folder: Path, topics: TopicMap, store: ReplayStore) -> Iterator[tuple[Path, Episode]]:
        """Yield the episodes of every bag in `folder` that `store` does not hold, in the order of their names."""
        known = {bag.resolve() for bag in store.bags()}
        for bag in find_bags(folder) if folder.is_dir() else []:
            if bag.resolve() in known:
                continue
            episodes, self.problems = store.cache.read(bag, self._layout, topics, self.joints)
            for episode in episodes:
                yield bag, episode

    def recorded(self, episode: int) -> tuple[Path, Episode] | None:
        """Return a whole, usable recording of an online or evaluation episode, the newest one; None without."""
        for bag in sorted(self.bags.glob(f"*/episode_{episode:06d}*"), key=_number, reverse=True):
            if bag.parent.name != "offline" and (bag / "metadata.yaml").is_file():
                found = self.whole(bag, episode)
                if found is not None:
                    return bag, found
        return None

    def whole(self, bag: Path, episode: int) -> Episode | None:
        """Return the episode of a bag if it is there from first to last step and was not aborted or discarded."""
        try:
            reading = read_episodes(bag, self._layout, joints=self.joints)
        except MotoError as error:
            self.problems = [str(error)]
            return None
        self.problems = reading.problems
        parts = [part for part in reading.episodes if part.info["id"] == episode]
        usable = len(parts) == 1 and not parts[0].info["lost_steps"] and parts[0].info["outcome"] in USABLE
        return parts[0] if usable else None


def _number(bag: Path) -> tuple[int, str]:
    return len(bag.name), bag.name
