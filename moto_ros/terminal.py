"""Terminal encodings: what is printed reaches every terminal, whatever letters it has."""

from __future__ import annotations

import io
import re
import sys

COLOURS = re.compile(r"\x1b\[[0-9;]*m")
"""What switches the colour of a terminal's text."""


def replace_unknown_letters() -> None:
    """Print a question mark for a letter that the terminal's encoding (LC_ALL=C) lacks, instead of failing.

    This holds, too, for the bytes of a file name that are no text.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    if isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr.reconfigure(errors="replace")
