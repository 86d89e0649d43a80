import hashlib
import json
from pathlib import Path

import pytest

from tongwen.checkpoint.manifest import LocalModel
from tongwen.checkpoint.store import Store

CHECKPOINT = {
    "config.json": "{}",
    "tokenizer.json": "{}",
    "model-00001-of-00002.safetensors": "one",
    "model-00002-of-00002.safetensors": "two",
    "model.safetensors.index.json": json.dumps(
        {
            "weight_map": {
                "a": "model-00001-of-00002.safetensors",
                "b": "model-00002-of-00002.safetensors",
            }
        }
    ),
}
GGUF = "qwen2-0_5b-instruct-q4_k_m.gguf"
REVISION = "a" * 40


def write(directory: Path, files: dict[str, str]) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (directory / name).write_text(text)


def find(tmp_path: Path, name: str, **environ: str) -> LocalModel | None:
    return Store(tmp_path / "store", {"HOME": str(tmp_path), **environ}).find(name)


def hub_snapshot(cache: Path, repo: str, files: dict[str, str], revision: str = REVISION) -> Path:
    """As huggingface_hub lays a repository out: links from snapshots to blobs."""
    root = cache / f"models--{repo.replace('/', '--')}"
    snapshot = root / "snapshots" / revision
    snapshot.mkdir(parents=True)
    for name, text in files.items():
        digest = hashlib.sha256(text.encode()).hexdigest()
        write(root / "blobs", {digest: text})
        (snapshot / name).symlink_to(root / "blobs" / digest)
    write(root / "refs", {"main": REVISION})
    return snapshot


@pytest.mark.parametrize(
    ("variable", "value", "below"),
    [
        ("IRRELEVANT", "", ".cache/huggingface/hub"),
        ("HF_HOME", "hf", "hf/hub"),
        ("HF_HUB_CACHE", "cache", "cache"),
        ("XDG_CACHE_HOME", "xdg", "xdg/huggingface/hub"),
    ],
)
def test_a_checkpoint_of_the_hugging_face_cache_is_used_in_place(
    tmp_path: Path, variable: str, value: str, below: str
) -> None:
    snapshot = hub_snapshot(tmp_path / below, "Qwen/Qwen2-0.5B-Instruct", CHECKPOINT)
    model = find(tmp_path, "qwen2:0.5b-bf16", **{variable: str(tmp_path / value)})
    assert model is not None
    assert (model.path, model.source) == (snapshot, "Hugging Face cache")
    assert (model.licence, model.name) == ("Apache-2.0", "qwen2:0.5b-bf16")
    assert len(model.files) == len(CHECKPOINT)
    assert not (tmp_path / "store").exists()


def test_a_gguf_of_the_hugging_face_cache_is_taken_by_its_type(tmp_path: Path) -> None:
    repo = "Qwen/Qwen2-0.5B-Instruct-GGUF"
    snapshot = hub_snapshot(tmp_path / ".cache/huggingface/hub", repo, {GGUF: "weights"})
    model = find(tmp_path, "qwen2:0.5b")
    assert model is not None
    assert model.path == snapshot / GGUF
    assert find(tmp_path, "qwen2:0.5b-q8_0") is None
    assert find(tmp_path, f"{repo}:Q4_K_M") is not None
    assert find(tmp_path, repo) is not None


@pytest.mark.parametrize(
    "missing", ["model-00002-of-00002.safetensors", "config.json", "tokenizer.json"]
)
def test_an_incomplete_snapshot_is_not_taken(tmp_path: Path, missing: str) -> None:
    partial = {name: text for name, text in CHECKPOINT.items() if name != missing}
    hub_snapshot(tmp_path / ".cache/huggingface/hub", "Org/Repo", partial)
    assert find(tmp_path, "Org/Repo") is None


def test_a_snapshot_whose_blob_is_gone_is_not_taken(tmp_path: Path) -> None:
    snapshot = hub_snapshot(tmp_path / ".cache/huggingface/hub", "Org/Repo", CHECKPOINT)
    (snapshot / "model-00001-of-00002.safetensors").resolve().unlink()
    assert find(tmp_path, "Org/Repo") is None


def test_shards_without_their_index_are_not_taken(tmp_path: Path) -> None:
    files = {name: text for name, text in CHECKPOINT.items() if "index" not in name}
    hub_snapshot(tmp_path / ".cache/huggingface/hub", "Org/Repo", files)
    assert find(tmp_path, "Org/Repo") is None


def test_split_ggufs_are_taken_with_all_shards_only(tmp_path: Path) -> None:
    cache = tmp_path / ".cache/huggingface/hub"
    shards = {f"m-q8_0-0000{i}-of-00003.gguf": "x" for i in (1, 2, 3)}
    snapshot = hub_snapshot(cache, "Org/Repo", shards)
    model = find(tmp_path, "Org/Repo:q8_0")
    assert model is not None
    assert model.path.name == "m-q8_0-00001-of-00003.gguf"
    assert len(model.files) == 3
    (snapshot / "m-q8_0-00002-of-00003.gguf").unlink()
    assert find(tmp_path, "Org/Repo:q8_0") is None


def test_the_head_of_main_is_preferred_and_another_snapshot_serves(tmp_path: Path) -> None:
    cache = tmp_path / ".cache/huggingface/hub"
    other = hub_snapshot(cache, "Org/Repo", CHECKPOINT, revision="b" * 40)
    found = find(tmp_path, "Org/Repo")
    assert found is not None
    assert found.path == other
    head = hub_snapshot(cache, "Org/Repo", {**CHECKPOINT, "config.json": "{ }"})
    found = find(tmp_path, "Org/Repo")
    assert found is not None
    assert found.path == head


@pytest.mark.parametrize(
    "below",
    [
        "hub/models/Qwen/Qwen2-0___5B-Instruct",
        "models/Qwen/Qwen2-0___5B-Instruct",
        "hub/Qwen/Qwen2-0.5B-Instruct",
        f"models/Qwen--Qwen2-0.5B-Instruct/snapshots/{REVISION}",
    ],
)
def test_every_layout_of_the_modelscope_cache_is_read(tmp_path: Path, below: str) -> None:
    write(tmp_path / ".cache/modelscope" / below, CHECKPOINT)
    model = find(tmp_path, "qwen2:0.5b-bf16")
    assert model is not None
    assert model.source == "ModelScope cache"
    write(tmp_path / "elsewhere" / below, CHECKPOINT)
    moved = find(tmp_path, "qwen2:0.5b-bf16", MODELSCOPE_CACHE=str(tmp_path / "elsewhere"))
    assert moved is not None
    assert moved.path == tmp_path / "elsewhere" / below


@pytest.mark.parametrize("home", [".lmstudio/models", ".cache/lm-studio/models"])
def test_a_gguf_of_lm_studio_is_used_in_place(tmp_path: Path, home: str) -> None:
    directory = tmp_path / home / "Qwen/Qwen2-0.5B-Instruct-GGUF"
    write(directory, {GGUF: "weights", "other-q8_0.gguf.part": "half"})
    model = find(tmp_path, "qwen2:0.5b")
    assert model is not None
    assert (model.path, model.source) == (directory / GGUF, "LM Studio")
    assert find(tmp_path, "qwen2:0.5b-q8_0") is None


def ollama(
    models: Path,
    manifest: str,
    file_type: str | None = "Q4_K_M",
    weights: bytes = b"GGUF weights",
    stated_size: int | None = None,
) -> Path:
    """As Ollama lays a model out: a manifest of layers, blobs by digest."""

    def blob(data: bytes) -> dict[str, object]:
        digest = hashlib.sha256(data).hexdigest()
        (models / "blobs").mkdir(parents=True, exist_ok=True)
        (models / "blobs" / f"sha256-{digest}").write_bytes(data)
        return {"digest": f"sha256:{digest}", "size": len(data)}

    config = {"model_format": "gguf", "model_family": "qwen2", "file_type": file_type}
    layer = {"mediaType": "application/vnd.ollama.image.model", **blob(weights)}
    if stated_size is not None:
        layer["size"] = stated_size
    template = {"mediaType": "application/vnd.ollama.image.template", **blob(b"{{ .Prompt }}")}
    tree = {"schemaVersion": 2, "config": blob(json.dumps(config).encode())}
    path = models / "manifests" / manifest
    write(path.parent, {path.name: json.dumps({**tree, "layers": [template, layer]})})
    return models / "blobs" / str(layer["digest"]).replace(":", "-")


LIBRARY = "registry.ollama.ai/library"


@pytest.mark.parametrize(
    ("manifest", "name", "file_type"),
    [
        (f"{LIBRARY}/qwen2.5/0.5b", "qwen2.5:0.5b", "Q4_K_M"),
        (f"{LIBRARY}/qwen2/0.5b-instruct-q4_K_M", "qwen2:0.5b", "Q4_K_M"),
        (f"{LIBRARY}/qwen2/0.5b", "qwen2:0.5b-q4_0", "Q4_0"),
        (f"{LIBRARY}/qwen2/0.5b-instruct-fp16", "qwen2:0.5b-fp16", "F16"),
        (f"{LIBRARY}/qwen/4b-chat-q8_0", "qwen1.5:4b-q8_0", "Q8_0"),
        (f"{LIBRARY}/qwen2/0.5b", "qwen2:0.5b", None),
        ("hf.co/Org/Repo/Q4_K_M", "Org/Repo:Q4_K_M", "unknown"),
    ],
)
def test_a_model_of_ollama_is_used_in_place(
    tmp_path: Path, manifest: str, name: str, file_type: str | None
) -> None:
    blob = ollama(tmp_path / ".ollama/models", manifest, file_type)
    model = find(tmp_path, name)
    assert model is not None
    assert (model.path, model.source) == (blob, "Ollama")
    assert model.path.read_bytes() == b"GGUF weights"


def test_ollamas_other_type_under_the_same_tag_is_not_taken(tmp_path: Path) -> None:
    ollama(tmp_path / ".ollama/models", f"{LIBRARY}/qwen2/0.5b", "Q4_0")
    assert find(tmp_path, "qwen2:0.5b") is None


def test_an_ollama_blob_that_is_cut_short_is_not_taken(tmp_path: Path) -> None:
    ollama(tmp_path / ".ollama/models", f"{LIBRARY}/qwen2/0.5b", stated_size=10**9)
    assert find(tmp_path, "qwen2:0.5b") is None


def test_an_ollama_manifest_cannot_name_a_file_outside_its_blobs(tmp_path: Path) -> None:
    models = tmp_path / "models"
    path = models / "manifests" / LIBRARY / "qwen2" / "0.5b"
    write(tmp_path, {"secret": "x"})
    layer = {
        "mediaType": "application/vnd.ollama.image.model",
        "digest": "sha256:/../../../secret",
        "size": 1,
    }
    write(path.parent, {path.name: json.dumps({"layers": [layer]})})
    assert find(tmp_path, "qwen2:0.5b", OLLAMA_MODELS=str(models)) is None


def test_the_store_comes_before_the_caches(tmp_path: Path) -> None:
    ollama(tmp_path / "o", f"{LIBRARY}/qwen2.5/0.5b")
    store = Store(tmp_path / "s", {"HOME": str(tmp_path), "OLLAMA_MODELS": str(tmp_path / "o")})
    assert store.pull("qwen2.5:0.5b").source == "Ollama"
    assert store.find("qwen2.5:0.5b", caches=False) is None
    assert store.list() == []
