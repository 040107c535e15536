"""The one configuration system: typed parameters with unit and range, read from ROS parameter files.

A settings class is a frozen dataclass whose fields are made by `parameter`; a field whose type is such a class is a
group and gives dotted names (`agent.deter`). Nodes, launch files and the command line all use these names.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
import math
import os
import re
import sys
import typing
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import yaml

from moto_ros.errors import MotoError, read_text, unwritable
from moto_ros.registry import expected_choice

Value = bool | int | float | str | tuple[Any, ...]
T = TypeVar("T")

REQUIRED: Any = dataclasses.MISSING
"""Default of a parameter that has no safe default: the user must set it."""

LIMIT = 2**63
"""ROS integers have 64 bits: -LIMIT <= value < LIMIT."""

SCALARS: dict[type, str] = {bool: "true or false", int: "an integer", float: "a number", str: "a text"}


@dataclass(frozen=True)
class Spec:
    """One parameter: dotted name, scalar type, whether it is a list, default, and what values are allowed."""

    name: str
    kind: type
    is_list: bool
    default: Any
    doc: str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    choices: Collection[str] = ()
    operational: bool = False
    extent: bool = False
    live: bool = False
    formerly: tuple[str, ...] = ()
    """Dotted names that earlier versions gave it, oldest first."""
    before: Any = None
    """Value that was in effect before the parameter existed; None for a parameter that a run always had."""

    @property
    def shapes_run(self) -> bool:
        """Return whether a resumed run must keep the value, because another one would change what it computes."""
        return not (self.operational or self.extent)

    def describe(self) -> str:
        """Return the documentation line that `--help` and parameter descriptors show."""
        limits = f"{'-inf' if self.low is None else self.low}..{'inf' if self.high is None else self.high}"
        parts = [self.unit, "" if self.low is None and self.high is None else limits, " | ".join(self.choices)]
        noted = ", ".join(part for part in parts if part)
        return f"{self.doc} [{noted}]" if noted else self.doc


def parameter(
    default: Any,
    doc: str,
    *,
    unit: str = "",
    low: float | None = None,
    high: float | None = None,
    choices: Collection[str] = (),
    operational: bool = False,
    extent: bool = False,
    live: bool = False,
    formerly: str | tuple[str, ...] = (),
    before: Any = None,
) -> Any:
    """Declare a settings field: default (or REQUIRED), one line of documentation, unit and allowed values.

    A resumed run may change a parameter that is `operational` (it only says how the run is computed: threads, device,
    how often it saves) or part of its `extent` (how long it runs, and what is measured beside it); a finished run whose
    extent grows is continued. It must keep every other parameter.

    `live`: the node takes another value while it runs, by `ros2 param set`.

    `formerly` holds the names that the parameter had, oldest first: a user may give them, with a warning, for one minor
    version; after that they stay only where files that earlier versions wrote hold them.

    `before` is the value that was in effect before the parameter existed: a run with this value may resume one that was
    started without the parameter.

    `choices` may be a Registry, which also takes "module:class".
    """
    metadata = {"doc": doc, "unit": unit, "low": low, "high": high, "choices": choices}
    metadata |= {"operational": operational, "extent": extent, "live": live, "before": before}
    metadata["formerly"] = (formerly,) if isinstance(formerly, str) else formerly
    return dataclasses.field(default=default, metadata=metadata)


def group(settings: type) -> Any:
    """Declare a field that holds another settings class; its parameters get the field's name as a prefix."""
    return dataclasses.field(default_factory=settings)


def specs(settings: type, prefix: str = "") -> dict[str, Spec]:
    """Return every parameter of a settings class by dotted name, groups included."""
    return _specs(typing.cast(Any, settings), prefix)


@lru_cache
def _specs(settings: type, prefix: str) -> dict[str, Spec]:
    hints = typing.get_type_hints(settings)
    found: dict[str, Spec] = {}
    for field in dataclasses.fields(settings):
        name, hint = prefix + field.name, hints[field.name]
        if dataclasses.is_dataclass(hint):
            found |= specs(typing.cast(type, hint), name + ".")
        else:
            found[name] = _spec(prefix, hint, field)
    return found


def _spec(prefix: str, hint: Any, field: dataclasses.Field[Any]) -> Spec:
    is_list = typing.get_origin(hint) is tuple
    kind = typing.get_args(hint)[0] if is_list else hint
    if "formerly" not in field.metadata:
        raise MotoError(
            f"parameter '{prefix}{field.name}': its field is not made by moto_ros.config.parameter, expected that of "
            "every field of a settings class; declare it so"
        )
    former = tuple(prefix + name for name in field.metadata["formerly"])
    return Spec(prefix + field.name, kind, is_list, field.default, **{**field.metadata, "formerly": former})


def former_names(known: Iterable[Spec]) -> dict[str, str]:
    """Return the present name of a parameter by each name that it had."""
    return {former: spec.name for spec in known for former in spec.formerly}


def warn_on_screen(text: str) -> None:
    """Print a warning to standard error, once for each text in the life of the process."""
    if text not in _warned:
        _warned.add(text)
        print(f"warning: {text}", file=sys.stderr, flush=True)


_warned: set[str] = set()


def present_names(
    known: Iterable[Spec],
    given: Mapping[str, T],
    source: str,
    warn: Callable[[str], None] | None = warn_on_screen,
) -> dict[str, T]:
    """Return what a user gave, or a file holds, under the present names of parameters; others keep their names.

    `warn` gets a sentence for each former name, naming `source`; None for files that the program itself wrote.
    Raises MotoError for a parameter that is given under two names.
    """
    former = former_names(known)
    found: dict[str, T] = {}
    for name, value in given.items():
        present = former.get(name, name)
        if present in found:
            both = " and ".join(sorted(one for one in given if former.get(one, one) == present))
            raise MotoError(
                f"{source}: parameter '{present}' is given under two names, {both}, expected it once; leave out the "
                "former name"
            )
        if present != name and warn is not None:
            warn(
                f"{source}: parameter '{name}' is now called '{present}', and the next minor version no longer takes "
                "the former name; rename it"
            )
        found[present] = value
    return found


def compared_values(
    values: Mapping[str, T], known: Mapping[str, Spec], compares: Callable[[Spec], bool] = lambda spec: spec.shapes_run
) -> dict[str, T]:
    """Return the values by which two runs are compared: of the parameters `known`, those that `compares` picks.

    A value that says what runs did before its parameter existed is left out, since older runs do not hold it. Values
    under other names are kept.
    """
    return {
        name: value
        for name, value in values.items()
        if name not in known or (compares(known[name]) and not _is_former_behaviour(known[name], value))
    }


def _is_former_behaviour(spec: Spec, value: Any) -> bool:
    # JSON files hold lists where parameters have tuples.
    return spec.before is not None and spec.before == (tuple(value) if isinstance(value, list) else value)


def build(settings: type[T], values: Mapping[str, Any], source: str) -> T:
    """Make a settings object from flat dotted names.

    Raises MotoError, naming `source` (a file, a node, the command line), for an unknown name, a wrong type, a value out
    of range, a parameter under two names, or a missing required parameter.
    """
    known = specs(typing.cast(Any, settings))
    given = checked(known, values, source)
    for name, spec in known.items():
        if name not in given and spec.default is REQUIRED:
            raise MotoError(f"{source}: parameter '{name}' ({spec.describe()}) is missing; set it")
    return _construct(settings, given, "")


def checked(known: Mapping[str, Spec], values: Mapping[str, Any], source: str) -> dict[str, Value]:
    """Return values under the present names of the parameters `known`.

    Raises MotoError as `build`, but not for what is missing.
    """
    values = present_names(known.values(), values, source)
    for name in values:
        if name not in known:
            raise MotoError(unknown_parameter(name, list(known), source))
    return {name: check(spec, values[name], source) for name, spec in known.items() if name in values}


def _construct(settings: type[T], values: Mapping[str, Value], prefix: str) -> T:
    hints = typing.get_type_hints(settings)
    arguments: dict[str, Any] = {}
    for field in dataclasses.fields(typing.cast(Any, settings)):
        name = prefix + field.name
        if dataclasses.is_dataclass(hints[field.name]):
            arguments[field.name] = _construct(hints[field.name], values, name + ".")
        elif name in values:
            arguments[field.name] = values[name]
    return settings(**arguments)


def unknown_parameter(name: str, known: list[str], source: str) -> str:
    """Return the sentence for a name that is not declared, with the closest known names."""
    close = difflib.get_close_matches(name, known, n=3)
    hint = f"did you mean {' or '.join(close)}?" if close else f"known are {', '.join(sorted(known))}"
    return f"{source}: unknown parameter '{name}'; {hint}"


def check(spec: Spec, value: Any, source: str) -> Value:
    """Return `value` as the parameter's type, or raise MotoError with what was found and expected."""
    if not spec.is_list:
        return _check_scalar(spec, value, source)
    if isinstance(value, (str, bytes, Mapping)) or not hasattr(value, "__iter__"):
        raise MotoError(f"{source}: parameter '{spec.name}' is {value!r}, expected a list; write [a, b]")
    # ROS parameter files cannot hold an empty list: it is written as [''].
    return tuple(_check_scalar(spec, item, source) for item in value if item != "")


def _check_scalar(spec: Spec, value: Any, source: str) -> Value:
    if spec.kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    fits = isinstance(value, spec.kind) and (spec.kind is bool or not isinstance(value, bool))
    if not fits or not _allowed(spec, value):
        raise MotoError(f"{source}: parameter '{spec.name}' is {value!r}, expected {_expected(spec)}")
    return typing.cast(Value, value)


def _allowed(spec: Spec, value: Any) -> bool:
    if spec.choices:
        return value in spec.choices
    if spec.kind not in (int, float):
        return True
    low, high = -math.inf if spec.low is None else spec.low, math.inf if spec.high is None else spec.high
    exists = math.isfinite(value) if spec.kind is float else -LIMIT <= value < LIMIT
    return exists and low <= value <= high


def _expected(spec: Spec) -> str:
    if spec.choices:
        return expected_choice(spec.choices)
    text = SCALARS[spec.kind]
    if spec.low is not None or spec.high is not None:
        text += f" in {'-inf' if spec.low is None else spec.low}..{'inf' if spec.high is None else spec.high}"
    return f"{text} ({spec.unit})" if spec.unit else text


def flatten(settings: Any, prefix: str = "") -> dict[str, Value]:
    """Return a settings object as flat dotted names."""
    flat: dict[str, Value] = {}
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value):
            flat |= flatten(value, f"{prefix}{field.name}.")
        else:
            flat[prefix + field.name] = value
    return flat


def digest(values: Mapping[str, Value]) -> str:
    """Return the first 16 hexadecimal digits of the SHA-256 of flat names and their values."""
    text = json.dumps(dict(values), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def parse(spec: Spec, text: str, source: str) -> Value:
    """Read a command-line text as YAML and check it against `spec`."""
    try:
        value = text if spec.kind is str and not spec.is_list else yaml.load(text, Loader=Loader)
    except (yaml.YAMLError, ValueError) as error:
        raise MotoError(
            f"{source}: '{text}' for '{spec.name}' is not YAML ({_one_line(error)}); write name:=value"
        ) from error
    return check(spec, value, source)


class Loader(yaml.SafeLoader):
    """Reads YAML as ROS does: `1e-5` is a number, `2024-01-01` a text."""


class Dumper(yaml.SafeDumper):
    """Writes YAML as ROS reads it: the text "1e-5" is quoted."""


EXPONENT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$")
Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _reader_or_writer in (Loader, Dumper):
    _reader_or_writer.add_implicit_resolver("tag:yaml.org,2002:float", EXPONENT, list("-+.0123456789"))


EVERY_NODE = "/**"
"""Section of a ROS parameter file whose parameters are those of every node."""


def sections_of(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """Read a ROS parameter file and return its sections in order: the node's name, or `/**`, and its flat names.

    A node is named without its namespace. Raises MotoError when the file is missing, not YAML or not in ROS form.
    """
    found = []
    for name, section in _load(path).items():
        node = EVERY_NODE if name == EVERY_NODE else str(name).rsplit("/", 1)[-1]
        found.append((node, _section(path, str(name), section)))
    return found


def read_parameters(path: Path, *nodes: str) -> dict[str, Any]:
    """Return the flat names of a ROS parameter file under `/**` and under the `nodes`, which may be names of one node.

    As in ROS, a later section wins over an earlier one. Raises MotoError as `sections_of` does.
    """
    found: dict[str, Any] = {}
    for node, parameters in sections_of(path):
        if node in (EVERY_NODE, *nodes):
            found |= parameters
    return found


def _section(path: Path, name: str, section: Any) -> dict[str, Any]:
    """Return the flat names of one node's section of a ROS parameter file."""
    in_form = isinstance(section, Mapping) and set(section) == {"ros__parameters"}
    parameters = (section["ros__parameters"] or {}) if in_form else None
    if not isinstance(parameters, Mapping):
        raise MotoError(f"{path}: '{name}' has no 'ros__parameters', expected '<node>: ros__parameters: ...'; add it")
    return dict(_flat_items(parameters, ""))


def _load(path: Path) -> dict[str, Any]:
    try:
        content = yaml.load(read_text(path, "a ROS parameter file"), Loader=Loader)
    except (yaml.YAMLError, ValueError) as error:
        raise MotoError(f"{path}: not YAML ({_one_line(error)}), expected a ROS parameter file; fix it") from error
    if not isinstance(content, dict):
        raise MotoError(f"{path}: found {type(content).__name__}, expected '<node>: ros__parameters: ...'; fix it")
    return content


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _flat_items(section: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in section.items():
        if isinstance(value, Mapping):
            yield from _flat_items(value, f"{prefix}{name}.")
        else:
            yield prefix + str(name), value


def write_parameters(path: Path, node: str, values: Mapping[str, Value]) -> None:
    """Write flat names as a ROS parameter file for one node; empty lists are written as ['']."""
    plain = {name: _writable(path, name, value) for name, value in values.items()}
    content = {node: {"ros__parameters": plain}}
    text = yaml.dump(content, Dumper=Dumper, sort_keys=True, allow_unicode=True, width=10_000)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise unwritable(path, error) from error


def _writable(path: Path, name: str, value: Value) -> Any:
    """Return a value as a ROS parameter file can hold it: empty lists as [''], and text, the names of files, as UTF-8.

    Where the locale is not UTF-8, a name that Python could not decode holds its bytes in surrogates.
    """
    if isinstance(value, tuple):
        return [_writable(path, name, item) for item in value] or [""]
    if not isinstance(value, str):
        return value
    try:
        return os.fsencode(value).decode() if any("\ud800" <= letter <= "\udfff" for letter in value) else value
    except UnicodeError as error:
        raise MotoError(
            f"{path}: parameter '{name}' is {value!r}, which is not UTF-8, expected a name that ROS can hold; rename it"
        ) from error


def config_folder() -> Path:
    """Return the folder of shipped parameter files: installed beside the package, or the source tree's `config/`."""
    source = Path(__file__).resolve().parents[1] / "config"
    if source.is_dir():
        return source
    for parent in Path(__file__).resolve().parents:
        installed = parent / "share" / "moto_ros" / "config"
        if installed.is_dir():
            return installed
    raise MotoError(f"{source}: no such folder, expected the package's parameter files; install moto_ros again")


def shipped(kind: str, name: str) -> Path:
    """Return the shipped parameter file `config/<kind>/<name>.yaml`, or `name` itself if it is a path to a file."""
    if name.endswith((".yaml", ".yml")):
        return Path(name)
    folder = config_folder() / kind
    path = folder / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in folder.glob("*.yaml")))
        what = f"{kind.removesuffix('s')} '{name}'"
        raise MotoError(f"{what}: no file {path}, expected one of {known} or a path ending in .yaml; correct it")
    return path


def part(settings: Any, kind: type[T]) -> T:
    """Return the `kind` that `settings`, of a class derived from it, contains."""
    fields = dataclasses.fields(kind)  # type: ignore[arg-type]
    return kind(**{field.name: getattr(settings, field.name) for field in fields})
