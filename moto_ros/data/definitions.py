"""Texts of message definitions, and type stores made of them: what makes a bag readable by others, and to us."""

from __future__ import annotations

import os
import re
import sys
from functools import lru_cache
from pathlib import Path

from rosbags.typesys import Stores, TypesysError, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from moto_ros.errors import MotoError

CONTRACT = (
    *("Action", "CameraHealth", "EpisodeBag", "EpisodeState", "OperatorEvent"),
    *("PolicyWeights", "Reward", "RobotState", "TrainingStatus"),
)
"""Messages of moto_msgs."""

TYPE_NAME = re.compile(r"[A-Za-z]\w*(/msg)?/[A-Za-z]\w*", re.ASCII)
"""A message type's name. Names from bags are checked against it, since type stores generate code from them."""

FIELD = re.compile(r"^\s*([A-Za-z]\w*(?:/[A-Za-z]\w*){0,2})(?:\[[^]]*\])?(?:<=\d+)?\s+[A-Za-z]\w*", re.ASCII)
PRIMITIVES = re.compile(r"(bool|byte|char|w?string|float(32|64)|u?int(8|16|32|64))$")
SEPARATOR = "=" * 80
MAX_DEFINITION = 1_000_000
"""Longest definition, in characters, that is taken from a bag."""


def prefixes() -> list[Path]:
    """Return the folders whose `share/<package>/msg` may hold definitions: ament prefixes, Python's, this package's."""
    named = [Path(entry) for entry in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if entry]
    return [*named, Path(sys.prefix), *Path(__file__).resolve().parents[:6]]


def _file(package: str, name: str) -> Path | None:
    for prefix in prefixes():
        for folder in (prefix / "share" / package / "msg", prefix / package / "msg"):
            if (folder / f"{name}.msg").is_file():
                return folder / f"{name}.msg"
    return None


def _split(type_name: str) -> tuple[str, str]:
    if not TYPE_NAME.fullmatch(type_name):
        raise MotoError(f"message type '{type_name[:80]}' is no name of a type, expected e.g. sensor_msgs/msg/Image")
    package, *_, name = type_name.split("/")
    return package, name


@lru_cache
def _text(package: str, name: str) -> str:
    """Return one definition without those it uses: from its .msg file, else from the type store's own collection."""
    path = _file(package, name)
    if path is not None:
        return path.read_text(encoding="utf-8")
    try:
        full, _ = known_types().generate_msgdef(f"{package}/msg/{name}", ros_version=2)
    except (KeyError, TypesysError) as error:
        raise MotoError(
            f"message type '{package}/msg/{name}' is unknown, expected {package}/msg/{name}.msg under share/ of a ROS "
            "prefix; build or install its package and source its setup file"
        ) from error
    return full.split(SEPARATOR)[0].strip() + "\n"


@lru_cache
def definition(type_name: str) -> str:
    """Return the concatenated definition of a type and all it uses, as rosbag2 embeds it (encoding `ros2msg`).

    Raises MotoError for a type whose definition is not found.
    """
    package, name = _split(type_name)
    texts = {(package, name): _text(package, name)}
    queue = [(package, name)]
    while queue:
        owner = queue.pop(0)
        for used in _uses(texts[owner], owner[0]):
            if used not in texts:
                texts[used] = _text(*used)
                queue.append(used)
    first, *others = texts.items()
    return first[1] + "".join(f"{SEPARATOR}\nMSG: {pkg}/{kind}\n{text}" for (pkg, kind), text in others)


def _uses(text: str, package: str) -> list[tuple[str, str]]:
    """Return (package, name) of the types that a definition's fields have."""
    found: list[tuple[str, str]] = []
    for line in text.splitlines():
        match = FIELD.match(line.split("#")[0])
        if match and not PRIMITIVES.match(match[1]):
            parts = match[1].split("/")
            found.append((parts[0] if len(parts) > 1 else package, parts[-1]))
    return found


@lru_cache
def known_types() -> Typestore:
    """Return the types of a ROS installation's common packages, without those of this project."""
    return get_typestore(Stores.ROS2_JAZZY)


@lru_cache
def contract_types() -> Typestore:
    """Return the common types and moto_msgs, for bags that do not embed definitions."""
    store = get_typestore(Stores.ROS2_JAZZY)
    for name in CONTRACT:
        _register(store, f"moto_msgs/msg/{name}", definition(f"moto_msgs/msg/{name}"))
    return store


@lru_cache(maxsize=256)
def embedded_type(type_name: str, text: str) -> Typestore:
    """Return a type store for one type as a bag describes it; an empty text means the definition known here.

    Raises MotoError for a name or text that is no definition.
    """
    _split(type_name)
    if not text:
        return _known(type_name)
    if len(text) > MAX_DEFINITION:
        raise MotoError(f"definition of '{type_name}' has {len(text)} characters, expected at most {MAX_DEFINITION}")
    store = get_typestore(Stores.EMPTY)
    _register(store, type_name, text)
    return store


def _known(type_name: str) -> Typestore:
    if type_name in contract_types().fielddefs:
        return contract_types()
    store = get_typestore(Stores.EMPTY)
    _register(store, type_name, definition(type_name))
    return store


def _register(store: Typestore, type_name: str, text: str) -> None:
    try:
        found = get_types_from_msg(text, type_name)
        if not all(TYPE_NAME.fullmatch(name) for name in found):
            raise MotoError(f"definition of '{type_name}' names a type that is no type; the bag is damaged")
        store.register(found)
    except (TypesysError, ValueError, SyntaxError, RecursionError, KeyError, TypeError) as error:
        raise MotoError(f"definition of '{type_name}' cannot be read ({_brief(error)}); the bag is damaged") from error


def _brief(error: Exception) -> str:
    return " ".join(str(error).split())[:120]


@lru_cache
def type_hash(type_name: str) -> str:
    """Return the REP-2011 hash of a type (RIHS01_...), which rosbag2 stores beside its name; empty if unknown."""
    try:
        return str(embedded_type(type_name, definition(type_name)).hash_rihs01(type_name))
    except (KeyError, TypesysError):
        return ""
