"""Off-screen OpenGL for MuJoCo: EGL where there is a device, else OSMesa; an error in one sentence without both."""

from __future__ import annotations

import ctypes
import ctypes.util
import importlib
import os
from typing import Any

from moto_ros.errors import MotoError

BACKENDS = ("egl", "osmesa")


def _egl_devices() -> int:
    """Count EGL devices as MuJoCo would find them, without PyOpenGL, which binds a process to its first platform."""
    try:
        egl = ctypes.CDLL("libEGL.so.1")
    except OSError:
        return 0
    egl.eglGetProcAddress.restype = ctypes.c_void_p
    address = egl.eglGetProcAddress(b"eglQueryDevicesEXT")
    count = ctypes.c_int(0)
    if address:
        query = ctypes.CFUNCTYPE(ctypes.c_uint, ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(ctypes.c_int))
        query(address)(0, None, ctypes.byref(count))
    return count.value


def select_backend() -> str:
    """Return the GL backend to render with: that of MUJOCO_GL if it names one, else the first that is available."""
    named = os.environ.get("MUJOCO_GL", "").strip().lower()
    if named in BACKENDS:
        return named
    if _egl_devices():
        return "egl"
    if ctypes.util.find_library("OSMesa"):
        return "osmesa"
    raise MotoError(
        "cameras cannot be rendered: neither an EGL device nor the OSMesa library was found, expected one of them; "
        "install libegl1 and libegl-mesa0, or libosmesa6"
    )


def create_context(width: int, height: int) -> Any:
    """Return a current off-screen GL context of `width` x `height` pixels; raise MotoError where GL fails."""
    backend = select_backend()
    try:
        context = importlib.import_module(f"mujoco.{backend}").GLContext(width, height)
        context.make_current()
    except (ImportError, AttributeError, RuntimeError, OSError) as error:
        raise MotoError(
            f"MUJOCO_GL={backend} found no working OpenGL ({error}), expected an off-screen context; install libegl1, "
            "libegl-mesa0 and libgl1-mesa-dri, or libosmesa6, or set MUJOCO_GL to the other of egl and osmesa"
        ) from error
    return context
