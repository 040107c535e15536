"""Figures of images: open-loop predictions and rollouts, each a mosaic of frames."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from moto_ros.report.style import (
    INK,
    MUTED,
    OFFLINE,
    ONLINE,
    SUCCESS,
    UNCERTAINTY,
    WIDTH,
    bare,
    draw_probability,
    styled,
)

STRIP_FRAMES = 8
SHEET_COLUMNS = 6
SHEET_ROWS = 3
GAP = 0.06
"""Space between frames, as a share of a frame."""

LINE_HEIGHT = 1.35
LABELS = 0.5
"""Heights and widths in inches."""

Arrays = dict[str, np.ndarray]


def spread(length: int, limit: int) -> list[int]:
    """Return at most `limit` indices spread evenly over `length`, first and last included."""
    return sorted(set(np.linspace(0, length - 1, min(limit, length)).round().astype(int).tolist()))


def first_camera(frames: np.ndarray) -> np.ndarray:
    """Return the first three channels: the first camera of frames (..., H, W, 3 x cameras)."""
    return frames[..., :3]


def draw_frame(axis: Axes, frame: np.ndarray, column: int, row: float, color: str | None = None) -> None:
    """Draw a picture in a cell of a grid whose cells have side 1; with a frame if a colour is given."""
    left, top, side = column + GAP / 2, row + GAP / 2, 1 - GAP
    axis.imshow(frame, extent=(left, left + side, top + side, top), aspect="auto", interpolation="antialiased")
    if color is not None:
        axis.add_patch(Rectangle((left, top), side, side, fill=False, edgecolor=color, linewidth=2.2))


def grid_axis(figure: Figure, box: tuple[float, float, float, float], columns: float, rows: float) -> Axes:
    """Return a bare axis in figure inches (left, bottom, width, height) that counts in cells, row 0 on top."""
    width, height = figure.get_size_inches()
    axis = figure.add_axes((box[0] / width, box[1] / height, box[2] / width, box[3] / height))
    bare(axis)
    axis.set(xlim=(0, columns), ylim=(rows, 0))
    return axis


@styled
def prediction_strip(arrays: Arrays) -> Figure:
    """Draw truth above, prediction in the middle and their difference below; context frames are framed grey."""
    truth, imagined = first_camera(arrays["truth"]), first_camera(arrays["imagination"])
    error = np.abs(truth.astype(np.int16) - imagined).astype(np.uint8)
    context, steps = int(arrays["context"]), strip_steps(len(truth), int(arrays["context"]))
    side, head = (WIDTH - LABELS) / len(steps), 0.22
    figure = Figure(figsize=(WIDTH, 3 * side + head))
    axis = grid_axis(figure, (LABELS, 0, WIDTH - LABELS, 3 * side + head), len(steps), 3 + head / side)
    top = head / side
    for row, (label, frames) in enumerate((("truth", truth), ("model", imagined), ("error", error))):
        axis.text(-0.12, top + row + 0.5, label, ha="right", va="center", fontsize=9, color=INK)
        for column, step in enumerate(steps):
            color = OFFLINE if step < context else ONLINE
            draw_frame(axis, frames[step], column, top + row, color if frames is imagined else None)
    draw_numbers(axis, steps, len(steps), 1.0, top - 0.08)
    axis.set(xlim=(0, len(steps)), ylim=(3 + top, 0))
    return figure


def draw_numbers(axis: Axes, steps: Sequence[int], columns: int, pitch: float, first: float) -> None:
    """Write step numbers above frames laid out in reading order, lines `pitch` apart."""
    for index, step in enumerate(steps):
        position = (index % columns + 0.5, first + pitch * (index // columns))
        axis.text(
            *position, f"step {step}" if index == 0 else f"{step}", ha="center", va="bottom", fontsize=7.5, color=MUTED
        )


def strip_steps(length: int, context: int) -> list[int]:
    """Return the steps shown: two of the context frames, then predicted ones spread evenly."""
    given = [index for index in (0, context - 1) if 0 <= index < length]
    rest = [context + index for index in spread(max(length - context, 1), STRIP_FRAMES - len(given))]
    return sorted({*given, *(step for step in rest if step < length)})


@styled
def contact_sheet(arrays: Arrays) -> Figure:
    """Draw frames of one episode in reading order, those with success framed green, and a time line below."""
    frames, success = first_camera(arrays["frames"]), arrays["success"].astype(bool)
    steps = spread(len(frames), SHEET_COLUMNS * SHEET_ROWS)
    rows, side, head = -(-len(steps) // SHEET_COLUMNS), WIDTH / SHEET_COLUMNS, 0.17
    pitch, height = 1 + head / side, rows * (side + head)
    figure = Figure(figsize=(WIDTH, height + LINE_HEIGHT))
    axis = grid_axis(figure, (0, LINE_HEIGHT, WIDTH, height), SHEET_COLUMNS, rows * pitch)
    for index, step in enumerate(steps):
        row, column = divmod(index, SHEET_COLUMNS)
        draw_frame(axis, frames[step], column, row * pitch + head / side, SUCCESS if success[step] else None)
    draw_numbers(axis, steps, SHEET_COLUMNS, pitch, head / side)
    axis.set(xlim=(0, SHEET_COLUMNS), ylim=(rows * pitch, 0))
    box = (
        0.75 / WIDTH,
        0.45 / (height + LINE_HEIGHT),
        (WIDTH - (1.5 if has_probability(arrays) else 0.85)) / WIDTH,
        (LINE_HEIGHT - 0.6) / (height + LINE_HEIGHT),
    )
    _draw_time_line(figure.add_axes(box), arrays)
    return figure


def _draw_time_line(axis: Axes, arrays: Arrays) -> None:
    """Draw the uncertainty of each action, and the estimated chance of success where known, success shaded."""
    success, uncertainty = arrays["success"].astype(bool), arrays["uncertainty"]
    steps, band = np.arange(len(success)), axis.get_xaxis_transform()
    axis.fill_between(steps, 0, 1, where=success, transform=band, color=SUCCESS, alpha=0.13, step="mid")
    axis.plot(np.arange(len(uncertainty)), uncertainty, color=UNCERTAINTY, linewidth=1.4)
    highest = float(np.nan_to_num(uncertainty).max(initial=0.0))
    axis.set(xlim=(0, max(len(success) - 1, 1)), ylim=(0, 1.15 * max(highest, 1e-3)))
    axis.set_xlabel("step", fontsize=9)
    axis.set_ylabel("uncertainty u\n(latent units)", fontsize=8)
    axis.tick_params(labelsize=8)
    if has_probability(arrays):
        chance = arrays["success_probability"]
        draw_probability(axis, np.arange(len(chance)), chance)


def has_probability(arrays: Arrays) -> bool:
    """Return whether a rollout has estimated probabilities of success; those of earlier versions have none."""
    return bool(np.isfinite(arrays.get("success_probability", np.empty(0))).any())
