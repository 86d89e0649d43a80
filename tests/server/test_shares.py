"""Nobody takes more than a share: many inputs in one request, priorities, models, quotas."""

import asyncio
import hashlib
import http.client
import json
import logging
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.server.conftest import serving
from tests.server.test_door import ASK, KEY, SHA, ask, config_of

from tongwen.cli.serving import load_served
from tongwen.engine.params import SamplingParams
from tongwen.errors import BusyError, RequestError
from tongwen.server import pool as pool_module
from tongwen.server.config import KeyEntry, Limits, ModelEntry
from tongwen.server.keys import Caller
from tongwen.server.pool import ModelPool
from tongwen.server.service import Manner, _fair


def test_more_inputs_than_are_taken_are_refused_at_once(tiny_url: str) -> None:
    began = time.monotonic()
    status, _, said = ask(tiny_url, "/v1/embeddings", {"model": "tiny", "input": ["a"] * 300_000})
    assert status == 400
    assert "300000 prompts" in json.loads(said)["error"]["message"]
    assert time.monotonic() - began < 10


def test_a_request_of_many_inputs_takes_one_place_and_counts_once(
    tiny_model: Path, tmp_path: Path
) -> None:
    keys = (KeyEntry(name="ann", sha256=SHA, requests_per_minute=2),)
    config = config_of(tiny_model, keys=keys, limits=Limits(waiting=1))
    with serving(config, tmp_path) as url:
        wish = {"model": "tiny", "input": ["value"] * 100}
        status, _, said = ask(url, "/v1/embeddings", wish, {"X-Api-Key": KEY})
        assert status == 200
        assert len(json.loads(said)["data"]) == 100
        assert ask(url, headers={"X-Api-Key": KEY})[0] == 200
        assert ask(url, headers={"X-Api-Key": KEY})[0] == 429


def test_whoever_leaves_has_used_what_was_sent(tiny_model: Path, tmp_path: Path) -> None:
    keys = (KeyEntry(name="ann", sha256=SHA, tokens_per_day=100),)
    with serving(config_of(tiny_model, keys=keys), tmp_path) as url:
        parts = urlsplit(url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
        wish = {**ASK, "max_tokens": 400, "ignore_eos": True, "stream": True}
        connection.request("POST", "/v1/completions", json.dumps(wish), {"X-Api-Key": KEY})
        stream = connection.getresponse()
        assert stream.status == 200
        while b"".join(stream.readline() for _ in range(60)).count(b"data:") < 10:
            pass
        for _ in range(120):
            stream.readline()
        connection.close()
        deadline = time.monotonic() + 20
        while (status := ask(url, headers={"X-Api-Key": KEY})[0]) != 429:
            assert status == 200
            assert time.monotonic() < deadline


def test_nobody_but_an_admin_goes_before_others() -> None:
    assert _fair(Manner(Caller("ann", is_admin=False), -5)) == 0
    assert _fair(Manner(Caller("ann", is_admin=False), 5)) == 5
    assert _fair(Manner(Caller("root", is_admin=True), -5)) == -5


def test_lists_that_every_token_looks_through_are_bounded() -> None:
    for wish in (
        {"stop": ["a"] * 257},
        {"stop": ["a" * 20_000]},
        {"stop_token_ids": list(range(5_000))},
        {"logit_bias": dict.fromkeys(range(5_000), 1.0)},
    ):
        with pytest.raises(RequestError, match=r"at most|more than"):
            SamplingParams(**wish)  # type: ignore[arg-type]


def entries_of(tiny: Path, count: int) -> list[ModelEntry]:
    names = [f"m{number}" for number in range(count)]
    return [ModelEntry(model=str(tiny), aliases=(name,), context=128) for name in names]


def test_no_model_is_closed_under_somebody_who_waited_for_it(
    tiny_model: Path, tmp_path: Path
) -> None:
    entries = entries_of(tiny_model, 4)

    async def ask_all() -> list[int]:
        pool = ModelPool(lambda: entries, lambda e: load_served(e, tmp_path), max_loaded=1)
        most = 0

        async def use(name: str) -> int:
            nonlocal most
            async with pool.lease(name) as served:
                most = max(most, len(pool.loaded()))
                done = await served.engine.complete([1, 2], SamplingParams(max_tokens=3))  # type: ignore[attr-defined]
                return len(done)

        done = await asyncio.gather(*(use(entry.names[0]) for entry in entries))
        await pool.close()
        return [*done, most]

    assert asyncio.run(asyncio.wait_for(ask_all(), 60)) == [1, 1, 1, 1, 1]


def test_no_more_models_are_loaded_than_may_be(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_module, "_PATIENCE_S", 0.3)
    entries = entries_of(tiny_model, 2)

    async def hold_one() -> None:
        pool = ModelPool(lambda: entries, lambda e: load_served(e, tmp_path), max_loaded=1)
        async with pool.lease("m0"):
            with pytest.raises(BusyError, match="1 models are in use"):
                async with pool.lease("m1"):
                    raise AssertionError("two models are in memory")
            assert [served.name for served in pool.loaded()] == ["m0"]
        async with pool.lease("m1"):
            assert [served.name for served in pool.loaded()] == ["m1"]
        await pool.close()

    asyncio.run(asyncio.wait_for(hold_one(), 60))


def test_a_model_that_is_let_go_goes_when_its_last_user_does(
    tiny_model: Path, tmp_path: Path
) -> None:
    entries = entries_of(tiny_model, 1)

    async def let_go() -> None:
        pool = ModelPool(lambda: entries, lambda e: load_served(e, tmp_path))
        async with pool.lease("m0"):
            assert pool.unload("m0")
            assert len(pool.loaded()) == 1
        assert pool.loaded() == []
        await pool.close()

    asyncio.run(asyncio.wait_for(let_go(), 60))


def test_keys_do_not_go_all_at_once(tiny_model: Path, tmp_path: Path) -> None:
    """A file that was saved without its keys opens no server to everybody."""
    import os
    import signal

    from tests.server.test_life import process

    recipe = tmp_path / "serve.toml"
    digest = hashlib.sha256(b"one").hexdigest()
    recipe.write_text(f'[[keys]]\nname = "ann"\nsha256 = "{digest}"\n')
    with process(tiny_model, tmp_path, "--config", str(recipe)) as (server, url):
        assert ask(url)[0] == 401
        recipe.write_text("")
        os.kill(server.pid, signal.SIGHUP)
        time.sleep(0.7)
        assert ask(url)[0] == 401
        assert ask(url, headers={"X-Api-Key": "one"})[0] == 200


def test_a_note_of_a_process_that_is_gone_names_no_other(tmp_path: Path) -> None:
    import os

    from tongwen.server.running import Running, note_running, running_servers

    note = note_running(tmp_path, Running(os.getpid(), "http://127.0.0.1:1"))
    assert [one.pid for one in running_servers(tmp_path)] == [os.getpid()]
    old = json.loads(note.read_text())
    note.write_text(json.dumps({**old, "started": old["started"] - 100}))
    assert running_servers(tmp_path) == []
    assert not note.exists()


def test_the_models_are_read_from_the_disk_once_for_a_request(
    tiny_model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A damaged record of a derived model is told of whenever the records are read."""
    caplog.set_level(logging.WARNING, "tongwen")
    record = tmp_path / "derived" / "broken.json"
    record.parent.mkdir()
    record.write_text("{")
    turns = [{"role": "user", "content": "value"}]
    with serving(config_of(tiny_model), tmp_path) as url:
        for path, wish in (
            ("/v1/completions", ASK),
            ("/v1/completions", {**ASK, "prompt": ["value"] * 9}),
            ("/v1/embeddings", {"model": "tiny", "input": ["value"] * 9}),
            ("/v1/chat/completions", {"model": "tiny", "messages": turns, "max_tokens": 2}),
            ("/v1/messages", {"model": "tiny", "messages": turns, "max_tokens": 2}),
            ("/api/chat", {"model": "tiny", "messages": turns, "options": {"num_predict": 2}}),
            ("/api/generate", {"model": "tiny"}),
            ("/tokenize", {"model": "tiny", "prompt": "value"}),
        ):
            caplog.clear()
            assert ask(url, path, wish)[0] == 200
            assert caplog.text.count(str(record)) == 1, path
