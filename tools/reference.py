"""Write docs/configuration.md and docs/messages.md from the declarations: parameters, messages, topics, QoS profiles.

What stands above the marker in each page is written by hand and kept; all below it is made here.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import graph_of_nodes
from rclpy.duration import Duration
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

from moto_ros.agents.registry import AGENTS, agent_settings
from moto_ros.config import REQUIRED, Spec, check, present_names, read_parameters, specs
from moto_ros.experiments.suite import SuiteSettings, TaskSettings
from moto_ros.registry import Registry
from moto_ros.ros import qos
from moto_ros.systems.bringup import ARGUMENTS, NODES, NodeKind
from moto_ros.systems.parameter_layers import OTHER_NAMES

ROOT = Path(__file__).resolve().parents[1]
MARKER = "<!-- Made by `make reference` from the declarations in the code; do not edit below this line. -->"
KINDS = {bool: "boolean", int: "integer", float: "number", str: "text"}

Rows = Iterable[Sequence[str]]


def main() -> int:
    """Write both pages."""
    for name in PAGES:
        (ROOT / "docs" / name).write_text(page(name), encoding="utf-8")
    return 0


def page(name: str) -> str:
    """Return a page as it should be: what is written by hand, and what is made from the declarations."""
    written = (ROOT / "docs" / name).read_text(encoding="utf-8").split(MARKER)[0]
    return f"{written}{MARKER}\n\n" + "\n\n".join(PAGES[name]()) + "\n"


def table(heading: Sequence[str], rows: Rows) -> str:
    """Return a Markdown table."""
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def plain(text: str) -> str:
    """Return a sentence from the code as Markdown that shows it as it is, inside a table too."""
    return re.sub(r"([|*])", r"\\\1", " ".join(text.split())).replace("<", "&lt;").replace(">", "&gt;")


def code(text: Any) -> str:
    """Return text as inline code."""
    return f"`{text}`"


# The configuration reference.


def configuration() -> Iterator[str]:
    """Yield the sections of the configuration reference."""
    yield "## Arguments\n\nOf `moto finetune`, `record`, `pretrain`, `evaluate`, `up`, and of the launch files."
    yield table(("argument", "default", "choices", "meaning"), map(_argument, ARGUMENTS))
    for node, kind in NODES.items():
        if node != "reset_policy":  # a second policy node
            yield from _node(node, kind)
    for agent in AGENTS.lines:  # not what is installed beside: the page is the same on every machine
        yield from _agent(agent)
    yield "## Suite files\n\n`config/suites/<suite>.yaml`, for `moto benchmark`. A suite's own parameters:"
    yield _parameters(specs(SuiteSettings), {})
    yield "Under `task.`, for all tasks of the suite; under `agent.`, those of the agents above:"
    yield _parameters(specs(TaskSettings, "task."), {})


def _argument(argument: Any) -> Sequence[str]:
    name = "-p" if argument.name == "parameters" else f"--{argument.name}"
    default = code(argument.default) if argument.default else ""
    return code(name), default, _choices(argument.choices), plain(argument.doc)


def _choices(choices: Collection[str]) -> str:
    if isinstance(choices, Registry):
        choices = (*choices.lines, "module:class")
    return ", ".join(map(code, choices))


def _node(node: str, kind: NodeKind) -> Iterator[str]:
    """Yield the section of one node; the parameters of the agent that it holds have sections of their own."""
    file = ROOT / "config" / "nodes" / f"{kind.family}.yaml"
    known = {name: spec for name, spec in kind.specs({"agent_name": "moto"}).items() if not name.startswith("agent.")}
    given = read_parameters(file, kind.family) if file.is_file() else {}
    shipped = present_names(known.values(), given, str(file))
    words = [f"Program `{kind.executable}` of `{kind.package}`; declared in `{_declared(kind)}`."]
    for other in (other for other, meant in OTHER_NAMES.items() if meant == node):
        words += [f"Parameter files and `-p` may call it `{other}`: an arm need not be a Franka arm."]
    words += [f"Other values that `config/nodes/{file.name}` sets are in brackets."] if shipped else []
    words += (
        ["It also has the parameters of its agent, [`agent.*`](#agent-moto)."] if node in ("policy", "trainer") else []
    )
    yield f"## Node `{node}`\n\n{' '.join(words)}"
    yield _parameters(known, shipped)


def _declared(kind: NodeKind) -> str:
    return kind.settings.split(":")[0]


def _agent(agent: str) -> Iterator[str]:
    presets = sorted((ROOT / "config" / "agents").glob(f"{agent}_*.yaml"))
    files = ", ".join(code(path.stem.removeprefix(f"{agent}_")) for path in presets)
    yield (
        f"## Agent `{agent}`\n\nParameters of the policy and trainer nodes with `--agent {agent}`. Presets, files "
        f"`config/agents/{agent}_<preset>.yaml`, set what differs from these defaults: {files}."
    )
    yield _parameters(specs(agent_settings(agent), "agent."), {})


def _parameters(known: Mapping[str, Spec], shipped: Mapping[str, Any]) -> str:
    heading = ("parameter", "type", "default", "allowed", "unit", "meaning")
    return table(heading, (_parameter(spec, shipped) for spec in known.values()))


def _parameter(spec: Spec, shipped: Mapping[str, Any]) -> Sequence[str]:
    kind = f"list of {KINDS[spec.kind]}" if spec.is_list else KINDS[spec.kind]
    default = "**required**" if spec.default is REQUIRED else _value(spec.default)
    # Checked, as ROS's [''] is an empty list.
    set_here = check(spec, shipped[spec.name], spec.name) if spec.name in shipped else spec.default
    if set_here != spec.default:
        default += f" ({_value(set_here)})"
    former = f"; formerly {', '.join(map(code, spec.formerly))}" if spec.formerly else ""
    return code(spec.name), kind, default, _allowed(spec), spec.unit, plain(spec.doc) + former


def _value(value: Any) -> str:
    return code(_plain_value(value)) if value != "" else "empty"


def _plain_value(value: Any) -> str:
    """Return a value as a parameter file writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (tuple, list)):
        return f"[{', '.join(map(_plain_value, value))}]"
    return str(value)


def _allowed(spec: Spec) -> str:
    if spec.choices:
        return _choices(spec.choices)
    if spec.low is None and spec.high is None:
        return ""
    if spec.high is None:
        return f"≥ {spec.low:g}"
    return f"≤ {spec.high:g}" if spec.low is None else f"{_number(spec.low)} to {_number(spec.high)}"


def _number(bound: float) -> str:
    """Return a bound; the largest of what a power of two holds as that power."""
    whole = int(bound)
    power = whole.bit_length() if whole & (whole + 1) == 0 else whole.bit_length() - 1
    if whole > 2**30 and whole in (2**power, 2**power - 1):
        return f"2^{power}" if whole == 2**power else f"2^{power} - 1"
    return f"{bound:.12g}"


# The reference of topics, services and messages.


def messages() -> Iterator[str]:
    """Yield the sections of the reference of topics, services and messages."""
    found = graph_of_nodes.endpoints()
    yield "## Topics"
    heading = ("topic", "type", "QoS of the publisher", "published by", "read by", "meaning")
    yield table(heading, (_topic(topic, found) for topic in graph_of_nodes.topics_of(found)))
    yield "## Services"
    yield table(
        ("service", "type", "served by", "called by", "meaning"), (_service(s, found) for s in _services(found))
    )
    yield "## QoS profiles\n\nNamed by what they mean, in `moto_ros/ros/qos.py`."
    heading = ("profile", "reliability", "durability", "depth", "deadline, lifespan", "for")
    yield table(heading, map(_profile, _profiles()))
    for kind in ("msg", "srv"):
        for path in sorted((ROOT / "moto_msgs" / kind).glob(f"*.{kind}")):
            yield from _definition(path)


def _topic(topic: str, found: list[graph_of_nodes.Endpoint]) -> Sequence[str]:
    mine = [endpoint for endpoint in found if endpoint.name == topic]
    out = [endpoint for endpoint in mine if endpoint.role == "publisher"]
    profiles = ", ".join(dict.fromkeys(f"[`{one}`](#qos-profiles)" for endpoint in out for one in endpoint.profiles))
    return (
        code(topic),
        _types(mine),
        profiles,
        _nodes(out),
        _nodes(endpoint for endpoint in mine if endpoint.role == "subscription"),
        plain(mine[0].doc),
    )


def _services(found: list[graph_of_nodes.Endpoint]) -> list[str]:
    return sorted({endpoint.name for endpoint in found if endpoint.role == "service"})


def _service(service: str, found: list[graph_of_nodes.Endpoint]) -> Sequence[str]:
    mine = [endpoint for endpoint in found if endpoint.name == service]
    served, called = ([one for one in mine if one.role == role] for role in ("service", "client"))
    return code(service), _types(served), _nodes(served), _nodes(called), plain(mine[0].doc)


def _nodes(endpoints: Iterable[graph_of_nodes.Endpoint]) -> str:
    return ", ".join(sorted({node for endpoint in endpoints for node in endpoint.nodes}))


def _types(endpoints: Iterable[graph_of_nodes.Endpoint]) -> str:
    names = sorted({name for endpoint in endpoints for name in endpoint.types})
    return ", ".join(f"[{name}](#{_anchor(name)})" if name.startswith("moto_msgs/") else name for name in names)


def _anchor(name: str) -> str:
    return re.sub(r"[^\w -]", "", name.lower()).replace(" ", "-")


SAMPLES: dict[str, Any] = {"period": 0.1, "lifespan": 0.5, "rate": 10.0, "lockstep": False}
"""Arguments of profiles that depend on how a node runs; the text says that they do."""


def _profiles() -> list[tuple[str, Any]]:
    return [(name, made) for name, made in inspect.getmembers(qos, inspect.isfunction) if not name.startswith("_")]


def _profile(entry: tuple[str, Any]) -> Sequence[str]:
    name, make = entry
    wanted = [
        key for key, given in inspect.signature(make).parameters.items() if given.default is inspect.Parameter.empty
    ]
    profile: QoSProfile = make(**{key: SAMPLES[key] for key in wanted})
    reliable = "reliable" if profile.reliability == ReliabilityPolicy.RELIABLE else "best effort"
    durable = "transient local" if profile.durability == DurabilityPolicy.TRANSIENT_LOCAL else "volatile"
    timed = (
        "as set"
        if profile.lifespan not in (Duration(), Duration.from_msg(QoSProfile(depth=1).lifespan.to_msg()))
        else ""
    )
    words = inspect.getdoc(make) or ""
    purpose = words.split("\n\n")[0].removeprefix("Return the profile of ").split(" (both arguments")[0].rstrip(".")
    return code(name), reliable, durable, str(profile.depth), timed, plain(purpose)


def _definition(path: Path) -> Iterator[str]:
    """Yield the section of one message or service file."""
    lines = path.read_text(encoding="utf-8").splitlines()
    about = [line.lstrip("# ") for line in _leading(lines)]
    yield f"## moto_msgs/{path.suffix[1:]}/{path.stem}\n\n{plain(' '.join(about))}"
    parts = "\n".join(lines[len(about) :]).split("\n---\n")
    titles = ("",) if len(parts) == 1 else ("Request:\n\n", "Response:\n\n")
    for title, part in zip(titles, parts, strict=True):
        yield title + table(("type", "field", "meaning"), map(_field, filter(str.strip, part.splitlines())))


def _leading(lines: list[str]) -> Iterator[str]:
    for line in lines:
        if not line.startswith("#"):
            return
        yield line


def _field(line: str) -> Sequence[str]:
    declared, _, meaning = line.partition("#")
    kind, name = declared.split(maxsplit=1)
    return code(kind), code(name.strip()), plain(meaning)


PAGES = {"configuration.md": configuration, "messages.md": messages}
"""Page of docs/ -> what yields its sections."""


if __name__ == "__main__":
    sys.exit(main())
