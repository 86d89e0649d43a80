"""SECURITY.md promises nothing that no test attacks."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "SECURITY.md").read_text(encoding="utf-8")


def lines() -> list[str]:
    """What is promised: the entries of the lists, each on one line."""
    entries = re.findall(r"^- .*(?:\n  .*)*", PAGE, re.MULTILINE)
    return [" ".join(entry.split()) for entry in entries]


def attacks_on(line: str) -> list[str]:
    """The tests that a line names after its arrow."""
    return re.findall(r"`(test_\w+)`", line.partition(" → ")[2])


def test_every_line_names_a_test_that_attacks_it() -> None:
    assert [line for line in lines() if not attacks_on(line)] == []
    assert len(lines()) > 40


def test_every_test_that_is_named_exists() -> None:
    sources = (path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    known = {name for text in sources for name in re.findall(r"^\s*def (test_\w+)\(", text, re.M)}
    named = {name for line in lines() for name in attacks_on(line)}
    assert named - known == set()


def test_the_servers_section_is_about_each_who_attacks() -> None:
    server = PAGE.partition("## The server\n")[2].partition("\n## ")[0]
    attackers = re.split(r"^### ", server, flags=re.MULTILINE)[1:]
    assert len(attackers) == 5
    assert all("\n- " in attacker for attacker in attackers)
