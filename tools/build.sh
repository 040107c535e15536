#!/usr/bin/env bash
# Build the named packages of this repository into install/ with colcon: tools/build.sh moto_msgs ...
set -euo pipefail
cd "$(dirname "$0")/.."
# A calling make's flags would reach the package's own make.
unset MAKEFLAGS MFLAGS MAKELEVEL
set +u
. .venv/bin/activate
set -u
# What was built against another ROS does not fit this one.
ros=${ROS_DISTRO:-wheels}
if [ "$(cat build/made_for 2>/dev/null || echo "$ros")" != "$ros" ]; then
  rm -rf build install
fi
mkdir -p build
echo "$ros" >build/made_for

if [ "$ros" = wheels ]; then
  # The wheels make the virtual environment a ROS prefix.
  export AMENT_PREFIX_PATH=$VIRTUAL_ENV CMAKE_PREFIX_PATH=$VIRTUAL_ENV
fi
# `python -m` gives the installed commands the virtual environment's interpreter.
exec python -m colcon --log-level error build --merge-install --base-paths . moto_msgs sim \
  --event-handlers console_cohesion- --packages-select "$@" --cmake-args -DBUILD_TESTING=ON -DCMAKE_BUILD_TYPE=Release
