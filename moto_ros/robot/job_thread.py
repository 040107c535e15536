"""Job thread: one daemon thread that runs the jobs that move the arm, one after the other. No ROS."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


class JobThread:
    """Runs jobs one after the other. A job that hangs in a driver does not keep the process from ending."""

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
        """End after the queued jobs; return whether that took less than `timeout` seconds."""
        self._jobs.put(None)
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _work(self) -> None:
        while (queued := self._jobs.get()) is not None:
            done, job = queued
            try:
                done.set_result(job())
            except Exception as error:  # raised again where the result is read
                done.set_exception(error)
