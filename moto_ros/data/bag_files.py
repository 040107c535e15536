"""Finding bags, and reading the messages of one whatever its storage and state."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Any

import yaml

from moto_ros.data.layout import Problems
from moto_ros.data.mcap_stream import Stored, first_metadata, read_mcap
from moto_ros.data.sqlite_stream import read_sqlite
from moto_ros.errors import MotoError, refusal

READERS = {".mcap": read_mcap, ".db3": read_sqlite}
METADATA = "metadata.yaml"
UNREADABLE = "unreadable"
"""Kind of the problem of a file or folder that may not be read."""
META_RECORD = "moto_ros"
"""Name of the record at the start of an MCAP file that holds what the recorder says of the bag."""
MAX_METADATA = 4_000_000
"""Characters of metadata.yaml that are read."""
Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's where it is there: the other one takes longer over metadata.yaml than a short episode takes to read."""


def find_bags(folder: Path) -> list[Path]:
    """Return every bag in a folder tree, sorted; a bag itself, as folder or file, gives itself.

    Raises MotoError where there is none.
    """
    if folder.is_file() or _is_bag(folder):
        return [folder]
    found = sorted(path for path in folder.rglob("*") if _is_bag(path) and not _hidden(path, folder))
    loose = sorted(_storage_files(folder)) if folder.is_dir() else []
    if not found and not loose:
        state = "holds no bag" if folder.is_dir() else "does not exist"
        raise MotoError(f"{folder}: {state}, expected rosbag2 folders (metadata.yaml, .mcap or .db3); check the path")
    return found or loose


def _hidden(path: Path, folder: Path) -> bool:
    """Whether a path lies in a folder that is work in progress, such as that of a recovery that was killed."""
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def _is_bag(folder: Path) -> bool:
    """Whether a path is a bag's folder; one that may not be looked into is taken for one, and said when it is read."""
    if folder.is_dir() and not os.access(folder, os.R_OK | os.X_OK):
        return True
    return folder.is_dir() and ((folder / METADATA).is_file() or bool(_storage_files(folder)))


def _storage_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix in READERS and path.is_file())


def read_messages(bag: Path, problems: Problems) -> Iterator[Stored]:
    """Yield the messages of a bag (folder or storage file); problems go to `problems`, never an exception for them."""
    for path in _files(bag, problems):
        if refused := refusal(path):
            problems.add(UNREADABLE, refused)
            continue
        yield from READERS[path.suffix](path, problems)


def _files(bag: Path, problems: Problems) -> list[Path]:
    if not bag.exists():
        raise MotoError(f"{bag}: does not exist, expected a bag folder or a .mcap or .db3 file; check the path")
    if bag.is_file():
        if bag.suffix not in READERS:
            raise MotoError(f"{bag}: is no bag, expected a folder, .mcap or .db3; convert it (e.g. rosbags-convert)")
        return [bag]
    if refused := refusal(bag):
        problems.add(UNREADABLE, refused)
        return []
    found = _storage_files(bag)
    listed = _listed_files(bag, problems)
    for name in sorted(set(listed) - {path.name for path in found}):
        problems.add("file", f"{bag.name}: metadata.yaml lists {name}, which is not there; the rest is used")
    packed = sorted(path.name for path in bag.iterdir() if path.suffix in (".zstd", ".bag"))
    if packed:
        problems.add("packed", f"{bag.name}: {packed[0]} is compressed or ROS 1; convert it with ros2 bag convert")
    if not found:
        problems.add("storage", f"{bag.name}: has no .mcap or .db3 file, expected one; nothing can be read")
    return found


def _listed_files(bag: Path, problems: Problems) -> list[str]:
    """Return the file names in metadata.yaml; a missing or damaged one is a problem, no obstacle."""
    facts = read_metadata(bag)
    if facts is None:
        missing = "is missing" if not (bag / METADATA).is_file() else "cannot be read"
        text = f"{bag.name}: metadata.yaml {missing} (a recorder that was killed leaves none); the data files are read"
        problems.add("metadata", text)
        return []
    if facts.get("compression_mode") not in (None, "", "none", "NONE"):
        problems.add(
            "packed", f"{bag.name}: is compressed by {facts['compression_mode']}; convert it, ros2 bag convert"
        )
    names = facts.get("relative_file_paths")
    return [PurePath(str(name)).name for name in names] if isinstance(names, list) else []


def bag_meta(bag: Path) -> dict[str, str]:
    """Return what the recorder said of a bag (`BagWriter`'s `meta`); empty for bags of other programs."""
    custom = (read_metadata(bag) or {}).get("custom_data") if bag.is_dir() else None
    if isinstance(custom, dict) and custom:
        return {str(key): str(value) for key, value in custom.items()}
    files = sorted(bag.glob("*.mcap")) if bag.is_dir() else [bag]
    return next((meta for path in files if (meta := first_metadata(path, META_RECORD))), {})


def read_metadata(bag: Path) -> dict[str, Any] | None:
    """Return what metadata.yaml says of a bag folder, or None where there is none to read."""
    try:
        with (bag / METADATA).open(encoding="utf-8") as file:
            content = yaml.load(file.read(MAX_METADATA), Loader)
        facts = content["rosbag2_bagfile_information"]
    except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError):
        return None
    return facts if isinstance(facts, dict) else None
