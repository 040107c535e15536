"""Standard output and error that may fail: a pipe without a reader, a closed or stopped terminal, a full disk."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
from collections.abc import Iterator
from typing import Any, TextIO, cast


class ReaderGone(BrokenPipeError):  # noqa: N818 - not an error
    """The process that read the output has ended, as `head` does after ten lines."""


class Screen:
    """A text stream that becomes silent, without an error, once it cannot be written."""

    def __init__(self, stream: TextIO, raise_when_closed: bool) -> None:
        """Wrap `stream`; `raise_when_closed`: raise ReaderGone when it is a pipe without a reader."""
        self._stream, self._raise_when_closed = stream, raise_when_closed

    def write(self, text: str) -> int:
        """Write, as far as possible."""
        with self._errors_ignored():
            return self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush, as far as possible."""
        with self._errors_ignored():
            self._stream.flush()

    def close_down(self) -> None:
        """Flush what is left, or drop it where it cannot be written: Python's exit would fail with it."""
        try:
            self._stream.flush()
        except OSError:
            _redirect_to_null(self._stream.fileno())
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        """Return what else the stream has."""
        return getattr(self._stream, name)

    @contextlib.contextmanager
    def _errors_ignored(self) -> Iterator[None]:
        try:
            yield
        except BlockingIOError:
            pass  # the pipe or terminal takes nothing now: this text is left out
        except OSError as error:
            _redirect_to_null(self._stream.fileno())
            if self._raise_when_closed and error.errno == errno.EPIPE:
                raise ReaderGone(*error.args) from error


@contextlib.contextmanager
def screens(raise_when_closed: bool = False) -> Iterator[None]:
    """Replace `sys.stdout` and `sys.stderr` by a `Screen` each for the block."""
    _open_closed()
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (cast(TextIO, Screen(stream, raise_when_closed)) for stream in before)
    try:
        yield
    finally:
        for screen in (sys.stdout, sys.stderr):
            with contextlib.suppress(ValueError):  # closed
                cast(Screen, screen).close_down()
        sys.stdout, sys.stderr = before


def make_output_nonblocking() -> None:
    """Make writes to standard output and error fail, not wait, while a pipe or a terminal takes nothing.

    ROS's logger holds Python's global lock while it writes: one line to a paused terminal (Ctrl-S) would stop every
    thread of the node. Both are opened again, because the flag belongs to the open file, which other processes share.
    Where that is refused (a terminal of another user, a socket), they stay as they are.
    """
    for descriptor in (1, 2):
        with contextlib.suppress(OSError):
            if not (stat.S_ISFIFO(os.fstat(descriptor).st_mode) or os.isatty(descriptor)):
                continue
            own = os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
            os.dup2(own, descriptor)
            os.close(own)


def _open_closed() -> None:
    """Open the null device for each standard stream that is closed: the next file would get its number."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w" if number else "r", encoding="utf-8"))  # noqa: SIM115


def _redirect_to_null(descriptor: int) -> None:
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, descriptor)
    os.close(null)
