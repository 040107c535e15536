"""Installs moto_sim as an ament_python package."""

from __future__ import annotations

from pathlib import Path

from setuptools import find_packages, setup

NAME = "moto_sim"


def requirements(name: str) -> list[str]:
    """Return the lines of <name>.txt, where each dependency is named once, without comments."""
    lines = (Path(__file__).resolve().parent / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


setup(
    name=NAME,
    version="0.1.0",
    packages=find_packages(include=[NAME, f"{NAME}.*"]),
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
    ],
    install_requires=requirements("requirements"),
    # `colcon test` runs pytest where the extra `test` names it; which tests are this package's: setup.cfg.
    extras_require={"franka": requirements("requirements-franka"), "test": ["pytest", "pytest-timeout", "hypothesis"]},
    zip_safe=True,
    maintainer="moto_ros maintainers",
    maintainer_email="maintainers@moto-ros.org",
    description="MuJoCo worlds and the node that replaces robot and camera.",
    license="Apache-2.0",
    entry_points={
        "console_scripts": [
            "sim_node = moto_sim.start:sim_node",
            "script_node = moto_sim.start:script_node",
            "franka_server = moto_sim.start:franka_server",
        ]
    },
)
