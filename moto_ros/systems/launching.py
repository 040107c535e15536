"""The phases of `phases.py` as a ROS launch description. Needs the `launch` and `launch_ros` packages.

`ros2 launch` returns what the launch service returns: 0, unless an exception was raised in it. So the first cause of a
failure is raised here, once every process has ended: it is the last line, and the status is 1. After Ctrl-C it is 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from signal import SIGINT
from typing import Any

from launch import LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    ExecuteProcess,
    LogInfo,
    OpaqueFunction,
    RegisterEventHandler,
    SetEnvironmentVariable,
    TimerAction,
)
from launch.event import Event
from launch.event_handler import EventHandler
from launch.event_handlers import OnProcessExit, OnProcessIO, OnShutdown
from launch.events import Shutdown
from launch.events.matchers import matches_action
from launch.events.process import ProcessExited, ProcessIO, ShutdownProcess, SignalProcess
from launch.launch_description_entity import LaunchDescriptionEntity
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.substitutions import ExecutableInPackage

from moto_ros.errors import MotoError
from moto_ros.stopping import STOP_TIME
from moto_ros.systems.bringup import ARGUMENTS, Argument, Process, System, run_folder
from moto_ros.systems.exit_causes import ExitCauses
from moto_ros.systems.phases import SystemPhase, phases

Entities = list[LaunchDescriptionEntity]

TIMEOUTS = {
    "sigterm_timeout": LaunchConfiguration("sigterm_timeout", default=str(STOP_TIME)),
    "sigkill_timeout": LaunchConfiguration("sigkill_timeout", default="5"),
}
"""Seconds from SIGINT to SIGTERM, and from there to SIGKILL: launch's own 5 s are less than a checkpoint takes."""

TERMINAL_TIME = 2.0
"""Seconds after which a SIGINT is passed on to the processes; by then they have received that of the terminal."""


def launch_system(name: str) -> LaunchDescription:
    """Return the description of job `name`: every argument declared, its phases started one after the other."""
    declared = [_declare(argument) for argument in ARGUMENTS]
    return LaunchDescription([*declared, OpaqueFunction(function=_start, args=[name])])


def _declare(argument: Argument) -> DeclareLaunchArgument:
    # Launch would refuse "module:class", which is none of the names of a registry.
    choices = {"choices": list(argument.choices)} if isinstance(argument.choices, tuple) and argument.choices else {}
    return DeclareLaunchArgument(argument.name, default_value=argument.default, description=argument.help, **choices)


def _start(context: LaunchContext, name: str) -> Entities:
    given = {argument.name: LaunchConfiguration(argument.name).perform(context) for argument in ARGUMENTS}
    report = ["report", str(run_folder(given))] if name == "finetune" else []
    job = LaunchJob(phases(name, given), report)
    return [RegisterEventHandler(OnShutdown(on_shutdown=job.on_shutdown)), *job.next_phase()]


class AllEnded(Event):
    """Every process of a phase has ended."""

    name = "moto_ros.AllEnded"


class LaunchJob:
    """The phases of one job in a launch: starts the processes of a phase when all of the one before have succeeded."""

    def __init__(self, phases: Iterator[SystemPhase], report: list[str]) -> None:
        """Take the phases, and the arguments of the `moto` command that writes the report, if there is one."""
        self._phases, self._report = phases, report
        self._running: dict[str, ExecuteProcess] = {}
        self._exit_causes = ExitCauses()
        self._late_sigint: TimerAction | None = None

    def next_phase(self) -> Entities:
        """Return what starts the next phase or the report, or ends the launch; MotoError where work is left to do."""
        self._exit_causes = ExitCauses()
        phase = next(self._phases, None)
        if phase is not None:
            return self._system(phase)
        if self._report:
            command, self._report = self._report, []
            executable = ExecutableInPackage(package="moto_ros", executable="moto")
            return self._watched({"report": ExecuteProcess(cmd=[executable, *command], output="screen", **TIMEOUTS)})
        return [EmitEvent(event=Shutdown(reason="the work is done"))]

    def _system(self, phase: SystemPhase) -> Entities:
        system = phase.system
        system.write_parameters()
        environment = [SetEnvironmentVariable(key, value) for key, value in system.environment.items()]
        nodes = {process.node: _node(system, process) for process in system.processes}
        return [LogInfo(msg=phase.title), *environment, *self._watched(nodes)]

    def _watched(self, actions: dict[str, ExecuteProcess]) -> Entities:
        self._running = dict(actions)
        ended = AllEnded()
        found: Entities = [RegisterEventHandler(_once(ended, self._all_ended))]
        for name, action in actions.items():
            printed = partial(self._printed, name)
            on_exit = partial(self._on_exit, name, ended)
            found.append(RegisterEventHandler(OnProcessIO(target_action=action, on_stdout=printed, on_stderr=printed)))
            found.append(RegisterEventHandler(OnProcessExit(target_action=action, on_exit=on_exit)))
        return [*found, *actions.values()]

    def _printed(self, name: str, event: ProcessIO) -> None:
        self._exit_causes.printed(name, event.text.decode(errors="replace"))

    def _on_exit(self, name: str, ended: AllEnded, event: ProcessExited, context: LaunchContext) -> Entities:
        first = not self._exit_causes.first
        self._exit_causes.ended(name, event.returncode, told=context.is_shutdown)
        self._running.pop(name)
        if not self._running:
            return [EmitEvent(event=ended)]
        return [_end(action) for action in self._running.values()] if first and not context.is_shutdown else []

    def _all_ended(self, context: LaunchContext) -> Entities:
        if self._late_sigint is not None:
            self._late_sigint.cancel()
        if self._exit_causes.cause:
            raise MotoError(self._exit_causes.cause)
        return [] if context.is_shutdown else self.next_phase()

    def on_shutdown(self, event: Shutdown, context: LaunchContext) -> Entities:
        """Pass a SIGINT on to processes that have not got it: launch leaves that to the terminal."""
        if not event.due_to_sigint or not self._running:
            return []
        passed_on = OpaqueFunction(function=lambda _: [_interrupt(action) for action in self._running.values()])
        self._late_sigint = TimerAction(period=TERMINAL_TIME, actions=[passed_on], cancel_on_shutdown=False)
        return [self._late_sigint]


def _node(system: System, process: Process) -> Node:
    # Named by an argument: launch warns of a name that it has seen before, and phases have nodes in common.
    return Node(
        package=process.kind.package,
        executable=process.kind.executable,
        exec_name=process.node,
        namespace=system.namespace,
        parameters=[str(process.parameter_file)],
        ros_arguments=["-r", f"__node:={process.node}"],
        output="screen",
        emulate_tty=True,
        **TIMEOUTS,
    )


def _once(wanted: Event, handle: Callable[[LaunchContext], Entities]) -> EventHandler:
    """Return a handler of this event object alone."""
    return EventHandler(
        matcher=lambda event: event is wanted,
        entities=OpaqueFunction(function=handle),
        handle_once=True,
    )


def _end(action: Any) -> EmitEvent:
    return EmitEvent(event=ShutdownProcess(process_matcher=matches_action(action)))


def _interrupt(action: Any) -> EmitEvent:
    return EmitEvent(event=SignalProcess(signal_number=SIGINT, process_matcher=matches_action(action)))
