"""Private copies of storage files, decompressed (zstd) or with sqlite's write-ahead log; originals are not changed.

sqlite writes to a database and its log when it opens them, so a log is only opened beside a copy. Copies are in the
folder of temporary files (TMPDIR) while a bag is read; no file is held in memory.
"""

from __future__ import annotations

import shutil
import sqlite3
import struct
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import BinaryIO

import zstandard

from moto_ros.data.layout import Problems
from moto_ros.errors import MotoError

BLOCK = 2**20
MIN_FREE_BYTES = 2**29
"""Bytes that a copy leaves free in the folder of temporary files."""
GIB = 2**30
LOG_HEAD = struct.Struct(">III")
"""Magic number, format and page size at the start of a write-ahead log (sqlite.org/fileformat2.html, 4.1)."""
LOG_MAGIC = (0x377F0682, 0x377F0683)
ATTEMPTS = 5
"""Most copies made of a database whose writer moves pages from the log into it while it is copied."""


@contextmanager
def decompressed(path: Path, problems: Problems) -> Iterator[Path]:
    """Yield a private, decompressed copy of a zstd file, as far as it can be decompressed.

    Raises MotoError where the temporary folder has no room for it.
    """
    with _folder() as folder:
        copy = folder / path.stem
        with path.open("rb") as source, copy.open("wb") as target:
            reader = zstandard.ZstdDecompressor().stream_reader(source, read_across_frames=True)
            try:
                while block := reader.read(BLOCK):
                    _write(target, block, path)
            except zstandard.ZstdError as error:
                text = (
                    f"{path.name}: cut or damaged after {target.tell()} decompressed bytes ({error}); the rest is used"
                )
                problems.add("damage", text)
        yield copy


def log_files(path: Path) -> list[Path]:
    """Return the logs beside a sqlite file with content that its last writer has not moved into it."""
    if path.suffix.lower() != ".db3":
        return []
    real = path.resolve()
    beside = [real.with_name(f"{real.name}{ending}") for ending in ("-wal", "-journal")]
    return [log for log in beside if log.is_file() and _has_content(log)]


def _has_content(log: Path) -> bool:
    """Whether a log has content; sqlite zeroes the start of a finished one."""
    with log.open("rb") as file:
        return any(file.read(LOG_HEAD.size))


@contextmanager
def without_log(path: Path, problems: Problems) -> Iterator[Path]:
    """Yield a sqlite file with all messages: the file itself, or a private copy into which sqlite merged the log.

    Raises MotoError where the temporary folder has no room for the copy.
    """
    logs = [log for log in log_files(path) if _fits(path, log, problems)]
    if not logs:
        yield path
        return
    with _folder() as folder:
        copy = _copy(path, logs, folder, problems)
        whole, alone = _messages(copy), _messages(path, immutable=True)
        appended = all(log.name.endswith("-wal") for log in logs)
        if whole < 0 <= alone or (appended and whole < alone):  # a recorder only ever adds messages
            for log in logs:
                problems.add("log", f"{log.name}: belongs to another file than {path.name}; it is left out")
            yield path
        else:
            yield copy


def _fits(path: Path, log: Path, problems: Problems) -> bool:
    """Whether a log can belong to a database, by the headers of both."""
    if log.name.endswith("-journal"):
        return True
    with path.open("rb") as file, log.open("rb") as beside:
        head, start = file.read(100), beside.read(LOG_HEAD.size)
    if len(head) < 100 or len(start) < LOG_HEAD.size:
        return True
    magic, _, size = LOG_HEAD.unpack(start)
    page = int.from_bytes(head[16:18], "big")
    if magic not in LOG_MAGIC:
        found = "is not a write-ahead log of sqlite"
    elif head[18:20] != b"\x02\x02":
        found = f"belongs to another file ({path.name} has never had a write-ahead log)"
    elif size != (2**16 if page == 1 else page):
        found = f"belongs to another file (pages of {size} bytes, {path.name} has {2**16 if page == 1 else page})"
    else:
        return True
    problems.add("log", f"{log.name}: {found}; it is left out")
    return False


def _copy(path: Path, logs: list[Path], folder: Path, problems: Problems) -> Path:
    """Copy a database and its logs in a consistent state, also while a recorder writes to them."""
    copy = folder / path.resolve().name
    for _ in range(ATTEMPTS):
        before = _version(path, logs)
        for source in (path, *logs):
            _copy_file(source, folder / source.name if source in logs else copy)
        if _version(path, logs) == before:
            return copy
    problems.add("growing", f"{path.name}: is being written to; read it again when its recorder has ended")
    return copy


def _version(path: Path, logs: list[Path]) -> tuple[int, int, list[bytes]]:
    """Return values that change when pages move from the log into the database, and not when the log only grows."""
    status = path.stat()
    heads = []
    for log in logs:
        with log.open("rb") as file:
            heads.append(file.read(32))
    return status.st_size, status.st_mtime_ns, heads


def _copy_file(source: Path, target: Path) -> None:
    """Copy a file in blocks; blocks of zeros become holes."""
    with source.open("rb") as old, target.open("wb") as new:
        while block := old.read(BLOCK):
            if block.count(0) == len(block):
                new.seek(len(block), 1)
            else:
                _write(new, block, source)
        new.truncate(new.tell())


def _write(target: BinaryIO, block: bytes, source: Path) -> None:
    """Write a block while there is room for it; MotoError otherwise."""
    folder = tempfile.gettempdir()
    if shutil.disk_usage(folder).free < MIN_FREE_BYTES + len(block):
        raise MotoError(
            f"{source.name}: reading it takes a copy of more than {target.tell() / GIB:.1f} GiB, and {folder} has no "
            "room for more; set TMPDIR to a folder with more room"
        )
    target.write(block)


@contextmanager
def _folder() -> Iterator[Path]:
    try:
        folder = tempfile.TemporaryDirectory(prefix="moto_ros_")
    except OSError as error:
        raise MotoError(f"no folder for temporary files ({error.strerror}), expected one; set TMPDIR to it") from error
    with folder as name:
        yield Path(name)


def _messages(path: Path, *, immutable: bool = False) -> int:
    """Return the number of messages in a file, -1 if sqlite finds it damaged; merges a log beside it."""
    mode = "mode=ro&immutable=1" if immutable else "mode=rw"
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?{mode}", uri=True)) as connection:
            sound = connection.execute("PRAGMA quick_check(1)").fetchone() == ("ok",)
            return int(connection.execute("SELECT count(*) FROM messages").fetchone()[0]) if sound else -1
    except sqlite3.Error:
        return -1
