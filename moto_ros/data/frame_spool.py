"""Decoded frames of a long bag: beyond `IN_MEMORY` bytes they are kept in temporary files, not in memory."""

from __future__ import annotations

import mmap
import os
import shutil
import tempfile

import numpy as np

from moto_ros.data.private_copy import MIN_FREE_BYTES

IN_MEMORY = 2**29
"""Bytes of frames that stay in memory: 24 minutes of one camera at 30 Hz and 64 x 64 pixels."""

BLOCK = 2**28
"""Bytes of a temporary file."""


class FrameSpool:
    """Stores frames and returns equal ones; those on disk are read-only, and their files are deleted with them."""

    def __init__(self, in_memory: int = IN_MEMORY, block: int = BLOCK) -> None:
        """Keep `in_memory` bytes in memory; the rest goes to files of `block` bytes in the temporary folder."""
        self._room, self._size = in_memory, block
        self._map: mmap.mmap | None = None
        self._file, self._offset = -1, block

    def keep(self, frame: np.ndarray) -> np.ndarray:
        """Return a frame with these pixels; it stays in memory where the temporary folder has no room."""
        self._room -= frame.nbytes
        if self._room >= 0 or not frame.nbytes:
            return frame
        try:
            if self._map is None or self._offset + frame.nbytes > self._size:
                self._begin(frame.nbytes)
            return self._written(frame)
        except OSError:
            return frame

    def _begin(self, needed: int) -> None:
        """Map a new file as a whole before anything is written to it: frames are views of the map."""
        self.close()
        size = max(self._size, needed)
        if shutil.disk_usage(tempfile.gettempdir()).free < MIN_FREE_BYTES + size:
            raise OSError("no room for another block")
        with tempfile.TemporaryFile("w+b", prefix="moto_ros_") as file:
            file.truncate(size)
            self._map = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)
            self._file, self._offset = os.dup(file.fileno()), 0

    def _written(self, frame: np.ndarray) -> np.ndarray:
        """Write to the file, where a full disk is an error, not to the map, where it would kill the process."""
        data, start = np.ascontiguousarray(frame).data.cast("B"), self._offset
        while data:
            data = data[os.pwrite(self._file, data, self._offset) :]
            self._offset = start + frame.nbytes - len(data)
        return np.frombuffer(self._map, frame.dtype, frame.size, start).reshape(frame.shape)  # type: ignore[arg-type]

    def close(self) -> None:
        """Stop writing; returned frames stay valid."""
        if self._file >= 0:
            os.close(self._file)
        self._file, self._map, self._offset = -1, None, self._size
