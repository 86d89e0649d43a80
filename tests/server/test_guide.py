"""The guide lists what the server has, and the sample of its settings has them all."""

import dataclasses
import re
import tomllib
from pathlib import Path
from typing import Any

from fastapi.routing import APIRoute

from tongwen.config import parse
from tongwen.server.app import ROUTERS
from tongwen.server.config import KeyEntry, Limits, ModelEntry, ServeConfig

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs" / "guides" / "serve.md").read_text(encoding="utf-8")
SAMPLE = (ROOT / "examples" / "serve.toml").read_text(encoding="utf-8")
WHOLE = re.sub(r"^# (?=\[\[|\w+ = )", "", SAMPLE, flags=re.MULTILINE)
"""The sample with what is off written out."""


def routes() -> set[str]:
    """What the server answers, as `GET /path/{name}`; a HEAD beside a GET is no more than that."""
    found = {("GET", "/openapi.json")}  # FastAPI's own
    for router in ROUTERS:
        for route in router.routes:
            assert isinstance(route, APIRoute)
            path = route.path.replace(":path}", "}")
            found |= {(method, path) for method in route.methods}
    heads = {("HEAD", path) for method, path in found if method == "GET"}
    return {f"{method} {path}" for method, path in found - heads}


def names_of(kind: type) -> set[str]:
    return {each.name for each in dataclasses.fields(kind)}


def test_every_endpoint_stands_in_the_guide_and_no_other() -> None:
    cells = re.findall(r"^\| (`(?:GET|POST|HEAD|DELETE|PUT|PATCH) [^|]*)\|", GUIDE, re.MULTILINE)
    listed = [f"{m} {p}" for cell in cells for m, p in re.findall(r"`([A-Z]+) (/\S*)`", cell)]
    assert set(listed) == routes()
    assert len(listed) == len(set(listed))


def test_every_setting_stands_in_the_sample_and_no_other() -> None:
    tree: dict[str, Any] = tomllib.loads(WHOLE)
    keys = {name for entry in tree["keys"] for name in entry}
    assert set(tree) == names_of(ServeConfig)
    assert set(tree["models"][0]) == names_of(ModelEntry)
    assert keys == names_of(KeyEntry)
    assert set(tree["limits"]) == names_of(Limits)


def test_the_sample_is_taken_and_holds_the_defaults() -> None:
    sample = parse(ServeConfig, SAMPLE)
    assert dataclasses.replace(sample, models=()) == ServeConfig()
    assert len(parse(ServeConfig, WHOLE).keys) == 2
