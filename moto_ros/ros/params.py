"""Typed parameters on a node: declared, documented and validated from a settings class."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node

from moto_ros.config import Spec, build, flatten, former_names, present_names, specs

T = TypeVar("T")
LIMIT = 2**62
BUILT_IN = ("use_sim_time", "start_type_description_service")


def settings_of(node: Node, settings: type[T] | Callable[[Mapping[str, Any]], type[T]]) -> T:
    """Return the node's settings from its parameters, each then declared with its description and range.

    All are read-only but those that are `live`, which the node itself checks when they are set.

    `settings` is their class, or a function that chooses the class by the given parameters. The node must have been
    made with `automatically_declare_parameters_from_overrides=True`. Raises MotoError for an unknown name, a wrong type
    or a value out of range.
    """
    parameters: Mapping[str, Any] = node.get_parameters_by_prefix("")
    given = {name: value.value for name, value in parameters.items() if not _is_built_in(name)}
    chosen = settings if isinstance(settings, type) else settings(given)
    known, source = specs(chosen), node.get_fully_qualified_name()
    built: T = build(chosen, present_names(known.values(), given, source, node.get_logger().warning), source)
    values = flatten(built)
    for former in former_names(known.values()).keys() & given.keys():
        node.undeclare_parameter(former)
    for name, spec in known.items():
        if node.has_parameter(name):
            node.undeclare_parameter(name)
        value = values[name]
        node.declare_parameter(name, list(value) or [""] if isinstance(value, tuple) else value, descriptor(spec))
    return built


def _is_built_in(name: str) -> bool:
    return name in BUILT_IN or name.startswith("qos_overrides.")


def descriptor(spec: Spec) -> ParameterDescriptor:
    """Return the ROS descriptor of a parameter: description with unit, range, read-only unless it is live."""
    found = ParameterDescriptor(description=spec.describe(), read_only=not spec.live)
    if spec.is_list or (spec.low is None and spec.high is None):
        return found
    most = LIMIT if spec.kind is int else 1e300
    low, high = -most if spec.low is None else spec.low, most if spec.high is None else spec.high
    if spec.kind is int:
        found.integer_range = [IntegerRange(from_value=int(low), to_value=int(high), step=0)]
    elif spec.kind is float:
        found.floating_point_range = [FloatingPointRange(from_value=float(low), to_value=float(high), step=0.0)]
    return found
