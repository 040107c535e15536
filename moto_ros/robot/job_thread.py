"""One thread for jobs that move or wait for the arm, in order; it never keeps a process from ending. No ROS."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


class JobThread:
    """Does jobs one after the other. A job that is stuck in a driver is left behind at the end."""

    def __init__(self, name: str) -> None:
        """Start the thread."""
        self._jobs: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def do(self, job: Callable[[], T]) -> Future[T]:
        """Queue a job; the future holds its result, or what it raised."""
        done: Future[T] = Future()
        self._jobs.put((done, job))
        return done

    def close(self, timeout: float) -> bool:
        """End after the jobs that wait; return whether that took less than `timeout` seconds."""
        self._jobs.put(None)
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _work(self) -> None:
        while (queued := self._jobs.get()) is not None:
            done, job = queued
            try:
                done.set_result(job())
            except Exception as error:  # it is raised where somebody waits for the result
                done.set_exception(error)
