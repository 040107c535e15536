"""Package moto_ros for ament_python: modules, launch and parameter files, commands."""

from glob import glob

from setuptools import find_packages, setup

PACKAGE = "moto_ros"
NODES = ("policy", "trainer", "recorder", "episode")

setup(
    name=PACKAGE,
    version="0.1.0",
    packages=find_packages(include=[PACKAGE, f"{PACKAGE}.*"]),
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{PACKAGE}"]),
        (f"share/{PACKAGE}", ["package.xml"]),
        (f"share/{PACKAGE}/launch", glob("launch/*.launch.py")),
        *((f"share/{PACKAGE}/config/{kind}", glob(f"config/{kind}/*.yaml")) for kind in ("agents", "nodes", "tasks")),
    ],
    package_data={PACKAGE: ["py.typed", "training/*.html.j2"]},
    install_requires=["setuptools"],
    zip_safe=False,
    maintainer="moto_ros maintainers",
    maintainer_email="maintainers@moto-ros.org",
    description="Pre-trains a world-model policy from rosbags, then fine-tunes it live on the robot.",
    license="Apache-2.0",
    entry_points={
        "console_scripts": [
            "moto = moto_ros.cli.main:main",
            *(f"{node}_node = moto_ros.nodes.{node}_node:main" for node in NODES),
        ]
    },
)
