"""The machine: off-screen rendering, GPU, memory for big samples, network buffers, disk."""

from __future__ import annotations

import importlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from moto_ros.cli.checks.finding import Finding, good, missing, note

MIB = 2**20
SHARED_MEMORY = Path("/dev/shm")
RECEIVE_BUFFER = Path("/proc/sys/net/core/rmem_max")
SHARED_NEEDED, BUFFER_NEEDED, DISK_NEEDED = 256 * MIB, 4 * MIB, 5000 * MIB
RENDER_TIME = 120
"""Seconds that rendering one frame may take, the simulator's import included."""

FRAME = """
from moto_sim.gl import select_backend
from moto_sim.world import make_world
world = make_world("metaworld/reach-v3")
world.reset(0)
frame = world.render(world.cameras[0])
assert frame.std() > 1, "the frame is of one colour"
print(select_backend(), "x".join(map(str, frame.shape)))
"""


def check_machine(render: bool = True) -> Iterator[Finding]:
    """Yield findings about the machine; `render` a frame only where asked to."""
    if render:
        yield _rendering()
    yield _learning_device()
    yield _shared_memory()
    yield _receive_buffer()
    yield _disk(Path.cwd())


def _rendering() -> Finding:
    """Render one frame of a simulated world in a process of its own, since a broken driver may kill it."""
    if importlib.util.find_spec("moto_sim") is None:
        return note("Rendering", "moto_sim is not installed", "only simulation needs it: make build")
    try:
        command = [sys.executable, "-c", FRAME]
        done = subprocess.run(
            command, capture_output=True, timeout=RENDER_TIME, check=False, encoding="utf-8", errors="replace"
        )
    except subprocess.TimeoutExpired:
        return missing("Rendering", f"no frame within {RENDER_TIME} s", "try MUJOCO_GL=osmesa, or MUJOCO_GL=egl")
    if done.returncode == 0:
        return good("Rendering", done.stdout.strip().splitlines()[-1])
    last = (done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1]
    return missing("Rendering", last, "make system; then try MUJOCO_GL=osmesa, or MUJOCO_GL=egl")


def _learning_device() -> Finding:
    try:
        torch = importlib.import_module("torch")
    except (ImportError, OSError) as error:
        return missing("torch", f"does not import ({error})", "make env")
    threads = f"torch {torch.__version__}, {os.cpu_count()} cores"
    if torch.cuda.is_available():
        return good("Learning device", f"{torch.cuda.get_device_name(0)}, {threads}")
    advice = "the quick preset is made for that, the paper preset is not"
    return note("Learning device", f"no GPU that torch can use, {threads}", advice)


def _shared_memory() -> Finding:
    if not SHARED_MEMORY.is_dir():
        return note("Shared memory", f"no {SHARED_MEMORY}", "images go through the network stack; mount a tmpfs there")
    free = shutil.disk_usage(SHARED_MEMORY).free
    if free >= SHARED_NEEDED:
        return good("Shared memory", f"{free // MIB} MiB free in {SHARED_MEMORY}")
    advice = "give the container more: docker run --shm-size=1g, or --ipc=host"
    return note("Shared memory", f"{free // MIB} MiB free in {SHARED_MEMORY}", advice)


def _receive_buffer() -> Finding:
    try:
        size = int(RECEIVE_BUFFER.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        return note("Network buffer", f"{RECEIVE_BUFFER} cannot be read ({error})", "only several machines need it")
    if size >= BUFFER_NEEDED:
        return good("Network buffer", f"{size // 1024} KiB (net.core.rmem_max)")
    advice = "for images between machines: sudo sysctl -w net.core.rmem_max=16777216"
    return note("Network buffer", f"{size // 1024} KiB (net.core.rmem_max)", advice)


def _disk(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free
    found = f"{free / 2**30:.0f} GiB free in {folder}"
    if free >= DISK_NEEDED:
        return good("Disk", found)
    return note("Disk", found, "a run keeps every episode's bag: free some space, or put runs elsewhere with --run")
