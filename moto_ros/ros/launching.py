"""A system of `bringup.py` as a ROS launch description. Needs the `launch` and `launch_ros` packages."""

from __future__ import annotations

from launch import LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    OpaqueFunction,
    RegisterEventHandler,
    SetEnvironmentVariable,
)
from launch.event_handlers import OnProcessExit
from launch.events import Shutdown
from launch.launch_description_entity import LaunchDescriptionEntity
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from moto_ros.bringup import ARGUMENTS, Argument, Process, System, resolve


def launch_system(name: str) -> LaunchDescription:
    """Return the description of system `name`: every argument declared, its processes started once they are known."""
    declared = [_declare(argument) for argument in ARGUMENTS]
    return LaunchDescription([*declared, OpaqueFunction(function=_start, args=[name])])


def _declare(argument: Argument) -> DeclareLaunchArgument:
    choices = {"choices": list(argument.choices)} if argument.choices else {}
    return DeclareLaunchArgument(argument.name, default_value=argument.default, description=argument.doc, **choices)


def _start(context: LaunchContext, name: str) -> list[LaunchDescriptionEntity]:
    given = {argument.name: LaunchConfiguration(argument.name).perform(context) for argument in ARGUMENTS}
    system = resolve(name, given)
    system.check()
    system.write_parameters()
    environment = [SetEnvironmentVariable(key, value) for key, value in system.environment.items()]
    return [*environment, *(action for process in system.processes for action in _process(system, process))]


def _process(system: System, process: Process) -> list[LaunchDescriptionEntity]:
    node = Node(
        package=process.kind.package,
        executable=process.kind.executable,
        name=process.node,
        namespace=system.namespace,
        parameters=[str(process.parameter_file)],
        output="screen",
        emulate_tty=True,
    )
    shutdown = EmitEvent(event=Shutdown(reason=f"{process.node} has ended"))
    return [node, RegisterEventHandler(OnProcessExit(target_action=node, on_exit=[shutdown]))]
