"""A node's logger that takes any text: ROS refuses one with the bytes of a file name that are not UTF-8."""

from __future__ import annotations

from typing import Any

from moto_ros.terminal import valid_text


class TextLogger:
    """ROS's logger of a node; each line is made valid UTF-8, since a text that cannot be logged must not end the node.

    One method per severity: rclpy fixes the severity of each place in the code that it is called from. Its filters
    (`once`, `throttle_duration_sec`) belong to such a place too, so they are not taken.
    """

    def __init__(self, logger: Any) -> None:
        """Take the node's own logger."""
        self._logger = logger

    def debug(self, text: str) -> None:
        """Log what only helps to find a fault in the program."""
        self._logger.debug(valid_text(text))

    def info(self, text: str) -> None:
        """Log what happens as intended."""
        self._logger.info(valid_text(text))

    def warning(self, text: str) -> None:
        """Log what the node works around, and what a person may have to do something about."""
        self._logger.warning(valid_text(text))

    def error(self, text: str) -> None:
        """Log what failed; the node continues without it."""
        self._logger.error(valid_text(text))

    def fatal(self, text: str) -> None:
        """Log why the node ends."""
        self._logger.fatal(valid_text(text))

    def __getattr__(self, name: str) -> Any:
        """Return what else ROS's logger has: its name, its level."""
        return getattr(self._logger, name)
