#!/usr/bin/env bash
# Measure, then train, on a machine with a GPU and without a network, in slices that can be resumed; --help says how.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=${PYTHON:-python3}

usage() {
  cat <<'TEXT'
usage: bench/gpu.sh WHEELS OUT [options] [-- options of `moto benchmark`]

Measures updates, plans and frames per second at full size, then runs the cells of a suite until the slice is over.
ROS is not needed. The same command resumes from the files in OUT; copy that folder back, and take it along for the next slice.

WHEELS  folder with wheels for this machine; not looked at where Python already has everything. Fill it on a machine
        with a network and the same Python (from the index of your CUDA version, where the usual wheel does not fit):
          pip download -d wheels -r requirements/run.txt -r sim/requirements.txt \
            -c requirements/constraints.txt -c requirements/constraints-wheels.txt
OUT     folder for the results: machine, moto, fowm, frames and profile as JSON, the suite's runs, its page

TEXT
  "$python" "$root/bench/gpu_slice.py" --help | sed -n '/^options/,$p'
  echo
  echo "environment: PYTHON, the interpreter (python3 unless set); MUJOCO_GL, what renders (egl unless set)"
  echo "exit status: 0 everything is done; 75 the slice is over, run the same command again; else something failed"
}

modules=(torch numpy cv2 scipy rosbags mcap safetensors matplotlib rich mujoco metaworld)
complete() { "$1" -c 'import importlib, sys; [importlib.import_module(name) for name in sys.argv[1:]]' "${modules[@]}"; }

case "${1:-}" in
--help | -h) usage && exit 0 ;;
esac
if [ $# -lt 2 ]; then
  usage >&2
  exit 2
fi
wheels=$1 out=$2
shift 2

if ! complete "$python" 2>/dev/null; then
  place=${TMPDIR:-/tmp}/moto_gpu_environment
  if [ ! -d "$wheels" ]; then
    echo "error: $python lacks modules and there is no folder '$wheels', expected one with wheels; see --help" >&2
    exit 1
  fi
  [ -x "$place/bin/python" ] || "$python" -m venv --system-site-packages "$place"
  python=$place/bin/python
  complete "$python" 2>/dev/null || "$python" -m pip install --quiet --no-index --find-links "$wheels" \
    -r "$root/requirements/run.txt" -r "$root/sim/requirements.txt" \
    -c "$root/requirements/constraints.txt" -c "$root/requirements/constraints-wheels.txt"
  complete "$python"
fi

export MUJOCO_GL=${MUJOCO_GL:-egl}
export PYTHONPATH=$root:$root/sim:$root/bench${PYTHONPATH:+:$PYTHONPATH}
exec "$python" "$root/bench/gpu_slice.py" "$out" "$@"
