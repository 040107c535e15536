"""Whatever the terminal, pipe, log or moment: one request to stop, or the parent's death, ends every process.

Real processes, sessions, terminals and signals; the nodes are small programs, so that each test takes a second or two.
"""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")

ROOT = Path(__file__).resolve().parents[1]
LIMIT = 60.0
"""Seconds that anything may take on a busy machine."""

STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}


def alive(pid: int) -> bool:
    """Tell whether a process runs: one that waits to be reaped has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def until(what: Callable[[], object], said: str) -> None:
    """Wait until `what` holds."""
    end = time.monotonic() + LIMIT
    while not what():
        assert time.monotonic() < end, said
        time.sleep(0.02)


class System:
    """A small system under `moto`, with nodes that behave as their names say."""

    def __init__(self, folder: Path, *nodes: str, stop_time: int = 20) -> None:
        self.folder, self.nodes = folder, nodes
        self.command = [sys.executable, "-m", "support.small_system", str(folder), str(stop_time), *nodes]
        self.environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'test'}:{os.environ.get('PYTHONPATH', '')}"}
        self._started: list[subprocess.Popen[bytes]] = []

    def start(self, *before: str, stdout: int | None = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
        """Start `moto` in a session of its own; `before`: the command that runs it."""
        (self.folder / "logs").mkdir(parents=True, exist_ok=True)
        process = subprocess.Popen(
            [*before, *self.command],
            stdout=stdout,
            stderr=stdout,
            env=self.environment,
            start_new_session=True,
            preexec_fn=hangup_as_usual,
        )
        self._started.append(process)
        return process

    def pids(self) -> list[int]:
        """Wait until every node is ready; return their process ids, of `parent` its child's."""
        files = [self.folder / f"{node}.pid" for node in self.nodes]
        until(lambda: all(file.exists() and file.read_text() for file in files), f"not ready; {self.log()}")
        return [int(file.read_text()) for file in files]

    def saved(self) -> set[str]:
        """Return the nodes that have saved their work."""
        return {path.stem for path in self.folder.glob("*.saved")}

    def log(self) -> str:
        """Return the log."""
        path = self.folder / "logs" / "record.log"
        return path.read_text() if path.is_file() else ""

    def clean_up(self) -> None:
        """Kill what a failed test leaves."""
        for process in self._started:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        for path in self.folder.glob("*.pid"):
            with contextlib.suppress(ProcessLookupError, ValueError):
                os.kill(int(path.read_text()), signal.SIGKILL)


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., System]]:
    """Return what makes a small system."""
    made: list[System] = []

    def make(*nodes: str, stop_time: int = 20) -> System:
        made.append(System(tmp_path / f"run{len(made)}", *nodes, stop_time=stop_time))
        return made[-1]

    yield make
    for system in made:
        system.clean_up()


Make = Callable[..., System]


def gone(pids: list[int]) -> bool:
    """Tell whether none of the processes runs."""
    return not any(map(alive, pids))


def hangup_as_usual() -> None:
    """Undo the `nohup` under which the tests themselves may run."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.mark.parametrize("number", STATUS)
def test_each_signal_ends_every_process_that_saves_its_work(make: Make, number: signal.Signals) -> None:
    """Breaks a run that is stopped by `kill` or over ssh: its nodes would go on, or lose what they have learned."""
    system = make("calm", "chatty", "parent")
    moto = system.start()
    pids = system.pids()
    moto.send_signal(number)
    assert moto.wait(LIMIT) == STATUS[number]
    assert gone(pids)
    assert system.saved() == {"calm", "chatty", "parent"}
    assert f"{number.name} received" in system.log()


def test_a_killed_moto_takes_all_its_processes_along(make: Make) -> None:
    """Breaks an arm: nobody could stop the nodes of a `moto` that was killed, also those that hang or are frozen."""
    system = make("calm", "parent", "hanging", "chatty", stop_time=2)
    moto = system.start()
    pids = system.pids()
    os.kill(pids[-1], signal.SIGSTOP)
    moto.kill()
    until(lambda: gone(pids), "processes outlive their parent")
    assert system.saved() == {"calm", "parent"}


def test_a_node_that_hangs_is_killed_after_the_stop_time(make: Make) -> None:
    """Breaks the terminal: Ctrl-C would never end."""
    system = make("hanging", "calm", stop_time=2)
    moto = system.start()
    pids = system.pids()
    moto.send_signal(signal.SIGINT)
    assert moto.wait(LIMIT) == 130
    assert gone(pids)
    assert "calm" in system.saved()
    assert "sending SIGKILL to hanging" in system.log()


def test_without_a_reader_the_run_ends(make: Make) -> None:
    """Breaks `moto record | head`: nodes would go on unseen, or every line would be an error."""
    system = make("calm")
    moto = system.start(stdout=subprocess.PIPE)
    pids = system.pids()
    assert moto.stdout is not None
    moto.stdout.close()
    assert moto.wait(LIMIT) == 128 + signal.SIGPIPE
    assert gone(pids)
    assert system.saved() == {"calm"}
    assert "nothing reads the output" in system.log()


def test_ctrl_c_works_while_the_screen_stands_still(make: Make) -> None:
    """Breaks a terminal after Ctrl-S, or a stuck ssh: neither nodes nor Ctrl-C may wait for the screen."""
    system = make("chatty", "calm")
    moto = system.start(stdout=subprocess.PIPE)  # that nobody reads from
    pids = system.pids()
    until(lambda: system.log().count("\n") > 1500, "the node waits for the screen")
    moto.send_signal(signal.SIGINT)
    assert moto.wait(LIMIT) == 130
    assert gone(pids)
    assert system.saved() == {"chatty", "calm"}


def test_a_full_disk_takes_the_log_and_not_the_run(make: Make) -> None:
    """Breaks a run whose disk is full: a line that cannot be written is no reason to lose control of the nodes."""
    system = make("chatty")
    (system.folder / "logs").mkdir(parents=True)
    (system.folder / "logs" / "record.log").symlink_to("/dev/full")
    screen = (system.folder / "screen.txt").open("wb")
    moto = system.start(stdout=screen.fileno())
    pids = system.pids()
    until(lambda: "the log is no longer written" in (system.folder / "screen.txt").read_text(), "not said")
    assert alive(pids[0])
    moto.send_signal(signal.SIGINT)
    assert moto.wait(LIMIT) == 130
    assert gone(pids)


@pytest.mark.parametrize("screen", ["> /dev/full 2>&1", ">&- 2>&-"], ids=["full", "closed"])
def test_a_screen_that_cannot_be_written_is_given_up(make: Make, screen: str) -> None:
    """Breaks a run under a service manager: it would end, or not be stopped, without a screen."""
    system = make("chatty")
    moto = system.start("sh", "-c", f'exec "$@" {screen}', "sh")
    pids = system.pids()
    until(lambda: system.log().count("\n") > 20, "nothing is logged")
    moto.send_signal(signal.SIGINT)
    assert moto.wait(LIMIT) == 130
    assert gone(pids)
    assert system.saved() == {"chatty"}
    assert "Traceback" not in system.log()


def in_terminal(system: System, command: list[str]) -> tuple[int, int]:
    """Run a command in a terminal of its own; return its process id and the terminal's other end."""
    (system.folder / "logs").mkdir(parents=True)
    pid, terminal = pty.fork()
    if pid == 0:
        hangup_as_usual()
        os.execvpe(command[0], command, system.environment)
    return pid, terminal


def test_closing_the_terminal_ends_every_process(make: Make) -> None:
    """Breaks a lost ssh connection: the policy would go on to move the arm."""
    system = make("calm", "chatty")
    moto, terminal = in_terminal(system, system.command)
    pids = system.pids()
    os.close(terminal)
    until(lambda: gone(pids), "processes outlive their terminal")
    os.waitpid(moto, 0)
    assert system.saved() == {"calm", "chatty"}


def test_ctrl_c_works_although_tee_is_gone_first(make: Make) -> None:
    """Breaks `moto record 2>&1 | tee file`: Ctrl-C ends `tee` too, and no line can be written any more."""
    system = make("calm", "chatty")
    words = " ".join(system.command)
    shell, terminal = in_terminal(system, ["bash", "-c", f"{words} 2>&1 | tee {system.folder}/tee.txt > /dev/null"])
    pids = system.pids()
    for _ in range(3):  # an impatient person
        os.write(terminal, b"\x03")
        time.sleep(0.01)
    until(lambda: gone(pids), "processes go on after Ctrl-C")
    os.waitpid(shell, 0)
    os.close(terminal)
    assert system.saved() == {"calm", "chatty"}


def test_nohup_keeps_its_meaning(make: Make) -> None:
    """Breaks `nohup moto finetune &`: the night's run would end when its terminal is closed."""
    system = make("calm")
    moto = system.start("nohup")
    pids = system.pids()
    for pid in (moto.pid, *pids):
        os.kill(pid, signal.SIGHUP)
    time.sleep(1.0)
    assert moto.poll() is None
    assert not gone(pids)
    moto.terminate()
    assert moto.wait(LIMIT) == 143


@pytest.mark.parametrize("delay", [0.0, 0.03, 0.1])
def test_ctrl_c_in_the_first_moments_leaves_nothing_behind(make: Make, delay: float) -> None:
    """Breaks a mistyped command: no process has an id yet, and yet none of them may stay."""
    system = make("calm", "chatty", "parent")
    moto = system.start(stdout=subprocess.PIPE)
    until(lambda: (system.folder / "config").exists(), "not started")
    time.sleep(delay)
    moto.send_signal(signal.SIGINT)
    output, _ = moto.communicate(timeout=LIMIT)
    assert moto.returncode == 130, output
    assert b"Traceback" not in output
    started = [int(line.rsplit("pid=", 1)[1].rstrip(")")) for line in system.log().splitlines() if "pid=" in line]
    until(lambda: gone(started), "processes stay")


def test_ctrl_c_while_a_command_imports_ends_it_without_a_traceback(tmp_path: Path) -> None:
    """Breaks Ctrl-C in the first second: what a command imports takes longer than that."""
    (tmp_path / "torch.py").write_text("import time\nprint('imports', flush=True)\ntime.sleep(600)\n")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from moto_ros.cli.main import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "finetune"]
    moto = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert moto.stdout is not None
    assert moto.stdout.readline() == b"imports\n"
    moto.send_signal(signal.SIGINT)
    output, _ = moto.communicate(timeout=LIMIT)
    assert (moto.returncode, output) == (130, b"")


@pytest.mark.parametrize(
    ("words", "screen", "status"),
    [
        ("bag --help", "| true", 0),
        ("bag --help", "> /dev/full", 0),
        ("report no/such/run", "2> /dev/full", 1),
        ("report no/such/run", "2>&1 | true", 1),
    ],
)
def test_output_that_cannot_be_written_gives_no_traceback(words: str, screen: str, status: int) -> None:
    """Breaks `moto bag --help | head -1`: a traceback below the line."""
    script = f"{sys.executable} -m moto_ros.cli.main {words} {screen}; exit ${{PIPESTATUS[0]}}"
    # Python's own buffer: what cannot be written is only noticed as the command ends.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run(["bash", "-c", script], capture_output=True, env=environment, check=False, timeout=LIMIT)
    assert (done.returncode, done.stderr) == (status, b"")


@pytest.mark.ros
@pytest.mark.sim
def test_after_ctrl_c_the_next_phase_does_not_begin(tmp_path: Path) -> None:
    """Breaks one Ctrl-C: after the recording, whose nodes ended well, `moto finetune` would begin to train."""
    run = tmp_path / "run"
    command = [sys.executable, "-m", "moto_ros.cli.main", "finetune", "--preset", "ci", "--run", str(run)]
    moto = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    log = run / "logs" / "record.log"
    until(lambda: log.exists() and "episode started" in log.read_text(), "nothing is recorded")
    moto.send_signal(signal.SIGINT)
    output, _ = moto.communicate(timeout=LIMIT)
    assert moto.returncode == 130, output
    assert b"pre-train" not in output
    assert not (run / "config" / "finetune").exists()
