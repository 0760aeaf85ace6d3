#!/usr/bin/env bash
# Install the optimiser into an empty environment, with torch and pytest alone, and run its tests there.
# Usage: alone.sh [a version of torch, such as torch==2.6.0]; PYTHON= says which interpreter.
set -euo pipefail
tests=$(cd "$(dirname "$0")" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
# a copy: a build would leave its files beside the sources, and take old ones up again
cp -r "$tests/../../src/hessian_free" "$folder/source"
rm -rf "$folder"/source/build "$folder"/source/*.egg-info
mkdir "$folder/tests"
cp -r "$tests" "$folder/tests/hessian_free"
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet "$folder/source" pytest "$@"
rm -rf "$folder/source"
cd "$folder"
# neither the project nor its packages may be seen from here
unset PYTHONPATH
# small networks: more threads would wait for each other
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
"$folder/venv/bin/python" -m pip list 2> /dev/null | grep -iE '^(hessian-free|torch|pytest) '
"$folder/venv/bin/python" -m pytest -q --import-mode=importlib tests/hessian_free
