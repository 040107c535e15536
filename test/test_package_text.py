"""Text is UTF-8 on every machine, and a terminal without a letter shows another one instead of a traceback."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from support.bags import Recipe, lockstep_episode, write_bag
from support.weak import moto, run

from moto_ros.config import read_parameters, write_parameters
from moto_ros.errors import MotoError, read_text
from moto_ros.files import read_json
from moto_ros.training.metrics import read_metrics

PLAIN = {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": None}
"""The locale of a cron job, a service or a minimal container, with what Python does against it switched off."""

TASK = "# Küche\n/**:\n  ros__parameters:\n    cameras: [agent, wrist]\n    image_size: 16\n"


def write_task(path: Path, encoding: str = "utf-8") -> Path:
    """Write a parameter file with a letter that is not ASCII."""
    path.write_text(TASK, encoding=encoding)
    return path


def test_a_command_works_in_a_locale_without_letters(tmp_path: Path) -> None:
    """Names and comments hold what their writers speak: the program ended in a UnicodeError."""
    write_bag(tmp_path / "bäg", lockstep_episode(Recipe(steps=5)))
    words = moto("bag", "info", str(tmp_path / "bäg"), "--task", str(write_task(tmp_path / "küche.yaml")))
    done = run(words, environment=PLAIN)
    assert done.stderr == ""
    assert "1 bags" in done.stdout
    assert "1 episodes" in done.stdout
    assert done.returncode == 0


def test_a_file_name_that_is_no_text_can_be_said(tmp_path: Path) -> None:
    """From a disk of another system: the message about the file failed, and hid what was wrong with it."""
    name = os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe")
    done = run(moto("bag", "info", name))
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "does not exist" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("read", [read_text, read_json, read_parameters, read_metrics], ids=lambda read: read.__name__)
def test_a_file_in_another_encoding_is_named_with_what_to_do(tmp_path: Path, read: object) -> None:
    path = write_task(tmp_path / "task.yaml", "latin-1")
    with pytest.raises(MotoError, match=r"task\.yaml: is not UTF-8 \(byte 3 is 0xfc\); save it as UTF-8"):
        read(path)  # type: ignore[operator]


def test_a_name_that_python_could_not_decode_reaches_the_nodes_as_utf_8(tmp_path: Path) -> None:
    """In a locale without letters, every path with one arrives in surrogates, which no file can hold."""
    path = tmp_path / "node.yaml"
    code = "import sys; from pathlib import Path; from moto_ros.config import write_parameters as w; "
    code += "w(Path(sys.argv[1]), '/moto/trainer', {'run': sys.argv[2]})"
    done = run([sys.executable, "-c", code, str(path), "/runs/küche"], environment=PLAIN)
    assert done.stderr == ""
    assert read_parameters(path, "trainer") == {"run": "/runs/küche"}


def test_a_name_that_is_no_utf_8_is_refused_for_a_node(tmp_path: Path) -> None:
    with pytest.raises(MotoError, match=r"parameter 'run' is .*, which is not UTF-8"):
        write_parameters(tmp_path / "node.yaml", "/moto/trainer", {"run": os.fsdecode(b"/runs/\xff")})


@pytest.mark.ros
def test_what_a_node_prints_reaches_a_terminal_without_letters() -> None:
    code = "from moto_ros.ros import process\ndef make():\n    print('K\\xfcche')\n    raise process.Finished(0)\n"
    done = run([sys.executable, "-c", f"{code}process.run(make)"], environment=PLAIN)
    assert done.stdout == "K?che\n"
    assert done.stderr == ""
