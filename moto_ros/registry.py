"""Registries of agents, arms, cameras and worlds: one line "module:class" by name.

Another package adds a name by an entry point in the registry's group. "module:class" in place of a name needs no
packaging at all. Only the class that the user's parameters name is imported.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import entry_points
from typing import Generic, TypeVar, cast

from moto_ros.errors import MotoError

T = TypeVar("T")

REFERENCE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)
"""A class as "module:class"."""


ADVICE = "install its package, or name its folder in PYTHONPATH"


@dataclass(frozen=True)
class Requirement:
    """A package that a driver imports when it is used, and the command that installs it."""

    module: str
    install: str

    def is_installed(self) -> bool:
        """Return whether Python finds the package; it is not imported."""
        return importlib.util.find_spec(self.module) is not None


def expected_choice(choices: Collection[str]) -> str:
    """Return what is expected where there are choices: "one of a, b"; of a registry, "module:class" is one too."""
    own = ", or module:class" if isinstance(choices, Registry) else ""
    return f"one of {', '.join(choices)}{own}"


class Registry(Collection[str], Generic[T]):
    """The names of one kind of class; as the `choices` of a parameter, "module:class" is a choice, too."""

    def __init__(self, what: str, group: str, base: type, lines: Mapping[str, str], advice: str = ADVICE) -> None:
        """Make a registry of classes derived from `base`.

        `what` names their kind in errors, `group` is the entry-point group of other packages, and `lines` holds the
        built-in names with their "module:class". `advice` says what to do when a class cannot be imported.
        """
        self.what, self.group, self.base, self.lines, self.advice = what, group, base, dict(lines), advice

    def __iter__(self) -> Iterator[str]:
        """Yield the built-in names, then those of installed packages."""
        yield from self.lines
        yield from (name for name in _entry_points(self.group) if name not in self.lines)

    def __len__(self) -> int:
        """Return how many names there are."""
        return len(list(iter(self)))

    def __contains__(self, name: object) -> bool:
        """Return whether `name` is a known name or "module:class"; nothing is imported."""
        return isinstance(name, str) and bool(self._find(name))

    def load(self, name: str) -> type[T]:
        """Import and return the class called `name`.

        Raises MotoError for an unknown name, a module that cannot be imported, and a class of another kind.
        """
        reference = self._find(name)
        if not reference:
            close = difflib.get_close_matches(name, list(self), n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise MotoError(f"{self.what} '{name}' is unknown, expected {expected_choice(self)}{hint}")
        module, _, attribute = reference.partition(":")
        try:
            found = getattr(importlib.import_module(module), attribute)
        except ImportError as error:
            raise MotoError(
                f"{self.what} '{name}': importing {module} failed ({error}), expected a module with the class "
                f"{attribute}; {self.advice}"
            ) from error
        except AttributeError as error:
            raise MotoError(
                f"{self.what} '{name}': module {module} has no {attribute}, expected the class; correct the name"
            ) from error
        if not (isinstance(found, type) and issubclass(found, self.base)):
            raise MotoError(
                f"{self.what} '{name}' is {found!r}, expected a class derived from {self.base.__module__}."
                f"{self.base.__name__}; derive it"
            )
        return cast("type[T]", found)

    def _find(self, name: str) -> str:
        """Return "module:class" for a name, empty for an unknown one."""
        known = self.lines.get(name) or _entry_points(self.group).get(name)
        return known or (name if REFERENCE.fullmatch(name) else "")


@lru_cache
def _entry_points(group: str) -> dict[str, str]:
    """Return "module:class" of every entry point of a group by name."""
    return {point.name: point.value.replace(" ", "") for point in entry_points(group=group)}
