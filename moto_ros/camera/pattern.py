"""Test pattern of synthetic cameras: a moving picture that shows its frame number, so that tests can read it."""

from __future__ import annotations

import numpy as np

ROWS, COLUMNS = 4, 8
"""The number's 32 bits as black and white squares around the middle, most significant first."""


class Pattern:
    """Frames of one size: colours that move by one pixel per frame, and squares that show the frame number."""

    def __init__(self, width: int, height: int) -> None:
        """Prepare the colours of `width` x `height` px."""
        self._width, self._side = width, _side(height)
        self._top, self._left = _corner(width, height)
        x, y = np.arange(2 * width), np.arange(height)
        wave = (127.5 + 127.5 * np.sin(2 * np.pi * x / width)).astype(np.uint8)
        colours = np.empty((height, 2 * width, 3), np.uint8)
        colours[..., 0] = wave
        colours[..., 1] = (255 * y // height).astype(np.uint8)[:, None]
        colours[..., 2] = wave[::-1]
        self._colours = colours
        self._depth = (500 + y[:, None] + x[None, :width]).astype(np.uint16)

    def colour(self, number: int) -> np.ndarray:
        """Return frame `number` as uint8 (H, W, 3) RGB."""
        shift = number % self._width
        frame = np.ascontiguousarray(self._colours[:, shift : shift + self._width])
        bits = (number >> np.arange(ROWS * COLUMNS - 1, -1, -1)) & 1
        squares = np.kron(bits.reshape(ROWS, COLUMNS), np.ones((self._side, self._side), int))
        height, width = squares.shape
        frame[self._top : self._top + height, self._left : self._left + width] = (255 * squares[..., None]).astype(
            np.uint8
        )
        return frame

    def depth(self, number: int) -> np.ndarray:
        """Return the depth of frame `number` as uint16 (H, W) in mm: a slope that moves away and jumps back."""
        return self._depth + np.uint16(number % 100)


def read_number(pixels: np.ndarray) -> int:
    """Return the number that a frame (H, W, 3) of the pattern shows, also after JPEG compression."""
    height, width = pixels.shape[:2]
    side, (top, left) = _side(height), _corner(width, height)
    middle = slice(side // 2, None, side)
    squares = pixels[top : top + ROWS * side, left : left + COLUMNS * side, 1][middle, middle]
    return int("".join("1" if value > 127 else "0" for value in squares.reshape(-1)), 2)


def _side(height: int) -> int:
    return max(height // 16, 1)


def _corner(width: int, height: int) -> tuple[int, int]:
    side = _side(height)
    return (height - ROWS * side) // 2, (width - COLUMNS * side) // 2
