"""Why a system ended: the first process that failed, and its error in one sentence. No ROS."""

from __future__ import annotations

import re
import signal

from moto_ros.terminal import COLOURS

ERROR = re.compile(r"\berror: (.+)", re.IGNORECASE)
"""The last line of a node of this package that ends because of an error."""

STOPPED = {-signal.SIGINT, -signal.SIGTERM, 128 + signal.SIGINT, 128 + signal.SIGTERM}
"""Exit statuses of a process that was asked to stop and did."""


class ExitCauses:
    """Collects the last line and the exit status of each process; `cause` is the first cause of a failure."""

    def __init__(self) -> None:
        """Start with nothing printed and nothing ended."""
        self._open: dict[str, str] = {}
        self._last: dict[str, str] = {}
        self.cause = ""
        """One sentence; empty while nothing has failed."""
        self.first = ""
        """The process that ended first; empty while all run."""

    def printed(self, process: str, text: str) -> None:
        """Add a part of a process's output, which may end in the middle of a line."""
        *lines, self._open[process] = (self._open.get(process, "") + text).split("\n")
        for line in lines:
            self._note(process, line)

    def _note(self, process: str, line: str) -> None:
        plain = COLOURS.sub("", line).strip()
        if plain and (ERROR.search(plain) or not ERROR.search(self._last.get(process, ""))):
            self._last[process] = plain

    def ended(self, process: str, status: int, *, told: bool) -> None:
        """Add how a process ended: exit status, or minus the signal; `told` where it was asked to stop."""
        self._note(process, self._open.pop(process, ""))
        failed = status not in STOPPED | {0} if told else status != 0
        if failed and not self.cause and (told or not self.first):
            self.cause = self._sentence(process, status)
        self.first = self.first or process

    def _sentence(self, process: str, status: int) -> str:
        said = self._last.get(process, "")
        if status < 0:
            name = signal.Signals(-status).name if -status in set(signal.Signals) else f"signal {-status}"
            return f"{process} was ended by {name}; the same command resumes"
        found = ERROR.search(said)
        if found:
            return f"{process}: {found[1]}"
        return f"{process} ended with status {status}: {said or 'it printed nothing'}"
