"""Locks on folders: a second process that wants to write to the same folder is refused with one sentence.

A lock is an `flock` on a file that names its owner. The kernel frees it when the owner ends, however it ends.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from typing import TextIO

from moto_ros.errors import MotoError

RUN_LOCK, RECORDER_LOCK = ".lock", ".recorder.lock"
"""Files that the trainer locks in a run folder, and the recorder in its folder of bags."""

SYSTEM_LOCKS = "config/*/.lock"
"""Files in a run folder that `moto` and the launch files lock while a system runs."""

ATTEMPTS, PAUSE = 5, 0.05
"""How often, and at what interval (s), a lock is tried: `refuse_if_held` holds it for an instant."""

_kept: dict[Path, TextIO] = {}
"""Locks that this process keeps until it ends, by path."""


def acquire(path: Path) -> TextIO:
    """Lock `path`, whose folder must exist, for this process; closing the returned file frees it.

    Raises MotoError when another process holds it, or when the folder cannot be written to.
    """
    try:
        file = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise MotoError(
            f"{path.parent}: {error.strerror}, expected a folder that can be written to; choose another folder"
        ) from error
    for attempt in range(ATTEMPTS):
        if _try(file, path, fcntl.LOCK_EX):
            break
        if attempt == ATTEMPTS - 1:
            file.close()
            raise _held(path)
        time.sleep(PAUSE)
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file


def keep(path: Path) -> None:
    """Lock `path` until this process ends; does nothing when this process keeps it already. MotoError as `acquire`."""
    if not _is_kept(path):
        _kept[path] = acquire(path)


def _is_kept(path: Path) -> bool:
    """Whether this process keeps the lock `path`: not another file of that name, after its folder was moved away."""
    known = _kept.get(path)
    try:
        return known is not None and os.path.samestat(os.fstat(known.fileno()), path.stat())
    except OSError:
        return False


def refuse_if_held(path: Path) -> None:
    """Raise MotoError when another process holds the lock `path`; a missing file is not held."""
    try:
        file = path.open(encoding="utf-8")
    except OSError:
        return
    with file:
        if not _is_kept(path) and not _try(file, path, fcntl.LOCK_SH):
            raise _held(path)


def _try(file: TextIO, path: Path, kind: int) -> bool:
    """Return whether the lock was free and is now held."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        file.close()
        raise MotoError(
            f"{path.parent}: its file system cannot lock files ({error.strerror}), expected one that can; choose a "
            "folder on a local disk"
        ) from error
    return True


def _held(path: Path) -> MotoError:
    owner = path.read_text(encoding="utf-8", errors="replace").strip()[:20] or "unknown"
    folder = path.parents[2] if path.match(SYSTEM_LOCKS) else path.parent
    return MotoError(f"{folder}: in use by process {owner}; wait for it, stop it, or choose another folder")
