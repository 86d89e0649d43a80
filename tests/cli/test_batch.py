"""`tongwen batch` on a tiny model: what goes wrong in a file, and what a crash leaves."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests.cli.program import Run


def row(name: str, url: str = "/v1/chat/completions", **body: Any) -> dict[str, Any]:
    said = {"messages": [{"role": "user", "content": f"Say {name}"}], "temperature": 0}
    return {
        "custom_id": name,
        "method": "POST",
        "url": url,
        "body": (said if "chat" in url else {}) | {"max_tokens": 12} | body,
    }


def write(path: Path, rows: list[Any]) -> Path:
    lines = [each if isinstance(each, str) else json.dumps(each) for each in rows]
    path.write_text("\n".join(lines) + "\n")
    return path


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def texts(path: Path) -> dict[str, str]:
    return {
        each["custom_id"]: each["response"]["body"]["choices"][0]["message"]["content"]
        for each in read(path)
    }


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write(tmp_path / "in.jsonl", [row(f"row-{place}") for place in range(5)])


def test_every_row_is_answered_and_counted(tongwen: Run, tiny_chat: Path, source: Path) -> None:
    target = source.with_name("out.jsonl")
    done = tongwen("batch", str(source), str(target), "--model", str(tiny_chat), "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["rows"], found["completed"], found["failed"], found["before"]) == (5, 5, 0, 0)
    assert found["usage"]["completion_tokens"] == 5 * 12
    assert sorted(texts(target)) == [f"row-{place}" for place in range(5)]
    assert all(each["response"]["status_code"] == 200 for each in read(target))
    assert all(each["error"] is None for each in read(target))


@pytest.mark.real
def test_a_row_among_others_is_answered_as_alone_bit_for_bit(
    tongwen: Run, real_gguf: Path, source: Path
) -> None:
    together, alone = source.with_name("all.jsonl"), source.with_name("one.jsonl")
    model = ("--model", str(real_gguf), "--context", "1024")
    logged = [row(f"row-{place}", logprobs=True, return_token_ids=True) for place in range(5)]
    write(source, logged)
    assert tongwen("batch", str(source), str(together), *model).returncode == 0
    write(source, logged[3:4])
    assert tongwen("batch", str(source), str(alone), *model).returncode == 0
    (one,) = read(alone)
    (same,) = [each for each in read(together) if each["custom_id"] == "row-3"]
    assert one["response"]["body"]["choices"] == same["response"]["body"]["choices"]


def test_rows_of_every_endpoint_are_answered(tongwen: Run, tiny_chat: Path, source: Path) -> None:
    response = {"input": "hi", "max_output_tokens": 3}
    rows = [
        row("text", "/v1/completions", prompt="The"),
        {**row("vector"), "url": "/v1/embeddings", "body": {"input": "The"}},
        {**row("response"), "url": "/v1/responses", "body": response},
    ]
    target = source.with_name("out.jsonl")
    done = tongwen("batch", str(write(source, rows)), str(target), "--model", str(tiny_chat))
    assert done.returncode == 0, done.stderr
    found = {each["custom_id"]: each["response"]["body"]["object"] for each in read(target)}
    assert found == {"text": "text_completion", "vector": "list", "response": "response"}


def test_lines_that_are_no_rows_become_errors_with_their_number(
    tongwen: Run, tiny_chat: Path, source: Path
) -> None:
    rows = [
        row("good"),
        "{no json",
        "",
        {**row("no-url"), "url": "/v1/images"},
        {"custom_id": "no-body", "method": "POST", "url": "/v1/completions"},
        row("colour", colour="red"),
        row("other", model="somebody-else"),
        row("stream", stream=True),
    ]
    target = source.with_name("out.jsonl")
    arguments = ("batch", str(write(source, rows)), str(target), "--model", str(tiny_chat))
    done = tongwen(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["failed"] == 6
    found = {each["custom_id"]: each for each in read(target)}
    assert found[None]["line"] == 2
    assert "line 2" in found[None]["error"]["message"]
    assert found["no-url"]["error"]["code"] == "invalid_url"
    assert "`body` is missing" in found["no-body"]["error"]["message"]
    assert found["colour"]["response"]["body"]["error"]["code"] == "unknown_parameter"
    assert found["other"]["response"]["status_code"] == 404
    assert found["stream"]["response"]["status_code"] == 400
    again = json.loads(tongwen(*arguments, "--json").stdout)
    assert (again["before"], again["completed"], again["failed"]) == (7, 0, 0)


def test_a_custom_id_that_comes_twice_is_refused(
    tongwen: Run, tiny_chat: Path, source: Path
) -> None:
    write(source, [row("a"), row("b"), row("a")])
    target = source.with_name("out.jsonl")
    done = tongwen("batch", str(source), str(target), "--model", str(tiny_chat))
    assert done.returncode == 1
    assert "line 3" in done.stderr
    assert "`a` stands in line 1 as well" in done.stderr
    assert not target.exists()


@pytest.mark.parametrize("text", ["my diary", "my diary\n", '{"id":"batch_req_1"}\n'])
def test_a_file_of_something_else_is_left_as_it_is(
    tongwen: Run, tiny_chat: Path, source: Path, text: str
) -> None:
    target = source.with_name("out.jsonl")
    target.write_text(text)
    done = tongwen("batch", str(source), str(target), "--model", str(tiny_chat))
    assert done.returncode == 1
    assert "is no answer of a batch" in done.stderr
    assert target.read_text() == text


def test_answers_to_another_file_are_left_as_they_are(
    tongwen: Run, tiny_chat: Path, source: Path
) -> None:
    target, model = source.with_name("out.jsonl"), ("--model", str(tiny_chat))
    assert tongwen("batch", str(source), str(target), *model).returncode == 0
    before = target.read_text()
    done = tongwen("batch", str(write(source, [row("new")])), str(target), *model)
    assert done.returncode == 1
    assert "`row-0`" in done.stderr
    assert target.read_text() == before


def test_the_input_is_never_the_output(tongwen: Run, tiny_chat: Path, source: Path) -> None:
    before = source.read_text()
    done = tongwen("batch", str(source), str(source), "--model", str(tiny_chat))
    assert done.returncode == 1
    assert source.read_text() == before


def test_a_killed_batch_goes_on_at_the_row_where_it_was(
    tongwen: Run, tiny_chat: Path, source: Path, environ: dict[str, str]
) -> None:
    write(source, [row(f"row-{place}", max_tokens=150) for place in range(24)])
    target, whole = source.with_name("out.jsonl"), source.with_name("whole.jsonl")
    model = ("--model", str(tiny_chat))
    arguments = [sys.executable, "-m", "tongwen", "batch", str(source), str(target), *model]
    process = subprocess.Popen([*arguments, "--concurrency", "2"], env=environ, stderr=-3)
    deadline = time.monotonic() + 60
    while not (target.exists() and target.read_bytes().count(b"\n") >= 3):
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    kept = target.read_bytes().splitlines(keepends=True)
    kept = [line for line in kept if line.endswith(b"\n")]
    assert 3 <= len(kept) < 24
    with target.open("ab") as file:
        file.write(kept[0][:40])  # what a crash may leave of a row
    done = tongwen("batch", str(source), str(target), *model, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["before"], found["completed"]) == (len(kept), 24 - len(kept))
    assert target.read_bytes().startswith(b"".join(kept))
    assert len(read(target)) == 24
    assert tongwen("batch", str(source), str(whole), *model).returncode == 0
    assert texts(target) == texts(whole)
