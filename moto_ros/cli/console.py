"""Where the commands print their tables."""

from __future__ import annotations

import os
import sys

from rich.console import Console

WIDTH_OF_FILES = 160
"""Columns where there is no terminal: a table in a file or a pipe shall not lose its ends."""


def console() -> Console:
    """Return a console as wide as the terminal, or as COLUMNS sets, or wide enough for a file."""
    known = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(width=None if known else WIDTH_OF_FILES)


def progress_console() -> Console:
    """Return a console for progress bars, on standard error: the output stays what was asked for."""
    return Console(stderr=True)
