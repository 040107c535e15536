"""Decoded episodes on disk, keyed by their content: read as memory maps, decoded again from bags when lost."""

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
from moto_ros.data.records import SOURCES, UNKNOWN_SOURCE
from moto_ros.files import sync_file, sync_folder

ROWS = ("image", "proprio", "action", "reward", "success", "is_terminal", "stamps")
ANNOTATIONS = ("source", "guard")
"""Rows that annotate the actions and are not learned from: not in a key, and absent from caches of version 0.1."""

KEY = re.compile("[0-9a-f]{32}")
"""What `content_key` returns."""

ROWS_VERSION = 1
"""Part of every episode's key; raised when the meaning of its rows changes, after which old runs do not resume."""

MIN_MAPPED_BYTES = 2**16
"""Smaller files of arrays are read, not mapped."""

READER_VERSION = 3
"""Raised when the reader finds more or other episodes in the same bag, so that bags are read again; episodes that were
learned from keep their keys."""


def rows_of(episode: Episode) -> dict[str, np.ndarray]:
    """Return an episode's rows with its cameras concatenated to `image`, uint8 (T+1, H, W, 3 x cameras)."""
    frames = list(episode.images.values())
    rows = {name: getattr(episode, name) for name in (*ROWS, *ANNOTATIONS) if name != "image"}
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
    digest = hashlib.sha256(str(ROWS_VERSION).encode())
    for name in sorted(set(rows) - set(ANNOTATIONS)):
        digest.update(f"{name}{rows[name].dtype.str}{rows[name].shape}".encode())
        digest.update(np.ascontiguousarray(rows[name]).data)
    return digest.hexdigest()[:32]


def former_rows(rows: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return an episode's rows as earlier versions read them from the same bag: success did not end an episode."""
    terminal = rows["is_terminal"].copy()
    terminal[-1] = False
    return {**rows, "is_terminal": terminal}


def known_keys(rows: Mapping[str, np.ndarray]) -> set[str]:
    """Return the keys under which a run may have learned from an episode that a bag holds, see `former_rows`."""
    return {content_key(rows), content_key(former_rows(rows))} if rows["is_terminal"][-1] else {content_key(rows)}


class DecodedCache:
    """A folder of episodes by content key, and of the list of episodes in each bag."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, key: str, rows: Mapping[str, np.ndarray], facts: Mapping[str, Any], *, durable: bool) -> None:
        """Write an episode unless it exists; `durable` also syncs it to disk, for data that are in no bag."""
        folder = self.folder / key
        if folder.is_dir():
            return
        temporary = self.folder / f".{key}.{os.getpid()}"
        temporary.mkdir(parents=True, exist_ok=True)
        for name, values in rows.items():
            np.save(temporary / f"{name}.npy", values, allow_pickle=False)
        (temporary / "facts.json").write_text(json.dumps(facts), encoding="utf-8")
        if durable:
            _sync(temporary)
        try:
            temporary.replace(folder)
        except OSError:  # another process has written the same content
            shutil.rmtree(temporary, ignore_errors=True)
        if durable:
            sync_folder(self.folder)

    def load(self, key: str) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
        """Return an episode's rows as read-only memory maps and its facts; None where it is absent or damaged."""
        if not KEY.fullmatch(str(key)):  # read from a file: it must not name a path outside this folder
            return None
        folder = self.folder / key
        try:
            facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
            files = sorted(folder.glob("*.npy"))
            rows = {path.stem: _mapped(path) for path in files}
        except (OSError, ValueError, EOFError):
            return None
        return (_annotated(rows, facts), facts) if set(ROWS) - {"image"} <= set(rows) else None

    def read(
        self,
        bag: Path,
        layout: StepLayout,
        topics: TopicMap,
        joints: JointOrder | None = None,
        progress: ReadingProgress | None = None,
    ) -> tuple[list[Episode], list[str]]:
        """Return a bag's episodes and problems, from the cache when bag and settings are unchanged.

        `joints` is the order of joints of the run, to which the bag may add. A bag with transient problems is not
        cached, so that it is read again next time.
        """
        joints = JointOrder() if joints is None else joints
        try:
            listing = self.folder / "bags" / f"{_bag_key(bag, layout, topics, joints)}.json"
        except OSError:  # reading it reports why
            reading = read_episodes(bag, layout, topics, joints, progress)
            return reading.episodes, reading.problems
        known = _read_listing(listing)
        if known is not None:
            loaded = [self.load(key) for key in known["episodes"]]
            found = [episode_of(*entry) for entry in loaded if entry is not None]
            if len(found) == len(loaded):
                for role, names in known["joints"].items():
                    joints.settle(role, tuple(names))
                return found, [str(text) for text in known["problems"]]
        return self._read_bag(bag, layout, topics, joints, listing, progress)

    def _read_bag(
        self,
        bag: Path,
        layout: StepLayout,
        topics: TopicMap,
        joints: JointOrder,
        listing: Path,
        progress: ReadingProgress | None,
    ) -> tuple[list[Episode], list[str]]:
        reading = read_episodes(bag, layout, topics, joints, progress)
        if reading.transient:
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
    """Return what the cache stores beside the rows."""
    return {"cameras": list(episode.images), "info": dict(episode.info)}


def _annotated(rows: dict[str, np.ndarray], facts: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Return the rows with annotations; in caches of version 0.1, without any, all actions are of one source."""
    only = str(facts["info"].get("source", ""))
    source = np.full(len(rows["reward"]), SOURCES.index(only) if only in SOURCES else UNKNOWN_SOURCE, np.uint8)
    source[0] = UNKNOWN_SOURCE
    return {"source": source, "guard": np.zeros_like(source)} | rows


def _mapped(path: Path) -> np.ndarray:
    """Return a file's array as a memory map; small ones are read, since the number of maps is limited."""
    return np.load(path, allow_pickle=False) if path.stat().st_size < MIN_MAPPED_BYTES else mapped_array(path)


def _read_listing(path: Path) -> dict[str, Any] | None:
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        return known if {"episodes", "problems", "joints"} <= set(known) else None
    except (OSError, ValueError, TypeError):
        return None


def _bag_key(bag: Path, layout: StepLayout, topics: TopicMap, joints: JointOrder) -> str:
    """Return a digest of a bag's storage files and of the settings it is read with."""
    settings = [ROWS_VERSION, READER_VERSION, layout_values(layout), flatten(topics), joints.state()]
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
