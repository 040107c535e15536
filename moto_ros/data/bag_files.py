"""Finds rosbag2 bags, and reads the messages of one in any storage format, also of a damaged one.

The same rule holds for every command. A file `.mcap` or `.db3`, also compressed as a whole (`.zstd`, `.zst`), is a
bag. A folder is a bag of the files that its metadata.yaml lists; without metadata.yaml, of the files named as the
folder with a number (`run/run_0.mcap`, `run/run_1.mcap`: what rosbag2 writes). Every other file is a bag of its own.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path, PurePath
from typing import Any

import yaml

from moto_ros.data.definitions import ros_type_name
from moto_ros.data.layout import Problems
from moto_ros.data.mcap_stream import Stored, first_metadata, read_mcap
from moto_ros.data.private_copy import decompressed, log_files, without_log
from moto_ros.data.sqlite_stream import read_sqlite
from moto_ros.errors import MotoError, refusal, unreadable

Reader = Callable[[Path, Problems, Mapping[str, str]], Iterator[Stored]]
READERS: dict[str, Reader] = {".mcap": read_mcap, ".db3": read_sqlite}
COMPRESSED = (".zstd", ".zst")
"""Suffixes of files that are compressed as a whole: by `ros2 bag record --compression-mode file`, or by zstd."""
FOREIGN = re.compile(r"\.(mcap|db3)\.\w+$|\.bag$", re.IGNORECASE)
"""Names of recordings in a format that is not read: with another compression, or of ROS 1."""
METADATA = "metadata.yaml"
UNREADABLE = "unreadable"
"""Kind of the problem of a file or folder that may not be read."""
META_RECORD = "moto_ros"
"""Name of the metadata record at the start of an MCAP file in which the recorder describes the bag."""
MAX_METADATA = 4_000_000
"""Characters of metadata.yaml that are read."""
Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""That of libyaml if installed: Python's takes longer for metadata.yaml than reading a short episode takes."""
EXPECTED = "a .mcap or .db3 file (also .zstd), a bag folder, or a folder of them"


def storage_kind(path: PurePath) -> str:
    """Return `.mcap` or `.db3` for the name of a storage file, compressed as a whole or not; "" for any other."""
    kind = PurePath(_uncompressed_name(path.name)).suffix.lower()
    return kind if kind in READERS else ""


def _uncompressed_name(name: str) -> str:
    """Return a file's name without the suffix of a compression of the whole file."""
    return next((name[: -len(ending)] for ending in COMPRESSED if name.lower().endswith(ending)), name)


def check_bags(path: Path) -> None:
    """Raise MotoError for a path that holds no bag, without reading one."""
    next(_bags(path))


def find_bags(folder: Path) -> list[Path]:
    """Return every bag of a file, a bag folder, or a folder tree with bag folders and loose files, sorted by path.

    A folder that cannot be listed is returned too, so that reading it reports why. Raises MotoError for a path that
    does not exist or holds no bag.
    """
    return sorted(_bags(folder))


def _bags(path: Path) -> Iterator[Path]:
    """Yield the bags of a path, at least one; MotoError otherwise."""
    try:
        is_folder = path.is_dir()
        is_file = path.is_file()
    except OSError as error:
        raise MotoError(f"{path}: {error.strerror}, expected {EXPECTED}; check who may read it") from error
    if not is_folder and not is_file:
        raise MotoError(f"{path}: does not exist, expected {EXPECTED}; check the path")
    if is_file:
        if not storage_kind(path):
            raise MotoError(f"{path}: is not a bag, expected {EXPECTED}; convert it (e.g. rosbags-convert)")
        yield path
        return
    foreign: list[Path] = []
    count = 0
    for bag in _in_folder(path, set(), foreign):
        count += 1
        yield bag
    if not count:
        state = f"has only {foreign[0].name}, which is not read" if foreign else "holds no bag"
        advice = "convert it" if foreign else "check the path"
        raise MotoError(f"{path}: {state}, expected {EXPECTED}; {advice}")


def _in_folder(folder: Path, seen: set[tuple[int, int]], foreign: list[Path]) -> Iterator[Path]:
    """Yield the bags of a folder tree; hidden folders are unfinished work, e.g. of a killed recovery."""
    try:
        with os.scandir(folder) as listing:
            entries = sorted(listing, key=lambda entry: (entry.is_symlink(), entry.name))
        status = folder.stat()
        if (status.st_dev, status.st_ino) in seen:
            return
        seen.add((status.st_dev, status.st_ino))
    except OSError:
        yield folder
        return
    folders = [entry for entry in entries if not entry.name.startswith(".") and _is(entry.is_dir)]
    names = {entry.name for entry in entries if not entry.name.startswith(".") and _is(entry.is_file)}
    foreign += [folder / name for name in sorted(names) if FOREIGN.search(name) and not storage_kind(PurePath(name))]
    whole = METADATA in names
    own = _own_files(folder, names)
    if whole or own:
        yield folder
    yield from (folder / name for name in sorted(_storage(names) - set(own)))
    for entry in folders:
        yield from _in_folder(folder / entry.name, seen, foreign)


def _is(question: Callable[[], bool]) -> bool:
    """Return the answer to a question about a folder's entry; False where the system refuses it."""
    try:
        return question()
    except OSError:
        return False


def _storage(names: set[str]) -> set[str]:
    """Return the storage files among names; of one that is there compressed and uncompressed, only the latter."""
    return {name for name in names if storage_kind(PurePath(name)) and (_uncompressed_name(name) not in names - {name})}


def _own_files(folder: Path, names: set[str]) -> list[str]:
    """Return the storage files that make a folder a bag, in order; empty where each file is a bag of its own."""
    storage = _storage(names)
    if METADATA not in names:
        number = re.compile(re.escape(folder.absolute().name) + r"_\d+")
        return _in_order(name for name in storage if number.fullmatch(_stem(name)))
    if len(storage) < 2:
        return list(storage)
    listed = [_uncompressed_name(name) for name in _listed(read_metadata(folder))]
    there = [name for name in storage if _uncompressed_name(name) in listed]
    # Files that a user has renamed are listed under their old names, and still belong to the folder.
    return sorted(there, key=lambda name: listed.index(_uncompressed_name(name))) or _in_order(storage)


def _stem(name: str) -> str:
    return PurePath(_uncompressed_name(name)).stem


def _in_order(names: Iterator[str] | set[str]) -> list[str]:
    """Return names sorted, the numbers in them as numbers: a split recording has `_2` before `_10`."""
    return sorted(names, key=lambda name: [(part.isdigit(), part.zfill(20)) for part in re.split(r"(\d+)", name)])


def storage_files(bag: Path) -> list[Path]:
    """Return the storage files of a bag, in order; empty for a folder that is not a bag."""
    if not bag.is_dir():
        return [bag]
    names = {entry.name for entry in bag.iterdir() if not entry.name.startswith(".") and entry.is_file()}
    return [bag / name for name in _own_files(bag, names) or _in_order(_storage(names))]


def content_files(bag: Path) -> list[Path]:
    """Return every file that determines the content of a bag: its storage files and their sqlite logs."""
    return [found for path in storage_files(bag) for found in (path, *log_files(path))]


def read_messages(bag: Path, problems: Problems) -> Iterator[Stored]:
    """Yield the messages of a bag (folder or storage file); problems are reported in `problems`, not raised.

    Raises MotoError for a bag that does not exist.
    """
    types = _stated_types(bag)
    for path in _files(bag, problems):
        if refused := refusal(path):
            problems.add(UNREADABLE, refused)
            continue
        before = _state(path)
        yield from _read_file(path, problems, types)
        if _state(path) != before:
            text = f"{path.name}: was written to while it was read; read it again when its recorder has ended"
            problems.add("growing", text)


def _state(path: Path) -> list[tuple[int, int]]:
    """Return size and modification time of a file and its logs; empty where they cannot be read."""
    try:
        return [(status.st_size, status.st_mtime_ns) for status in (file.stat() for file in (path, *log_files(path)))]
    except OSError:
        return []


def _read_file(path: Path, problems: Problems, types: Mapping[str, str]) -> Iterator[Stored]:
    kind = storage_kind(path)
    try:
        with ExitStack() as stack:
            readable = (
                stack.enter_context(decompressed(path, problems))
                if _uncompressed_name(path.name) != path.name
                else path
            )
            if kind == ".db3":
                readable = stack.enter_context(without_log(readable, problems))
            yield from READERS[kind](readable, problems, types)
    except OSError as error:  # of the file, a log beside it, or a private copy
        problems.add(UNREADABLE, str(unreadable(os.fsdecode(error.filename or path), error)))
    except MotoError as error:
        problems.add(UNREADABLE, str(error))


def _files(bag: Path, problems: Problems) -> list[Path]:
    if not bag.exists():
        raise MotoError(f"{bag}: does not exist, expected {EXPECTED}; check the path")
    if bag.is_file():
        if not storage_kind(bag):
            raise MotoError(f"{bag}: is not a bag, expected {EXPECTED}; convert it (e.g. rosbags-convert)")
        return [bag]
    if refused := refusal(bag):
        problems.add(UNREADABLE, refused)
        return []
    try:
        found = storage_files(bag)
        _check_listed(bag, found, problems)
        _check_others(bag, found, problems)
    except OSError as error:
        problems.add(UNREADABLE, str(unreadable(os.fsdecode(error.filename or bag), error)))
        return []
    return found


def _check_listed(bag: Path, found: list[Path], problems: Problems) -> None:
    """Report files that metadata.yaml lists and that do not exist; without metadata.yaml reading continues."""
    facts = read_metadata(bag)
    if facts is None:
        missing = "is missing" if not (bag / METADATA).is_file() else "cannot be read"
        text = f"{bag.name}: metadata.yaml {missing} (a recorder that was killed leaves none); the data files are read"
        if len(found) > 1:
            text += f" as one recording ({found[0].name} to {found[-1].name}); if they are several, rename the folder"
        problems.add("metadata", text)
    form = (facts or {}).get("compression_format")
    if form not in (None, "", "none", "zstd"):
        problems.add(
            "compression", f"{bag.name}: is compressed by {form}, expected zstd or nothing; use ros2 bag convert"
        )
    there = {_uncompressed_name(path.name) for path in found}
    for name in _listed(facts):
        if _uncompressed_name(name) not in there:
            problems.add("file", f"{bag.name}: metadata.yaml lists {name}, which is not there; the rest is used")


def _check_others(bag: Path, found: list[Path], problems: Problems) -> None:
    """Report files in a bag's folder that are not read."""
    names = sorted(path.name for path in bag.iterdir())
    if not found:
        foreign = next((name for name in names if FOREIGN.search(name)), "")
        if foreign:
            text = f"{bag.name}: {foreign} has a format that is not read, expected .mcap or .db3 (also .zstd)"
            problems.add("format", f"{text}; convert it")
        else:
            problems.add("storage", f"{bag.name}: has no .mcap or .db3 file, expected one; nothing can be read")
    for log in (name for name in names if name.endswith((".db3-wal", ".db3-journal"))):
        if log.rsplit("-", 1)[0] not in names:
            text = f"{bag.name}: {log} belongs to a file that is not there; put {log.rsplit('-', 1)[0]} beside it"
            problems.add("log", text)


def _listed(facts: Mapping[str, Any] | None) -> list[str]:
    """Return the file names in metadata.yaml, without the folders that older versions put before them."""
    names = (facts or {}).get("relative_file_paths")
    return [PurePath(str(name)).name for name in names] if isinstance(names, list) else []


def _stated_types(bag: Path) -> dict[str, str]:
    """Return the types of topics in metadata.yaml, for storage without them."""
    entries = (read_metadata(bag) or {}).get("topics_with_message_count") if bag.is_dir() else None
    types: dict[str, str] = {}
    for entry in entries if isinstance(entries, list) else ():
        topic = entry.get("topic_metadata") if isinstance(entry, dict) else None
        if isinstance(topic, dict) and {"name", "type"} <= set(topic):
            types[str(topic["name"])] = ros_type_name(str(topic["type"]))
    return types


def bag_meta(bag: Path) -> dict[str, str]:
    """Return the recorder's description of a bag (`BagWriter`'s `meta`); empty for bags of other programs."""
    custom = (read_metadata(bag) or {}).get("custom_data") if bag.is_dir() else None
    if isinstance(custom, dict) and custom:
        return {str(key): str(value) for key, value in custom.items()}
    files = sorted(bag.glob("*.mcap")) if bag.is_dir() else [bag]
    return next((meta for path in files if (meta := first_metadata(path, META_RECORD))), {})


def read_metadata(bag: Path) -> dict[str, Any] | None:
    """Return the content of metadata.yaml of a bag folder, or None where it cannot be read."""
    try:
        with (bag / METADATA).open(encoding="utf-8") as file:
            content = yaml.load(file.read(MAX_METADATA), Loader)
        facts = content["rosbag2_bagfile_information"]
    except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError):
        return None
    return facts if isinstance(facts, dict) else None
