#!/usr/bin/env bash
# Install a wheel into an empty environment, hide every compiler, and ask the real model a question.
set -euo pipefail
wheel=$(realpath "$1")
python=$(realpath "${VENV:-.venv}/bin/python")
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT

"$python" -m venv "$place/venv"
"$place/venv/bin/python" -m pip install --quiet "$wheel"

cd "$place"  # where no source tree can be imported by accident
answer=$(
    PATH=$place/venv/bin CC=/nonexistent CXX=/nonexistent \
        "$place/venv/bin/tongwen" run qwen2.5-coder:0.5b 'Write a Python function is_prime(n).' \
        --source index --temperature 0 --max-tokens 48 --json
)
echo "$answer"
case $answer in
*'def is_prime'*) echo "the wheel answers without a compiler" ;;
*)
    echo "error: the installed wheel gave no function" >&2
    exit 1
    ;;
esac
