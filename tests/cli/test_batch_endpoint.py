"""`tongwen batch --endpoint`: the rows of a file, answered by somebody's server."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cli.program import Run
from tests.cli.test_batch import read, row, texts, write
from tests.cli.test_remote import server
from tests.client.standin import DROPPED, answered, standing_in, text

ROWS = [row(f"row-{place}") for place in range(5)]


def test_an_endpoint_answers_as_a_model_here_does(
    tongwen: Run, environ: dict[str, str], tiny_chat: Path, tmp_path: Path
) -> None:
    source = write(
        tmp_path / "in.jsonl",
        [
            *ROWS,
            {**row("vector"), "url": "/v1/embeddings", "body": {"input": "The"}},
            {**row("response"), "url": "/v1/responses", "body": {"input": "a"}},
            row("colour", colour="red"),
            row("other", model="somebody-else"),
            row("stream", stream=True),
            "{no json",
        ],
    )
    here, there = tmp_path / "here.jsonl", tmp_path / "there.jsonl"
    assert tongwen("batch", str(source), str(here), "--model", str(tiny_chat)).returncode == 0
    environ["SERVER_KEY"] = environ["MY_KEY"] = "sk-mine"
    named = ("--served-model-name", "tiny", "--api-key-env", "SERVER_KEY")
    with server(environ, str(tiny_chat), *named) as url:
        asked = ("batch", str(source), str(there), "--endpoint", url, "--model", "tiny", "--json")
        done = tongwen(*asked, "--api-key-env", "MY_KEY")
        again = tongwen(*asked, "--api-key-env", "MY_KEY")
        keyless = tongwen(*asked[:2], str(tmp_path / "keyless.jsonl"), *asked[3:])
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["model"], found["rows"]) == ("tiny", 11)
    assert (found["completed"], found["failed"]) == (7, 4)
    assert found["usage"]["completion_tokens"] >= 5 * 12
    local = {each["custom_id"]: each for each in read(here)}
    for each in read(there):
        mine = local[each["custom_id"]]
        if each["response"] is None:
            assert each["error"] == mine["error"]
        else:
            assert each["response"]["status_code"] == mine["response"]["status_code"]
            if mine["response"]["status_code"] != 200:
                assert each["response"]["body"]["error"]["code"] in (
                    "unknown_parameter",
                    "model_not_found",
                    "invalid_value",
                )
    assert {name: texts_of(there)[name] for name in texts_of(here)} == texts_of(here)
    assert json.loads(again.stdout)["before"] == 11
    assert keyless.returncode == 1
    assert "answers 401" in keyless.stderr
    assert read(tmp_path / "keyless.jsonl") == [] or all(
        each["custom_id"] == "stream" or each["custom_id"] is None
        for each in read(tmp_path / "keyless.jsonl")
    )
    assert "sk-mine" not in done.stderr + keyless.stderr + there.read_text()


def texts_of(path: Path) -> dict[str, str]:
    """The texts of the rows that every server can answer."""
    kept = path.with_suffix(".kept")
    rows = [each for each in read(path) if str(each["custom_id"]).startswith("row-")]
    kept.write_text("".join(f"{json.dumps(each)}\n" for each in rows))
    return texts(kept)


def test_what_is_answered_stays_where_an_endpoint_goes_away_and_the_rest_is_asked_later(
    tongwen: Run, tmp_path: Path
) -> None:
    source, target = write(tmp_path / "in.jsonl", ROWS), tmp_path / "out.jsonl"
    asked = ("batch", str(source), str(target), "--concurrency", "1", "--json", "--endpoint")
    said = text("yes", message={"role": "assistant", "content": "yes"})
    gone = answered(503, {"error": {"message": "come later"}}, retry_after="9999")
    with standing_in(answered(200, said), answered(200, said), gone) as end:
        done = tongwen(*asked, end.url, "--model", "m")
        assert [body["model"] for body in end.bodies] == ["m"] * 3
        assert all(head.startswith("POST /v1/chat/completions") for head in end.heads)
    assert done.returncode == 1
    assert "come later" in done.stderr
    assert "Traceback" not in done.stderr
    kept = target.read_bytes()
    assert sorted(texts(target)) == ["row-0", "row-1"]
    without_usage = {"choices": said["choices"]}
    with standing_in(DROPPED, answered(200, without_usage)) as end:
        done = tongwen(*asked, end.url)
        assert len(end.heads) == 4  # the first of them was dropped, and tried again
        assert all("model" not in body for body in end.bodies)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["before"] == 2
    assert json.loads(done.stdout)["model"] is None
    assert target.read_bytes().startswith(kept)
    assert sorted(texts(target)) == [f"row-{place}" for place in range(5)]


@pytest.mark.parametrize(
    "answer",
    [
        answered(404, {"detail": "Not Found"}),
        answered(404, b"<html>", "text/html"),
        answered(403, {"error": {"message": "not you"}}),
        answered(200, b"<html>", "text/html"),
        answered(302, {}),
    ],
)
def test_what_would_go_wrong_for_every_row_ends_the_batch_at_the_first(
    tongwen: Run, tmp_path: Path, answer: bytes
) -> None:
    source, target = write(tmp_path / "in.jsonl", ROWS), tmp_path / "out.jsonl"
    with standing_in(answer) as end:
        done = tongwen(
            "batch", str(source), str(target), "--endpoint", end.url, "--concurrency", "1"
        )
        assert len(end.heads) == 1
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert target.read_bytes() == b""


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("--api-key-env", "K"), 2, "`--api-key-env` goes with `--endpoint`"),
        (("--endpoint", "x"), 1, "`x` is no endpoint"),
        (("--endpoint", "http://h", "--weights", "auto"), 2, "`--weights` is for models"),
        (("--endpoint", "http://h", "--context", "9"), 2, "`--context` is for models"),
        (("--endpoint", "http://h", "--source", "hub"), 2, "`--source` is for models"),
        (("--endpoint", "http://h", "-y"), 2, "`--yes` is for models"),
        (
            ("--endpoint", "http://h", "--served-model-name", "n"),
            2,
            "`--served-model-name` is for models",
        ),
        (
            ("--endpoint", "http://h", "--generation-config", "none"),
            2,
            "`--generation-config` is for models",
        ),
        (
            ("--endpoint", "http://h", "--api-key-env", "NOT_SET"),
            1,
            "the environment variable `NOT_SET` (`--api-key-env`) is not set",
        ),
    ],
)
def test_a_wrong_wish_of_an_endpoint_is_refused(
    tongwen: Run, tmp_path: Path, arguments: tuple[str, ...], status: int, said: str
) -> None:
    source, target = write(tmp_path / "in.jsonl", ROWS), tmp_path / "out.jsonl"
    done = tongwen("batch", str(source), str(target), *arguments)
    assert done.returncode == status, done.stderr
    assert f"error: {said}" in done.stderr
    assert "Traceback" not in done.stderr


def test_rows_are_sent_without_loading_torch(environ: dict[str, str], tmp_path: Path) -> None:
    source, target = write(tmp_path / "in.jsonl", ROWS), tmp_path / "out.jsonl"
    with standing_in(answered(200, text())) as end:
        code = f"""
import sys
from tongwen.cli.main import call
status = call(["batch", {str(source)!r}, {str(target)!r}, "--endpoint", {end.url!r}])
sys.exit(status or "torch" in sys.modules)
"""
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(read(target)) == 5
