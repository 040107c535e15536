"""Merges the layers of a node's parameters: files and overrides, each over the one before, in `bringup.py`'s order."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from moto_ros.config import (
    EVERY_NODE,
    Spec,
    Value,
    check,
    config_folder,
    former_names,
    parse,
    present_names,
    read_parameters,
    sections_of,
    unknown_parameter,
)
from moto_ros.errors import MotoError

Parameters = dict[str, Any]
DeclaredParameters = Mapping[str, Mapping[str, Spec]]


OTHER_NAMES = {"robot": "franka"}
"""Another name of a node in parameter files and overrides -> the node: an arm need not be a Franka arm."""


def chosen_arm(files: Iterable[Path], overrides: str) -> dict[str, Any]:
    """Return the parameter `arm` as files and the user's overrides set it; empty where none does.

    It is needed first: the arm's driver declares parameters, too.
    """
    found: dict[str, Any] = {}
    for path in files:
        found |= {name: value for name, value in read_parameters(path, "robot", "franka").items() if name == "arm"}
    for text in shlex.split(overrides):
        name, sign, value = text.partition(":=")
        if sign and name in ("arm", "franka.arm", "robot.arm"):
            found["arm"] = value
    return found


@dataclass(frozen=True)
class Override:
    """One `name:=value` of the user, for every node that has the parameter or for one `node` only."""

    node: str
    name: str
    text: str


class ParameterLayers:
    """Parameter files, from general to specific, and the user's overrides, for the nodes' declared parameters."""

    def __init__(
        self,
        known: DeclaredParameters,
        families: Mapping[str, str],
        base: Parameters,
        files: Mapping[str, Path],
        overrides: str,
    ) -> None:
        """Take the layers, files by what they describe; MotoError for a name that no node knows.

        `known` holds the declared parameters of the nodes that are installed, `families` the name that the shipped
        files use for each node, installed or not.
        """
        self.known, self._base, self._files = known, base, files
        self._families = families
        self._overrides = self._renamed([_override(text, known) for text in shlex.split(overrides)])
        self._refuse_unknown()

    def _renamed(self, overrides: Sequence[Override]) -> list[Override]:
        """Return the overrides under the present names; MotoError for a parameter that is given under two names."""
        found = []
        for given in overrides:
            known = [spec for node in self.known if given.node in ("", node) for spec in self.known[node].values()]
            (name,) = present_names(known, dict.fromkeys([given.name]), "parameters")
            found.append(replace(given, name=name))
        for node, known_here in self.known.items():
            here = {given.name: given.text for given in overrides if given.node in ("", node)}
            present_names(known_here.values(), here, "parameters")
        return found

    def _refuse_unknown(self) -> None:
        everywhere = sorted({name for known in self.known.values() for name in known})
        for path in self._files.values():
            for section, values in sections_of(path):
                self._refuse_unknown_in(path, section, values)
        for given in self._overrides:
            known = list(self.known[given.node]) if given.node else everywhere
            if given.name not in known:
                raise MotoError(unknown_parameter(given.name, known, "parameters"))

    def _refuse_unknown_in(self, path: Path, section: str, names: Collection[str]) -> None:
        """Raise MotoError for a section of no node, and for a name that no node of the section knows."""
        nodes = [node for node in self._families if section in (EVERY_NODE, *self._sections(node))]
        if not nodes:
            named = sorted({name for node in self._families for name in self._sections(node)})
            raise MotoError(
                f"{path}: section '{section}' is of no node, expected {EVERY_NODE} or one of {', '.join(named)}; "
                "correct its name"
            )
        specs = [spec for node in nodes for spec in self.known.get(node, {}).values()]
        if all(node not in self.known for node in nodes):
            return  # a node that is not installed here
        known = sorted({spec.name for spec in specs})
        for name in names:
            if name not in known and name not in former_names(specs):
                where = "" if section == EVERY_NODE else f", section '{section}'"
                raise MotoError(unknown_parameter(name, known, f"{path}{where}"))

    def _sections(self, node: str) -> tuple[str, ...]:
        """Return the names by which files may call a node."""
        others = (other for other, named in OTHER_NAMES.items() if named == node)
        return (*others, self._families[node], node)

    def of(self, node: str, implied: Parameters) -> dict[str, Value]:
        """Return the parameters of one node, checked. The rest keeps the defaults."""
        known = self.known[node]
        values = self._base | self._from_files(node) | implied
        checked = {name: check(known[name], value, f"{node} node") for name, value in values.items() if name in known}
        for given in self._overrides:
            if given.name in known and given.node in ("", node):
                checked[given.name] = parse(known[given.name], given.text, "parameters")
        return checked

    def overridden(self, node: str, implied: Parameters) -> dict[str, tuple[Value, Value]]:
        """Return what the user's overrides change of a node's `implied` parameters: name -> (implied, the user's)."""
        known, found = self.known[node], {}
        for given in self._overrides:
            if given.name in known and given.name in implied and given.node in ("", node):
                before = check(known[given.name], implied[given.name], f"{node} node")
                found[given.name] = (before, parse(known[given.name], given.text, "parameters"))
        return {name: (before, after) for name, (before, after) in found.items() if before != after}

    def _from_files(self, node: str) -> Parameters:
        values: Parameters = {}
        family, known = self._families[node], self.known[node].values()
        # A task may use some of the cameras only: for the camera node, the cameras' own file comes last.
        last = "cameras" if family == "camera" else ""
        files = [path for kind, path in sorted(self._files.items(), key=lambda item: item[0] == last)]
        for path in (config_folder() / "nodes" / f"{family}.yaml", *files):
            if path.is_file():
                values |= present_names(known, read_parameters(path, *self._sections(node)), str(path))
        return values


def _override(text: str, known: DeclaredParameters) -> Override:
    """Return the parts of `name:=value` or `node.name:=value`."""
    name, sign, value = text.partition(":=")
    if not sign or not name:
        raise MotoError(f"parameters: '{text}' is not an assignment, expected name:=value or node.name:=value")
    first, _, rest = name.partition(".")
    first = OTHER_NAMES.get(first, first)
    return Override(first, rest, value) if first in known and rest else Override("", name, value)
