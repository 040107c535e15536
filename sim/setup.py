"""Installs moto_sim as an ament_python package."""

from setuptools import setup

NAME = "moto_sim"

setup(
    name=NAME,
    version="0.1.0",
    packages=[NAME],
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
    ],
    install_requires=["setuptools"],
    extras_require={"worlds": ["mujoco==3.3.0", "metaworld==3.1.1", "gymnasium-robotics==1.4.2"]},
    zip_safe=True,
    maintainer="moto_ros maintainers",
    maintainer_email="maintainers@moto-ros.org",
    description="MuJoCo worlds and the node that replaces robot and camera.",
    license="Apache-2.0",
    entry_points={
        "console_scripts": [
            "sim_node = moto_sim.sim_node:main",
            "script_node = moto_sim.script_node:main",
        ]
    },
)
