"""Figures of what was seen: open-loop predictions and rollouts."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from moto_ros.training.style import DOUBT, INK, MUTED, OFFLINE, ONLINE, SUCCESS, WIDTH, bare, picture_page, styled

STRIP_FRAMES = 10
SHEET_COLUMNS = 8
SHEET_ROWS = 3

Arrays = dict[str, np.ndarray]


def spread(length: int, most: int) -> list[int]:
    """Return at most `most` indices spread evenly over `length`, first and last included."""
    return sorted(set(np.linspace(0, length - 1, min(most, length)).round().astype(int).tolist()))


def first_camera(frames: np.ndarray) -> np.ndarray:
    """Return the first three channels: the first camera of frames (..., H, W, 3 x cameras)."""
    return frames[..., :3]


def draw_frame(axis: Axes, frame: np.ndarray, color: str | None = None) -> None:
    """Draw a picture, framed where a colour is given."""
    bare(axis)
    axis.imshow(frame, interpolation="nearest" if frame.shape[0] < 24 else "antialiased")
    if color is not None:
        axis.spines[:].set(visible=True, color=color, linewidth=2.2)


@styled
def prediction_strip(arrays: Arrays) -> Figure:
    """Draw truth above, imagination in the middle and their difference below; the given frames are framed grey."""
    truth, imagined = first_camera(arrays["truth"]), first_camera(arrays["imagination"])
    error = np.abs(truth.astype(np.int16) - imagined).astype(np.uint8)
    context, steps = int(arrays["context"]), strip_steps(len(truth), int(arrays["context"]))
    figure = picture_page(0.35 + 3 * WIDTH / len(steps))
    axes = figure.subplots(3, len(steps), squeeze=False)
    for column, step in enumerate(steps):
        color = OFFLINE if step < context else ONLINE
        for axis, frames in zip(axes[:, column], (truth, imagined, error), strict=True):
            draw_frame(axis, frames[step], color if frames is imagined else None)
        axes[0, column].set_title(f"{step}", fontsize=8.5, color=MUTED, loc="center", weight="normal")
    for axis, label in zip(axes[:, 0], ("truth", "model", "error"), strict=True):
        axis.set_ylabel(label, fontsize=9, color=INK)
    return figure


def strip_steps(length: int, context: int) -> list[int]:
    """Return the steps shown: two of the given frames, then the imagined ones spread evenly."""
    given = [index for index in (0, context - 1) if 0 <= index < length]
    rest = [context + index for index in spread(max(length - context, 1), STRIP_FRAMES - len(given))]
    return sorted({*given, *(step for step in rest if step < length)})


@styled
def contact_sheet(arrays: Arrays) -> Figure:
    """Draw frames of one episode in reading order, those with success framed green, and a time line below."""
    frames, success = first_camera(arrays["frames"]), arrays["success"].astype(bool)
    steps = spread(len(frames), SHEET_COLUMNS * SHEET_ROWS)
    rows = -(-len(steps) // SHEET_COLUMNS)
    side = WIDTH / SHEET_COLUMNS
    figure = picture_page(rows * (side + 0.16) + 1.35)
    parts: Any = figure.subfigures(2, 1, height_ratios=[rows * (side + 0.16), 1.35])
    sheet, line = parts
    axes = sheet.subplots(rows, SHEET_COLUMNS, squeeze=False)
    for axis in axes.flat:
        bare(axis)
    for axis, step in zip(axes.flat, steps, strict=False):
        draw_frame(axis, frames[step], SUCCESS if success[step] else None)
        axis.set_title(f"{step}", fontsize=7.5, color=MUTED, loc="center", weight="normal", pad=2)
    _draw_time_line(line.subplots(), arrays)
    return figure


def _draw_time_line(axis: Axes, arrays: Arrays) -> None:
    """Draw the uncertainty of each action, success shaded."""
    success = arrays["success"].astype(bool)
    steps = np.arange(len(success))
    axis.fill_between(
        steps, 0, 1, where=success, transform=axis.get_xaxis_transform(), color=SUCCESS, alpha=0.13, step="mid"
    )
    axis.plot(np.arange(len(arrays["uncertainty"])), arrays["uncertainty"], color=DOUBT, linewidth=1.4)
    axis.set(xlim=(0, max(len(success) - 1, 1)), xlabel="step")
    axis.set_ylabel("uncertainty u\n(latent units)", fontsize=8.5)
    axis.set_ylim(bottom=0)
    axis.tick_params(labelsize=8)
