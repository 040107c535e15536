"""Durable file writing: what is named is complete, also after a power cut."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from moto_ros.errors import MotoError, read_text, unwritable

BLOCK = 1 << 20


def sync_file(path: Path) -> None:
    """Force a file's content to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_folder(path: Path) -> None:
    """Force a folder's entries (creations, renames) to disk."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_durably(path: Path, content: str | bytes) -> None:
    """Replace a file in one step: temporary file, sync, rename, sync of the folder. MotoError where it cannot be."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")  # two processes may replace one file
    try:
        try:
            temporary.write_bytes(content.encode() if isinstance(content, str) else content)
            sync_file(temporary)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(path.parent)
    except OSError as error:
        raise unwritable(path, error) from error


def set_aside(path: Path) -> Path:
    """Rename a file or folder to `<name>.old-N`, the first number that is free; return the new name."""
    number = 1
    while (target := path.with_name(f"{path.name}.old-{number}")).exists():
        number += 1
    return path.rename(target)


def sha256_of(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file, read in blocks so that its size does not matter."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            found.update(block)
    return found.hexdigest()


def canonical(value: Any) -> str:
    """Return JSON that is the same text for the same value."""
    return json.dumps(value, sort_keys=True, indent=1, allow_nan=False)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; MotoError names the file when it is missing, cut or something else."""
    try:
        content = json.loads(read_text(path, "a JSON file"))
    except ValueError as error:
        raise MotoError(f"{path}: not JSON ({error}), expected an object; restore or remove the file") from error
    if not isinstance(content, dict):
        raise MotoError(f"{path}: found {type(content).__name__}, expected a JSON object; restore or remove the file")
    return content
