"""Write `docs/reference/cli.md` from what `--help` prints; a test holds the two together."""

import os
import subprocess
import sys
from pathlib import Path

from tongwen.cli.main import VERBS

PAGE = Path(__file__).resolve().parents[1] / "docs" / "reference" / "cli.md"
HEAD = """# Command line

Answers go to stdout, everything else to stderr. Exit status: 0 done, 1 an error with a known
remedy, 2 a wrong command line, 130 Ctrl-C.

| variable | what it sets |
|---|---|
| `TONGWEN_HOME` | where models and caches are kept; `~/.cache/tongwen` |
| `HF_HOME`, `HF_ENDPOINT`, `HF_TOKEN` | as the Hugging Face hub's own tools read them |
| `HTTPS_PROXY` and its kin | as everywhere |
"""


def shown(*words: str) -> str:
    """The help text of one verb, or of the program."""
    environ = {**os.environ, "COLUMNS": "100", "LC_ALL": "C.UTF-8"}
    command = [sys.executable, "-m", "tongwen", *words, "--help"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    return "\n".join(line.rstrip() for line in done.stdout.splitlines())


def page() -> str:
    """The whole page."""
    parts = [HEAD, f"## tongwen\n\n```text\n{shown()}\n```\n"]
    parts += [f"## tongwen {verb}\n\n```text\n{shown(verb)}\n```\n" for verb in VERBS]
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
