"""What changes the store through Ollama's dialect, and attacks on it; on a tiny model."""

import contextlib
import hashlib
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import ollama
import pytest
from tests.checkpoint.hub import Repository, StandIn, stand_in
from tests.server.conftest import serving

from tongwen.checkpoint.store import Store
from tongwen.server.config import Limits, ServeConfig

REPO = "Fox/Tiny-Instruct"
SHORT = {"num_predict": 4, "temperature": 0}


@pytest.fixture(scope="module")
def hub(tiny_model: Path) -> Iterator[StandIn]:
    with stand_in() as server:
        files = {path.name: path.read_bytes() for path in tiny_model.iterdir()}
        server.repositories[REPO] = Repository(files=files, licence="apache-2.0")
        yield server


@pytest.fixture(scope="module")
def environ(hub: StandIn) -> dict[str, str]:
    nowhere = "http://127.0.0.1:9"
    return {"HF_ENDPOINT": hub.url, "MODELSCOPE_ENDPOINT": nowhere, "PIP_INDEX_URL": nowhere}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def allowed(tmp_path: Path) -> Path:
    path = tmp_path / "allowed"
    path.mkdir()
    return path


@pytest.fixture
def url(home: Path, allowed: Path, environ: dict[str, str]) -> Iterator[str]:
    """A server of a whole store, which is empty at first."""
    limits = Limits(blob_bytes=1 << 20)
    config = ServeConfig(port=0, allow_dirs=(allowed,), limits=limits)
    with serving(config, home, environ=environ) as url:
        yield url


@pytest.fixture
def client(url: str) -> Iterator[ollama.Client]:
    client = ollama.Client(url)
    yield client
    client.close()


@pytest.fixture
def http(url: str) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=url, timeout=60) as client:
        yield client


def names(client: ollama.Client) -> list[str | None]:
    return [model.model for model in client.list().models]


def upload(http: httpx2.Client, data: bytes) -> str:
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    assert http.head(f"/api/blobs/{digest}").status_code == 404
    assert http.post(f"/api/blobs/{digest}", content=data).status_code == 201
    assert http.head(f"/api/blobs/{digest}").status_code == 200
    return digest


def test_a_model_is_pulled_used_copied_and_deleted(client: ollama.Client, home: Path) -> None:
    steps = list(client.pull(REPO, stream=True))
    assert steps[0].status == "pulling manifest"
    assert steps[-1].status == "success"
    told = [step for step in steps if step.digest]
    assert told[-1].completed == told[-1].total
    assert names(client) == [f"{REPO}:latest"]
    assert client.generate(REPO, "hi", options=SHORT).eval_count == 4

    client.create("mario", from_=REPO, system="It is me.", parameters={"num_predict": 2})
    client.copy("mario", "luigi")
    assert sorted(map(str, names(client))) == [f"{REPO}:latest", "luigi:latest", "mario:latest"]
    assert client.generate("mario", "hi", options={"temperature": 0}).eval_count == 2
    assert len(client.ps().models) == 1  # one set of weights for all
    with pytest.raises(ollama.ResponseError, match=r"`luigi`, `mario`") as error:
        client.delete(REPO)
    assert error.value.status_code == 409
    client.delete("mario")
    client.delete("luigi:latest")
    client.delete(REPO)
    assert names(client) == []
    assert client.ps().models == []
    Store(home).check(digests=True)


def test_a_pull_that_nobody_watches_ends_and_goes_on_later(
    client: ollama.Client, url: str, home: Path
) -> None:
    with pytest.raises(ollama.ResponseError, match="Fox/Nobody"):
        client.pull("Fox/Nobody")
    with (
        httpx2.Client() as http,
        http.stream("POST", f"{url}/api/pull", json={"model": REPO}) as answer,
    ):
        next(answer.iter_lines())
    assert client.pull(REPO).status == "success"
    deadline = time.monotonic() + 10
    while any(t.name.startswith("pull") for t in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    Store(home).check(digests=True)


def test_uploaded_files_become_a_model(
    client: ollama.Client, http: httpx2.Client, tiny_model: Path, home: Path
) -> None:
    files = {path.name: upload(http, path.read_bytes()) for path in tiny_model.iterdir()}
    made = client.create("mine", files=files, license="All mine.")
    assert made.status == "success"
    assert names(client) == ["mine:latest"]
    assert "All mine." in (client.show("mine").license or "")
    assert client.generate("mine", "hi", options=SHORT).eval_count == 4
    assert not list((home / "partial").glob("upload-*"))
    client.delete("mine")
    assert client.ps().models == []
    assert not list((home / "blobs").iterdir())
    Store(home).check(digests=True)


def test_uploaded_files_that_are_no_model_are_refused(
    client: ollama.Client, http: httpx2.Client, home: Path
) -> None:
    digest = upload(http, b"GGUF, or so it says")
    with pytest.raises(ollama.ResponseError) as error:
        client.create("bad", files={"model.gguf": digest})
    assert error.value.status_code in (200, -1, 400)
    assert names(client) == []
    assert not list((home / "derived").glob("*.json"))


def test_a_file_with_another_digest_is_refused_and_gone(http: httpx2.Client, home: Path) -> None:
    answer = http.post(f"/api/blobs/sha256:{'0' * 64}", content=b"x")
    assert answer.status_code == 400
    assert hashlib.sha256(b"x").hexdigest() in answer.json()["error"]
    assert not list((home / "blobs").glob("*"))
    assert not list((home / "partial").glob("*"))


@pytest.mark.parametrize(
    "digest",
    [
        "sha256:../../../etc/passwd",
        "sha256:..%2F..%2Fetc%2Fpasswd",
        "sha256:" + "A" * 64,
        "sha256:" + "0" * 63,
        "md5:" + "0" * 64,
        "%2e%2e%2fx",
        "sha256:" + "0" * 64 + "%00",
    ],
)
def test_a_digest_is_never_a_path(http: httpx2.Client, home: Path, digest: str) -> None:
    for answer in (
        http.post(f"/api/blobs/{digest}", content=b"x"),
        http.head(f"/api/blobs/{digest}"),
    ):
        assert answer.status_code in (400, 404, 405)
    assert not (home / "blobs").exists()


def test_a_file_that_is_too_large_is_refused(http: httpx2.Client, home: Path) -> None:
    data = b"x" * ((1 << 20) + 1)
    digest = hashlib.sha256(data).hexdigest()
    assert http.post(f"/api/blobs/sha256:{digest}", content=data).status_code == 413

    def parts() -> Iterator[bytes]:
        for _ in range(20):
            yield b"x" * (1 << 16)

    with contextlib.suppress(httpx2.TransportError):  # refused while it is still being sent
        assert http.post(f"/api/blobs/sha256:{digest}", content=parts()).status_code == 413
    assert not list((home / "blobs").glob("*"))
    assert not list((home / "partial").glob("*/tmp*"))


def test_from_reaches_no_file_but_below_an_allowed_directory(
    http: httpx2.Client, allowed: Path, tiny_model: Path, tmp_path: Path, home: Path
) -> None:
    for path in tiny_model.iterdir():
        (allowed / "model").mkdir(exist_ok=True)
        (allowed / "model" / path.name).write_bytes(path.read_bytes())
    (allowed / "link").symlink_to(tiny_model)
    refused = [
        str(tiny_model),
        str(allowed / "link"),
        f"{allowed}/../allowed/model",
        f"{allowed}/model/../../x",
        "/etc/passwd",
        "../../etc/passwd",
        "./model",
        "~/model",
        str(home / "models"),
        str(tmp_path / "absent.gguf"),
        "model.gguf",
    ]
    said = set()
    for text in refused:
        for body in ({"from": text}, {"modelfile": f"FROM {text}"}):
            answer = http.post("/api/create", json={"model": "x", "stream": False, **body})
            assert answer.status_code == 403, text
            said.add(answer.json()["error"])
    assert len(said) == 1  # whether a file exists is not told
    body = {"model": "x", "from": str(allowed / "model"), "stream": False}
    assert http.post("/api/create", json=body).json() == {"status": "success"}
    asked = {"model": "x", "prompt": "hi", "stream": False, "options": SHORT}
    assert http.post("/api/generate", json=asked).json()["eval_count"] == 4
    asked = {"model": "x", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 2}
    assert http.post("/v1/chat/completions", json=asked).status_code == 200


@pytest.mark.parametrize(
    "name", ["../x", "a/../b", "/etc/x", "con", "x\ny", "", "qwen2", "qwen2:7b"]
)
def test_a_new_model_cannot_have_every_name(http: httpx2.Client, name: str, home: Path) -> None:
    body = {"model": name, "from": "whatever", "stream": False}
    assert http.post("/api/create", json=body).status_code == 400
    assert not (home / "derived").exists()


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/chat", {"model": "nobody", "messages": [{"role": "user", "content": "x"}]}),
        ("/api/chat", {"model": "nobody"}),
        ("/api/generate", {"model": "nobody", "prompt": "x"}),
        ("/api/embed", {"model": "nobody", "input": "x"}),
        ("/api/embeddings", {"model": "nobody", "prompt": "x"}),
        ("/api/show", {"model": "nobody"}),
        ("/api/copy", {"source": "nobody", "destination": "x"}),
        ("/api/pull", {"model": "nobody"}),
        ("/api/pull", {"model": "/etc"}),
        ("/api/show", {"name": "/etc/passwd"}),
    ],
)
def test_an_unknown_model_is_said_in_ollamas_words(
    http: httpx2.Client, path: str, body: dict[str, Any]
) -> None:
    answer = http.post(path, json=body)
    asked = body.get("model") or body.get("source") or body.get("name")
    assert answer.status_code == 404
    assert answer.json()["error"].startswith(f"model '{asked}' not found")


def test_deleting_an_unknown_model_says_so(http: httpx2.Client) -> None:
    for name in ("nobody", "/etc/passwd", "../x"):
        answer = http.request("DELETE", "/api/delete", json={"model": name})
        assert answer.status_code == 404
        assert answer.json() == {"error": f"model '{name}' not found"}


@pytest.mark.parametrize(
    ("more", "word"),
    [
        ({"template": "x"}, "template"),
        ({"adapters": {"a": "b"}}, "adapters"),
        ({"quantize": "q4_0"}, "quantize"),
        ({"path": "/etc/passwd"}, "path"),
        ({"parameters": {"temprature": 1}}, "temprature"),
        ({"modelfile": "FORM x"}, "FORM"),
        ({"files": {"../a": "sha256:" + "0" * 64}, "from": None}, "../a"),
        ({"files": {"a.gguf": "sha256:" + "0" * 64}, "from": None}, "no blob"),
        ({"from": None}, "from"),
    ],
)
def test_create_refuses_by_name(http: httpx2.Client, more: dict[str, Any], word: str) -> None:
    body = {"model": "x", "from": REPO, "stream": False, **more}
    answer = http.post("/api/create", json=body)
    assert answer.status_code == 400
    assert word in answer.json()["error"]


def test_a_record_that_names_a_file_is_not_served_when_that_is_not_allowed(
    home: Path, client: ollama.Client, tiny_model: Path
) -> None:
    (home / "derived").mkdir(parents=True)
    record = {
        "format": 1,
        "name": "sly",
        "base": str(tiny_model),
        "licence": "x",
        "made_at": "2026-01-01T00:00:00+00:00",
    }
    rest: dict[str, Any] = {"lineage": [], "messages": [], "parameters": {}}
    (home / "derived" / "sly.json").write_text(json.dumps(record | rest))
    assert names(client) == []
    with pytest.raises(ollama.ResponseError, match="model 'sly' not found"):
        client.chat("sly", [{"role": "user", "content": "x"}])


def test_streams_end_with_an_error_where_one_happens(http: httpx2.Client) -> None:
    with http.stream("POST", "/api/pull", json={"model": "Fox/Nobody"}) as answer:
        lines = [json.loads(line) for line in answer.iter_lines()]
    assert lines[0] == {"status": "pulling manifest"}
    assert "Fox/Nobody" in lines[-1]["error"]


def test_bodies_are_understood_as_ollamas_own_program_writes_them(http: httpx2.Client) -> None:
    sources = {"insecure": False, "username": "", "password": "", "stream": False}
    pulled = http.post("/api/pull", json={"model": REPO, "name": REPO, **sources})
    assert pulled.json() == {"status": "success"}
    asked = {"model": "", "name": REPO, "system": "", "template": "", "verbose": False}
    shown = http.post("/api/show", json={**asked, "options": None})
    assert shown.status_code == 200
    assert shown.json()["details"]["format"] == "safetensors"
    texts = {"prompt": "", "suffix": "", "system": "", "template": "", "options": {}}
    loaded = http.post(
        "/api/generate",
        json={"model": REPO, **texts, "keep_alive": "5m0s", "_debug_render_only": False},
    )
    assert loaded.json()["done_reason"] == "load"
    turns = [{"role": "user", "content": "x"}]
    body = {"model": REPO, "messages": turns, "options": SHORT, "_debug_render_only": False}
    lines = http.post("/api/chat", json=body).text.splitlines()
    assert json.loads(lines[-1])["eval_count"] == 4
    assert http.post("/api/chat", json={**body, "_debug_render_only": True}).status_code == 400
    pushed = http.post("/api/push", json={"model": REPO, **sources})
    assert "`push` is not supported" in pushed.json()["error"]
