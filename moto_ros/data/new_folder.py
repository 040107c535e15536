"""A folder that appears whole or not at all: written under a temporary name, renamed at the end."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from moto_ros.errors import MotoError, unwritable
from moto_ros.files import sync_folder


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `target`, which becomes `target` when the block ends without an error.

    After an error the temporary folder is removed. Raises MotoError where `target` exists or cannot be made.
    """
    _refuse_existing(target)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        part.mkdir(parents=True)
    except OSError as error:
        raise unwritable(target, error) from error
    try:
        yield part
        _refuse_existing(target)
        part.rename(target)
        sync_folder(target.parent)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _refuse_existing(target: Path) -> None:
    if target.exists() or target.is_symlink():
        raise MotoError(f"{target}: exists, expected the name of a new folder; choose another name, nothing is changed")
