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
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import entry_points
from typing import Generic, TypeVar, cast

from moto_ros.errors import MotoError

T = TypeVar("T")

REFERENCE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)
"""A class as "module:class"."""


ADVICE = "install its package, or name its folder in PYTHONPATH"

IMPORT_ERRORS = (ImportError, AttributeError, OSError, RuntimeError)
"""Exceptions of an installed package that cannot be imported: a missing library, another version, no display."""


@dataclass(frozen=True)
class Requirement:
    """A package that a driver imports when it is used, and the command that installs it."""

    module: str
    install: str

    def is_installed(self) -> bool:
        """Return whether Python finds the package; it is not imported."""
        return importlib.util.find_spec(self.module) is not None

    def require(self, user: str) -> None:
        """Import the package; MotoError, naming its `user`, where it is not installed or cannot be imported."""
        if not self.is_installed():
            raise MotoError(f"{user}: {self.module} is not installed; {self.install}")
        try:
            importlib.import_module(self.module)
        except IMPORT_ERRORS as error:
            raise MotoError(
                f"{user}: {self.module} is installed, but importing it failed ({_reason(error)}); install it and the "
                f"libraries that it needs again: {self.install}"
            ) from error


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

    def is_registered(self, name: object) -> bool:
        """Return whether `name` is in this registry or an installed package's: a name that a file may bring."""
        return any(name == known for known in self)

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
            imported = importlib.import_module(module)
        except Exception as error:  # a module may raise anything while it is imported
            advice = self.advice if isinstance(error, IMPORT_ERRORS) else "fix the module"
            raise MotoError(
                f"{self.what} '{name}': importing {module} failed ({_reason(error)}), expected a module with the class "
                f"{attribute}; {advice}"
            ) from error
        found = getattr(imported, attribute, None)
        if found is None:
            raise MotoError(
                f"{self.what} '{name}': module {module} has no {attribute}, expected the class; correct the name"
            )
        if not (isinstance(found, type) and issubclass(found, self.base)):
            raise MotoError(
                f"{self.what} '{name}' is {found!r}, expected a class derived from {self.base.__module__}."
                f"{self.base.__name__}; derive it"
            )
        return cast("type[T]", found)

    @contextmanager
    def using(self, name: str) -> Iterator[type[T]]:
        """Load the class called `name` for a block in which it may import more.

        Raises MotoError as `load` does, and where an import in the block fails.
        """
        found = self.load(name)
        try:
            yield found
        except ImportError as error:
            requires: Requirement | None = getattr(found, "requires", None)
            advice = self.advice if requires is None else f"install it again: {requires.install}"
            what = error.name or "a module that it uses"
            raise MotoError(f"{self.what} '{name}': importing {what} failed ({_reason(error)}); {advice}") from error

    def _find(self, name: str) -> str:
        """Return "module:class" for a name, empty for an unknown one."""
        known = self.lines.get(name) or _entry_points(self.group).get(name)
        return known or (name if REFERENCE.fullmatch(name) else "")


@lru_cache
def _entry_points(group: str) -> dict[str, str]:
    """Return "module:class" of every entry point of a group by name."""
    return {point.name: point.value.replace(" ", "") for point in entry_points(group=group)}


def _reason(error: Exception) -> str:
    """Return type and text of an exception, in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
