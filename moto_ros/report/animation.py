"""An animation of a run: camera frames beside success and uncertainty, both growing over the online episodes."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageDraw

from moto_ros.data.bag_info import guess_layout
from moto_ros.data.bag_library import USABLE, recordings
from moto_ros.data.bag_reader import read_episodes
from moto_ros.data.episode import Episode
from moto_ros.errors import MotoError, require_writable
from moto_ros.files import write_durably
from moto_ros.report.curves import MIN_EPISODES, WINDOW, draw_evaluations, has_probability, recent_mean
from moto_ros.report.history import History, column
from moto_ros.report.pictures import spread
from moto_ros.report.style import FAILURE, INK, MUTED, ONLINE, SUCCESS, UNCERTAINTY, WARM, draw_probability, styled
from moto_ros.training.metrics import Row

FORMATS = {".webp": "WEBP", ".gif": "GIF"}
"""Suffix of the file -> name of the format."""

MAX_BYTES = 2_000_000
"""Largest file that is written: pages that show a README refuse larger pictures, or load them late."""

CLIPS = 6
"""Online episodes that are played; the evaluations before and after are played, too."""

CLIP_FRAMES = 16
FRAME_MS, END_MS = 100, 2500
"""How long a frame and the last frame are shown."""

INCHES, PIXELS_PER_INCH = (8.0, 3.4), 100
VIEW, VIEW_LEFT, VIEW_TOP = 264, 16, 46
"""Side and position of the camera view, pixels."""

OWN = b"animation of a run, moto_ros"
"""What each file of this module holds, so that no other file is overwritten."""


@dataclass(frozen=True)
class Clip:
    """One episode to play: uint8 frames (T, VIEW, VIEW, 3), success of each, what it is, and the curves beside it.

    `first` and `last` are the online episodes that the curves show at its first and last frame.
    """

    title: str
    frames: np.ndarray
    success: np.ndarray
    first: int
    last: int


def write_animation(run: Path, target: Path) -> Path:
    """Write an animated WebP or GIF of at most `MAX_BYTES` from a run folder; return `target`.

    Raises MotoError when the suffix of `target` is that of another format, when it is a file that this function did not
    write, or when the run has no online episode or no bag with camera images.
    """
    kind = FORMATS.get(target.suffix.lower())
    if kind is None:
        raise MotoError(f"{target}: ends in '{target.suffix}', expected .webp or .gif; rename the file to write")
    require_writable(target)
    if target.is_file() and OWN not in target.read_bytes():
        raise MotoError(f"{target}: exists and is not an animation of moto_ros, so it is kept; choose another file")
    history = History(run)
    pictures = list(drawn(history, clips(history)))
    write_durably(target, encoded(pictures, kind))
    return target


def clips(history: History) -> list[Clip]:
    """Return what to play: the first evaluation, online episodes spread evenly over the run, the last evaluation.

    Episodes whose bag is gone are left out. Raises MotoError when no online episode is recorded or none can be shown.
    """
    online = history.online
    if not online:
        raise MotoError(
            f"{history.run.path}: metrics.jsonl holds no online episode, expected at least one to animate; "
            "run moto finetune first"
        )
    found, shown = [], 0
    for row, title, last in episodes_to_play(history):
        episode = recorded(history, int(row["id"]))
        if episode is None:
            continue
        steps = spread(len(episode.reward), CLIP_FRAMES)
        frames = next(iter(episode.images.values()))[steps]
        outcome = "success" if episode.succeeded else "no success"
        found.append(Clip(f"{title}: {outcome}", frames, episode.success[steps], shown, last))
        shown = last
    if not found:
        raise MotoError(
            f"{history.run.bags}: no bag with camera images of the run's {len(online)} online episodes, expected "
            "at least one; give a run whose bags are still in its folder and whose task has a camera"
        )
    return found


def episodes_to_play(history: History) -> Iterator[tuple[Row, str, int]]:
    """Yield the row of each episode to play, its title, and the online episodes done when it has ended."""
    online, evaluated = history.online, history.of("episode", purpose="evaluation")
    before = [row for row in evaluated if row["time"] <= online[0]["time"]]
    after = [row for row in evaluated if row["time"] > online[-1]["time"]]
    if before:
        yield before[0], "evaluation before", 0
    for index in spread(len(online), CLIPS):
        yield online[index], f"online episode {index + 1} of {len(online)}", index + 1
    if after:
        yield after[0], "evaluation after", len(online)


def recorded(history: History, number: int) -> Episode | None:
    """Return an online or evaluation episode from the run's bags, with images of `VIEW` pixels; None without one.

    An episode that was recorded several times is taken from the newest recording that was not aborted or discarded.
    """
    for bag in recordings(history.run.bags, number):
        reading = read_episodes(bag, replace(guess_layout(bag), image_size=VIEW))
        own = [episode for episode in reading.episodes if episode.info["id"] == number]
        found = [episode for episode in own if episode.images and episode.info["outcome"] in USABLE]
        if found:
            return max(found, key=len)
    return None


def drawn(history: History, played: list[Clip]) -> Iterator[Image.Image]:
    """Yield the pictures: each camera frame of the clips beside the curves up to that moment."""
    for clip in played:
        counts = np.linspace(clip.first, clip.last, len(clip.frames)).round().astype(int)
        backgrounds = {
            int(count): Image.fromarray(background(history, clip.title, int(count), final=clip is played[-1]))
            for count in np.unique(counts)
        }
        for frame, success, count in zip(clip.frames, clip.success, counts, strict=True):
            picture = backgrounds[int(count)].copy()
            edge = (VIEW_LEFT - 3, VIEW_TOP - 3, VIEW_LEFT + VIEW + 2, VIEW_TOP + VIEW + 2)
            ImageDraw.Draw(picture).rectangle(edge, fill=SUCCESS if success else FAILURE)
            picture.paste(Image.fromarray(frame), (VIEW_LEFT, VIEW_TOP))
            yield picture


@styled
def background(history: History, title: str, count: int, *, final: bool) -> np.ndarray:
    """Return the picture without its camera frame, uint8 (H, W, 3): `count` online episodes done.

    `final` shows the evaluation after the online episodes as well.
    """
    figure = Figure(figsize=INCHES, dpi=PIXELS_PER_INCH)
    canvas = FigureCanvasAgg(figure)
    width, height = (inches * PIXELS_PER_INCH for inches in INCHES)
    figure.text(VIEW_LEFT / width, 1 - (VIEW_TOP - 12) / height, title, fontsize=10, weight="bold", color=INK)
    evaluations = [row for row in history.evaluations if row["after"] == 0 or final]
    right = 0.90 if has_probability(history.online) else 0.97
    upper, lower = (figure.add_axes((0.45, bottom, right - 0.45, 0.36)) for bottom in (0.55, 0.14))
    draw_success(upper, history.online[:count], evaluations)
    draw_uncertainty(lower, history.online[:count], history.online)
    for axis in (upper, lower):
        axis.set_xlim(-0.5, len(history.online) + 0.5)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def draw_success(axis: Axes, online: list[Row], evaluations: list[Row]) -> None:
    """Draw success (%) of online episodes, a tick each, their moving mean, and evaluations with their intervals."""
    axis.set(ylim=(-8, 135), yticks=(0, 50, 100))
    axis.set_ylabel("success (%)", fontsize=9)
    axis.tick_params(labelbottom=False)
    success, episodes = column(online, "success"), np.arange(1, len(online) + 1)
    for reached, color in ((1, SUCCESS), (0, MUTED)):
        axis.plot(episodes[success == reached], 100 * success[success == reached], "|", color=color, markersize=6)
    if len(online) >= MIN_EPISODES:
        axis.plot(episodes[MIN_EPISODES - 1 :], 100 * recent_mean(success), color=ONLINE)
    axis.plot([], [], color=ONLINE, label=f"online, mean of the last {WINDOW}")
    label = f"evaluation of {evaluations[0]['n']} episodes, 95 %" if evaluations else None
    axis.plot([], [], "o", color=WARM, label=label)
    axis.set_xlim(-0.5, max([len(online), *(row["after"] for row in evaluations)]) + 0.5)
    draw_evaluations(axis, evaluations, [row["after"] for row in evaluations], WARM)
    axis.legend(loc="lower right", bbox_to_anchor=(1.01, 1.0), ncols=2, fontsize=8, borderpad=0, columnspacing=1.0)


def draw_uncertainty(axis: Axes, online: list[Row], planned: list[Row]) -> None:
    """Draw the mean uncertainty of the actions of each online episode, on the scale of all `planned` ones.

    Beside it, where known, the chance of success that the policy estimated at the start of each.
    """
    highest = np.nan_to_num(column(planned, "uncertainty")).max(initial=0.0)
    axis.set(ylim=(0, 1.15 * max(float(highest), 1e-3)), xlabel="online episode")
    axis.set_ylabel("uncertainty u", fontsize=9)
    episodes = np.arange(1, len(online) + 1)
    axis.plot(episodes, column(online, "uncertainty"), "o-", color=UNCERTAINTY, markersize=3)
    if has_probability(planned):
        draw_probability(axis, episodes, column(online, "success_probability"), "o-")


def encoded(pictures: list[Image.Image], kind: str) -> bytes:
    """Return the animation as a file of at most `MAX_BYTES`: every second picture is dropped until it fits.

    Raises MotoError where the first and the last picture alone are larger.
    """
    stride = 1
    while True:
        kept = pictures[::stride] if stride == 1 else [*pictures[:-1:stride], pictures[-1]]
        durations = [FRAME_MS * stride] * (len(kept) - 1) + [END_MS]
        content = io.BytesIO()
        mark = {"xmp": OWN, "quality": 80, "method": 4} if kind == "WEBP" else {"comment": OWN}
        kept[0].save(content, kind, save_all=True, append_images=kept[1:], duration=durations, loop=0, **mark)
        if content.tell() <= MAX_BYTES:
            return content.getvalue()
        if len(kept) <= 2:
            raise MotoError(
                f"animation: its first and last picture have {content.tell():,} bytes, expected at most {MAX_BYTES:,}; "
                "write a .webp file, which is smaller than a .gif"
            )
        stride *= 2
