"""The MP4 videos of a LeRobot dataset by PyAV: many episodes in a file, and what the codec changes in the images."""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from moto_ros.data.lerobot_files import file_name
from moto_ros.data.lerobot_modules import pyav
from moto_ros.errors import MotoError

MAX_VIDEO_MB = 200
"""Size after which the next episode begins another file."""

MIB = 2**20


@dataclass(frozen=True)
class Codec:
    """An encoder of FFmpeg with its options, the decoder for its stream, and the stream's name in `meta/info.json`."""

    encoder: str
    decoder: str
    name: str
    options: dict[str, str]
    low: int
    """Smallest side of an image, px."""
    pixels: str = "yuv420p"
    """Layout of colours: yuv420p has one for four pixels, which limits PSNR however large the file is."""


CODECS = {
    "h264": Codec("libx264", "h264", "h264", {"crf": "18", "preset": "medium"}, 16),
    "av1": Codec("libsvtav1", "libdav1d", "av1", {"crf": "24", "preset": "8"}, 64),
    "h264_444": Codec("libx264", "h264", "h264", {"crf": "4", "preset": "medium"}, 16, "yuv444p"),
}
"""H.264 is what every player decodes; AV1 is what lerobot writes by default; h264_444 keeps colours, for learners."""

KEYFRAME_EVERY = 2
"""Frames between two that can be decoded alone, as lerobot writes them: training reads single frames."""


@dataclass(frozen=True)
class Span:
    """Where the frames of an episode are: number of the file, and seconds from its start."""

    file: int
    start: float
    end: float


class VideoWriter:
    """Writes the frames of one camera, episode after episode, and measures the error of the codec as it goes."""

    def __init__(self, root: Path, key: str, fps: int, codec: str) -> None:
        """Write below `root`/videos/`key`; `codec` is one of `CODECS`."""
        self._root, self._key, self._fps, self._codec = root, key, fps, CODECS[codec]
        self._file, self._frames = -1, 0
        self._container: Any = None
        self._originals: deque[np.ndarray] = deque()
        os.environ.setdefault("SVT_LOG", "1")  # the AV1 encoder logs errors only, not its settings
        self._squares, self._numbers = 0.0, 0

    @property
    def psnr(self) -> float:
        """Return the peak signal-to-noise ratio of all frames after coding, dB; infinite without any error."""
        error = self._squares / max(1, self._numbers)
        return 10.0 * math.log10(255.0**2 / error) if error else math.inf

    def add(self, frames: np.ndarray) -> Span:
        """Encode the frames of an episode, uint8 (N, H, W, 3), all of one size."""
        if self._container is None or self._size() > MAX_VIDEO_MB * MIB:
            self._next_file(frames)
        start = self._frames
        for pixels in frames:
            frame = pyav().VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format=self._codec.pixels)
            frame.pts, frame.time_base = self._frames, Fraction(1, self._fps)
            self._originals.append(pixels)
            self._frames += 1
            self._mux(frame)
        return Span(self._file, start / self._fps, self._frames / self._fps)

    def close(self) -> None:
        """Finish the file."""
        if self._container is not None:
            self._mux(None)
            self._compare(None)
            self._container.close()
            self._container = None

    def _size(self) -> int:
        """Return the bytes of the file so far; an encoder may keep the first frames for a while."""
        return self._path.stat().st_size if self._path.exists() else 0

    @property
    def _path(self) -> Path:
        return self._root / "videos" / self._key / f"{file_name(self._file)}.mp4"

    def _next_file(self, frames: np.ndarray) -> None:
        self.close()
        self._file, self._frames = self._file + 1, 0
        height, width = frames.shape[1:3]
        if height % 2 or width % 2 or min(height, width) < self._codec.low:
            raise MotoError(
                f"{self._key}: images have {width}x{height} px, expected even sides of at least {self._codec.low} px "
                f"for codec {self._codec.name}; set image_size, e.g. -p image_size:=64"
            )
        self._path.parent.mkdir(parents=True, exist_ok=True)
        av = pyav()
        self._container = av.open(str(self._path), "w")
        self._stream = self._container.add_stream(self._codec.encoder, rate=self._fps, options=self._codec.options)
        self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, self._codec.pixels
        self._stream.codec_context.gop_size = KEYFRAME_EVERY
        self._stream.codec_context.max_b_frames = 0
        self._stream.codec_context.time_base = Fraction(1, self._fps)
        self._decoder: Any = None

    def _mux(self, frame: Any) -> None:
        for packet in self._stream.encode(frame):
            self._compare(packet)
            self._container.mux(packet)

    def _compare(self, packet: Any) -> None:
        """Decode a packet again, and add the squared difference to the images that went in."""
        if self._decoder is None:
            self._decoder = pyav().CodecContext.create(self._codec.decoder, "r")
            self._decoder.extradata = self._stream.codec_context.extradata
        for frame in self._decoder.decode(packet):
            difference = frame.to_ndarray(format="rgb24").astype(np.float64) - self._originals.popleft()
            self._squares += float(np.square(difference).sum())
            self._numbers += difference.size

    def described(self, shape: tuple[int, ...]) -> dict[str, Any]:
        """Return the feature of images with `shape` (H, W, 3), as `meta/info.json` has it."""
        height, width, channels = shape
        facts = {
            "video.height": height,
            "video.width": width,
            "video.codec": self._codec.name,
            "video.pix_fmt": self._codec.pixels,
            "video.is_depth_map": False,
            "video.fps": self._fps,
            "video.channels": channels,
            "has_audio": False,
            "is_depth_map": False,
        }
        return {"dtype": "video", "shape": list(shape), "names": ["height", "width", "channels"], "info": facts}


def read_frames(path: Path, start: float, count: int, fps: float) -> Iterator[np.ndarray]:
    """Yield `count` frames of a video from `start` (s) on, RGB uint8 (H, W, 3), each within half a frame of its time.

    Raises MotoError for a file that is no video, or that lacks one of the frames.
    """
    av = pyav()
    found = 0
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            container.seek(max(0, round(start / stream.time_base) - 1), backward=True, stream=stream)
            for frame in container.decode(stream):
                if found == count:
                    break
                place = (float(frame.pts * stream.time_base) - start) * fps
                if place > found - 0.5:
                    if place > found + 0.5:
                        break
                    found += 1
                    yield frame.to_ndarray(format="rgb24")
    except (av.FFmpegError, IndexError, OSError) as error:
        text = f"{path}: is not a video that can be decoded ({error}), expected {count} frames"
        raise MotoError(f"{text}; fetch the dataset again") from error
    if found < count:
        text = f"{path}: has {found} frames from {start:.3f} s on, expected {count} at {fps:g} Hz"
        raise MotoError(f"{text}; fetch the dataset again")
