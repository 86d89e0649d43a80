import hashlib
import json
import logging
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tongwen.checkpoint import store as store_module
from tongwen.checkpoint.lock import locked
from tongwen.checkpoint.manifest import Manifest, StoredFile, is_file_name, now
from tongwen.checkpoint.store import Store, default_home
from tongwen.errors import CheckpointError, ModelNotFoundError


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store", {"HOME": str(tmp_path / "home"), "OLLAMA_MODELS": "/none"})


def put(store: Store, name: str, files: dict[str, bytes]) -> Manifest:
    """Give the store a model without a network: blobs, then `add`."""
    stored = []
    for file_name, data in files.items():
        digest = hashlib.sha256(data).hexdigest()
        blob = store.home / "blobs" / f"sha256-{digest}"
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(data)
        stored.append(StoredFile(name=file_name, size_bytes=len(data), sha256=digest))
    manifest = Manifest(
        name=name,
        files=tuple(stored),
        source="hub",
        repo="Org/Repo",
        revision="main",
        licence="MIT",
        lineage=("Org/Base",),
        pulled_at=now(),
    )
    store.add(manifest)
    return manifest


def blobs(store: Store) -> set[str]:
    return {path.name for path in (store.home / "blobs").iterdir()}


def test_the_home_is_named_by_the_environment() -> None:
    assert default_home({"TONGWEN_HOME": "/data"}) == Path("/data")
    assert default_home({"HOME": "/u"}) == Path("/u/.cache/tongwen")
    assert default_home({"USERPROFILE": "/p"}) == Path("/p/.cache/tongwen")


def test_names_that_contain_the_same_file_share_its_bytes(store: Store) -> None:
    put(store, "Org/One", {"model.safetensors": b"w" * 100, "config.json": b"1"})
    put(store, "Org/Two", {"model.safetensors": b"w" * 100, "config.json": b"2"})
    one, two = store.list()
    assert [one.name, two.name] == ["Org/One", "Org/Two"]
    assert (one.path / "model.safetensors").samefile(two.path / "model.safetensors")
    assert len(blobs(store)) == 3
    assert one.digest != two.digest
    store.check(digests=True)


def test_removing_a_name_deletes_what_no_other_uses(store: Store) -> None:
    put(store, "Org/One", {"model.safetensors": b"w" * 100, "config.json": b"12"})
    put(store, "Org/Two", {"model.safetensors": b"w" * 100, "config.json": b"2"})
    assert store.remove("Org/One") == 2
    store.check(digests=True)
    assert len(blobs(store)) == 2
    assert store.remove("Org/Two") == 101
    assert blobs(store) == set()
    assert store.list() == []


def test_removing_what_is_not_there_is_refused(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="the store has no model `Org/Repo`"):
        store.remove("Org/Repo")
    file = tmp_path / "mine.gguf"
    file.write_bytes(b"GGUF")
    with pytest.raises(ModelNotFoundError, match="is not in the store"):
        store.remove(str(file))
    assert file.exists()


def test_where_links_are_not_possible_files_are_copied(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: object) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(store_module.os, "link", no_links)
    put(store, "Org/One", {"a.gguf": b"1234"})
    [model] = store.list()
    assert model.path.read_bytes() == b"1234"
    store.check(digests=True)
    store.remove("Org/One")
    assert blobs(store) == set()


def test_a_name_given_again_gets_the_new_files(store: Store) -> None:
    put(store, "Org/One", {"a.gguf": b"old"})
    put(store, "Org/One", {"b.gguf": b"newer"})
    [model] = store.list()
    assert (model.path.name, model.path.read_bytes()) == ("b.gguf", b"newer")
    left = {path.name for path in (store.home / "models").iterdir()}
    assert left == {"Org--One"}


def test_adding_without_its_blob_is_refused_and_leaves_nothing(store: Store) -> None:
    manifest = put(store, "Org/One", {"a.gguf": b"1234"})
    store.remove("Org/One")
    with pytest.raises(CheckpointError, match=r"no blob for `a.gguf`"):
        store.add(manifest)
    assert store.list() == []


def test_folders_left_by_a_killed_process_are_no_models_and_go(store: Store) -> None:
    left = store.home / "models" / ".new-Org--One"
    left.mkdir(parents=True)
    (left / "a.gguf").write_bytes(b"half")
    assert store.list() == []
    put(store, "Org/Two", {"a.gguf": b"1234"})
    assert not left.exists()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"format": 2}',
        pytest.param("escape", id="a file name that is a path"),
        pytest.param("digest", id="a digest that is none"),
    ],
)
def test_a_damaged_manifest_is_named_and_other_models_remain(
    store: Store, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    put(store, "Org/Bad", {"bad.gguf": b"bad"})
    put(store, "Org/Good", {"good.gguf": b"good"})
    path = store.home / "models" / "Org--Bad" / "manifest.json"
    tree = json.loads(path.read_text())
    if text == "escape":
        tree["files"][0]["name"] = "../../../etc/passwd"
        text = json.dumps(tree)
    elif text == "digest":
        tree["files"][0]["sha256"] = "../x"
        text = json.dumps(tree)
    path.write_text(text)
    with pytest.raises(CheckpointError) as caught:
        store.find("Org/Bad")
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "tongwen rm Org/Bad" in (caught.value.hint or "")
    with caplog.at_level(logging.WARNING):
        assert [model.name for model in store.list()] == ["Org/Good"]
    assert str(path) in caplog.text
    found = store.find("Org/Good")
    assert found is not None
    assert found.path.read_bytes() == b"good"


def test_while_a_manifest_is_damaged_no_blob_is_deleted_and_its_removal_mends_that(
    store: Store,
) -> None:
    put(store, "Org/Bad", {"bad.gguf": b"bad"})
    put(store, "Org/Good", {"good.gguf": b"good"})
    (store.home / "models" / "Org--Bad" / "manifest.json").write_text("{")
    store.remove("Org/Good")
    assert len(blobs(store)) == 2
    store.remove("Org/Bad")
    assert blobs(store) == set()
    store.check()


def test_check_finds_what_is_wrong(store: Store) -> None:
    put(store, "Org/One", {"a.gguf": b"1234"})
    [model] = store.list()
    stray = store.home / "blobs" / f"sha256-{'0' * 64}"
    stray.write_bytes(b"x")
    with pytest.raises(CheckpointError, match="no model uses"):
        store.check()
    stray.unlink()
    model.path.write_bytes(b"1235")  # a hard link: the blob changes with it
    store.check()
    with pytest.raises(CheckpointError, match="does not have the digest"):
        store.check(digests=True)
    model.path.unlink()
    with pytest.raises(CheckpointError, match="is missing"):
        store.check()


def test_the_name_used_last_is_remembered(store: Store) -> None:
    assert store.last_used() is None
    put(store, "Org/One", {"a.gguf": b"1"})
    store.mark_used("Org/One")
    time.sleep(0.02)
    store.mark_used("qwen2")
    assert store.last_used() == "qwen2:7b"
    time.sleep(0.02)
    store.mark_used("Org/One")
    assert store.last_used() == "Org/One"
    assert store.list()[0].last_used is not None
    store.remove("Org/One")
    assert store.last_used() == "qwen2:7b"


def test_files_on_the_disk_are_found_in_place(store: Store, tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / f"m-0000{number}-of-00002.gguf").write_bytes(b"GGUF")
    split = store.find(str(tmp_path / "m-00001-of-00002.gguf"))
    assert split is not None
    assert (split.source, split.size_bytes, len(split.files)) == ("disk", 8, 2)
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    found = store.find(str(folder))
    assert found is not None
    assert (found.path, found.name) == (folder, str(folder))


def test_file_names_are_names_everywhere() -> None:
    assert is_file_name("model-00001-of-00002.safetensors")
    for name in ("", "..", "a/b", "a\\b", "nul", "con.txt", "a\0", "x.", "C:x", ".hidden", "a\nb"):
        assert not is_file_name(name), name


HOLDER = """
import sys, time
{blocked}
from pathlib import Path
from tongwen.checkpoint.lock import locked
with locked(Path(sys.argv[1])):
    Path(sys.argv[2]).touch()
    time.sleep(30)
"""


@pytest.mark.parametrize("blocked", ["", "sys.modules['fcntl'] = None"])
def test_a_lock_excludes_others_and_is_freed_when_its_holder_is_killed(
    tmp_path: Path, blocked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if blocked:
        monkeypatch.setitem(sys.modules, "fcntl", None)
    path, marks = tmp_path / "locks" / "x.lock", [tmp_path / "first", tmp_path / "second"]
    code = HOLDER.format(blocked=blocked)
    processes = []
    try:
        for mark in marks:
            command = [sys.executable, "-c", code, str(path), str(mark)]
            processes.append(subprocess.Popen(command))
            deadline = time.monotonic() + (10 if mark is marks[0] else 0.5)
            while not mark.exists() and time.monotonic() < deadline:
                time.sleep(0.01)
        assert [mark.exists() for mark in marks] == [True, False]
        assert processes[1].poll() is None
    finally:
        for process in reversed(processes):
            process.kill()
            process.wait()
    start = time.monotonic()
    with locked(path):
        assert time.monotonic() - start < 2
