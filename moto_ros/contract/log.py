"""The log of a node, as the code without ROS writes it: one method for each severity."""

from __future__ import annotations

from typing import Protocol


class Log(Protocol):
    """Takes lines from any thread; `moto_ros.ros.log.TextLogger` is a node's."""

    def info(self, text: str) -> None:
        """Log what happens as intended."""

    def warning(self, text: str) -> None:
        """Log what the program works around, and what a person may have to do something about."""

    def error(self, text: str) -> None:
        """Log what failed."""
