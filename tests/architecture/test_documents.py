"""What the documents say is so: programs run, links lead somewhere, figures are kept."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tongwen.server.running import running_servers

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
RESULTS = ROOT / "benchmarks" / "results"
MODEL = "qwen2.5-coder:0.5b"
CARD = "Qwen2-7B-Instruct"  # what the model card's example asks for
ADDRESS = "http://localhost:8000"
"""Where clients on the pages look for a server."""

LINK = r"(?:\]\(|src=\")([^)#\s\"]+)"
"""The target of a Markdown link or picture, or of a picture in HTML."""

NOT_SERVED = "# not run by the tests: serves until Ctrl-C"

NOT_RUN = {
    "CONTRIBUTING.md": ["# not run by the tests: works on the clone itself"],
    "README.md": ["# not run by the tests: installs into the clone", NOT_SERVED],
    "README.zh.md": ["# not run by the tests: installs into the clone", NOT_SERVED],
    "docs/guides/serve.md": [NOT_SERVED, NOT_SERVED],
    "docs/index.md": ["# not run here: installs into the clone"],
}
"""Shell blocks that tell the reader in their first line that no test runs them: all of them."""


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of a page."""

    language: str
    text: str

    @property
    def is_run(self) -> bool:
        return not self.text.startswith("# not run")

    @property
    def commands(self) -> str:
        """The shell commands of a block; in a `console` block they follow a `$`."""
        if self.language == "bash":
            return self.text
        lines = self.text.splitlines()
        return "\n".join(line.removeprefix("$ ") for line in lines if line.startswith("$ "))


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    for match in re.finditer(r"^```(\w*)[^\n]*\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        yield Block(match[1], match[2])


def shell_blocks(page: Path) -> list[Block]:
    return [block for block in blocks(page) if block.language in {"bash", "console"}]


def pages_with(*languages: str) -> list[Path]:
    """Pages that hold a block in one of these languages that is run; a translation's are known."""
    return [
        page
        for page in PAGES
        if page.name != "README.zh.md"
        and any(block.language in languages and block.is_run for block in blocks(page))
    ]


@pytest.fixture(scope="module")
def home(real_gguf: Path, real_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with the real model that a command may spoil."""
    return linked_home(real_gguf, real_home, tmp_path_factory.mktemp("home"))


def linked_home(real_gguf: Path, real_home: Path, own: Path) -> Path:
    """A store whose files are links to those of the true one."""
    folder = real_gguf.parent
    digest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["files"][0][
        "sha256"
    ]
    for path in [*folder.iterdir(), real_home / "blobs" / f"sha256-{digest}"]:
        target = own / path.relative_to(real_home)
        target.parent.mkdir(parents=True, exist_ok=True)
        link(path, target)
    return own


def link(path: Path, target: Path) -> None:
    try:
        os.link(path, target)
    except OSError:  # another file system
        shutil.copy2(path, target)


def environ_of(home: Path) -> dict[str, str]:
    """What a reader's shell has, and the store."""
    return {
        **os.environ,
        "TONGWEN_HOME": str(home),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "OMP_NUM_THREADS": str(min(2, os.cpu_count() or 1)),
    }


@pytest.fixture(scope="module")
def server(
    real_gguf: Path, real_home: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The server that the pages' clients ask, on a port that is free; in a store of its own."""
    home = linked_home(real_gguf, real_home, tmp_path_factory.mktemp("served"))
    command = ["tongwen", "serve", MODEL, "--port", "0", "--context", "4096"]
    command += ["--served-model-name", MODEL, "--served-model-name", CARD]
    with (home / "log").open("w") as log:
        environ = environ_of(home)
        started = subprocess.Popen(
            [sys.executable, "-m", *command], env=environ, stdout=log, stderr=log
        )
        try:
            deadline = time.monotonic() + 120
            while not (found := running_servers(home)) or not is_ready(found[0].url):
                assert started.poll() is None, (home / "log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.2)
            yield found[0].url
        finally:
            started.terminate()
            started.wait(60)


def is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/ready", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def addressed(text: str, request: pytest.FixtureRequest) -> str:
    """A program that asks the tests' server where the page names one."""
    return text.replace(ADDRESS, request.getfixturevalue("server")) if ADDRESS in text else text


def run(command: list[str], home: Path, cwd: Path, said: str = "") -> None:
    done = subprocess.run(
        command,
        env=environ_of(home),
        cwd=cwd,
        input=said,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.parametrize("page", pages_with("python"), ids=name)
def test_the_python_blocks_of_a_page_run_as_one_program(
    page: Path, home: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    program = "\n".join(block.text for block in blocks(page) if block.language == "python")
    run([sys.executable, "-c", addressed(program, request)], home, tmp_path)


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.parametrize("page", pages_with("bash", "console"), ids=name)
def test_the_shell_blocks_of_a_page_run(
    page: Path, home: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    script = "\n".join(block.commands for block in shell_blocks(page) if block.is_run)
    run(["bash", "-euo", "pipefail", "-c", addressed(script, request)], home, tmp_path)


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.py")), ids=lambda p: p.name)
def test_an_example_runs(example: Path, home: Path, tmp_path: Path) -> None:
    run([sys.executable, str(example), MODEL], home, tmp_path, said="Answer with one word: yes.\n")


def test_a_block_that_is_not_run_says_so_to_the_reader() -> None:
    said = {
        name(page): [block.text.splitlines()[0] for block in shell_blocks(page) if not block.is_run]
        for page in PAGES
    }
    assert {page: lines for page, lines in said.items() if lines} == NOT_RUN


def test_a_shell_block_holds_commands() -> None:
    for page in PAGES:
        for block in shell_blocks(page):
            assert block.commands.strip(), name(page)


def test_the_chinese_readme_has_the_same_blocks() -> None:
    assert list(blocks(ROOT / "README.zh.md")) == list(blocks(ROOT / "README.md"))


def test_the_readme_can_be_read_at_one_sitting() -> None:
    for readme in ("README.md", "README.zh.md"):
        assert len((ROOT / readme).read_text(encoding="utf-8").splitlines()) < 200


def test_every_link_to_a_file_leads_to_one() -> None:
    dead = [
        f"{name(page)}: {target}"
        for page in PAGES
        for target in re.findall(LINK, page.read_text(encoding="utf-8"))
        if not re.match(r"https?:", target) and not (page.parent / target).exists()
    ]
    assert dead == []


def test_every_source_that_the_report_names_exists() -> None:
    """Paths stand in code marks below `src/tongwen` or `tests`; a bare name is in the same room."""
    cells = re.findall(r"^\|[^|]*\|([^|]*)\|([^|]*)\|", (ROOT / "docs/report.md").read_text(), re.M)
    missing = []
    for cell in (cell for row in cells for cell in row):
        room = ""
        for path in re.findall(r"`([\w/]+\.py|[\w/]+/)`", cell):
            room = path.rpartition("/")[0] if "/" in path else room
            place = path if "/" in path else f"{room}/{path}"
            if not any((ROOT / root / place).exists() for root in ("src/tongwen", "tests")):
                missing.append(place)
    assert missing == []
    assert len(cells) > 15


def test_the_command_line_reference_is_what_help_prints() -> None:
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        from write_cli_reference import PAGE, page
    finally:
        sys.path.pop(0)
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python tools/write_cli_reference.py"


def figures(markdown: str) -> list[str]:
    """The numbers in the table below the heading `Benchmarks`."""
    section = re.split(r"^## ", markdown, flags=re.MULTILINE)
    (found,) = [part for part in section if part.startswith(("How fast\n", "有多快\n"))]
    rows = [line for line in found.splitlines() if line.startswith("|")][2:]
    cells = (cell for row in rows for cell in row.strip("|").split("|")[1:])
    return re.findall(r"\d[\d.,]*\d|\d", " ".join(cells))


@pytest.mark.parametrize("readme", ["README.md", "README.zh.md"])
def test_every_benchmark_figure_is_a_committed_one_rounded(readme: str) -> None:
    results = "\n".join(path.read_text(encoding="utf-8") for path in RESULTS.rglob("*.*"))
    kept = [float(each) for each in set(re.findall(r"\d+\.\d+|\d+", results)) if len(each) < 16]
    claimed = [each.replace(",", "") for each in figures((ROOT / readme).read_text("utf-8"))]
    assert len(claimed) > 20
    for figure in claimed:
        digits = len(figure.partition(".")[2])
        scales = (1, 100)  # a share may be printed in per cent
        assert any(
            round(one * scale, digits) == float(figure) for one in kept for scale in scales
        ), figure


def test_figures_are_those_of_the_benchmark_table_alone() -> None:
    text = (
        "# T\n| a | 1 |\n## How fast\n7\n| q | x |\n|---|---|\n| 0.5B | **12.5** at 64 |\n## Z\n9"
    )
    assert figures(text) == ["12.5", "64"]
