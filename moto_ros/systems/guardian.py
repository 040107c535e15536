"""Ends the processes of a `moto` that was killed: SIGTERM at once, SIGKILL after the stop time. A script of its own.

Nodes notice by themselves that their parent is gone; this one process is for a node that cannot, because it hangs or is
frozen. On its standard input it reads `+PID` and `-PID`, process groups that begin and end; the input ends with `moto`.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterable

PERIOD = 0.1
"""Seconds between two polls of the processes."""


def main() -> None:
    """Wait for the end of the input, then end what is left."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups: set[int] = set()
    for line in sys.stdin:
        (groups.add if line[0] == "+" else groups.discard)(int(line[1:]))
    end = time.monotonic() + float(sys.argv[1])
    groups = send(groups, signal.SIGTERM)
    while groups and time.monotonic() < end:
        time.sleep(PERIOD)
        groups = send(groups, 0)
    send(groups, signal.SIGKILL)


def send(groups: Iterable[int], number: int) -> set[int]:
    """Send a signal to process groups; return those that exist. Signal 0 only checks."""
    there = set()
    for group in groups:
        try:
            os.killpg(group, number)
        except ProcessLookupError:
            continue
        there.add(group)
    return there


if __name__ == "__main__":
    main()
