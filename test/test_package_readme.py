"""The commands of README.md and CONTRIBUTING.md exist: a stranger who copies one gets what it says."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from moto_ros.cli.main import main, parser
from moto_ros.systems.bringup import resolve

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = ("README.md", "CONTRIBUTING.md", *sorted(f"docs/{path.name}" for path in ROOT.glob("docs/*.md")))


def commands() -> list[list[str]]:
    """Return every command in the documents' bash blocks and the README's table of make targets, split into words."""
    found = []
    for name in DOCUMENTS:
        for block in re.findall(r"```bash\n(.*?)```", (ROOT / name).read_text(), re.DOTALL):
            lines = (shlex.split(line, comments=True) for line in block.splitlines())
            found += [words for words in lines if words]
    table = re.findall(r"`((?:make|moto) [^`]*)`", (ROOT / "README.md").read_text())
    return found + [re.sub(r"<[^>]*>", "x", text).split() for text in table]


def of(program: str) -> list[list[str]]:
    """Return the distinct commands of one program, without a leading sudo or the program itself."""
    plain = [words[words[0] == "sudo" :] for words in commands()]
    return sorted({tuple(words[1:]) for words in plain if words and words[0] == program})


def names(words: tuple[str, ...]) -> str:
    """Return a command's words as a test's name."""
    return " ".join(words)


def test_the_documents_show_the_two_commands() -> None:
    assert ("finetune",) in of("make")
    assert ("test",) in of("make")
    assert len(of("moto")) >= 6


@pytest.mark.parametrize("words", of("make"), ids=names)
def test_a_make_command_of_the_documents_exists(words: tuple[str, ...]) -> None:
    targets = [word for word in words if "=" not in word]
    done = subprocess.run(["make", "--dry-run", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    known = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(targets) <= set(known)


@pytest.mark.parametrize("words", of("make"), ids=names)
def test_a_make_variable_of_the_documents_is_used(words: tuple[str, ...]) -> None:
    used = (ROOT / "Makefile").read_text() + (ROOT / "tools" / "env.sh").read_text()
    assert [word for word in words if "=" in word and word.split("=")[0] not in used] == []


@pytest.mark.parametrize("words", of("moto"), ids=names)
def test_a_moto_command_of_the_documents_is_understood(words: tuple[str, ...]) -> None:
    options = parser(words[0]).parse_args(words)
    assert callable(options.function)


@pytest.mark.parametrize("words", of("moto"), ids=names)
def test_a_moto_command_of_the_documents_has_help(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*(words[:2] if words[0] == "bag" else words[:1]), "--help"])
    assert ended.value.code == 0
    assert "usage: moto" in capsys.readouterr().out


def test_the_mapping_of_foreign_bags_in_the_readme_is_understood(tmp_path: Path) -> None:
    """Breaks who brings bags of their own: the example would name parameters that are not there."""
    (block,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    path = tmp_path / "my_task.yaml"
    path.write_text(block)
    (trainer,) = resolve("pretrain", {"task": str(path), "run": str(tmp_path)}).processes
    assert trainer.parameters["topics.action_low"] == (-0.5,)
    assert trainer.parameters["topics.episode_source"] == "whole_bag"
    assert trainer.parameters["cameras"] == ("front",)


def test_every_file_that_the_documents_link_to_exists() -> None:
    for name in (*DOCUMENTS, "QUALITY_DECLARATION.md", "CHANGELOG.md", "SECURITY.md"):
        path = ROOT / name
        links = re.findall(r"\]\((?!http)([^)#]+)\)", path.read_text())
        assert [link for link in links if not (path.parent / link).exists()] == []
