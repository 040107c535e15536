"""Message definitions as text, and rosbags type stores made from them, for writing and for reading bags."""

from __future__ import annotations

import os
import re
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from rosbags.interfaces import Nodetype
from rosbags.serde import SerdeError
from rosbags.typesys import Stores, TypesysError, get_types_from_idl, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from moto_ros.errors import MotoError

Types = dict[str, Any]
"""Types by name, as rosbags parses them: constants and fields."""

CONTRACT = (
    *("Action", "CameraHealth", "EpisodeBag", "EpisodeState", "OperatorEvent"),
    *("PolicyVersion", "PolicyWeights", "Reward", "RobotState", "SystemNode", "TrainingStatus"),
)
"""Messages of moto_msgs."""

ALWAYS_WITH_SESSION = ("PolicyVersion", "SystemNode")
"""Messages of moto_msgs whose first version already had the field `session`."""

ADDED_FIELDS = (
    "uint64 session",
    r"float32 success_probability|\S+ (arm|arm_reason|better_arm|arms|arm_episodes|arm_successes)",
    "float32 edited",
)
"""Fields that the messages of earlier versions lack, in the order in which versions added them."""

ALIGNMENT = 4
"""A serialized message may be padded to a multiple of this many bytes."""

TYPE_NAME = re.compile(r"[A-Za-z]\w*(/msg)?/[A-Za-z]\w*", re.ASCII)
"""A message type's name. Names from bags are checked against it, since type stores generate code from them."""

FIELD = re.compile(r"^\s*([A-Za-z]\w*(?:/[A-Za-z]\w*){0,2})(?:\[[^]]*\])?(?:<=\d+)?\s+[A-Za-z]\w*", re.ASCII)
PRIMITIVES = re.compile(r"(bool|byte|char|w?string|float(32|64)|u?int(8|16|32|64))$")
SEPARATOR = "=" * 80
RULER = re.compile(r"^={3,}[ \t]*$", re.MULTILINE)
"""Separators as other writers write them, of any length."""
IDL = re.compile(r"\bmodule\s+\w+\s*\{")
"""Found in every definition in IDL (`ros2idl`, `omgidl`), and in none in .msg form."""
DDS_NAME = re.compile(r"(.+)/dds_/(\w+?)_", re.ASCII)
"""A type's name as DDS spells it: `sensor_msgs::msg::dds_::Image_`."""
MAX_DEFINITION = 1_000_000
"""Longest definition, in characters, that is read from a bag."""


def prefixes() -> list[Path]:
    """Return the folders whose `share/<package>/msg` may hold definitions: ament's, Python's, this package's."""
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
        raise MotoError(f"message type '{type_name[:80]}' is not a type name, expected e.g. sensor_msgs/msg/Image")
    package, *_, name = type_name.split("/")
    return package, name


@lru_cache
def _text(package: str, name: str) -> str:
    """Return the definition of one type alone: from its .msg file, else from the types that rosbags ships."""
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
    """Return the definition of a type, followed by those of all types it uses, as rosbag2 embeds it (`ros2msg`).

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
    """Return (package, name) of the message types of the fields in a definition."""
    found: list[tuple[str, str]] = []
    for line in text.splitlines():
        match = FIELD.match(line.split("#")[0])
        if match and not PRIMITIVES.match(match[1]):
            parts = match[1].split("/")
            found.append((parts[0] if len(parts) > 1 else package, parts[-1]))
    return found


@lru_cache
def known_types() -> Typestore:
    """Return a type store of the common packages of a ROS installation, without moto_msgs."""
    return get_typestore(Stores.ROS2_JAZZY)


@lru_cache
def contract_types() -> Typestore:
    """Return a type store of the common packages and moto_msgs, for bags that do not embed definitions."""
    store = get_typestore(Stores.ROS2_JAZZY)
    for name in CONTRACT:
        _register(store, f"moto_msgs/msg/{name}", definition(f"moto_msgs/msg/{name}"))
    return store


@dataclass(frozen=True)
class _Lookup:
    """Result of looking up a type: its type store or an error sentence, and a note about its definition."""

    store: Typestore | None
    error: str = ""
    note: str = ""


def ros_type_name(name: str) -> str:
    """Return a type's name as ROS 2 spells it (`sensor_msgs/msg/Image`), from any recorder's spelling.

    An invalid name is returned unchanged.
    """
    plain = re.sub(r"::|\.", "/", name.strip().strip("\0"))
    if match := DDS_NAME.fullmatch(plain):
        plain = f"{match[1]}/{match[2]}"
    parts = plain.split("/")
    plain = "/".join((parts[0], "msg", parts[1])) if len(parts) == 2 else plain
    return plain if TYPE_NAME.fullmatch(plain) else name


def embedded_type(type_name: str, text: str) -> Typestore:
    """Return a type store of one type, made from `text`, its definition in a bag.

    The installed definition is used in place of an empty text, and of one that is incomplete or cannot be parsed, which
    `definition_note` reports. Raises MotoError for an invalid name, and where neither definition can be used.
    """
    found = _looked_up(type_name, text)
    if found.store is None:
        raise MotoError(found.error)
    return found.store


def definition_note(type_name: str, text: str) -> str:
    """Return what is wrong with the definition in a bag, in place of which the installed one is used; "" if nothing."""
    return _looked_up(type_name, text).note


@lru_cache(maxsize=256)
def _looked_up(type_name: str, text: str) -> _Lookup:
    """Look up a type; failures are cached too, since every message needs its type."""
    try:
        _split(type_name)
        return _Lookup(_known(type_name)) if not text.strip("\0 \t\r\n") else _parsed(type_name, text)
    except MotoError as error:
        try:
            found = str(error).removesuffix("; the bag is damaged")
            return _Lookup(_known(type_name), note=f"has a definition that cannot be used ({found})")
        except MotoError:
            return _Lookup(None, str(error))


def _parsed(type_name: str, text: str) -> _Lookup:
    """Parse the definition of a bag; types that it uses and does not contain are the installed ones."""
    if len(text) > MAX_DEFINITION:
        raise MotoError(f"definition of '{type_name}' has {len(text)} characters, expected at most {MAX_DEFINITION}")
    store = get_typestore(Stores.EMPTY)
    missing = _register(store, type_name, text)
    return _Lookup(store, note=f"has a definition without that of {', '.join(missing)}" if missing else "")


def decoded(type_name: str, text: str, data: bytes | memoryview) -> Any:
    """Return the message that `data` holds as CDR, by the definition `text` of its bag, else by the installed one.

    A bag without definitions (ROS 2 Humble) may be from before the messages had a session. Raises MotoError as
    `embedded_type` does, and rosbags' exceptions for bytes that are not such a message.
    """
    store = embedded_type(type_name, text)
    if not text and type_name.startswith("moto_msgs/") and not _is_whole(store, type_name, data):
        older = (_before(field) for field in reversed(ADDED_FIELDS))
        known = (one for one in older if type_name in one.fielddefs)
        store = next((one for one in known if _is_whole(one, type_name, data)), store)
    return store.deserialize_cdr(data, type_name)


def _is_whole(store: Typestore, type_name: str, data: bytes | memoryview) -> bool:
    """Return whether the bytes are exactly one message of the type; otherwise they are of another version of it."""
    try:
        message = store.deserialize_cdr(data, type_name)
        return 0 <= len(data) - len(store.serialize_cdr(message, type_name)) < ALIGNMENT
    except (SerdeError, struct.error, ValueError, IndexError, TypeError, KeyError, MemoryError):
        return False


@lru_cache
def _before(field: str) -> Typestore:
    """Return the messages of moto_msgs as they were before one of `ADDED_FIELDS`, and those after it, were added."""
    lacking = "|".join(ADDED_FIELDS[ADDED_FIELDS.index(field) :])
    store = get_typestore(Stores.EMPTY)
    for name in CONTRACT:
        text = definition(f"moto_msgs/msg/{name}")
        former = re.sub(rf"^({lacking})\b.*\n", "", text, flags=re.MULTILINE)
        if former != text and name not in ALWAYS_WITH_SESSION:
            _register(store, f"moto_msgs/msg/{name}", former)
    return store


def _known(type_name: str) -> Typestore:
    if type_name in contract_types().fielddefs:
        return contract_types()
    store = get_typestore(Stores.EMPTY)
    _register(store, type_name, definition(type_name))
    return store


def _register(store: Typestore, type_name: str, text: str) -> list[str]:
    """Register a type and what it uses; return the names of installed types that the text does not contain."""
    try:
        found = _types(type_name, text)
        missing = _complete(found, type_name)
        if not all(TYPE_NAME.fullmatch(name) for name in found):
            raise MotoError(f"definition of '{type_name}' contains an invalid type name; the bag is damaged")
        if type_name not in found:
            raise MotoError(f"definition of '{type_name}' describes {', '.join(found)[:80]} instead")
        store.register(found)
    except (TypesysError, ValueError, SyntaxError, RecursionError, KeyError, TypeError, AssertionError) as error:
        raise MotoError(f"definition of '{type_name}' cannot be read ({_brief(error)}); the bag is damaged") from error
    return missing


def _types(type_name: str, text: str) -> Types:
    """Return the types that a text in .msg or IDL form defines, with any line endings and separators."""
    plain = RULER.sub(SEPARATOR, text.replace("\r\n", "\n").strip("\ufeff\0"))
    if not IDL.search(plain):
        return get_types_from_msg(plain, type_name)
    if "<<" in plain:  # an expression could ask for a number that fills the memory
        raise MotoError(f"definition of '{type_name}' computes with shifts, expected IDL as ROS 2 writes it")
    found: Types = {}
    for part in plain.split(SEPARATOR):
        head, _, rest = part.strip().partition("\n")
        if head.startswith("MSG: "):
            found |= get_types_from_msg(rest, ros_type_name(head[5:]))
        elif body := rest if head.startswith("IDL: ") else part.strip():
            found |= get_types_from_idl(body)
    return found


def _complete(found: Types, type_name: str) -> list[str]:
    """Add the installed definitions of types that are used and missing; return their names."""
    missing: list[str] = []
    queue = list(found)
    while queue:
        for used in _used(found[queue.pop()]):
            if used not in found:
                known = contract_types().fielddefs if used in contract_types().fielddefs else _own_text(used)
                found[used] = known[used]
                missing.append(used)
                queue.append(used)
    return sorted(missing)


def _own_text(type_name: str) -> Types:
    """Return the types of an installed definition; MotoError where there is none."""
    return get_types_from_msg(definition(type_name), type_name)


def _used(described: Any) -> Iterator[str]:
    """Yield the names of the message types of the fields of a type."""
    for _, (kind, detail) in described[1]:
        kind, detail = detail[0] if kind in (Nodetype.ARRAY, Nodetype.SEQUENCE) else (kind, detail)
        if kind == Nodetype.NAME:
            yield str(detail)


def _brief(error: Exception) -> str:
    return " ".join(str(error).split())[:120]


@lru_cache
def type_hash(type_name: str) -> str:
    """Return the REP-2011 hash of a type (RIHS01_...), which rosbag2 stores beside its name; empty if unknown."""
    try:
        return str(embedded_type(type_name, definition(type_name)).hash_rihs01(type_name))
    except (KeyError, TypesysError):
        return ""
