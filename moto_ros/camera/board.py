"""Calibration boards, ChArUco or AprilTag (OpenCV): described, drawn for printing, found in images."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from moto_ros.errors import MotoError, require_writable
from moto_ros.files import set_aside

CHARUCO, APRILTAG = "charuco", "apriltag"
DEFAULTS: dict[str, tuple[int, int, float, float, str]] = {
    CHARUCO: (7, 5, 0.036, 0.027, "DICT_4X4_50"),
    APRILTAG: (4, 3, 0.06, 0.048, "DICT_APRILTAG_36h11"),
}
"""Kind -> columns, rows, square (m), marker (m), dictionary of a board that fits on A4."""

PIXELS_PER_METRE = 20_000
"""Resolution of a printed board, about 500 dpi: an edge is exact to 0.05 mm."""

MARGIN = 0.012
"""White border of a printed page, m; detection needs one."""

LINE = 0.1
"""Length of the line on the page by which the print is measured, m."""

MIN_CORNERS = 6
"""Fewer corners in a view do not give a reliable pose of the board."""

MIN_SPREAD = 0.3
"""Smallest root mean square distance, in markers, of the corners from a line: in a row they give no pose."""


@dataclass(frozen=True)
class BoardSettings:
    """A calibration board. Its frame: origin in a corner of the board, x along the columns, y along the rows, m."""

    kind: str
    columns: int
    rows: int
    square: float  # m: edge of a square (ChArUco), distance from tag to tag (AprilTag)
    marker: float  # m: edge of a marker's or tag's black square
    dictionary: str

    def __post_init__(self) -> None:
        """Raise MotoError for a board that cannot be made."""
        wrong = ""
        if self.kind not in DEFAULTS:
            wrong = f"kind is '{self.kind}', expected one of {', '.join(DEFAULTS)}"
        elif self.columns < 2 or self.rows < 2:
            wrong = f"{self.columns} columns and {self.rows} rows, expected at least 2 of each"
        elif not 0.0 < self.marker < self.square < 10.0:
            wrong = f"marker {self.marker:g} m and square {self.square:g} m, expected 0 < marker < square in metres"
        elif not self.dictionary.startswith("DICT_") or not hasattr(_aruco(), self.dictionary):
            wrong = f"dictionary is '{self.dictionary}', expected a name of OpenCV, e.g. {DEFAULTS[self.kind][4]}"
        else:
            needed = self.columns * self.rows // (2 if self.kind == CHARUCO else 1)
            there = len(_dictionary(self.dictionary).bytesList)
            if needed > there:
                wrong = f"needs {needed} markers, but {self.dictionary} has {there}"
        if wrong:
            raise MotoError(f"board: {wrong}; give the sizes and the dictionary of the board that is used")

    def describe(self) -> dict[str, Any]:
        """Return the settings for a file."""
        return asdict(self)


def board_settings(kind: str, **given: Any) -> BoardSettings:
    """Return a board with the kind's defaults for whatever is None. MotoError for one that cannot be made."""
    if kind not in DEFAULTS:
        raise MotoError(f"board: kind is '{kind}', expected one of {', '.join(DEFAULTS)}; give one of them")
    names = ("columns", "rows", "square", "marker", "dictionary")
    values: dict[str, Any] = dict(zip(names, DEFAULTS[kind], strict=True))
    return BoardSettings(kind, **(values | {name: value for name, value in given.items() if value is not None}))


@dataclass(frozen=True)
class Corners:
    """Corners of a board found in an image: points float64 (N, 3), m, in the board's frame; pixels float64 (N, 2)."""

    points: np.ndarray
    pixels: np.ndarray


class Board:
    """Finds a board in images, and draws it."""

    def __init__(self, settings: BoardSettings) -> None:
        """Prepare the detector. Raises MotoError where OpenCV is too old."""
        self.settings = settings
        aruco, dictionary = _aruco(), _dictionary(settings.dictionary)
        size = (settings.columns, settings.rows)
        parameters = aruco.DetectorParameters()
        self._board: Any
        if settings.kind == CHARUCO:
            self._board = aruco.CharucoBoard(size, settings.square, settings.marker, dictionary)
            self._charuco = aruco.CharucoDetector(self._board, detectorParams=parameters)
        else:
            parameters.cornerRefinementMethod = aruco.CORNER_REFINE_SUBPIX
            gap = settings.square - settings.marker
            self._board = aruco.GridBoard(size, settings.marker, gap, dictionary)
            self._tags = aruco.ArucoDetector(dictionary, parameters)

    def find(self, pixels: np.ndarray) -> Corners:
        """Return the corners that are seen in an RGB image uint8 (H, W, 3); N = 0 where there are none."""
        grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
        if self.settings.kind == CHARUCO:
            found, numbers, _, _ = self._charuco.detectBoard(grey)
            known = self._board.getChessboardCorners()
            points = known[numbers.ravel()] if numbers is not None else np.empty((0, 3))
        else:
            tags, numbers, _ = self._tags.detectMarkers(grey)
            known = dict(zip(self._board.getIds().ravel().tolist(), self._board.getObjPoints(), strict=True))
            seen = [] if numbers is None else numbers.ravel().tolist()
            own = [(tag, known[number]) for tag, number in zip(tags, seen, strict=True) if number in known]
            found = np.concatenate([tag[0] for tag, _ in own]) if own else None
            points = np.concatenate([corners for _, corners in own]) if own else np.empty((0, 3))
        where = np.empty((0, 2)) if found is None else np.asarray(found)
        return Corners(np.asarray(points, float).reshape(-1, 3), where.astype(float).reshape(-1, 2))

    def problem(self, corners: Corners) -> str:
        """Return why corners give no pose, "" if they do."""
        count = len(corners.points)
        if count < MIN_CORNERS:
            return f"{count} corners found, at least {MIN_CORNERS} needed" if count else "no board found"
        centred = corners.points - corners.points.mean(0)
        spread = np.linalg.svd(centred, compute_uv=False)[1] / np.sqrt(count)
        return "corners in one row only" if spread < MIN_SPREAD * self.settings.marker else ""

    def draw(self, scale: int = PIXELS_PER_METRE) -> np.ndarray:
        """Return the board alone as grey uint8 (H, W), `scale` pixels a metre, without a margin."""
        settings = self.settings
        less = 0.0 if settings.kind == CHARUCO else settings.square - settings.marker
        width, height = (count * settings.square - less for count in (settings.columns, settings.rows))
        return np.asarray(self._board.generateImage((round(width * scale), round(height * scale))))

    def page(self) -> np.ndarray:
        """Return the page to print, grey uint8 (H, W) at `PIXELS_PER_METRE`: board, its sizes, a line to measure."""
        drawn, margin = self.draw(), round(MARGIN * PIXELS_PER_METRE)
        page = cv2.copyMakeBorder(drawn, margin, margin, margin, margin, cv2.BORDER_CONSTANT, value=255)
        left, y = margin, page.shape[0] - margin // 3
        length = round(LINE * PIXELS_PER_METRE)
        cv2.line(page, (left, y), (left + length - 1, y), 0, 8)
        for end in (left, left + length - 1):
            cv2.line(page, (end, y - 40), (end, y + 40), 0, 8)
        settings = self.settings
        text = f"{settings.kind} {settings.columns}x{settings.rows}, square {1000 * settings.square:g} mm, "
        text += f"marker {1000 * settings.marker:g} mm; the line is {1000 * LINE:g} mm"
        cv2.putText(page, text, (left, y - 60), cv2.FONT_HERSHEY_SIMPLEX, 2.0, 0, 5, cv2.LINE_AA)
        return page


def write_board(board: Board, path: Path, force: bool = False) -> None:
    """Write the page to print as PNG or PDF in its true size; with `force`, a file that exists is renamed.

    Raises MotoError for another suffix, or a file that exists.
    """
    if path.suffix.lower() not in (".png", ".pdf"):
        raise MotoError(f"{path}: its name ends in '{path.suffix}', expected .png or .pdf; give such a name")
    if path.exists() and not force:
        raise MotoError(f"{path} exists and is kept; give another --write-board, or --force to rename and replace it")
    require_writable(path)
    dpi = PIXELS_PER_METRE * 0.0254
    image = Image.fromarray(board.page())
    if path.exists():
        set_aside(path)
    if path.suffix.lower() == ".png":
        image.save(path, dpi=(dpi, dpi))
    else:
        image.save(path, resolution=dpi)


def _aruco() -> Any:
    """Return OpenCV's module of markers. Raises MotoError where it lacks it."""
    aruco = getattr(cv2, "aruco", None)
    if not hasattr(aruco, "CharucoDetector"):
        raise MotoError(
            f"OpenCV {cv2.__version__} cannot detect ChArUco boards, expected 4.8 or later; "
            "pip install 'opencv-python-headless>=4.8,<5'"
        )
    return aruco


def _dictionary(name: str) -> Any:
    aruco = _aruco()
    return aruco.getPredefinedDictionary(getattr(aruco, name))
