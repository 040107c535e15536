"""A log that keeps its lines, for tests of code without ROS."""

from __future__ import annotations


class KeptLog:
    """Keeps each line with its severity."""

    def __init__(self) -> None:
        """Start empty."""
        self.lines: list[tuple[str, str]] = []

    def info(self, text: str) -> None:
        """Keep a line of severity `info`."""
        self.lines.append(("info", text))

    def warning(self, text: str) -> None:
        """Keep a line of severity `warning`."""
        self.lines.append(("warning", text))

    def error(self, text: str) -> None:
        """Keep a line of severity `error`."""
        self.lines.append(("error", text))
