"""Registries of arms, cameras and worlds: what cannot be imported is one sentence. No ROS, no driver, no simulator."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from moto_ros.camera.interface import CameraSetup
from moto_ros.camera.sources import make_camera
from moto_ros.errors import MotoError
from moto_ros.registry import Registry
from moto_ros.robot.arms import ARMS, make_arm
from moto_ros.robot.driver import ArmDriver
from moto_ros.robot.limits import RobotSettings

SETUP = CameraSetup("wrist", "realsense", "1234", 640, 480, 30.0, 0.0, 0.0, False, "")


def write(folder: Path, name: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a module on the path, in place of an installed one of that name."""
    (folder / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, name, raising=False)


@pytest.mark.parametrize(
    ("module", "user", "extra", "make"),
    [
        ("franky", "arm 'franka'", "franka", lambda: make_arm("franka", None)),  # type: ignore[arg-type]
        ("pyrealsense2", r"camera 'wrist' \(source realsense\)", "realsense", lambda: make_camera(SETUP)),
    ],
)
@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        (
            "raise ImportError('libusb-1.0.so.0: cannot open\\nshared object file')",
            "ImportError: libusb-1.0.so.0: cannot",
        ),
        ("import no_such_module_anywhere", "ModuleNotFoundError: No module named 'no_such_module_anywhere'"),
        ("raise OSError('libfranka.so: wrong ELF class')", "OSError: libfranka.so: wrong ELF class"),
    ],
)
def test_a_driver_whose_installed_package_is_broken_is_one_sentence(
    module: str,
    user: str,
    extra: str,
    make: Callable[[], object],
    statement: str,
    reason: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Breaks a robot PC after a system update: a traceback from inside another project's package."""
    write(tmp_path, module, statement, monkeypatch)
    words = rf"^{user}: {module} is installed, but importing it failed \({reason}.*pip install 'moto_ros\[{extra}\]'$"
    with pytest.raises(MotoError, match=words) as caught:
        make()
    assert "\n" not in str(caught.value)


DRIVER = """
from moto_ros.robot.driver import ArmDriver

class Driver(ArmDriver):
    @classmethod
    def make(cls, settings):
        import no_such_module_anywhere

    @classmethod
    def check_connection(cls, settings):
        cls.make(settings)
"""


def test_an_import_that_fails_while_a_driver_makes_its_arm_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks the drivers of others, which need not say what they require."""
    write(tmp_path, "driver_of_somebody", DRIVER, monkeypatch)
    words = r"^arm 'driver_of_somebody:Driver': importing no_such_module_anywhere failed \(ModuleNotFound.*PYTHONPATH$"
    with pytest.raises(MotoError, match=words):
        make_arm(
            "driver_of_somebody:Driver", RobotSettings(box_low=(), box_high=(), joint_low=(), joint_high=(), home=())
        )
    with pytest.raises(MotoError, match=words), ARMS.using("driver_of_somebody:Driver") as driver:
        driver.check_connection(None)


def test_an_attribute_that_a_module_lacks_while_it_is_imported_is_no_missing_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks MUJOCO_GL=egl without an EGL device: PyOpenGL raises AttributeError, and the class was called missing."""
    statement = "library = None\nlibrary.eglQueryString\nclass Kitchen: pass\n"
    write(tmp_path, "world_of_somebody", statement, monkeypatch)
    worlds: Registry[ArmDriver] = Registry("world", "no.group", ArmDriver, {}, "unset MUJOCO_GL")
    words = r"importing world_of_somebody failed \(AttributeError: .*'eglQueryString'\), .*; unset MUJOCO_GL$"
    with pytest.raises(MotoError, match=words):
        worlds.load("world_of_somebody:Kitchen")


def test_a_class_that_a_module_does_not_have_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "arm_of_somebody", "", monkeypatch)
    with pytest.raises(MotoError, match=r"^arm 'arm_of_somebody:Arm': module arm_of_somebody has no Arm, expected"):
        ARMS.load("arm_of_somebody:Arm")
