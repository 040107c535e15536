"""Hardware and drivers of a machine; fails if EGL cannot render."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "sim")]

from moto_sim.gl import create_context, select_backend  # noqa: E402

from moto_ros.errors import MotoError  # noqa: E402
from moto_ros.training.run_folder import machine, versions  # noqa: E402


def renderer() -> dict[str, str]:
    """Return the backend and the renderer's name; MotoError if rendering fails."""
    backend, context = select_backend(), create_context(64, 64)
    from OpenGL import GL

    name = GL.glGetString(GL.GL_RENDERER)
    context.free()
    return {"backend": backend, "renderer": name.decode() if name else "unknown"}


def facts() -> dict[str, Any]:
    """Return what identifies the machine."""
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else ""
    return {"machine": machine(), "versions": versions(), "gpu": gpu, "cuda": torch.version.cuda, "gl": renderer()}


def main() -> int:
    """Print the facts as JSON; exit status 1 if rendering fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="also write the JSON to this file")
    options = parser.parse_args()
    try:
        text = json.dumps(facts(), indent=1)
    except MotoError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(text)
    if options.json is not None:
        options.json.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
