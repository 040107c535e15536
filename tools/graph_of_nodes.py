"""Read from the nodes' source which topics they publish and read, and which services they serve and call.

A topic has its name in `moto_ros/contract/topics.py`, its type and its QoS profile where a node makes it. The calls
that make publishers, subscriptions, services and clients are found in the source; no node is started. What a function
takes as an argument is looked up where it is called.
"""

from __future__ import annotations

import ast
import copy
import inspect
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from moto_ros.config import specs
from moto_ros.contract import topics
from moto_ros.systems.bringup import NODES
from moto_ros.teleop.buttons import EVENTS, ButtonNumbers

ROOT = Path(__file__).resolve().parents[1]
SHARED = ("moto_ros/ros/discovery.py", "moto_ros/ros/duplicates.py", "moto_ros/ros/diagnostics.py")
SOURCES = ("moto_ros/nodes/*.py", "sim/moto_sim/*_node.py", *SHARED)

ROLES = {
    "advertise": "publisher",
    "create_publisher": "publisher",
    "subscribe": "subscription",
    "create_subscription": "subscription",
    "serve": "service",
    "create_service": "service",
    "client": "client",
    "create_client": "client",
}
"""Method that makes an endpoint -> what it makes."""

PARTS = {
    "episode_actor": ("operator", "policy"),
    "camera_channel": ("camera",),
    "workspace_watch": ("`moto workspace`",),
}
"""Files that are a part of nodes -> those nodes."""

PLACEHOLDERS: dict[str, tuple[Any, ...]] = {"camera": ("<name>",), "compressed": (False, True), "event": EVENTS}
"""What the arguments of the contract's functions stand for."""


@dataclass(frozen=True)
class Endpoint:
    """A topic or service of some nodes: its name, possible types, QoS profiles by name, and what it is for."""

    role: str
    name: str
    types: tuple[str, ...]
    profiles: tuple[str, ...]
    nodes: tuple[str, ...]
    doc: str


@dataclass(frozen=True)
class Place:
    """A function in a file: where a call stands."""

    path: Path
    function: ast.FunctionDef
    names: tuple[str, ...]
    """What it is called by: its own name, or that of the class that it initialises."""

    @property
    def parameters(self) -> list[str]:
        """Its parameters by position, without self."""
        return [argument.arg for argument in self.function.args.args if argument.arg != "self"]


Call = tuple[Place, ast.Call]


def endpoints() -> list[Endpoint]:
    """Return every endpoint of the contract that the nodes make."""
    calls = [call for pattern in SOURCES for path in sorted(ROOT.glob(pattern)) for call in _calls(path)]
    made = [(ROLES[call.func.attr], place, call) for place, call in calls if _makes_endpoint(call)]
    return [
        endpoint
        for role, place, call in made
        for where, arguments in _resolved(place, [_inlined(place, one, call.lineno) for one in call.args], calls)
        for endpoint in _endpoints(role, where, arguments)
    ]


def topics_of(found: list[Endpoint]) -> list[str]:
    """Return the topics among the endpoints, those of the robot side first, as the contract is read."""
    order = (
        "camera/",
        "robot/",
        "policy/",
        "episode/",
        "reward/",
        "operator/",
        "trainer/",
        "recorder/",
        "system/",
        "/",
    )
    names = {one.name for one in found if one.role in ("publisher", "subscription")}
    return sorted(names, key=lambda name: (next(i for i, prefix in enumerate(order) if name.startswith(prefix)), name))


def _makes_endpoint(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Attribute) and call.func.attr in ROLES and len(call.args) >= 2


def _calls(path: Path) -> Iterator[Call]:
    """Yield every call of a file with the function that it stands in."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    owners = {id(child): node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef) for child in node.body}
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef):
            names = (owners.get(id(function), ""),) if function.name == "__init__" else (function.name,)
            place = Place(path, function, names)
            yield from ((place, node) for node in ast.walk(function) if isinstance(node, ast.Call))


class _Substitute(ast.NodeTransformer):
    """Puts expressions in place of names."""

    def __init__(self, values: dict[str, ast.expr]) -> None:
        self._values = values

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self._values.get(node.id, node)


def _put(expression: ast.expr, values: dict[str, ast.expr]) -> ast.expr:
    changed: ast.expr = _Substitute(values).visit(copy.deepcopy(expression))
    return changed


def _inlined(place: Place, expression: ast.expr, line: int) -> ast.expr:
    """Return an expression with the function's local variables replaced by what was last assigned to them.

    A variable that a loop or a comprehension counts through stands for all that it goes through.
    """
    looped: dict[str, ast.expr] = {}
    assigned: dict[str, ast.expr] = {}
    for node in ast.walk(place.function):
        if isinstance(node, (ast.For, ast.comprehension)):
            looped |= {name.id: node.iter for name in ast.walk(node.target) if isinstance(name, ast.Name)}
        elif isinstance(node, ast.Assign) and node.lineno < line and isinstance(node.targets[0], ast.Name):
            assigned[node.targets[0].id] = node.value
    return _put(_put(expression, looped), assigned)


def _resolved(place: Place, arguments: list[ast.expr], calls: list[Call]) -> Iterator[tuple[Place, list[ast.expr]]]:
    """Yield the arguments with the function's parameters replaced by what each caller gives, and that caller."""
    used = {node.id for one in arguments for node in ast.walk(one) if isinstance(node, ast.Name)}
    if not used & set(place.parameters) - {"settings", "node"}:
        yield place, arguments
        return
    for caller, call in calls:
        if _name_of(call) in place.names:
            given = [_inlined(caller, one, call.lineno) for one in call.args]
            values = dict(zip(place.parameters, given, strict=False))
            yield from _resolved(caller, [_put(one, values) for one in arguments], calls)


def _name_of(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def _endpoints(role: str, place: Place, arguments: list[ast.expr]) -> Iterator[Endpoint]:
    """Yield what one call makes; nothing where the topic is not one of the contract."""
    kinds, profiles = _types(arguments[0]), tuple(dict.fromkeys(_profiles(arguments[2:])))
    nodes = _nodes(place.path)
    for name, doc, compressed in _topics(nodes, arguments[1]):
        types = tuple(kind for kind in kinds if compressed is None or ("Compressed" in kind) == compressed)
        yield Endpoint(role, name, types, profiles, nodes, doc)


def _nodes(path: Path) -> tuple[str, ...]:
    if str(path.relative_to(ROOT)) in SHARED:
        return ("every node",)
    named = {kind.module.rsplit(".", 1)[-1]: node for node, kind in NODES.items() if node != "reset_policy"}
    return PARTS.get(path.stem) or (named[path.stem],)


def _types(expression: ast.expr) -> tuple[str, ...]:
    """Return the message types that an expression names, as `package/msg/Name`."""
    names = [node.id for node in ast.walk(expression) if isinstance(node, ast.Name)]
    return tuple(_message_types()[name] for name in names if name in _message_types())


@lru_cache
def _message_types() -> dict[str, str]:
    """Return what the sources import of message packages: name -> `package/msg/Name`."""
    imports: dict[str, str] = {}
    for path in (path for pattern in SOURCES for path in ROOT.glob(pattern)):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.endswith((".msg", ".srv")):
                imports |= {name.name: f"{node.module.replace('.', '/')}/{name.name}" for name in node.names}
    return imports


def _profiles(expressions: list[ast.expr]) -> Iterator[str]:
    for node in (node for one in expressions for node in ast.walk(one)):
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("qos."):
            yield ast.unparse(node.func).removeprefix("qos.")


def _topics(nodes: tuple[str, ...], expression: ast.AST) -> Iterator[tuple[str, str, bool | None]]:
    """Yield name, documentation, and whether it is compressed (None: no matter) of each topic that may be meant."""
    named = expression.func if isinstance(expression, ast.Call) else expression
    text = ast.unparse(named) if isinstance(named, ast.Attribute) else ""
    if text.startswith("topics."):
        yield from _contract(text.removeprefix("topics."), _documentation())
    elif re.fullmatch(r"(self\.)?settings(\.\w+)+", text):
        yield from _from_parameter(text.split("settings.")[1], nodes[0], _documentation())
    else:
        for child in ast.iter_child_nodes(expression):
            yield from _topics(nodes, child)


def _contract(name: str, documented: dict[str, str]) -> Iterator[tuple[str, str, bool | None]]:
    found = getattr(topics, name)
    if isinstance(found, str):
        yield found, documented[name], None
        return
    keys = list(inspect.signature(found).parameters)
    for value in PLACEHOLDERS[keys[0]]:
        said = _event(value) if keys[0] == "event" else documented[name]
        for compressed in PLACEHOLDERS["compressed"] if "compressed" in keys else (None,):
            arguments = (value,) if compressed is None else (value, compressed)
            yield found(*arguments), said, compressed


def _event(event: str) -> str:
    """Return what an operator's event does, as its button is documented."""
    said = specs(ButtonNumbers)[event].doc.partition("button that ")[2].removesuffix("; -1: none")
    return f"{said[0].upper()}{said[1:]}."


def _from_parameter(parameter: str, node: str, documented: dict[str, str]) -> Iterator[tuple[str, str, None]]:
    """Yield the topic that a node's parameter names unless it is set."""
    spec = NODES[node].specs({"agent_name": "moto"}).get(parameter) if node in NODES else None
    for name, text in documented.items():
        if spec is not None and getattr(topics, name) == spec.default:
            yield spec.default, text, None


@lru_cache
def _documentation() -> dict[str, str]:
    """Return what `contract/topics.py` says of each of its names."""
    body = ast.parse(inspect.getsource(topics)).body
    said = {}
    for node, after in itertools.pairwise(body):
        if isinstance(node, ast.Assign) and isinstance(after, ast.Expr):
            said[ast.unparse(node.targets[0])] = str(ast.literal_eval(after.value))
    functions = {node.name: ast.get_docstring(node) or "" for node in body if isinstance(node, ast.FunctionDef)}
    return said | {name: _as_noun(text) for name, text in functions.items()}


def _as_noun(text: str) -> str:
    """Return "Return the topic that says ..." as "Says ..."."""
    shorter = re.sub(r"^Return the ((topic|service) that )?", "", text)
    return shorter[0].upper() + shorter[1:]
