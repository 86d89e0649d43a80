"""Models derived from others, as the command line knows them."""

import json
from pathlib import Path

from tests.cli.program import Run

from tongwen.checkpoint.derived import Derived, DerivedModels


def test_a_derived_model_is_listed_shown_and_deleted(tongwen: Run, environ: dict[str, str]) -> None:
    records = DerivedModels(Path(environ["TONGWEN_HOME"]))
    records.add(
        Derived(
            name="mario",
            base="qwen2:0.5b",
            licence="Apache-2.0",
            made_at="2026-01-01T00:00:00+00:00",
            lineage=("qwen2:0.5b",),
            system="It is me.",
        )
    )
    assert "derived from qwen2:0.5b" in tongwen("list").stdout
    (listed,) = map(json.loads, tongwen("list", "--json").stdout.splitlines())
    assert (listed["name"], listed["base"]) == ("mario", "qwen2:0.5b")
    assert json.loads(tongwen("show", "mario", "--json").stdout)["system"] == "It is me."
    refused = tongwen("rm", "qwen2:0.5b", "--yes")
    assert refused.returncode == 1
    assert "`mario` is derived from `qwen2:0.5b`" in refused.stderr
    assert tongwen("rm", "mario", "--yes").returncode == 0
    assert records.list() == []
