#!/usr/bin/env bash
# Pin again: resolve the requirements for every supported Python and rewrite requirements/constraints.txt.
# Versions already pinned are kept where they still fit; delete a line to let its package move. Needs `uv`.
set -euo pipefail
cd "$(dirname "$0")/../requirements"
pins=$(mktemp)
trap 'rm -f "$pins"' EXIT
grep -v '^#' constraints.txt | cat - constraints-wheels.txt >"$pins"
uv pip compile --quiet --universal --python-version 3.10 --no-annotate --no-header --output-file "$pins" \
  --constraint constraints-wheels.txt run.txt franka.txt lerobot.txt ray.txt realsense.txt ../sim/requirements.txt \
  ../sim/requirements-franka.txt build.txt dev.txt docs.txt ros-jazzy.txt
{
  sed -n '/^#/p' constraints.txt
  grep -vE "^(ros-|numpy=|opencv-python|nvidia-|cuda-|triton=)|== 'win32'" "$pins"
} >constraints.new
mv constraints.new constraints.txt
