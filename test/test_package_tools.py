"""What sets up a machine (fixed wheels, checks of the interpreter, system packages), and what ends a test run."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import ModuleType

import numpy
import pytest

ROOT = Path(__file__).resolve().parents[1]
FOREIGN = """set(_includes "/opt/python/cp312-cp312/include/python3.12")
set(_numpy "/opt/python/cp312-cp312/lib/python3.12/site-packages/numpy/_core/include;/opt/other")
"""


def tool(name: str) -> ModuleType:
    """Import a file of tools/."""
    found = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def test_a_wheels_foreign_folders_become_those_of_this_interpreter(tmp_path: Path) -> None:
    """Breaks the build of moto_msgs on a machine without ROS: Python.h and NumPy's headers are not found."""
    path = tmp_path / "extras.cmake"
    path.write_text(FOREIGN)
    fix = tool("fix_ros_wheels").fix
    assert fix(path)
    assert path.read_text() == (
        f'set(_includes "{sysconfig.get_path("include")}")\nset(_numpy "{numpy.get_include()};/opt/other")\n'
    )
    assert not fix(path)


PIP_CONFIGURATION = """:env:.find-links='/wheels /more'
:env:.pre='0'
global.cert='/etc/ca.crt'
global.constraint='/etc/caps.txt'
global.extra-index-url='https://a.test/one\\nhttps://b.test/two'
global.find-links='/elsewhere'
global.index-url='https://a.test/pypi?x=1'
install.no-index='true'
list.format='json'
"""


def test_uv_installs_from_where_pip_is_configured_to() -> None:
    """Breaks machines with wheels of their own: CUDA in place of the CPU build of PyTorch, or nothing at all."""
    uv_install = tool("uv_install")
    given = uv_install.settings(PIP_CONFIGURATION)
    words = uv_install.options(given)
    pairs = list(zip(words[:-1:2], words[1:-1:2], strict=True))
    assert ("--default-index", "https://a.test/pypi?x=1") in pairs
    assert [value for option, value in pairs if option == "--index"] == ["https://a.test/one", "https://b.test/two"]
    assert [value for option, value in pairs if option == "--find-links"] == ["/wheels", "/more"]
    assert ("--constraints", "/etc/caps.txt") in pairs
    assert words[-1] == "--no-index"
    assert "--prerelease=allow" not in words
    assert uv_install.variables(given) == {"SSL_CERT_FILE": "/etc/ca.crt"}


def test_this_interpreter_can_carry_the_environment() -> None:
    assert tool("check_python").missing_packages() == []


def test_an_interpreter_without_wheels_is_named_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    check = tool("check_python")
    monkeypatch.setattr(check, "NEWEST", (3, 9))
    assert check.main() == 1
    assert "expected 3.10 to 3.13; set PYTHON=" in capsys.readouterr().err


def program(folder: Path, name: str, script: str) -> None:
    """Put a program that stands for one of the machine into a folder."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_without_root_the_missing_system_packages_are_named(tmp_path: Path) -> None:
    program(tmp_path, "dpkg-query", "exit 1")
    program(tmp_path, "id", "echo 1000")
    done = system_packages(tmp_path)
    assert done.returncode == 1
    assert "sudo apt-get install" in done.stderr
    assert "libegl1" in done.stderr


def test_where_every_system_package_is_there_nothing_is_installed(tmp_path: Path) -> None:
    program(tmp_path, "dpkg-query", "printf installed")
    done = system_packages(tmp_path)
    assert (done.returncode, done.stdout) == (0, "system packages: all there\n")


def system_packages(programs: Path) -> subprocess.CompletedProcess[str]:
    """Run tools/system.sh with the programs of a folder before those of the machine."""
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "PYTHON": sys.executable}
    command = ["bash", str(ROOT / "tools" / "system.sh")]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "script", [*sorted((ROOT / "tools").glob("*.sh")), ROOT / "tools" / "moto", ROOT / ".ci" / "run"]
)
def test_a_script_is_valid_shell_and_can_be_started(script: Path) -> None:
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0
    assert os.access(script, os.X_OK) or script.name == "enter.sh"


LOCKED_TWICE = """
import ctypes


def test_that_waits_for_ever():
    library, lock = ctypes.CDLL(None), ctypes.create_string_buffer(64)
    library.pthread_mutex_lock(lock)
    library.pthread_mutex_lock(lock)
"""


def test_a_test_that_hangs_inside_a_library_ends_the_run_and_is_named(tmp_path: Path) -> None:
    """Breaks CI: its hours would go by, and nobody would learn where."""
    path = tmp_path / "test_hang.py"
    path.write_text(LOCKED_TWICE)
    command = [sys.executable, "-m", "pytest", "-p", "conftest", "--timeout", "1", str(path)]
    where = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "test"), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(command, env=where, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert "in test_that_waits_for_ever" in done.stderr


TIMED = """
import os
import time
from pathlib import Path

import pytest


def spend(name, seconds):
    begun = time.monotonic()
    time.sleep(seconds)
    Path(os.environ["SPANS"], name).write_text(f"{begun} {time.monotonic()}")
"""


def test_a_realtime_test_runs_after_all_others_and_beside_none(tmp_path: Path) -> None:
    """Breaks CI at random: a test that keeps a rate fails beside another worker's systems."""
    files = {
        "short": 'def test_short():\n    spend("short", 0.0)\n',
        "long": 'def test_long():\n    spend("long", 2.0)\n',
        "timed": '@pytest.mark.realtime\n@pytest.mark.parametrize("n", range(4))\n'
        'def test_timed(n):\n    spend(f"timed{n}", 0.1)\n',
    }
    shutil.copy(ROOT / "test" / "conftest.py", tmp_path)
    for name, text in files.items():
        (tmp_path / f"test_{name}.py").write_text(f"{TIMED}\n\n{text}")
    spans = tmp_path / "spans"
    spans.mkdir()
    paths = os.pathsep.join([str(ROOT / "test"), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "pytest", "-n", "2", "--dist", "loadgroup", str(tmp_path)]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": paths, "SPANS": str(spans)}, cwd=tmp_path, capture_output=True
    )
    assert done.returncode == 0, done.stdout
    found = {path.name: tuple(map(float, path.read_text().split())) for path in spans.iterdir()}
    assert len(found) == 6
    others = max(found["short"][1], found["long"][1])
    assert others < min(found[f"timed{n}"][0] for n in range(4))
