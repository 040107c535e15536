"""Decoded episodes on disk, keyed by their content: read back as memory maps, made anew from bags when lost."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from moto_ros.config import flatten
from moto_ros.data.bag_files import content_files
from moto_ros.data.bag_reader import read_episodes
from moto_ros.data.episode import Episode
from moto_ros.data.joints import JointOrder
from moto_ros.data.layout import StepLayout, TopicMap, layout_values
from moto_ros.data.mapped_array import mapped_array
from moto_ros.data.reading_progress import ReadingProgress
from moto_ros.data.records import NOBODY, SOURCES
from moto_ros.files import sync_file, sync_folder

ROWS = ("image", "proprio", "action", "reward", "success", "is_terminal", "stamps")
REMARKS = ("source", "guard")
"""Rows about the actions that nothing learns from: not part of a key, and absent from caches of version 0.1."""

KEY = re.compile("[0-9a-f]{32}")
"""What `content_key` returns."""

FORMAT = 1
"""Part of every episode's key; raised when its rows change their meaning, after which old runs do not resume."""

SMALL = 2**16
"""Bytes of an array's file below which it is read, not mapped."""

READING = 2
"""Raised when the same bag gives more or other episodes than before, so that it is read again; episodes that were
learned from keep their keys."""


def rows_of(episode: Episode) -> dict[str, np.ndarray]:
    """Return an episode's rows with its cameras concatenated to `image`, uint8 (T+1, H, W, 3 x cameras)."""
    frames = list(episode.images.values())
    rows = {name: getattr(episode, name) for name in (*ROWS, *REMARKS) if name != "image"}
    if frames:
        rows["image"] = frames[0] if len(frames) == 1 else np.concatenate(frames, axis=3)
    return rows


def episode_of(rows: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> Episode:
    """Return the episode that `rows_of` made rows of; its frames are views."""
    cameras = facts["cameras"]
    images = {camera: rows["image"][..., 3 * i : 3 * i + 3] for i, camera in enumerate(cameras)}
    return Episode(images, **{name: rows[name] for name in rows if name != "image"}, info=dict(facts["info"]))


def content_key(rows: Mapping[str, np.ndarray]) -> str:
    """Return 32 hexadecimal digits of the SHA-256 of an episode's rows."""
    digest = hashlib.sha256(str(FORMAT).encode())
    for name in sorted(set(rows) - set(REMARKS)):
        digest.update(f"{name}{rows[name].dtype.str}{rows[name].shape}".encode())
        digest.update(np.ascontiguousarray(rows[name]).data)
    return digest.hexdigest()[:32]


class DecodedCache:
    """A folder of episodes by content key, and of what each bag gave."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, key: str, rows: Mapping[str, np.ndarray], facts: Mapping[str, Any], *, durable: bool) -> None:
        """Write an episode unless it is there; `durable` also waits for the disk, for data that no bag holds."""
        place = self.folder / key
        if place.is_dir():
            return
        temporary = self.folder / f".{key}.{os.getpid()}"
        temporary.mkdir(parents=True, exist_ok=True)
        for name, values in rows.items():
            np.save(temporary / f"{name}.npy", values, allow_pickle=False)
        (temporary / "facts.json").write_text(json.dumps(facts), encoding="utf-8")
        if durable:
            _sync(temporary)
        try:
            temporary.replace(place)
        except OSError:  # another process was faster with the same content
            shutil.rmtree(temporary, ignore_errors=True)
        if durable:
            sync_folder(self.folder)

    def load(self, key: str) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
        """Return an episode's rows as read-only memory maps and its facts; None where it is not there, or damaged."""
        if not KEY.fullmatch(str(key)):  # it comes from a file, and must not lead out of this folder
            return None
        place = self.folder / key
        try:
            facts = json.loads((place / "facts.json").read_text(encoding="utf-8"))
            files = sorted(place.glob("*.npy"))
            rows = {path.stem: _mapped(path) for path in files}
        except (OSError, ValueError, EOFError):
            return None
        return (_remarked(rows, facts), facts) if set(ROWS) - {"image"} <= set(rows) else None

    def read(
        self,
        bag: Path,
        layout: StepLayout,
        topics: TopicMap,
        joints: JointOrder | None = None,
        progress: ReadingProgress | None = None,
    ) -> tuple[list[Episode], list[str]]:
        """Return a bag's episodes and problems, from the cache when bag and settings are those it was made of.

        `joints` is the order of joints of the run, to which the bag may add. A bag that may not be read is not kept: it
        may be read next time.
        """
        joints = JointOrder() if joints is None else joints
        try:
            listing = self.folder / "bags" / f"{_bag_key(bag, layout, topics, joints)}.json"
        except OSError:  # the reading says why
            reading = read_episodes(bag, layout, topics, joints, progress)
            return reading.episodes, reading.problems
        known = _read_listing(listing)
        if known is not None:
            loaded = [self.load(key) for key in known["episodes"]]
            found = [episode_of(*entry) for entry in loaded if entry is not None]
            if len(found) == len(loaded):
                for place, names in known["joints"].items():
                    joints.settle(place, tuple(names))
                return found, [str(text) for text in known["problems"]]
        return self._read_anew(bag, layout, topics, joints, listing, progress)

    def _read_anew(
        self,
        bag: Path,
        layout: StepLayout,
        topics: TopicMap,
        joints: JointOrder,
        listing: Path,
        progress: ReadingProgress | None,
    ) -> tuple[list[Episode], list[str]]:
        reading = read_episodes(bag, layout, topics, joints, progress)
        if reading.passing:
            return reading.episodes, reading.problems
        keys = []
        for episode in reading.episodes:
            rows = rows_of(episode)
            keys.append(content_key(rows))
            self.save(keys[-1], rows, facts_of(episode), durable=False)
        listing.parent.mkdir(parents=True, exist_ok=True)
        temporary = listing.with_suffix(f".{os.getpid()}")
        known = {"episodes": keys, "problems": reading.problems, "joints": joints.state()}
        temporary.write_text(json.dumps(known), encoding="utf-8")
        temporary.replace(listing)
        return reading.episodes, reading.problems


def facts_of(episode: Episode) -> dict[str, Any]:
    """Return what the cache keeps beside the rows."""
    return {"cameras": list(episode.images), "info": dict(episode.info)}


def _remarked(rows: dict[str, np.ndarray], facts: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Return the rows with those that caches of version 0.1 lack: all actions are from the episode's one source."""
    only = str(facts["info"].get("source", ""))
    source = np.full(len(rows["reward"]), SOURCES.index(only) if only in SOURCES else NOBODY, np.uint8)
    source[0] = NOBODY
    return {"source": source, "guard": np.zeros_like(source)} | rows


def _mapped(path: Path) -> np.ndarray:
    """Return a file's array as a memory map; small ones are read, since the number of maps is limited."""
    return np.load(path, allow_pickle=False) if path.stat().st_size < SMALL else mapped_array(path)


def _read_listing(path: Path) -> dict[str, Any] | None:
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        return known if {"episodes", "problems", "joints"} <= set(known) else None
    except (OSError, ValueError, TypeError):
        return None


def _bag_key(bag: Path, layout: StepLayout, topics: TopicMap, joints: JointOrder) -> str:
    """Return a digest of a bag's storage files and of the settings it is read with."""
    settings = [FORMAT, READING, layout_values(layout), flatten(topics), joints.state()]
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for path in content_files(bag):
        digest.update(os.fsencode(path.name))
        with path.open("rb") as file:
            while block := file.read(2**20):
                digest.update(block)
    return digest.hexdigest()[:32]


def _sync(folder: Path) -> None:
    for path in folder.iterdir():
        sync_file(path)
    sync_folder(folder)
