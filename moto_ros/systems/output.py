"""Lines of a system's processes to the screen and the log; neither can block or end the process that writes them."""

from __future__ import annotations

import contextlib
import errno
import os
import queue
import select
import stat
import sys
import threading
import time
from pathlib import Path

BACKLOG = 10_000
"""Lines that wait for a paused screen (Ctrl-S, a reader that does not read); more are dropped."""

CLOSE_TIMEOUT = 2.0
"""Seconds that screen and log get for the last lines."""


class Sink:
    """A file descriptor that a thread writes to, until that fails: no caller waits for it."""

    def __init__(self, descriptor: int) -> None:
        """Start the thread; the descriptor stays the caller's."""
        self.error: OSError | None = None
        self._descriptor = os.dup(descriptor)
        self._lines: queue.Queue[bytes | None] = queue.Queue(BACKLOG)
        self._dropped = 0
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def write(self, line: bytes) -> None:
        """Have a line written soon."""
        if self._dropped:
            line = b"(%d lines dropped)\n%s" % (self._dropped, line)
        try:
            self._lines.put_nowait(line)
            self._dropped = 0
        except queue.Full:
            self._dropped += 1

    def close(self) -> None:
        """Write what waits, for CLOSE_TIMEOUT at most."""
        with contextlib.suppress(queue.Full):
            self._lines.put(None, timeout=CLOSE_TIMEOUT)
            self._thread.join(CLOSE_TIMEOUT)

    @property
    def reader_gone(self) -> bool:
        """Whether it is a pipe or a socket that has lost its reader, as after `| head`."""
        if self.error is not None:
            return self.error.errno == errno.EPIPE
        if not _is_pipe(self._descriptor):
            return False
        poll = select.poll()
        poll.register(self._descriptor, 0)
        return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))

    def _work(self) -> None:
        while (line := self._lines.get()) is not None:
            if self.error is None:
                try:
                    _write_all(self._descriptor, line)
                except OSError as error:
                    self.error = error


def _is_pipe(descriptor: int) -> bool:
    mode = os.fstat(descriptor).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        try:
            data = data[os.write(descriptor, data) :]
        except BlockingIOError:
            select.select([], [descriptor], [])


class Output:
    """Lines with time and name of their process, to the screen and to the file `log`."""

    def __init__(self, log: Path, width: int) -> None:
        """Open both; `width`: columns of the longest name."""
        self._width, self._path, self._log_lost = width, log, False
        sys.stdout.flush()
        self._screen = Sink(sys.stdout.fileno())
        self._log: Sink | None = None
        try:
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("ab") as file:
                self._log = Sink(file.fileno())
        except OSError as error:
            self._lose_log(error)

    @property
    def reader_gone(self) -> bool:
        """Whether the screen is a pipe that has lost its reader."""
        return self._screen.reader_gone

    def write_line(self, name: str, text: str) -> None:
        """Write the lines of `text`."""
        prefix = f"{time.strftime('%H:%M:%S')} {name.ljust(self._width)} | "
        for line in text.splitlines():
            whole = f"{prefix}{line}\n"
            self._screen.write(whole.encode(sys.stdout.encoding or "utf-8", "replace"))
            if self._log is not None:
                self._log.write(whole.encode("utf-8", "replace"))
        if self._log is not None and self._log.error is not None and not self._log_lost:
            self._lose_log(self._log.error)

    def _lose_log(self, error: OSError) -> None:
        self._log_lost = True
        reason = error.strerror or str(error)
        self.write_line(
            "system", f"{self._path}: {reason}; the log is no longer written; free disk space, or make it writable"
        )

    def close(self) -> None:
        """Write what waits, for CLOSE_TIMEOUT each at most."""
        for sink in (self._screen, self._log):
            if sink is not None:
                sink.close()
