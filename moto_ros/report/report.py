"""Writes the report of run folders: one self-contained HTML page, readable on a phone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader

from moto_ros.errors import MotoError, require_writable
from moto_ros.files import write_durably
from moto_ros.report.combined_page import combined_page
from moto_ros.report.history import History
from moto_ros.report.run_page import single_page

TEMPLATE = "report.html.j2"

PAGE_MARK, HEAD_BYTES = "· moto_ros</title>".encode(), 4096
"""Text that each page has in its first bytes, this many."""


def require_own(target: Path) -> None:
    """Raise MotoError when `target` is a file that is not a report of this program: it is not overwritten."""
    if target.is_file() and target.stat().st_size:
        with target.open("rb") as file:
            if PAGE_MARK not in file.read(HEAD_BYTES):
                raise MotoError(f"{target}: exists and is not a report of moto_ros, so it is kept; choose another file")


def write_report(runs: Sequence[Path], output: Path | None = None) -> Path:
    """Write the page of one run (`<run>/report.html`), or of several together (`report.html` beside the first).

    Raises MotoError when a folder holds no run.
    """
    if not runs:
        raise MotoError("report: no run folder given, expected one or more; name the folders of runs")
    histories = [History(path) for path in runs]
    target = output or (
        histories[0].run.report_file if len(runs) == 1 else Path(runs[0]).resolve().parent / "report.html"
    )
    require_writable(target, "" if output else "give --output FILE, or change the owner or permissions of its folder")
    require_own(target)
    page = single_page(histories[0]) if len(runs) == 1 else combined_page(histories)
    template = Environment(loader=PackageLoader("moto_ros", "report"), autoescape=True).get_template(TEMPLATE)
    write_durably(target, template.render(**page))
    return target
