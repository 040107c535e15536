"""Text encodings: what is printed reaches every terminal, and what is logged or published is valid UTF-8."""

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


def valid_text(text: str) -> str:
    """Return a text that UTF-8 can hold: a question mark for each byte of a file name that is no text.

    Python keeps such bytes as surrogates, which neither ROS's logger nor its messages take.
    """
    return text.encode("utf-8", "replace").decode()
