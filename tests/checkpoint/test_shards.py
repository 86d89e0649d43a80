"""Directories of safetensors, whole and in shards."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tongwen.checkpoint.shards import INDEX_FILE, SINGLE_FILE, Shards
from tongwen.errors import CheckpointError

TENSORS = {
    "a": torch.arange(6, dtype=torch.float32).view(2, 3),
    "b": torch.arange(4, dtype=torch.bfloat16),
    "c": torch.tensor([7, -7], dtype=torch.int32),
    "empty": torch.zeros(0, 3),
}


@pytest.fixture
def single(tmp_path: Path) -> Path:
    save_file(TENSORS, tmp_path / SINGLE_FILE, metadata={"format": "pt"})
    return tmp_path


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    files = {"a": "one.safetensors", "b": "two.safetensors", "c": "two.safetensors"}
    for file in set(files.values()):
        held = {name: TENSORS[name] for name in files if files[name] == file}
        save_file(held, tmp_path / file)
    write_index(tmp_path, files)
    return tmp_path


def write_index(directory: Path, files: object) -> None:
    (directory / INDEX_FILE).write_text(json.dumps({"metadata": {}, "weight_map": files}))


def check(directory: Path, names: set[str]) -> None:
    shards = Shards(directory)
    assert set(shards.names()) == names
    for name in names:
        assert torch.equal(shards.tensor(name), TENSORS[name])
        assert shards.shape(name) == tuple(TENSORS[name].shape)
        assert shards.dtype(name) == TENSORS[name].dtype


def test_a_single_file_is_read(single: Path) -> None:
    check(single, set(TENSORS))


def test_shards_are_read(sharded: Path) -> None:
    check(sharded, {"a", "b", "c"})


def test_writing_into_a_tensor_leaves_the_file_alone(single: Path) -> None:
    before = (single / SINGLE_FILE).read_bytes()
    Shards(single).tensor("a").zero_()
    assert (single / SINGLE_FILE).read_bytes() == before


def test_an_unknown_name_is_refused(single: Path) -> None:
    with pytest.raises(CheckpointError, match="has no tensor `d`"):
        Shards(single).tensor("d")


def test_links_into_a_cache_of_blobs_are_followed(sharded: Path, tmp_path: Path) -> None:
    snapshot = tmp_path / "models--x" / "snapshots" / "0"
    blobs = tmp_path / "models--x" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    (sharded / INDEX_FILE).rename(snapshot / INDEX_FILE)
    for name in ("one", "two"):
        (sharded / f"{name}.safetensors").rename(blobs / name)
        (snapshot / f"{name}.safetensors").symlink_to(blobs / name)
    check(snapshot, {"a", "b", "c"})


def test_a_link_that_leads_elsewhere_is_refused(sharded: Path, tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    write_index(inner, {"a": "one.safetensors"})
    (inner / "one.safetensors").symlink_to(sharded / "one.safetensors")
    with pytest.raises(CheckpointError, match="a link that leads out of the directory"):
        Shards(inner)


@pytest.mark.parametrize(
    "name",
    ["../one.safetensors", "/etc/one.safetensors", "x/../one.safetensors", "..\\one.safetensors",
     "pytorch_model.bin", "", "..", ".safetensors/"],
)  # fmt: skip
def test_an_index_cannot_name_a_file_elsewhere(name: str, sharded: Path) -> None:
    write_index(sharded, {"a": name})
    with pytest.raises(CheckpointError, match=r"a `\.safetensors` file beside it is expected"):
        Shards(sharded)


def test_a_missing_shard_is_named(sharded: Path) -> None:
    (sharded / "two.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"names the file `two.safetensors`, which is miss"):
        Shards(sharded)


def test_a_tensor_missing_from_its_shard_is_named(sharded: Path) -> None:
    write_index(sharded, {"a": "one.safetensors", "b": "one.safetensors"})
    with pytest.raises(CheckpointError, match=r"one.safetensors` lacks tensor `b`"):
        Shards(sharded)


@pytest.mark.parametrize("files", [None, [], {"a": 1}, "one.safetensors"])
def test_an_index_of_another_form_is_refused(files: object, sharded: Path) -> None:
    write_index(sharded, files)
    with pytest.raises(CheckpointError, match="should map names of tensors to files"):
        Shards(sharded)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "consolidated.00.pth"])
def test_pickles_are_refused_by_name_with_the_remedy(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(CheckpointError, match=f"`{name}`, which can run any code") as refusal:
        Shards(tmp_path)
    assert refusal.value.hint is not None
    assert "safetensors" in refusal.value.hint


def test_an_empty_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"neither `model.safetensors` nor"):
        Shards(tmp_path)
