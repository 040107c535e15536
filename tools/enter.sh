# Source this (sh or bash) in the repository root: the environment, and the workspace if it is built.
if [ -f ./.venv/bin/activate ]; then
  . ./.venv/bin/activate
  [ ! -f install/setup.sh ] || . ./install/setup.sh
else
  echo "tools/enter.sh: no .venv here, expected the repository's root after 'make build'" >&2
  false
fi
