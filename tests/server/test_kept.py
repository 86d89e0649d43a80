"""What a key keeps on the server, files and batches: bounded, and read past what is damaged."""

import json
import logging
import threading
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import openai
import pytest
from tests.server.conftest import serving
from tests.server.test_batches import begin, client_of, ended, row, upload
from tests.server.test_door import config_of

from tongwen.server.batch.jobs import Jobs
from tongwen.server.config import KeyEntry, Limits
from tongwen.server.errors import ApiError
from tongwen.server.files import Files

LATER = "f" * 32
DAMAGED: list[Any] = [
    b"",
    b"{",
    b"\xff\xfe",
    b"null",
    b"[]",
    b"[1, 2, 3, 4]",
    b'["a", "b", "c", {}]',
    b'["a", "b", "c", {"id": 1}]',
    b'"abcd"',
    b"{}",
    b"[" * 100_000,
]


def damaged_notes(folder: Path, prefix: str, good: bytes) -> list[Path]:
    """Notes of which none can be read, beside a good one."""
    whole = json.loads(good)
    table = whole if isinstance(whole, dict) else whole[3]
    contents = [*DAMAGED, good[:-9], good]  # the last is sound, and about another
    for name in table:
        if name in ("id", "status", "created_at", "created_ns", "num_bytes", "owner"):
            wrong = {**table, name: [None]}
            contents.append(json.dumps(wrong if table is whole else [*whole[:3], wrong]).encode())
    notes = [folder / f"{prefix}{number:032x}.json" for number in range(len(contents))]
    for note, content in zip(notes, contents, strict=True):
        note.write_bytes(content)
        note.with_suffix("").write_bytes(b"")
    (folder / f"{prefix}{LATER}.json").mkdir()
    return [*notes, folder / f"{prefix}{LATER}.json"]


def test_a_damaged_note_is_told_of_once_and_keeps_nobody_from_the_others(
    tiny_model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "tongwen")
    config = config_of(tiny_model)
    with serving(config, tmp_path) as url, client_of(url) as client:
        kept = upload(client, row("a"))
        first = begin(client, kept)
        ended(client, first.id)
    files, batches = tmp_path / "files", tmp_path / "batches"
    notes = damaged_notes(files, "file-", (files / f"{kept}.json").read_bytes())
    notes += damaged_notes(batches, "batch_", (batches / f"{first.id}.json").read_bytes())
    with serving(config, tmp_path) as url, client_of(url) as client:
        for _ in range(2):
            assert kept in [each.id for each in client.files.list()]
            assert [each.id for each in client.batches.list()] == [first.id]
        for note in notes:
            ask = client.batches.retrieve if note.parent == batches else client.files.retrieve
            with pytest.raises(openai.NotFoundError):
                ask(note.stem)
        again = begin(client, upload(client, row("b")))
        assert ended(client, again.id).status == "completed"
    told = [record.getMessage() for record in caplog.records if "damaged" in record.msg]
    assert len(told) == len(notes)
    assert all(sum(str(note) in line for line in told) == 1 for note in notes)
    assert all(line.isprintable() for line in told)


def test_a_key_keeps_so_many_files_and_no_more(tiny_model: Path, tmp_path: Path) -> None:
    config = config_of(tiny_model, keys=keys_of("ada", "bob"), limits=Limits(stored_files=2))
    with (
        serving(config, tmp_path) as url,
        client_of(url, "ada") as ada,
        client_of(url, "bob") as bob,
    ):
        first, _ = upload(ada, row("a")), upload(ada, row("b"))
        with pytest.raises(openai.BadRequestError, match="2 files are kept, of at most 2") as told:
            upload(ada, row("c"))
        assert told.value.code == "too_many_files"
        upload(bob, row("a"))  # another's are his own
        ada.files.delete(first)
        upload(ada, row("c"))
        assert len(list(ada.files.list())) == 2


def test_a_key_has_so_many_batches_open_and_no_more(tiny_model: Path, tmp_path: Path) -> None:
    limits = Limits(open_batches=2, batch_rows=1)
    config = config_of(tiny_model, keys=keys_of("ada", "bob"), limits=limits)
    with (
        serving(config, tmp_path) as url,
        client_of(url, "ada") as ada,
        client_of(url, "bob") as bob,
    ):
        kept = upload(ada, *(row(f"row-{place}", max_tokens=100) for place in range(200)))
        first, second = begin(ada, kept), begin(ada, kept)
        with pytest.raises(openai.RateLimitError, match="2 batches have not ended") as told:
            begin(ada, kept)
        assert told.value.code == "too_many_batches"
        assert ended(bob, begin(bob, upload(bob, row("a"))).id).status == "completed"
        for batch in (first, second):
            ada.batches.cancel(batch.id)
            assert ended(ada, batch.id).status == "cancelled"
        third = begin(ada, kept)
        ada.batches.cancel(third.id)
        ended(ada, third.id)


def test_of_many_who_come_at_once_no_more_find_room(tmp_path: Path) -> None:
    files, jobs = Files(tmp_path / "files", 1_000, 3), Jobs(tmp_path / "batches", 3)
    rows = tmp_path / "rows"
    rows.write_text("rows")
    given = {"endpoint": "/v1/completions"}
    refused: list[int] = []

    def add_file() -> None:
        with rows.open("rb") as data:
            files.add("ada", "name", "batch", data)

    def add(keep: Callable[[], object]) -> None:
        try:
            keep()
        except ApiError as error:
            refused.append(error.status)

    keeps = (add_file, lambda: jobs.add("ada", given, rows))
    threads = [threading.Thread(target=add, args=(keep,)) for _ in range(24) for keep in keeps]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(files.list("ada")), len(jobs.all())) == (3, 3)
    assert sorted(refused) == [400] * 21 + [429] * 21


def keys_of(*names: str) -> tuple[KeyEntry, ...]:
    return tuple(KeyEntry(name=name, sha256=sha256(name.encode()).hexdigest()) for name in names)
