"""The documentation: the site builds, links hold, references equal the code, examples work."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from agents_data import SPACES, RandomData, tiny

from moto_ros import registry
from moto_ros.agents.registry import AGENTS, agent_settings, make_agent
from moto_ros.camera.interface import CameraLost, CameraSetup
from moto_ros.config import parameter, specs
from moto_ros.contract import topics
from moto_ros.experiments.suite import SuiteSettings, TaskSettings
from moto_ros.systems.bringup import NODES, resolve
from moto_ros.systems.parameter_layers import OTHER_NAMES

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
BUILD_TIME = 120
"""Seconds that the site may take; it takes five."""


def name_of(path: Path) -> str:
    """Return a page's name for a test."""
    return str(path.relative_to(ROOT))


def load(path: Path) -> ModuleType:
    """Import a file that no package holds."""
    found = importlib.util.spec_from_file_location(path.stem, path)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site as `make docs` does, warnings being errors; return its folder."""
    pytest.importorskip("mkdocs", reason="MkDocs is not installed: make env, or pip install 'moto_ros[docs]'")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=BUILD_TIME, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_the_site_has_every_page(site: Path) -> None:
    """Breaks whoever follows a link of the README or of an error message."""
    pages = {path.relative_to(DOCS).with_suffix(".html") for path in DOCS.rglob("*.md")}
    pages = {page.with_name("index.html") if page.stem == "README" else page for page in pages} | {Path("index.html")}
    assert sorted(str(page) for page in pages if not (site / page).is_file()) == []


def test_a_reader_of_the_site_needs_no_other_server(site: Path) -> None:
    """Breaks a robot's computer without internet, and tells nobody else what is read."""
    loads = re.compile(r"<(?:script|img|iframe)[^>]*src=\"?(http[^\" >]+)|<link[^>]*href=\"?(http[^\" >]+)")
    found = [match for page in site.rglob("*.html") for match in loads.findall(page.read_text(encoding="utf-8"))]
    assert found == []


def anchors(path: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and MkDocs make them."""
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_links_between_pages_hold_in_the_repository(path: Path) -> None:
    """Breaks a reader on GitHub: a page, a file or a section that is not there."""
    wrong = []
    for target, anchor in re.findall(r"\]\((?!https?:|mailto:)([^)#\s]*)(?:#([^)\s]*))?\)", path.read_text()):
        file = (path.parent / target) if target else path
        exists = file.exists()
        if not exists or (anchor and file.suffix == ".md" and anchor not in anchors(file)):
            wrong.append(f"{target}#{anchor}")
    assert wrong == []


# The references.


@pytest.fixture(scope="module")
def reference() -> Any:
    """Import tools/reference.py, which reads ROS's QoS profiles; it starts no node, so no test needs a domain."""
    pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")
    sys.path.insert(0, str(ROOT / "tools"))
    return load(ROOT / "tools" / "reference.py")


@pytest.mark.parametrize("name", ["configuration.md", "messages.md"])
def test_a_reference_page_says_what_the_code_says(name: str, reference: Any) -> None:
    """Breaks whoever looks up a parameter or a message: run `make reference` and commit the page."""
    assert (DOCS / name).read_text(encoding="utf-8") == reference.page(name)


@dataclass(frozen=True)
class Sample:
    """Parameters of every kind that a reference has to show."""

    flags: tuple[bool, ...] = parameter((False, True), "flags")
    names: tuple[str, ...] = parameter((), "names", formerly="labels")
    agent: str = parameter("moto", "an agent", choices=AGENTS)


def test_a_reference_shows_values_as_a_parameter_file_writes_them(
    reference: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks whoever copies a default: `[False]` is no YAML. An empty list that a file sets is no other value."""
    monkeypatch.setattr(registry, "_entry_points", lambda group: {"installed": "somewhere.agent:Agent"})
    flags, names, agent = reference._parameters(specs(Sample), {"names": [""], "flags": [True]}).splitlines()[2:]
    assert flags.startswith("| `flags` | list of boolean | `[false, true]` (`[true]`) |")
    assert names.startswith("| `names` | list of text | `[]` |")
    assert names.endswith("names; formerly `labels` |")
    assert f"| {', '.join(f'`{name}`' for name in (*AGENTS.lines, 'module:class'))} |" in agent


def test_the_reference_names_the_other_name_of_a_node() -> None:
    """Breaks the owner of another arm: the section `robot` of a parameter file."""
    text = (DOCS / "configuration.md").read_text()
    for other, node in OTHER_NAMES.items():
        assert f"`{other}`" in text.split(f"## Node `{node}`\n")[1].split("\n| parameter")[0]


def declared() -> Iterator[str]:
    """Yield the name of every parameter that the sources declare, found without importing them."""
    for path in [*(ROOT / "moto_ros").rglob("*.py"), *(ROOT / "sim" / "moto_sim").rglob("*.py")]:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        helpers = {
            node.name
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef)
            and "= parameter(" in f"= {ast.unparse(node.body[-1]).removeprefix('return ')}"
        }
        for node in ast.walk(tree):
            called = node.value.func if isinstance(node, ast.AnnAssign) and isinstance(node.value, ast.Call) else None
            if isinstance(called, ast.Name) and called.id in {"parameter", *helpers}:
                yield ast.unparse(node.target)


def test_every_declared_parameter_is_in_the_reference() -> None:
    """Breaks whoever looks for a parameter: a settings class that no node of the reference has."""
    shown = set(re.findall(r"^\| `(?:[\w.]+\.)?(\w+)` \|", (DOCS / "configuration.md").read_text(), re.MULTILINE))
    names = set(declared())
    assert len(names) > 200
    assert sorted(names - shown) == []


def test_every_message_field_is_in_the_reference() -> None:
    text = (DOCS / "messages.md").read_text()
    for path in [*ROOT.glob("moto_msgs/msg/*.msg"), *ROOT.glob("moto_msgs/srv/*.srv")]:
        section = text.split(f"## moto_msgs/{path.suffix[1:]}/{path.stem}\n")[1].split("\n## ")[0]
        lines = [line.partition("#")[0].split() for line in path.read_text().splitlines()]
        fields = [words[1] for words in lines if len(words) >= 2]
        assert [field for field in fields if f"| `{field}` |" not in section] == []


def test_every_topic_of_the_contract_has_a_type_and_a_node() -> None:
    """Breaks whoever writes a node of their own: a topic that no node was found to use."""
    rows = re.findall(
        r"^\| `([^`]+)` \| (\S[^|]*) \| [^|]*\| ([^|]*)\| ([^|]*)\|", (DOCS / "messages.md").read_text(), re.M
    )
    known = {
        name: (kind, f"{out}{read}".strip()) for name, kind, out, read in rows if "/msg/" in kind or "/srv/" in kind
    }
    names = [value for key, value in vars(topics).items() if key.isupper() and isinstance(value, str)]
    names += [topics.camera_image("<name>"), topics.camera_image("<name>", True), topics.camera_health("<name>")]
    assert [name for name in names if not known.get(name, ("", ""))[1]] == []


@pytest.fixture(scope="module")
def settable() -> set[str]:
    """Return every name that `-p` takes: of all nodes, of one node, of agents, and of a suite's tasks."""
    pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")  # the reward node declares its own
    agents = {name for agent in AGENTS.lines for name in specs(agent_settings(agent), "agent.")}
    names = agents | set(specs(SuiteSettings)) | set(specs(TaskSettings, "task."))
    for node, kind in NODES.items():
        own = set(kind.specs({"agent_name": "moto"})) | (
            agents if node in ("policy", "trainer", "reset_policy") else set()
        )
        others = [other for other, meant in OTHER_NAMES.items() if meant == node]
        names |= own | {f"{called}.{name}" for called in (node, *others) for name in own}
    return names


def set_by(path: Path) -> set[str]:
    """Return the names that a page gives to `-p`; of JSON lines, those in their sentences."""
    return set(re.findall(r"-p ([\w.]+):=", path.read_text(encoding="utf-8"))) - {"name", "node.name", "trainer.name"}


def test_every_parameter_that_the_pages_set_exists(settable: set[str]) -> None:
    """Breaks whoever copies a command: `-p` of a name, or of a node, that was changed is refused."""
    pages = [page for page in [*PAGES, *DOCS.rglob("*.jsonl")] if page.name != "CHANGELOG.md"]
    assert len({name for page in pages for name in set_by(page)}) > 20
    assert [f"{name_of(page)}: {name}" for page in pages for name in sorted(set_by(page) - settable)] == []


@pytest.mark.parametrize(
    "name", ["trainee.threads", "franka.threads", "trainer.thread", "agent.acts_by", "task.box_low"]
)
def test_a_parameter_of_no_node_would_be_found(name: str, settable: set[str], tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"`moto finetune -p {name}:=1 -p name:=value -p trainer.threads:=1`")
    assert set_by(page) - settable == {name}


# What the pages say of the agents.


def updated(agent: str) -> dict[str, float]:
    """Return the figures of one update of each phase of a small agent, everything that has figures being on."""
    small = {"latent_size": 8, "conv_channels": 2, "state_units": 6, "hidden": 16, "batch": 6}
    base = {"base_latent_size": 8, "base_channels": 2, "base_hidden": 16, "base_batch": 6}
    if agent == "moto":
        kinds = [tiny(model_bc_scale=1.0, ensemble_kind="side"), tiny(policy="edit", edit_batch=6, **base)]
    else:
        more = base | {"base_policy": "cloned", "penalty_relative": True} if agent == "fowm" else {}
        kinds = [agent_settings(agent)(**small, **more)]
    spaces = SPACES if agent == "moto" else type(SPACES)((40, 40, 3), 4, 3)
    data = RandomData(spaces, sources=("all", "online", "failed"))
    agents = [make_agent(agent, spaces, settings, 0, torch.device("cpu")) for settings in kinds]
    return {name: value for made in agents for phase in made.phases for name, value in made.update(phase, data).items()}


@pytest.mark.parametrize("agent", AGENTS.lines)
def test_every_figure_of_an_update_is_explained(agent: str) -> None:
    """Breaks whoever looks at TensorBoard: a curve without an explanation, or one that is never drawn."""
    text = (DOCS / "algorithms.md").read_text().split("### Updates\n")[1].split("\n### ")[0]
    rows = re.findall(r"^\| (?:`(\w+)`, `\w+`)? *\| ([^|]*) \|", text, re.MULTILINE)
    shown: dict[str, set[str]] = {}
    current = ""
    for name, figures in rows:
        current = name or current
        shown.setdefault(current, set()).update(re.findall(r"`(\w+)`", figures))
    assert shown[agent] == set(updated(agent))


def test_the_presets_of_the_agents_are_those_that_are_there() -> None:
    text = (DOCS / "algorithms.md").read_text()
    for agent in AGENTS.lines:
        (row,) = re.findall(rf"^\| `{agent}` \|[^|]*\|([^|]*)\|$", text, re.MULTILINE)
        files = {path.stem.removeprefix(f"{agent}_") for path in (ROOT / "config" / "agents").glob(f"{agent}_*.yaml")}
        assert set(re.findall(r"`(\w+)`", row)) == files


# Examples.


def block(page: str, language: str, holding: str) -> str:
    """Return the one code block of a page that holds a text."""
    blocks = re.findall(rf"```{language}\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)
    (found,) = [text for text in blocks if holding in text]
    return found


def folder_camera(folder: Path) -> Any:
    """Return the camera of new_camera.md on a folder; its module is written beside the images."""
    path = folder / "folder.py"
    path.write_text(block("new_camera.md", "python", "class FolderCamera"), encoding="utf-8")
    return load(path).FolderCamera(CameraSetup("front", "folder", str(folder), 6, 4, 100.0, 0.0, 0.0, False, ""))


def test_the_camera_of_the_page_shows_the_images_of_a_folder(tmp_path: Path) -> None:
    """Breaks whoever starts from the example of new_camera.md."""
    for number, colour in enumerate(((255, 0, 0), (0, 255, 0))):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((4, 6, 3), colour[::-1], np.uint8))
    camera = folder_camera(tmp_path)
    camera.open()
    frames = [camera.read(1.0) for _ in range(3)]
    camera.close()
    assert [tuple(frame.colour[0, 0]) for frame in frames] == [(255, 0, 0), (0, 255, 0), (255, 0, 0)]
    assert [frame.number for frame in frames] == [1, 2, 3]
    assert 0 <= time.time_ns() - frames[-1].arrival < 60e9
    assert camera.intrinsics().fx == 0.0


def test_the_camera_of_the_page_says_what_is_wrong_with_its_folder(tmp_path: Path) -> None:
    camera = folder_camera(tmp_path)
    with pytest.raises(CameraLost, match="holds no PNG file"):
        camera.open()


def test_the_mapping_of_foreign_bags_is_understood(tmp_path: Path) -> None:
    """Breaks who brings bags of their own: the example would name parameters that are not there."""
    path = tmp_path / "my_task.yaml"
    path.write_text(block("your_bags.md", "yaml", "topics:"))
    (trainer,) = resolve("pretrain", {"task": str(path), "run": str(tmp_path)}).processes
    assert trainer.parameters["topics.state_topics"] == ("/joint_states",)


@pytest.mark.sim
def test_the_task_of_the_page_is_understood(tmp_path: Path) -> None:
    """Breaks whoever starts from the example of new_task.md."""
    path = tmp_path / "my_task.yaml"
    path.write_text(block("new_task.md", "yaml", "world:"))
    nodes = {
        process.node: process.parameters
        for process in resolve("record", {"task": str(path), "run": str(tmp_path)}).processes
    }
    from moto_sim.world import make_world

    world = make_world(str(nodes["sim"]["world"]), 64)
    assert world.action_size == nodes["recorder"].get("action_size", 4)
    assert set(nodes["sim"]["cameras"]) <= set(world.cameras)  # type: ignore[arg-type]
    world.close()
