"""One line of the doctor's answer."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Level(str, Enum):
    """How bad a finding is: only `MISSING` keeps the program from working."""

    OK = "ok"
    NOTE = "note"
    MISSING = "missing"


@dataclass(frozen=True)
class Finding:
    """What was checked, what was found, and what to do about it."""

    subject: str
    level: Level
    found: str
    advice: str = ""


def good(subject: str, found: str) -> Finding:
    """Return a finding that needs no action."""
    return Finding(subject, Level.OK, found)


def note(subject: str, found: str, advice: str) -> Finding:
    """Return a finding that may matter in some uses."""
    return Finding(subject, Level.NOTE, found, advice)


def missing(subject: str, found: str, advice: str) -> Finding:
    """Return a finding that keeps the program from working."""
    return Finding(subject, Level.MISSING, found, advice)
