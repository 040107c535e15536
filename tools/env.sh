#!/usr/bin/env bash
# Make .venv with everything pinned: with ROS 2 from wheels, or around the ROS 2 installation that is sourced.
# Environment: PYTHON, the interpreter; TORCH_INDEX, an extra wheel index for torch (a CPU or CUDA build).
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
ros=${ROS_DISTRO:-wheels}

lacks=$("$python" tools/check_python.py)
if [ -n "$lacks" ]; then
  echo "error: $python cannot build here, these Debian packages are missing: $lacks; run: make system" >&2
  exit 1
fi

options=(-c requirements/constraints.txt -r requirements/run.txt -r sim/requirements.txt -r requirements/dev.txt)
options+=(-r requirements/docs.txt -r requirements/lerobot.txt)
# The drivers, and the arm that is simulated behind its driver: tests run the real code of both.
options+=(-r requirements/franka.txt -r requirements/realsense.txt -r sim/requirements-franka.txt)
if [ "$ros" = wheels ]; then
  options+=(-c requirements/constraints-wheels.txt -r requirements/build.txt -r requirements/ros-jazzy.txt)
else
  options+=(-c requirements/constraints-installed.txt)
fi
[ -z "${TORCH_INDEX:-}" ] || options+=(--extra-index-url "$TORCH_INDEX")

# A virtual environment sees a ROS installation only if it was made to, so one kind cannot become the other.
made_for=$(cat .venv/made_for 2>/dev/null || true)
if [ ! -x .venv/bin/python ] || [ "${made_for:-$ros}" != "$ros" ]; then
  site=()
  [ "$ros" = wheels ] || site=(--system-site-packages)
  "$python" -m venv --clear "${site[@]}" .venv
fi
touch .venv/COLCON_IGNORE
# Modules are compiled when a process first imports them, and only those.
pip=(.venv/bin/python -m pip install --disable-pip-version-check --no-input --no-compile)
with_pip() {
  "${pip[@]}" "$@" |
    { grep --line-buffered -E "^(Collecting|Downloading|Installing|Successfully|ERROR)" || true; } | cut -c 1-110
}
# uv takes a fifth of pip's time, but does not see the packages of a ROS installation; and it is no condition.
if [ "$ros" = wheels ] && "${pip[@]}" --quiet -c requirements/constraints.txt uv &&
  .venv/bin/python tools/uv_install.py "${options[@]}"; then
  :
else
  with_pip "${options[@]}"
fi
[ "$ros" != wheels ] || .venv/bin/python tools/fix_ros_wheels.py
echo "$ros" >.venv/made_for
