"""What lies in the repository: one version, no machine's paths, nothing large."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

import tongwen

ROOT = Path(__file__).resolve().parents[2]
LARGEST_BYTES = 1_000_000
LONGEST_LINES = 450
# A path of one machine: the home of a person, or a working or scratch directory at the root.
MACHINE_PATH = re.compile(r"(?<![\w./~<>-])/(?:home|Users|root|work|mnt|tmp|var/tmp)/\w[\w./-]*")


@pytest.fixture(scope="module")
def tracked() -> list[Path]:
    """Every file that git knows or would add."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    paths = [ROOT / name for name in listed.stdout.split("\0") if name]
    return [path for path in paths if path.is_file()]


def texts(paths: list[Path]) -> dict[Path, str]:
    """The text files among `paths`."""
    found = {}
    for path in paths:
        content = path.read_bytes()
        if b"\0" not in content:
            found[path] = content.decode("utf-8")
    return found


def test_the_newest_entry_of_the_changelog_is_this_version() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    versions = re.findall(r"^## \[(\d+\.\d+\.\d+)\]", changelog, re.MULTILINE)
    assert versions[0] == tongwen.__version__


def test_the_version_stands_in_one_place() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert "version" not in project
    assert project["dynamic"] == ["version"]


def test_no_file_names_a_place_on_one_machine(tracked: list[Path]) -> None:
    found = [
        f"{path.relative_to(ROOT)}: {match.group()}"
        for path, text in texts(tracked).items()
        if path != Path(__file__)
        for match in MACHINE_PATH.finditer(text)
    ]
    assert found == []


@pytest.mark.parametrize(
    ("text", "is_machine_path"),
    [
        ("open('/" + "tmp/x.gguf')", True),
        ("cd /home/ada/src", True),
        ("see https://example.org/home/page", False),
        ("a/tmp/b", False),
        ("~/" + "tmp/b", False),
        ("$HOME/tmp/b", False),
    ],
)
def test_a_machines_path_is_told_from_another(text: str, is_machine_path: bool) -> None:
    assert bool(MACHINE_PATH.search(text)) == is_machine_path


def test_no_file_is_larger_than_a_megabyte(tracked: list[Path]) -> None:
    assert [path for path in tracked if path.stat().st_size > LARGEST_BYTES] == []


def test_a_file_is_one_idea_that_a_reader_can_hold(tracked: list[Path]) -> None:
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
        for path in tracked
        if path.suffix == ".py" and path.is_relative_to(ROOT / "src")
    }
    assert {name: lines for name, lines in lengths.items() if lines > LONGEST_LINES} == {}


def test_text_files_end_with_one_newline(tracked: list[Path]) -> None:
    ends = {
        path: text[-2:]
        for path, text in texts(tracked).items()
        if text and path.suffix in {".py", ".md", ".toml", ".yml", ".yaml", ".sh"}
    }
    assert [path for path, end in ends.items() if end[-1:] != "\n" or end == "\n\n"] == []
