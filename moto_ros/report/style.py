"""The common style of the report's figures."""

from __future__ import annotations

import io
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, MUTED, GRID, PAPER = "#1b2733", "#6b7a89", "#e6eaee", "#ffffff"
OFFLINE, OFFLINE_BAND, ONLINE = "#8a97a5", "#f1f4f7", "#0b7285"
SUCCESS, FAILURE, UNCERTAINTY, WARM = "#2f9e44", "#dee2e6", "#9c36b5", "#e8590c"
RUNS = ("#0b7285", "#e8590c", "#5f3dc4", "#2f9e44", "#c2255c", "#1971c2", "#f08c00", "#495057")
WIDTH = 5.8
"""Width of every figure, inches: small, so that its text is readable on a phone."""
DPI = 190

RC: Any = {
    "figure.facecolor": PAPER,
    "axes.facecolor": PAPER,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.8,
    "font.size": 10,
    "font.family": "DejaVu Sans",
}

styled = mpl.rc_context(RC)
"""Decorator: draw in the common style."""


def draw_probability(axis: Axes, x: Any, values: Any, mark: str = "-") -> None:
    """Draw estimated probabilities of success, 0 to 1, on a scale of their own at the right of `axis`."""
    right = axis.twinx()
    right.grid(visible=False)
    right.plot(x, 100 * np.asarray(values, np.float64), mark, color=SUCCESS, linewidth=1.4, markersize=3)
    right.set(ylim=(0, 105), yticks=(0, 50, 100))
    right.set_ylabel("estimated chance\nof success (%)", fontsize=8, color=SUCCESS)
    right.tick_params(labelsize=8, colors=SUCCESS)


def page(height: float, rows: int = 1, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """Return a figure of the common width, `height` inches high, and its axes row by row."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    return figure, list(axes.flat)


def bare(axis: Axes) -> None:
    """Strip an axis to its content, for pictures."""
    axis.set_xticks([])
    axis.set_yticks([])
    axis.grid(False)
    axis.spines[:].set_visible(False)


def png(figure: Figure) -> bytes:
    """Return a figure as PNG."""
    content = io.BytesIO()
    figure.savefig(content, dpi=DPI, format="png")
    return content.getvalue()
