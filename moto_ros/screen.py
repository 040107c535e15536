"""Standard output and error that may vanish: a pipe without a reader, a closed terminal, a full disk, a closed file."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO, cast


class ReaderGone(BrokenPipeError):  # noqa: N818 - not an error
    """Whoever read the output has gone away, as `head` does after ten lines."""


class Screen:
    """A text stream that is given up, not an error, once it cannot be written."""

    def __init__(self, stream: TextIO, tell: bool) -> None:
        """Wrap `stream`; with `tell`, ReaderGone is raised where it is a pipe that nobody reads any more."""
        self._stream, self._tell = stream, tell

    def write(self, text: str) -> int:
        """Write, as far as possible."""
        with self._given_up():
            return self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush, as far as possible."""
        with self._given_up():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        """Return what else the stream has."""
        return getattr(self._stream, name)

    @contextlib.contextmanager
    def _given_up(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            _to_nowhere(self._stream.fileno())
            if self._tell and error.errno == errno.EPIPE:
                raise ReaderGone(*error.args) from error


@contextlib.contextmanager
def screens(tell: bool = False) -> Iterator[None]:
    """Replace `sys.stdout` and `sys.stderr` by a `Screen` each for the block."""
    _open_closed()
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (cast(TextIO, Screen(stream, tell)) for stream in before)
    try:
        yield
    finally:
        for screen in (sys.stdout, sys.stderr):
            with contextlib.suppress(ReaderGone, ValueError):
                screen.flush()
        sys.stdout, sys.stderr = before


def _open_closed() -> None:
    """Open the null device for each standard stream that is closed: the next file would get its number."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w" if number else "r", encoding="utf-8"))  # noqa: SIM115


def _to_nowhere(descriptor: int) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)
