# Source this (sh or bash) in the repository root: the environment, and the workspace if it is built.
. ./.venv/bin/activate
[ ! -f install/setup.sh ] || . ./install/setup.sh
