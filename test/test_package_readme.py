"""The commands, files and functions that the pages name exist: whoever copies one gets what the page says."""

from __future__ import annotations

import argparse
import ast
import contextlib
import io
import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from moto_ros.agents.registry import AGENTS
from moto_ros.cli.main import COMMANDS, main, parser
from moto_ros.experiments.suite import chosen, read_suite
from moto_ros.systems.bringup import ARGUMENTS, resolve

ROOT = Path(__file__).resolve().parents[1]
HISTORY = ROOT / "CHANGELOG.md"
"""The one page that also names what there was."""

PAGES = [path for path in sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]) if path != HISTORY]
TRIALS = sorted(ROOT.glob("docs/evidence/*.jsonl"))
"""Raw numbers: their sentences name commands, too."""

TOP = {path.name for path in ROOT.iterdir()} - {"build", "install", "log", "site", "runs"}
OF_LIBRARIES = {
    *("Incompatible library version", "communication constraints violation", "joint position limits violation"),
    *("_ARRAY_API not found", "numpy.core.multiarray failed to import", "No module named 'torch'", "gladLoadGL error"),
}
"""Errors in the tables that franky, NumPy, Python and MuJoCo write."""


@dataclass(frozen=True)
class Command:
    """A command as a page shows it: split into words, from a block of commands, or named within a sentence."""

    page: str
    words: tuple[str, ...]
    whole: bool

    def __str__(self) -> str:
        return f"{self.page}: {' '.join(self.words)}"


@cache
def text_of(path: Path) -> str:
    """Return a page; of JSON lines the sentences, without the numbers and configurations beside them."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return text
    rows = [json.loads(line) for line in text.splitlines()]
    return "\n".join(value for row in rows for value in row.values() if isinstance(value, str))


def name_of(path: Path) -> str:
    """Return a page's name."""
    return str(path.relative_to(ROOT))


def in_blocks(text: str) -> Iterator[str]:
    """Yield the lines of the blocks of commands."""
    for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL):
        yield from block.replace("\\\n", " ").splitlines()


def in_sentences(text: str) -> Iterator[str]:
    """Yield what sentences and tables show as code."""
    rest = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    yield from (" ".join(found.split()) for found in re.findall(r"`([^`]+)`", rest))


def words_of(line: str) -> tuple[str, ...]:
    """Split a command line; a place that the reader fills, such as <file>, becomes one word."""
    filled = re.sub(r"<[^<>]*>", "x", line)
    try:
        words = shlex.split(filled, comments=True)
    except ValueError:  # no command: an apostrophe
        return ()
    return tuple(words[words[:1] == ["sudo"] :])


@cache
def commands() -> tuple[Command, ...]:
    """Return every command that a page shows."""
    found = []
    for path in [*PAGES, *TRIALS]:
        for lines, whole in ((in_blocks(text_of(path)), True), (in_sentences(text_of(path)), False)):
            found += [Command(name_of(path), words, whole) for words in map(words_of, lines) if len(words) > 1]
    return tuple(dict.fromkeys(found))


def of(*program: str) -> list[Command]:
    """Return the commands that begin with these words."""
    return [command for command in commands() if command.words[: len(program)] == program]


def pages_of(*program: str) -> list[str]:
    """Return the pages that show such commands."""
    return sorted({command.page for command in of(*program)})


def test_the_pages_show_the_two_commands() -> None:
    shown = {" ".join(command.words) for command in of("make") if command.page == "README.md"}
    assert {"make finetune", "make test"} <= shown
    assert len(of("moto")) >= 40
    assert {"README.md", "docs/hardware.md", "docs/evidence/README.md"} <= set(pages_of("moto"))
    assert any(page.endswith(".jsonl") for page in pages_of("moto", "benchmark"))


@pytest.mark.parametrize("page", pages_of("make"))
def test_a_make_command_exists(page: str) -> None:
    """Breaks whoever copies a command: its target or a variable is not there."""
    known = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    used = (ROOT / "Makefile").read_text() + (ROOT / "tools" / "env.sh").read_text()
    wrong = []
    for words in (command.words[1:] for command in of("make") if command.page == page):
        wrong += [word for word in words if "=" not in word and word not in known]
        wrong += [word for word in words if "=" in word and word.split("=")[0] not in used]
        done = subprocess.run(["make", "--dry-run", *words], cwd=ROOT, capture_output=True, text=True, check=False)
        wrong += [done.stderr] if done.returncode else []
    assert wrong == []


@cache
def moto(name: str) -> argparse.ArgumentParser:
    """Return the parser of a sub-command."""
    return parser(name)


ONLY = {"bag": ("info",), "export": ("lerobot",), "import": ("lerobot",)}
"""The sub-command of commands that have one."""


@cache
def help_of(name: str) -> str:
    """Return what `moto NAME --help` prints, of a command with sub-commands that of the one that it has."""
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown), pytest.raises(SystemExit) as ended:
        main([name, *ONLY.get(name, ()), "--help"])
    assert ended.value.code == 0
    return shown.getvalue()


def fault_of(command: Command) -> str:
    """Return what is wrong with a command of `moto`; empty where nothing is.

    Within a sentence it may leave out what the sentence says: only its name and its options count.
    """
    name = command.words[1]
    if name not in COMMANDS:
        return "" if name in ANY_COMMAND and not command.whole else "no such command"
    if command.whole:
        complaint = io.StringIO()
        try:
            with contextlib.redirect_stderr(complaint):
                moto(name).parse_args(command.words[1:])
        except SystemExit:
            return complaint.getvalue()
        return ""
    options = [word.split("=")[0] for word in command.words[2:] if re.match(r"--?[a-z]", word)]
    return " ".join(one for one in options if not re.search(rf"(?<![\w-]){re.escape(one)}(?![\w-])", help_of(name)))


ANY_COMMAND = ("NAME", "X")
"""What stands for any sub-command in a sentence."""


@pytest.mark.parametrize("page", pages_of("moto"))
def test_a_moto_command_is_understood(page: str) -> None:
    """Breaks whoever copies a command: a sub-command or an option was renamed."""
    faults = {str(command): fault_of(command) for command in of("moto") if command.page == page}
    assert {command: fault for command, fault in faults.items() if fault} == {}


@pytest.mark.parametrize("words", [("fly",), ("report",), ("evaluate", "--runs", "x"), ("bag", "info", "--tusk", "x")])
def test_a_moto_command_that_is_wrong_would_be_found(words: tuple[str, ...]) -> None:
    assert fault_of(Command("a page", ("moto", *words), True))
    assert fault_of(Command("a page", ("moto", *words), False)) or words == ("report",)


@pytest.mark.parametrize("page", pages_of("moto", "benchmark"))
def test_a_benchmark_has_its_suite_and_methods(page: str) -> None:
    """Breaks whoever repeats an experiment: a suite or a method was renamed."""
    for command in (one for one in of("moto", "benchmark") if one.page == page):
        words = [word for word in command.words[1:] if word != "SUITE"]
        if len(words) < 2 or words[1].startswith("-"):
            continue
        given = moto("benchmark").parse_args(words)
        suite = read_suite(given.suite, given.parameter)
        assert chosen(suite, tasks=given.tasks, methods=given.methods, seeds=given.seeds).methods


@pytest.mark.parametrize("name", COMMANDS)
def test_a_moto_command_has_help(name: str) -> None:
    assert "usage: moto" in help_of(name)


SCRIPTS = sorted({*pages_of("python"), *pages_of("pytest"), *pages_of("bench/gpu.sh")})


@pytest.mark.parametrize("page", SCRIPTS)
def test_a_script_takes_the_options_that_a_page_gives_it(page: str) -> None:
    """Options are those that its source adds to its parser; parts of `python -m bench` are its files."""
    wrong = []
    for command in (one for one in [*of("python"), *of("pytest"), *of("bench/gpu.sh")] if one.page == page):
        words = command.words[: command.words.index("--")] if "--" in command.words else command.words
        if words[:3] == ("python", "-m", "bench"):
            parts = [word for word in words[3:] if not word.startswith("-")]
            wrong += [str(command) for part in parts if not (ROOT / "bench" / f"bench_{part}.py").is_file()]
        elif words[1] != "-m":
            script = next(word for word in words if "/" in word)
            source = ROOT / ("bench/gpu_slice.py" if script == "bench/gpu.sh" else script)
            options = [word for word in words if word.startswith("--") and word != "--help" and words[0] != "pytest"]
            known = source.exists() and all(f'"{one}"' in source.read_text() for one in options)
            wrong += [] if known else [str(command)]
    assert wrong == []


@pytest.mark.parametrize(
    "page", sorted({*pages_of("ros2", "launch", "moto_ros"), *pages_of("ros2", "run", "moto_ros")})
)
def test_a_ros2_command_has_its_file_and_arguments(page: str) -> None:
    programs = {f"{name}_node" for name in re.findall(r'"(\w+)"', (ROOT / "setup.py").read_text())}
    known, wrong = {argument.name for argument in ARGUMENTS}, []
    for command in (
        one for one in [*of("ros2", "launch", "moto_ros"), *of("ros2", "run", "moto_ros")] if one.page == page
    ):
        if len(command.words) < 4:  # the command alone, in a sentence
            continue
        kind, file, rest = command.words[1], command.words[3], command.words[4:]
        there = (ROOT / "launch" / file).is_file() if kind == "launch" else file in programs
        given = [word.split(":=")[0] for word in rest if ":=" in word and kind == "launch"]
        wrong += [] if there and set(given) <= known else [str(command)]
    assert wrong == []


def paths_in(path: Path) -> Iterator[str]:
    """Yield the files and folders of this repository that a page names as code or in a command."""
    words = (word for line in [*in_blocks(text_of(path)), *in_sentences(text_of(path))] for word in line.split())
    for word in words:
        name = word.strip("'\",;()").split(":")[0]
        if re.fullmatch(r"[\w.*<>/-]+", name) and "/" in name and name.split("/")[0] in TOP:
            yield re.sub(r"<[^<>]*>", "*", name)


def exists(name: str) -> bool:
    """Return whether a file or folder is there; a message's type stands for its file, and `*` for anything."""
    named = f"{name}.{name.split('/')[1]}" if re.fullmatch(r"moto_msgs/(msg|srv)/\w+", name) else name
    return any(ROOT.glob(named.rstrip("/")))


@pytest.mark.parametrize("path", [*PAGES, *TRIALS], ids=name_of)
def test_a_file_that_a_page_names_exists(path: Path) -> None:
    """Breaks whoever looks for it: `config/robots/fr3.yaml`, `moto_ros/agents/registry.py`, `test/conformance/`."""
    assert [name for name in paths_in(path) if not exists(name)] == []


@pytest.mark.parametrize("path", TRIALS, ids=name_of)
def test_a_file_that_raw_numbers_name_exists(path: Path) -> None:
    named = re.findall(r"\b[\w.-]+\.(?:md|jsonl|json|png)\b", text_of(path))
    assert [name for name in named if not any(ROOT.glob(f"docs/**/{name}"))] == []


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_a_function_that_a_page_names_is_in_its_file(path: Path) -> None:
    """Breaks whoever reads the code beside the page: "`Behaviour.actor_loss` in `behaviour.py`"."""
    text = " ".join(text_of(path).split())
    wrong = []
    for names, file in re.findall(r"((?:`[\w.]+`(?:, | and )?)+) (?:in|of) `([\w/]+\.py)`", text):
        sources = [ROOT / file] if "/" in file else sorted((ROOT / "moto_ros" / "agents").rglob(file))
        defined = {word for source in sources for word in re.findall(r"\w+", source.read_text(encoding="utf-8"))}
        wrong += [
            f"{name} in {file}" for name in re.findall(r"`([\w.]+)`", names) if not defined >= set(name.split("."))
        ]
    assert wrong == []


def sources() -> Iterator[Path]:
    """Yield the files that write the program's errors."""
    for folder in ("moto_ros", "sim/moto_sim", "tools"):
        yield from sorted((ROOT / folder).rglob("*.py"))
    yield ROOT / "tools" / "env.sh"


@cache
def errors() -> str:
    """Return the texts of the program, those with values in place; other lines between them."""
    found = []
    for path in sources():
        if path.suffix != ".py":
            found.append(path.read_text(encoding="utf-8"))
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [str(one.value) if isinstance(one, ast.Constant) else "\0" for one in node.values]
                found.append("".join(parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return "\n".join(found)


@pytest.mark.parametrize("page", ["hardware.md", "troubleshooting.md"])
def test_an_error_that_a_page_explains_is_one_of_the_program(page: str) -> None:
    """Breaks whoever searches the page for the error on the screen: its words were changed.

    Values, and `...` on the page, may be anything.
    """
    rows = re.findall(r"^\| (.*?) \|.*\|$", (ROOT / "docs" / page).read_text(), re.MULTILINE)
    quoted = {text for row in rows for text in re.findall(r"`([^`]+)`", row) if len(text.split()) > 2} - OF_LIBRARIES
    quoted = {text for text in quoted if not text.startswith(("make ", "moto ", "ros2 ", "config/"))}
    assert len(quoted) > 8
    pieces = {piece for text in quoted for piece in pieces_of(text) if len(piece.split()) > 1}
    assert sorted(piece for piece in pieces if not is_written(piece)) == []


def pieces_of(error: str) -> list[str]:
    """Return the parts of an error that the program writes as they are: without values, and `...` for them."""
    return [part.strip() for part in re.split(r"\[?\.\.\.\]?|'[^']*'|\([^)]*\)|\d[\d.]*|: ", error)]


def is_written(piece: str) -> bool:
    """Return whether the program writes this text, or one in which a word is a value, such as a package's name."""
    words = piece.split()
    with_value = (" ".join([*words[:at], "\0", *words[at + 1 :]]) for at in range(len(words)))
    return piece in errors() or (len(words) > 3 and any(one in errors() for one in with_value))


def test_the_agents_of_the_pages_are_those_of_the_registry() -> None:
    named = {
        words[words.index("--agent") + 1] for words in (one.words for one in of("moto")) if "--agent" in words[:-1]
    }
    assert named
    assert [name for name in named if name not in AGENTS] == []


def test_the_mapping_of_foreign_bags_in_the_readme_is_understood(tmp_path: Path) -> None:
    """Breaks who brings bags of their own: the example would name parameters that are not there."""
    (block,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    path = tmp_path / "my_task.yaml"
    path.write_text(block)
    (trainer,) = resolve("pretrain", {"task": str(path), "run": str(tmp_path)}).processes
    assert trainer.parameters["topics.action_low"] == (-0.5,)
    assert trainer.parameters["topics.episode_source"] == "whole_bag"
    assert trainer.parameters["cameras"] == ("front",)


def test_the_readme_is_short() -> None:
    """Breaks whoever wants to know in five minutes what this is."""
    text = (ROOT / "README.md").read_text()
    assert len(text.split()) < 1200
    assert len(text.splitlines()) <= 160
