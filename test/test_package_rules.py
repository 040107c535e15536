"""Rules of the code that a user relies on: nothing executes what a file brings, rooms stay independent."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("moto_ros", "sim", "launch", "tools", "bench", "test")
SOURCES = [ROOT / "setup.py", *(path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py")))]
UNSAFE_MODULES = {"pickle", "cPickle", "dill", "joblib", "shelve", "marshal", "cloudpickle"}
UNSAFE_CALLS = {"torch.load", "torch.save", "input", "eval", "exec", "yaml.unsafe_load", "yaml.full_load"}

ROS = {"rclpy", "moto_msgs"}
SIMULATOR = {"moto_sim", "mujoco", "metaworld"}
ABOVE = {"moto_ros.nodes", "moto_ros.cli", "moto_ros.bringup", "moto_ros.layers", "moto_ros.implied"}
ABOVE |= {"moto_ros.phases", "moto_ros.preflight"}
ROOMS = {
    "agents": ROS | SIMULATOR | ABOVE | {"moto_ros.data", "moto_ros.training"},
    "data": ROS | SIMULATOR | ABOVE | {"torch", "moto_ros.agents", "moto_ros.training"},
    "training": ROS | SIMULATOR | ABOVE,
    "robot": ROS | SIMULATOR | ABOVE | {"torch", "moto_ros.agents", "moto_ros.training", "moto_ros.camera"},
    "camera": ROS | SIMULATOR | ABOVE | {"torch", "moto_ros.agents", "moto_ros.training", "moto_ros.robot"},
    "benchmark": ROS | SIMULATOR | ABOVE,
    "nodes": SIMULATOR | (ABOVE - {"moto_ros.nodes"}),
}
"""Room -> what it must not import: without these it runs where they are not installed."""

REQUIREMENTS = (
    *(f"requirements/{name}.txt" for name in ("run", "dev", "build", "franka", "ray", "realsense")),
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


def parsed() -> Iterator[tuple[str, ast.Module]]:
    """Yield every Python file of the repository as its name and its syntax tree."""
    for path in SOURCES:
        yield str(path.relative_to(ROOT)), ast.parse(path.read_text())


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


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_what_it_may(room: str) -> None:
    """Breaks machines that lack ROS, a simulator or torch: a room would pull them in."""
    found = [
        f"{path.relative_to(ROOT)}: {module}"
        for path in sorted((ROOT / "moto_ros" / room).rglob("*.py"))
        for module in imports(ast.parse(path.read_text()))
        if any(module == banned or module.startswith(f"{banned}.") for banned in ROOMS[room])
    ]
    assert found == []


STAMPS = {"create_publisher": "speak", "create_subscription": "listen", "create_client": "client"}
"""What a node must not call, and what it calls in its place: only that stamps and looks at sessions."""


def test_no_node_publishes_hears_or_asks_past_the_session() -> None:
    """Breaks arms: a node that forgets the session takes another system's actions, or is taken for another system."""
    found = [
        f"{name}:{call.lineno}: {call.func.attr}, expected {STAMPS.get(call.func.attr, 'serve')}"
        for name, tree in parsed()
        if name.startswith(("moto_ros/nodes/", "sim/")) and not name.endswith("nodes/workspace_watch.py")
        for call in calls(tree)
        if isinstance(call.func, ast.Attribute)
        if call.func.attr in STAMPS
        or (call.func.attr == "create_service" and not ast.unparse(call.args[0]).endswith("Trigger"))
    ]
    assert found == []


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
    own = {path.stem for folder in ("test", "bench") for path in (ROOT / folder).rglob("*.py")}
    own |= {"support", "conformance", "bench"}
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
NOT_FILES = ("read_text", "os.open", "sensor.open", "super().open", "self._camera.open", "Session.open", "run.open")


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
