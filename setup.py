"""Package moto_ros for ament_python: modules, launch and parameter files, commands."""

from __future__ import annotations

from glob import glob
from pathlib import Path

from setuptools import find_packages, setup

PACKAGE = "moto_ros"
NODES = ("policy", "trainer", "recorder", "episode", "robot", "camera", "reward", "operator")
CONFIG = ("agents", "cameras", "nodes", "robots", "suites", "tasks")
EXTRAS = ("dev", "docs", "franka", "lerobot", "ray", "realsense")
HERE = Path(__file__).resolve().parent


def requirements(name: str) -> list[str]:
    """Return the lines of requirements/<name>.txt, where each dependency is named once, without comments."""
    lines = (HERE / "requirements" / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


setup(
    name=PACKAGE,
    version="0.1.0",
    packages=find_packages(include=[PACKAGE, f"{PACKAGE}.*"]),
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{PACKAGE}"]),
        (f"share/{PACKAGE}", ["package.xml"]),
        (f"share/{PACKAGE}/launch", glob("launch/*.launch.py")),
        *((f"share/{PACKAGE}/config/{kind}", glob(f"config/{kind}/*.yaml")) for kind in CONFIG),
        (f"share/{PACKAGE}/config/transport", glob("config/transport/*.xml")),
        ("bin", ["tools/moto"]),
    ],
    package_data={PACKAGE: ["py.typed", "report/*.html.j2"]},
    python_requires=">=3.10",
    install_requires=requirements("run"),
    # `colcon test` runs pytest where the extra `test` names it.
    extras_require={extra: requirements(extra) for extra in EXTRAS} | {"test": requirements("dev")},
    zip_safe=False,
    maintainer="moto_ros maintainers",
    maintainer_email="maintainers@moto-ros.org",
    description="Pre-trains a world-model policy from rosbags, then fine-tunes it live on the robot.",
    license="Apache-2.0",
    entry_points={
        "console_scripts": [
            "moto = moto_ros.cli.main:main",
            *(f"{node}_node = moto_ros.ros.start:{node}_node" for node in NODES),
            # Names that users of a Franka arm and of RealSense cameras look for.
            "franka_node = moto_ros.ros.start:robot_node",
            "realsense_node = moto_ros.ros.start:camera_node",
        ]
    },
)
