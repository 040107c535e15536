"""Memory maps of `.npy` files that keep no file open, so that thousands of them stay below the limit of open files."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import weakref
from pathlib import Path
from typing import Any

import numpy as np

from moto_ros.errors import MotoError

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.mmap.restype = ctypes.c_void_p
LIBC.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_int64)
LIBC.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
FAILED = ctypes.c_void_p(-1).value
"""Return value of a failed mmap."""


def mapped_array(path: Path) -> np.ndarray:
    """Return the array of a `.npy` file as a read-only memory map.

    Unlike that of `np.load`, it keeps no file open (Python's mmap can do so from version 3.13 on). Raises ValueError
    for a file that is cut or holds no array, OSError for one that cannot be read, MotoError where the system allows no
    more maps.
    """
    seen: Any = np.load(path, mmap_mode="r", allow_pickle=False)
    mapping = _mapping(path, seen.offset + seen.nbytes)
    found = np.frombuffer(mapping, seen.dtype, seen.size, seen.offset)
    return found.reshape(seen.shape, order="C" if seen.flags.c_contiguous else "F")


def _mapping(path: Path, size: int) -> memoryview:
    """Map the first bytes of a file until nothing refers to them; the descriptor is closed at once."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        address = LIBC.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, descriptor, 0)
        error = ctypes.get_errno()
    finally:
        os.close(descriptor)
    if address == FAILED and error == errno.ENOMEM:
        hint = "raise sysctl vm.max_map_count or replay.memory"
        raise MotoError(f"{path}: the system maps no more files ({os.strerror(error)}), expected one more map; {hint}")
    if address == FAILED:
        raise OSError(error, os.strerror(error), str(path))
    content = (ctypes.c_char * size).from_address(address)
    # not at the end of the process, when threads may still read
    weakref.finalize(content, LIBC.munmap, address, size).atexit = False
    return memoryview(content).toreadonly()
