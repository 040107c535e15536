"""Building blocks of a report page: pictures, tables, tiles and sections."""

from __future__ import annotations

import base64
import errno
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from matplotlib.figure import Figure

from moto_ros.errors import unwritable
from moto_ros.report.style import png
from moto_ros.training.statistics import Interval


@dataclass(frozen=True)
class Picture:
    """A figure on the page: title, caption, PNG as data URI."""

    title: str
    caption: str
    source: str


@dataclass(frozen=True)
class Table:
    """A table on the page; the first column is left-aligned. Folded away when `folded`."""

    title: str
    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    folded: bool = False
    note: str = ""


@dataclass(frozen=True)
class Tile:
    """One number at the top of the page."""

    label: str
    value: str
    detail: str = ""
    tone: str = ""


@dataclass
class Section:
    """A part of the page."""

    title: str
    text: str = ""
    pictures: list[Picture] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    points: list[str] = field(default_factory=list)

    @property
    def empty(self) -> bool:
        """Return whether there is nothing to show."""
        return not (self.text or self.pictures or self.tables or self.points)


def picture(figure: Figure, path: Path, title: str, caption: str) -> Picture:
    """Save a figure as PNG and inline it; only inline it where `path` is not writable (another user's run)."""
    image = png(figure)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise unwritable(path, error) from error
    content = base64.b64encode(image).decode()
    return Picture(title, caption, f"data:image/png;base64,{content}")


def interval_text(rate: Interval) -> str:
    """Return a rate's Wilson interval and n as text."""
    return f"95 % [{100 * rate.low:.0f}, {100 * rate.high:.0f}], n = {rate.n}"


def counted(number: int, thing: str) -> str:
    """Return a number of things in words, e.g. "1 run", "2 runs"."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def duration(seconds: float) -> str:
    """Return a duration as text, e.g. "14 min 5 s"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
