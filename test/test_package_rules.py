"""Rules of the code that a user relies on: nothing executes what a file brings, rooms stay independent."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("moto_ros", "sim", "launch", "tools", "bench", "test")
SOURCES = [ROOT / "setup.py", *(path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py")))]
UNSAFE_MODULES = {"pickle", "cPickle", "dill", "joblib", "shelve", "marshal", "cloudpickle"}
UNSAFE_CALLS = {"torch.load", "torch.save", "input", "eval", "exec", "yaml.unsafe_load", "yaml.full_load"}

ROS = {"rclpy", "moto_msgs"}
SIMULATOR = {"moto_sim", "mujoco", "metaworld"}
DOCTOR = "moto_ros.cli.checks.machine"
"""The module that may look at the simulator: it says whether it is installed."""


@dataclass(frozen=True)
class Layer:
    """Folders of moto_ros on one level: they import levels below, and neither each other nor what is above.

    Only the single modules at the bottom import each other.
    """

    folders: tuple[str, ...]
    holds: str
    ros: bool = False
    torch: bool = False


LAYERS = (
    Layer(
        ("config", "cpu_threads", "errors", "files", "locks", "registry", "screen", "stopping", "terminal"),
        "typed parameters, the registries' form, the one error class, durable files, locks, stopping, lost output",
    ),
    Layer(("contract",), "topic and service names, episodes' purposes and outcomes, sessions: what all share"),
    Layer(("agents",), "what learns: one folder an algorithm, `common/` for what they share", torch=True),
    Layer(("data",), "episodes, step assembler, bags, replay store, live and recorded episodes"),
    Layer(("robot", "camera"), "arm and camera interfaces, drivers, safety, health watch"),
    Layer(("episode",), "episode state machine, rewards, pacing"),
    Layer(("teleop",), "human input, buttons, take-over, uncertainty guard"),
    Layer(
        ("training",),
        "offline and online phases, the schedule of a run, checkpoints, evaluation, statistics",
        torch=True,
    ),
    Layer(("policy",), "acting: decisions, planning ahead, latency, checkpoints to act by", torch=True),
    Layer(("report",), "curves, pictures, the page of a run"),
    Layer(("experiments",), "suites of runs: the `moto benchmark` command", torch=True),
    Layer(("ros",), "parameters, QoS by meaning, messages to and from our types, the life of a node", ros=True),
    Layer(("nodes",), "one shell a node: messages in, calls, messages out", ros=True, torch=True),
    Layer(("systems",), "which processes make which system, their parameters, how they start", ros=True),
    Layer(("cli",), "the `moto` command, one file a sub-command", ros=True),
)
"""From bottom to top. CONTRIBUTING.md's table is made of it: `python test/test_package_rules.py` prints it."""

LEVELS = {folder: level for level, layer in enumerate(LAYERS) for folder in layer.folders}


def table() -> str:
    """Return the table of CONTRIBUTING.md."""
    lines = ["| in `moto_ros/` | what lives there | ROS | PyTorch |", "|---|---|---|---|"]
    for layer in LAYERS:
        folders = ", ".join(
            f"`{name}/`" if (ROOT / "moto_ros" / name).is_dir() else f"`{name}.py`" for name in layer.folders
        )
        lines.append(f"| {folders} | {layer.holds} | {'yes' if layer.ros else '-'} | {'yes' if layer.torch else '-'} |")
    return "\n".join(lines) + "\n"


REQUIREMENTS = (
    *(f"requirements/{name}.txt" for name in ("run", "dev", "docs", "build", "franka", "lerobot", "ray", "realsense")),
    *("sim/requirements.txt", "sim/requirements-franka.txt"),
)
FROM_ROS = {
    *("rclpy", "moto_msgs", "moto_sim", "moto_ros", "builtin_interfaces", "std_msgs", "std_srvs", "sensor_msgs"),
    *("geometry_msgs", "diagnostic_msgs", "rcl_interfaces", "rosgraph_msgs", "launch", "launch_ros", "launch_pytest"),
    *("rosidl_runtime_py", "ament_index_python"),
}
MODULE_OF = {
    "opencv-python-headless": "cv2",
    "PyYAML": "yaml",
    "gymnasium-robotics": "gymnasium_robotics",
    "franky-control": "franky",
    "franky-sim": "franky_sim",
}
BROUGHT_ALONG = {
    "packaging": "pytest",
    "gymnasium": "gymnasium-robotics",
    "OpenGL": "mujoco",
    "google": "tensorboard",
    "PIL": "matplotlib",
}
"""Modules that come with a requirement -> which."""


@cache
def tree_of(path: Path) -> ast.Module:
    """Return the syntax tree of a file."""
    return ast.parse(path.read_text(encoding="utf-8"))


def parsed() -> Iterator[tuple[str, ast.Module]]:
    """Yield every Python file of the repository as its name and its syntax tree."""
    for path in SOURCES:
        yield str(path.relative_to(ROOT)), tree_of(path)


def imports(tree: ast.AST) -> Iterator[str]:
    """Yield the full name of every module that is imported anywhere in a file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def calls(tree: ast.AST) -> Iterator[ast.Call]:
    """Yield every call of a file."""
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def test_nothing_can_run_code_that_a_file_or_a_socket_brings() -> None:
    """Breaks security: a checkpoint or a bag from somebody else would execute on the robot's computer."""
    found = [
        f"{name}: {module}"
        for name, tree in parsed()
        for module in imports(tree)
        if module.split(".")[0] in UNSAFE_MODULES
    ]
    found += [f"{name}: {ast.unparse(call.func)}" for name, tree in parsed() for call in calls(tree) if is_unsafe(call)]
    assert found == []


def is_unsafe(call: ast.Call) -> bool:
    """Tell whether a call can run what it reads, or waits for a person."""
    allows = any(word.arg == "allow_pickle" and not is_false(word.value) for word in call.keywords)
    return ast.unparse(call.func) in UNSAFE_CALLS or allows


def is_false(node: ast.expr) -> bool:
    """Tell whether an expression is the constant False."""
    return isinstance(node, ast.Constant) and node.value is False


def test_no_error_disappears_in_a_bare_except() -> None:
    found = [
        f"{name}:{node.lineno}"
        for name, tree in parsed()
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler) and node.type is None
    ]
    assert found == []


def modules() -> dict[str, Path]:
    """Return the file of every module of moto_ros by its name; of a package its `__init__.py`."""
    files = sorted((ROOT / "moto_ros").rglob("*.py"))
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in files}


@cache
def imported() -> dict[str, set[str]]:
    """Return what each module of moto_ros imports, by name as in "module:name" too; of moto_ros the module itself."""
    known = modules()
    found = {}
    for name, path in known.items():
        tree = tree_of(path)
        named = {text.split(":")[0] for text in strings(tree) if re.fullmatch(r"moto_ros(\.\w+)+(:\w+)?", text)}
        found[name] = (set(imports(tree)) | (named & set(known))) - {name, "moto_ros"}
    return found


def strings(tree: ast.AST) -> Iterator[str]:
    """Yield every text constant of a file."""
    yield from (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str))


def level_of(module: str) -> int:
    """Return the level of a module of moto_ros."""
    return LEVELS[module.split(".")[1]]


def test_every_module_of_the_program_is_in_a_layer() -> None:
    """Breaks the plan: a folder that no rule knows may import anything."""
    assert {name.split(".")[1] for name in modules() if "." in name} == set(LEVELS)


def test_no_module_imports_from_above_or_beside() -> None:
    """Breaks machines that lack ROS, a simulator or torch, and whoever looks for a module where it should be."""
    wrong = []
    for name, found in imported().items():
        for other in found & set(modules()) if "." in name else set():
            mine, theirs = name.split(".")[1], other.split(".")[1]
            if mine != theirs and level_of(other) >= max(level_of(name), 1):
                wrong.append(f"{name} imports {other}")
    assert sorted(wrong) == []


def test_a_class_that_a_registry_names_counts_as_an_import() -> None:
    """Breaks the plan unseen: a line "module:class" would bring what the folder may not import."""
    named = {"agents.registry": "agents.bc.agent", "robot.arms": "robot.franka", "camera.sources": "camera.opencv"}
    for registry, module in named.items():
        assert f"moto_ros.{module}" in imported()[f"moto_ros.{registry}"]


def test_only_layers_that_say_so_import_ros_torch_or_the_simulator() -> None:
    """Breaks machines where these are not installed: a robot's computer, a laptop without ROS."""
    wrong = []
    for name, found in imported().items():
        layer = LAYERS[level_of(name)] if "." in name else Layer((), "")
        banned = (set() if layer.ros else ROS) | (set() if layer.torch else {"torch"})
        banned |= SIMULATOR if name != DOCTOR else set()
        wrong += [f"{name} imports {other}" for other in found if other.split(".")[0] in banned]
    assert sorted(wrong) == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Breaks the start of whichever is imported first."""
    names = modules()
    graph = {
        name: {other for other in found & set(names) if names[other].name != "__init__.py"}
        for name, found in imported().items()
    }
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(f"a circle: {' -> '.join(error.args[1])}")


def test_contributing_shows_the_layers_as_they_are() -> None:
    """Breaks a new developer's first change: the page would send it to the wrong place."""
    assert table() in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


DRIVERS = {"franky": "moto_ros/robot/franka", "pyrealsense2": "moto_ros/camera/realsense"}
"""Package of a device -> beginning of the names of the files of the program that may import it."""


@pytest.mark.parametrize("driver", DRIVERS)
def test_only_the_drivers_own_files_import_a_devices_package(driver: str) -> None:
    """Breaks every machine without the device: its driver would have to be installed there too."""
    found = [
        name
        for name, tree in parsed()
        if name.startswith(("moto_ros/", "sim/")) and not name.startswith(DRIVERS[driver])
        if any(module.split(".")[0] == driver for module in imports(tree))
    ]
    assert found == []


def named(*files: str) -> list[str]:
    """Return the name of every package in requirement files, as often as it stands there."""
    lines = (line for file in files for line in (ROOT / file).read_text().splitlines())
    return [re.split(r"[<>=!~ ;\[]", line)[0] for line in lines if line and not line.startswith("#")]


def requirements() -> set[str]:
    """Return the name of every package that is required, but ROS's."""
    return set(named(*REQUIREMENTS))


def test_every_package_that_is_imported_is_named_in_the_requirements() -> None:
    """Breaks a fresh machine: the program would start only where somebody installed a package by hand."""
    brought = {MODULE_OF.get(name, name.replace("-", "_")) for name in requirements()}
    brought |= {module for module, source in BROUGHT_ALONG.items() if source in requirements()}
    own = {path.stem for folder in ("test", "bench", "tools") for path in (ROOT / folder).rglob("*.py")}
    own |= {"support", "conformance", "bench"}
    own.add("lerobot")  # test/support/lerobot_oracle.py runs on an interpreter of its own that has it
    known = brought | own | FROM_ROS | set(sys.stdlib_module_names)
    used = {(name, module.split(".")[0]) for name, tree in parsed() for module in imports(tree)}
    assert sorted(f"{name}: {module}" for name, module in used if module not in known) == []


def test_every_requirement_is_named_once() -> None:
    """Breaks the next upgrade: one of two places would be forgotten."""
    names = named(*REQUIREMENTS, "requirements/ros-jazzy.txt")
    assert sorted(name for name in set(names) if names.count(name) > 1) == []


def test_every_requirement_is_pinned() -> None:
    """Breaks next month's install: an unpinned package moves by itself."""
    files = ("constraints", "constraints-wheels")
    text = "\n".join((ROOT / "requirements" / f"{name}.txt").read_text() for name in files).lower().replace("_", "-")
    pinned = set(re.findall(r"^([a-z0-9.-]+)==", text, re.MULTILINE))
    assert sorted(name for name in requirements() if name.lower().replace("_", "-") not in pinned) == []


TEXT_FILES = ("read_text", "write_text", "open", "fdopen", "NamedTemporaryFile", "TemporaryFile")
NOT_FILES = (
    "av.open",
    "read_text",
    "os.open",
    "sensor.open",
    "super().open",
    "self._camera.open",
    "TrainingRun.open",
    "run.open",
)


def test_every_text_file_and_pipe_has_its_encoding_named() -> None:
    """Breaks machines whose locale is not UTF-8 (a service, cron, a small container): a letter ends the program."""
    found = [
        f"{name}:{call.lineno}: {ast.unparse(call.func)}"
        for name, tree in parsed()
        for call in calls(tree)
        if not name.startswith("test/") and is_text(call) and not has_encoding(call)
    ]
    assert found == []


def has_encoding(call: ast.Call) -> bool:
    """Tell whether a call names an encoding."""
    return any(word.arg == "encoding" for word in call.keywords)


def is_text(call: ast.Call) -> bool:
    """Tell whether a call opens a file as text, or a process whose output is text."""
    full = ast.unparse(call.func)
    if any(word.arg in ("text", "universal_newlines") for word in call.keywords):
        return full.startswith("subprocess.")
    if full.split(".")[-1] not in TEXT_FILES or full in NOT_FILES:
        return False
    words = [*call.args, *(word.value for word in call.keywords)]
    modes = [one.value for one in words if isinstance(one, ast.Constant) and isinstance(one.value, str)]
    opens = full.split(".")[-1] in ("open", "TemporaryFile", "NamedTemporaryFile")
    return not (opens and any(re.fullmatch("[rwxa+]*b[rwxa+]*", mode) for mode in modes))


if __name__ == "__main__":
    print(table(), end="")
