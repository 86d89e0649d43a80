#!/usr/bin/env bash
# Install wheels into an empty environment, hide every compiler, and ask each the same question.
set -euo pipefail
python=$(realpath "${VENV:-.venv}/bin/python")
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
"$python" -m venv "$place/venv"

for wheel in "$@"; do
    # A second wheel of the same version replaces the first; what it needs is there by then.
    "$place/venv/bin/python" -m pip install --quiet "$wheel"
    "$place/venv/bin/python" -m pip install --quiet --no-deps --force-reinstall "$wheel"
    answer=$(
        cd "$place"  # where no source tree can be imported by accident
        PATH=$place/venv/bin CC=/nonexistent CXX=/nonexistent \
            "$place/venv/bin/tongwen" run qwen2.5-coder:0.5b 'Write a Python function is_prime(n).' \
            --source index --temperature 0 --max-tokens 48 --json
    )
    echo "$answer"
    case $answer in
    *'def is_prime'*) echo "${wheel##*/} answers without a compiler" ;;
    *)
        echo "error: ${wheel##*/} gave no function" >&2
        exit 1
        ;;
    esac
done
