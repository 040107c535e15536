"""A node's process from its first moment to its end: signals, the death of its parent, a screen that is gone."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")

from rcl_interfaces.msg import Log
from rclpy.node import Node
from support.graph import ros_graph

from moto_ros.errors import MotoError
from moto_ros.ros import process, qos
from moto_ros.stopping import SIGNALS, as_parent, signals_handled_by
from moto_ros.systems.processes import Child

LIMIT = 60.0
SLOW = """
import os, sys, time
print("imports", flush=True)
time.sleep(600)
"""
"""A node's module that takes long to import."""

DEAF = """
import signal, time
from moto_ros.stopping import SIGNALS
import moto_ros.stopping
def main():
    for number in SIGNALS:
        signal.signal(number, lambda *_: print("asked", flush=True))
    print("deaf", flush=True)
    while True:
        time.sleep(0.1)
"""
"""A node that does not stop when it is asked to; the screen is gone by then."""


@contextlib.contextmanager
def node(folder: Path, text: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """Start a node whose module is `text`."""
    (folder / "given_node.py").write_text(text)
    paths = f"{folder}:{os.environ.get('PYTHONPATH', '')}"
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "moto_ros.ros.start", "given_node"],
        env={**os.environ, "PYTHONPATH": paths} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def line(process: subprocess.Popen[str]) -> str:
    """Return the next line that a process writes."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_while_a_node_imports_ends_it_without_a_traceback(tmp_path: Path, number: int) -> None:
    """Breaks a mistyped launch: a page of tracebacks, one a node, after Ctrl-C in its first seconds."""
    with node(tmp_path, SLOW) as process:
        assert line(process) == "imports"
        process.send_signal(number)
        output, _ = process.communicate(timeout=LIMIT)
        assert process.returncode == 0
        assert output == ""


PARENT = """
import os, subprocess, sys
from moto_ros.stopping import as_parent
words = [sys.executable, "-m", "moto_ros.ros.start", "given_node"]
child = subprocess.Popen(words, env=os.environ | as_parent(), start_new_session=True)
print(child.pid, flush=True)
child.wait()
"""
"""What `ros2 launch` does: starts a node, and knows no more of it."""


@pytest.mark.parametrize("text", [SLOW, DEAF], ids=["importing", "deaf"])
def test_a_node_ends_when_what_started_it_is_killed(tmp_path: Path, text: str) -> None:
    """Breaks `ros2 launch` that is killed: its nodes would go on without anybody who could stop them."""
    (tmp_path / "given_node.py").write_text(text)
    site = "import moto_ros.stopping; moto_ros.stopping.watch_parent.__defaults__ = (1.0,)\n"
    (tmp_path / "sitecustomize.py").write_text(site)
    paths = f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"
    starter = subprocess.Popen(
        [sys.executable, "-c", PARENT], env={**os.environ, "PYTHONPATH": paths}, stdout=subprocess.PIPE, text=True
    )
    pid = int(line(starter))
    assert line(starter) in ("imports", "deaf")
    starter.kill()
    starter.wait()
    end = time.monotonic() + LIMIT
    while runs(pid):
        if time.monotonic() > end:
            os.kill(pid, signal.SIGKILL)
            raise AssertionError("the node outlives what started it")
        time.sleep(0.05)


def runs(pid: int) -> bool:
    """Tell whether a process runs: one that waits to be reaped has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_a_node_whose_parent_was_gone_before_it_looked_ends(tmp_path: Path) -> None:
    """Breaks a launch that is killed at once: the nodes begin after its death."""
    starter = subprocess.Popen([sys.executable, "-c", ""])
    starter.wait()
    gone = {name: str(starter.pid) for name in as_parent()}
    with node(tmp_path, SLOW, **gone) as process:
        process.communicate(timeout=LIMIT)
        assert process.returncode == 0


def test_a_node_that_was_started_by_hand_outlives_its_shell(tmp_path: Path) -> None:
    """Breaks the second computer, where one starts a trainer over ssh and leaves it there."""
    (tmp_path / "given_node.py").write_text(SLOW)
    paths = f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"
    words = f"{sys.executable} -u -m moto_ros.ros.start given_node & echo $!"
    shell = subprocess.Popen(
        ["sh", "-c", words], env={**os.environ, "PYTHONPATH": paths}, stdout=subprocess.PIPE, text=True
    )
    pid = int(line(shell))
    try:
        assert line(shell) == "imports"
        shell.wait()
        time.sleep(1.0)
        assert runs(pid)
    finally:
        os.kill(pid, signal.SIGKILL)


@pytest.fixture
def own_signals() -> Iterator[None]:
    """Give pytest its handlers back."""
    with signals_handled_by(signal.SIG_DFL):
        yield


class Stopped(Node):
    """A node that is asked to stop in the middle of a callback."""

    def __init__(self) -> None:
        super().__init__("stopped")
        self.done: list[str] = []
        self.create_timer(0.01, self._work)

    def _work(self) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        self.done.append("callback")  # a handler that raises would do so here, or in the call from C++ around it

    def destroy_node(self) -> None:
        """Save, while a person presses Ctrl-C again."""
        os.kill(os.getpid(), signal.SIGINT)
        self.done.append("saved")
        super().destroy_node()


@pytest.mark.ros
@pytest.mark.usefixtures("own_signals")
def test_a_signal_in_a_callback_lets_it_end_and_the_node_save_its_work() -> None:
    """Breaks one stop in ten: `RuntimeError: Unable to convert call argument`, status 1, a checkpoint lost."""
    made: list[Stopped] = []

    def make() -> Stopped:
        made.append(Stopped())
        return made[0]

    assert process.run(make) == 0
    assert made[0].done == ["callback", "saved"]


@pytest.mark.ros
@pytest.mark.usefixtures("own_signals")
def test_a_signal_while_a_node_is_made_ends_it_cleanly(capsys: pytest.CaptureFixture[str]) -> None:
    """Breaks Ctrl-C in the first seconds: what the node has opened would stay open."""
    made: list[Any] = []

    def make() -> Stopped:
        os.kill(os.getpid(), signal.SIGINT)
        made.append(Stopped())
        return made[0]

    assert process.run(make) == 0
    assert made[0].done == ["saved"]
    assert capsys.readouterr().err == ""


@pytest.mark.ros
@pytest.mark.usefixtures("own_signals")
def test_a_signal_does_not_hide_why_a_node_cannot_start(capsys: pytest.CaptureFixture[str]) -> None:
    """Breaks the search for a fault: what was wrong would not be said."""

    def make() -> Node:
        os.kill(os.getpid(), signal.SIGINT)
        raise MotoError("parameter 'x' is 1, expected 2; set it")

    assert process.run(make) == 1
    assert "parameter 'x' is 1" in capsys.readouterr().err


class Damaged(Node):
    """A node that ends because of a file whose name is not UTF-8."""

    def __init__(self) -> None:
        super().__init__("damaged")
        self.create_timer(0.01, self._look)

    def _look(self) -> None:
        raise MotoError(f"{os.fsdecode(b'bag_' + bytes([255]))}: is damaged")


@pytest.mark.ros
@pytest.mark.usefixtures("own_signals")
def test_a_node_ends_with_one_sentence_about_a_file_whose_name_is_not_utf_8(capfd: pytest.CaptureFixture[str]) -> None:
    """Breaks the search for a fault: the sentence failed, and its traceback hid what was wrong."""
    assert process.run(Damaged) == 1
    assert "error: bag_?: is damaged" in capfd.readouterr().err


def test_a_node_cleans_up_although_its_screen_is_gone(tmp_path: Path) -> None:
    """Breaks a checkpoint: a line that nobody can read would be the error that ends the saving."""
    text = f"""
import signal, time
from moto_ros.stopping import StopFlag, handle_signals
def main():
    stop = StopFlag()
    handle_signals(stop.set)
    print("ready", flush=True)
    while not stop:
        time.sleep(0.01)
    print("saves", flush=True)
    open({str(tmp_path / "saved")!r}, "w").close()
"""
    with node(tmp_path, text) as process:
        assert line(process) == "ready"
        assert process.stdout is not None
        process.stdout.close()
        process.terminate()
        assert process.wait(LIMIT) == 0
    assert (tmp_path / "saved").exists()


LOGGING = """
import os, resource, sys
from pathlib import Path
from rclpy.node import Node
from moto_ros.ros import process
LINES = 3000
class Logging(Node):
    def __init__(self):
        super().__init__("logging")
        if os.environ.get("FULL"):
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        for number in range(LINES):
            self.get_logger().info(f"{number} " + "x" * 200)
        Path(os.environ["LOGGED"]).mkdir()
def main():
    sys.exit(process.run(Logging))
"""
"""A node that logs more than a pipe or a terminal takes while nobody reads."""


@pytest.mark.ros
@pytest.mark.parametrize("where", ["pipe", "terminal", "full"])
def test_a_log_that_nobody_takes_neither_stops_a_node_nor_keeps_it_from_stopping(tmp_path: Path, where: str) -> None:
    """Breaks arms: after Ctrl-S, every thread of the driver would wait for the terminal, also those that guard."""
    (tmp_path / "given_node.py").write_text(LOGGING)
    environment = {**os.environ, "LOGGED": str(tmp_path / "logged")} | ({"FULL": "1"} if where == "full" else {})
    environment["PYTHONPATH"] = f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"
    reader, writer = os.pipe() if where == "pipe" else pty.openpty()
    with open("/dev/full" if where == "full" else os.devnull, "wb") as file:
        screen = file.fileno() if where == "full" else writer
        words = [sys.executable, "-m", "moto_ros.ros.start", "given_node"]
        started = subprocess.Popen(words, env=environment, stdout=screen, stderr=screen, start_new_session=True)
    try:
        end = time.monotonic() + LIMIT
        while not (tmp_path / "logged").exists():
            assert started.poll() is None, "the node has ended"
            assert time.monotonic() < end, "the node waits for its screen"
            time.sleep(0.05)
        started.terminate()
        assert started.wait(10.0) == 0
    finally:
        started.kill()
        started.wait()
        os.close(reader)
        os.close(writer)


class Echo:
    """Stands for a node's process that shows the format that its log has."""

    node = "echo"

    def command(self, namespace: str) -> str:
        """Return the command line."""
        return 'echo "$RCUTILS_CONSOLE_OUTPUT_FORMAT"'


@pytest.mark.parametrize("chosen", [None, "{name}: {message}", ""])
def test_below_moto_a_log_line_is_the_message_alone_whatever_format_the_user_has_set(
    chosen: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks reading along: each line would have time and name twice, or not have the message at all."""
    monkeypatch.delenv("RCUTILS_CONSOLE_OUTPUT_FORMAT", raising=False)
    if chosen is not None:
        monkeypatch.setenv("RCUTILS_CONSOLE_OUTPUT_FORMAT", chosen)
    system: Any = SimpleNamespace(namespace="", environment={})
    echo: Any = Echo()
    child = Child(echo, system, subprocess.PIPE)
    end = time.monotonic() + LIMIT
    while not child.ended():
        assert time.monotonic() < end
        time.sleep(0.01)
    assert "".join(child.last_lines()) == "{message}\n"


FAILING = """
import sys
from moto_ros.errors import MotoError
from moto_ros.ros import process
from rclpy.node import Node
class Failing(Node):
    def __init__(self):
        super().__init__("failing")
        self.create_timer(0.1, self._look)
    def _look(self):
        if self.count_subscribers("/rosout"):
            self.get_logger().info("there is somebody who reads")
            raise MotoError("parameter 'x' is 1, expected 2; set it")
def main():
    sys.exit(process.run(Failing))
"""
"""A node that finds an error while it runs."""


@pytest.mark.ros
def test_what_a_node_says_and_why_it_ends_is_in_rosout(tmp_path: Path) -> None:
    """Breaks the search for a fault from another computer: rqt_console and bags of /rosout would show nothing."""
    with ros_graph() as graph:
        heard = graph.peer().hear(Log, "/rosout", qos.event())
        with node(tmp_path, FAILING, RCUTILS_CONSOLE_OUTPUT_FORMAT="{message}") as failing:
            graph.until(lambda: len([log for log in heard if log.name == "failing"]) >= 2, "two lines in /rosout")
            output, _ = failing.communicate(timeout=LIMIT)
            assert failing.returncode == 1
    said = [(log.level, log.msg) for log in heard if log.name == "failing"]
    error = "error: parameter 'x' is 1, expected 2; set it"
    assert said == [(Log.INFO, "there is somebody who reads"), (Log.FATAL, error)]
    assert output.splitlines() == [line for _, line in said]
