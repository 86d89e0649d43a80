"""Files and batches, asked with the official package."""

import json
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import openai
import pytest
from tests.server.conftest import REAL, serving

from tongwen.kernels.machine import machine
from tongwen.server.config import KeyEntry, Limits, ModelEntry, ServeConfig

ENDED = ("completed", "failed", "cancelled", "expired")


def row(name: str, model: str = "tiny", url: str = "/v1/chat/completions", **body: Any) -> str:
    said = {"messages": [{"role": "user", "content": f"Say {name}"}], "temperature": 0}
    asked = {"model": model, "max_tokens": 8, **said, **body}
    return json.dumps({"custom_id": name, "method": "POST", "url": url, "body": asked})


def client_of(url: str, key: str = "none") -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)


@pytest.fixture
def client(tiny_url: str) -> Iterator[openai.OpenAI]:
    with client_of(tiny_url) as client:
        yield client


def upload(client: openai.OpenAI, *rows: str) -> str:
    data = "".join(f"{each}\n" for each in rows).encode()
    return client.files.create(file=("rows.jsonl", data), purpose="batch").id


def begin(client: openai.OpenAI, file_id: str, **more: Any) -> openai.types.Batch:
    given = {"endpoint": "/v1/chat/completions", "completion_window": "24h"} | more
    return client.batches.create(input_file_id=file_id, **given)


def ended(client: openai.OpenAI, batch_id: str, timeout_s: float = 60) -> openai.types.Batch:
    deadline = time.monotonic() + timeout_s
    while (batch := client.batches.retrieve(batch_id)).status not in ENDED:
        assert time.monotonic() < deadline, batch
        time.sleep(0.02)
    return batch


def lines(client: openai.OpenAI, file_id: str | None) -> dict[str, dict[str, Any]]:
    assert file_id is not None
    read = [json.loads(line) for line in client.files.content(file_id).text.splitlines()]
    return {each["custom_id"]: each for each in read}


def test_a_file_is_kept_until_it_is_deleted(client: openai.OpenAI) -> None:
    data = b"\x00\xff anything"
    kept = client.files.create(file=("../name", data), purpose="batch")
    assert (kept.bytes, kept.filename, kept.purpose) == (len(data), "../name", "batch")
    assert client.files.content(kept.id).read() == data
    assert client.files.retrieve(kept.id) == kept
    assert kept.id in [each.id for each in client.files.list()]
    assert client.files.delete(kept.id).deleted
    with pytest.raises(openai.NotFoundError, match=kept.id):
        client.files.retrieve(kept.id)
    assert kept.id not in [each.id for each in client.files.list()]


def test_files_are_listed_page_by_page(client: openai.OpenAI) -> None:
    made = [upload(client, row(str(place))) for place in range(5)]
    newest = [each.id for each in client.files.list(limit=2)]  # the client follows the pages
    assert newest[:5] == made[::-1]
    page = client.files.list(limit=2, after=made[3])
    assert [each.id for each in page.data] == [made[2], made[1]]
    oldest = client.files.list(order="asc")
    assert [each.id for each in oldest][-5:] == made


@pytest.mark.parametrize("purpose", ["assistants", "fine-tune"])
def test_other_purposes_are_refused(client: openai.OpenAI, purpose: Any) -> None:
    with pytest.raises(openai.BadRequestError, match="`purpose`"):
        client.files.create(file=("a", b"b"), purpose=purpose)


def test_an_end_of_files_is_refused_by_name(client: openai.OpenAI) -> None:
    after = {"anchor": "created_at", "seconds": 3600}
    with pytest.raises(openai.BadRequestError, match="`expires_after"):
        client.files.create(file=("a", b"b"), purpose="batch", expires_after=after)


@pytest.mark.parametrize("file_id", ["file-1", "..", "file-" + "0" * 32])
def test_an_id_of_no_file_is_not_found(client: openai.OpenAI, file_id: str) -> None:
    with pytest.raises(openai.NotFoundError):
        client.get(f"/files/{file_id}/content", cast_to=object)


def test_rows_are_answered_in_the_background(client: openai.OpenAI) -> None:
    rows = [row(f"row-{place}") for place in range(6)] + [row("colour", colour="red")]
    batch = begin(client, upload(client, *rows), metadata={"who": "me"})
    assert batch.status == "validating"
    done = ended(client, batch.id)
    assert done.status == "completed"
    assert done.metadata == {"who": "me"}
    assert done.request_counts is not None
    assert done.request_counts.to_dict() == {"total": 7, "completed": 6, "failed": 1}
    answers = lines(client, done.output_file_id)
    assert sorted(answers) == [f"row-{place}" for place in range(6)]
    alone = client.chat.completions.create(**json.loads(rows[2])["body"])
    found = answers["row-2"]["response"]["body"]["choices"][0]["message"]["content"]
    assert found == alone.choices[0].message.content
    errors = lines(client, done.error_file_id)
    assert errors["colour"]["response"]["body"]["error"]["code"] == "unknown_parameter"
    assert batch.id in [each.id for each in client.batches.list()]


def test_a_file_with_a_fault_is_not_run(client: openai.OpenAI) -> None:
    rows = [row("a"), "{", row("a"), row("b", url="/v1/embeddings")]
    done = ended(client, begin(client, upload(client, *rows)).id)
    assert done.status == "failed"
    assert done.errors is not None
    found = [(error.line, error.code) for error in done.errors.data or []]
    assert found == [(2, "invalid_json_line"), (3, "duplicate_custom_id"), (4, "mismatched_url")]
    assert done.output_file_id is None


def test_a_batch_may_be_cancelled(client: openai.OpenAI) -> None:
    rows = [row(f"row-{place}", max_tokens=50) for place in range(200)]
    batch = begin(client, upload(client, *rows))
    assert client.batches.cancel(batch.id).status == "cancelling"
    done = ended(client, batch.id)
    assert done.status == "cancelled"
    assert done.request_counts is not None
    assert done.request_counts.completed < 200
    with pytest.raises(openai.ConflictError, match="cancelled"):
        client.batches.cancel(batch.id)


def test_rows_take_as_long_as_they_take_where_a_request_may_not(
    tiny_model: Path, tmp_path: Path
) -> None:
    slow = row("slow", max_tokens=400, ignore_eos=True)
    entry = ModelEntry(model=str(tiny_model), aliases=("tiny",), context=512)
    config = ServeConfig(models=(entry,), port=0, limits=Limits(request_s=0.05))
    with serving(config, tmp_path) as url, client_of(url) as client:
        done = ended(client, begin(client, upload(client, slow)).id)
        (answer,) = lines(client, done.output_file_id).values()
        assert answer["response"]["body"]["usage"]["completion_tokens"] == 400
        with pytest.raises(openai.InternalServerError, match=r"longer than 0.05 s") as told:
            client.post("/chat/completions", body=json.loads(slow)["body"], cast_to=object)
        assert told.value.status_code == 503


def test_a_batch_of_no_file_is_refused(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="file-0"):
        begin(client, "file-0")
    with pytest.raises(openai.BadRequestError, match="`endpoint`"):
        begin(client, "file-0", endpoint="/v1/moderations")


def test_a_key_sees_its_own_files_and_batches_only(tiny_model: Path, tmp_path: Path) -> None:
    keys = tuple(
        KeyEntry(name=name, sha256=sha256(name.encode()).hexdigest()) for name in ("ada", "bob")
    )
    entry = ModelEntry(model=str(tiny_model), aliases=("tiny",), context=512)
    config = ServeConfig(models=(entry,), port=0, keys=keys, limits=Limits(stored_bytes=2000))
    with (
        serving(config, tmp_path) as url,
        client_of(url, "ada") as ada,
        client_of(url, "bob") as bob,
    ):
        kept = upload(ada, row("a"))
        batch = begin(ada, kept)
        assert list(bob.files.list()) == []
        assert list(bob.batches.list()) == []
        for ask in (bob.files.retrieve, bob.files.content, bob.files.delete):
            with pytest.raises(openai.NotFoundError):
                ask(kept)
        for refused in (bob.batches.retrieve, bob.batches.cancel, lambda _: begin(bob, kept)):
            with pytest.raises(openai.NotFoundError):
                refused(batch.id)
        assert ended(ada, batch.id).status == "completed"
        with pytest.raises(openai.APIStatusError, match="2000") as caught:
            ada.files.create(file=("big", b"x" * 2000), purpose="batch")
        assert caught.value.status_code == 413
        with client_of(url, "eve") as eve, pytest.raises(openai.AuthenticationError):
            eve.files.list()


def test_a_batch_goes_on_after_the_server_was_started_again(
    tiny_model: Path, tmp_path: Path
) -> None:
    entry = ModelEntry(model=str(tiny_model), aliases=("tiny",), context=512)
    config = ServeConfig(models=(entry,), port=0, limits=Limits(batch_rows=2, drain_s=1.0))
    rows = [row(f"row-{place}", max_tokens=40) for place in range(10)]
    out = tmp_path / "batches"
    with serving(config, tmp_path) as url, client_of(url) as client:
        batch = begin(client, upload(client, *rows))
        while sum(len(path.read_bytes()) for path in out.glob("*.out")) < 1000:
            time.sleep(0.005)
    (written,) = out.glob("*.out")
    kept = written.read_bytes()
    assert 0 < kept.count(b"\n") < 10
    with written.open("ab") as file:
        file.write(kept[:30])  # what a crash may leave of a row
    with serving(config, tmp_path) as url, client_of(url) as client:
        done = ended(client, batch.id)
        assert done.status == "completed"
        assert done.output_file_id is not None
        whole = client.files.content(done.output_file_id).content
        assert whole.startswith(kept)
        assert len(lines(client, done.output_file_id)) == whole.count(b"\n") == 10
        assert not list(out.glob("*.out"))


@pytest.mark.real
@pytest.mark.skipif(machine() is None, reason="only native kernels promise bits")
def test_a_row_is_answered_as_a_request_alone_bit_for_bit(served_url: str) -> None:
    with client_of(served_url) as client:
        more = {"logprobs": True, "return_token_ids": True}
        rows = [row(f"the number {place}", REAL, **more) for place in range(6)]
        done = ended(client, begin(client, upload(client, *rows)).id)
        answers = lines(client, done.output_file_id)
        for each in map(json.loads, rows):
            alone = client.post("/chat/completions", body=each["body"], cast_to=object)
            assert answers[each["custom_id"]]["response"]["body"]["choices"] == alone["choices"]
