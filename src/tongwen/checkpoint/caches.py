"""Models that other tools have already fetched, found and used where they lie.

Hugging Face, ModelScope, Ollama and LM Studio each keep models below the user's home, in a layout
of their own.  Nothing is copied or changed, and nothing incomplete is taken.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tongwen.checkpoint.manifest import LocalModel
from tongwen.checkpoint.model_names import ModelName
from tongwen.checkpoint.sources import UNSTATED, home_directory, hugging_face_home
from tongwen.checkpoint.wanted import choose_gguf, gguf_type_of, is_whole

_OLLAMA_WEIGHTS = "application/vnd.ollama.image.model"
_OLLAMA_FAMILIES = {"qwen1.5": "qwen"}
_SHARD_NAME = re.compile(r"-\d{5}-of-(\d{5})\.safetensors$")


def find_cached(name: ModelName, environ: Mapping[str, str]) -> LocalModel | None:
    """The model `name` in the first cache that has all of it, or None."""
    if name.repo is None:
        return None
    for source, directory in _directories(name.repo, environ):
        if files := whole_model(directory, name.gguf_type):
            return _local(name, source, directory, files)
    blob = _in_ollama(name, environ)
    return _local(name, "Ollama", blob.parent, [blob]) if blob else None


def whole_model(directory: Path, gguf_type: str | None) -> list[Path]:
    """The files of a complete model in `directory`: a GGUF of that type, or a checkpoint.

    Empty where there is none, or where a shard, the config or the tokenizer is missing.
    """
    if not directory.is_dir():
        return []
    present = {
        path.relative_to(directory).as_posix(): path
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.stat().st_size
    }
    if gguf_type is None and any(name.endswith(".safetensors") for name in present):
        return _checkpoint_files(present)
    chosen = choose_gguf(list(present), gguf_type)
    return [present[each] for each in chosen] if chosen and is_whole(chosen) else []


def _checkpoint_files(present: Mapping[str, Path]) -> list[Path]:
    tops = {name: path for name, path in present.items() if "/" not in name}
    has_tokenizer = any(name in tops for name in ("tokenizer.json", "vocab.json"))
    whole = has_tokenizer and "config.json" in tops and _has_all_weights(tops)
    return list(tops.values()) if whole else []


def _has_all_weights(tops: Mapping[str, Path]) -> bool:
    if index := tops.get("model.safetensors.index.json"):
        try:
            named = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (ValueError, KeyError, AttributeError):
            return False
        return bool(named) and named <= tops.keys()
    weights = [name for name in tops if name.endswith(".safetensors")]
    return bool(weights) and not any(_SHARD_NAME.search(name) for name in weights)


def _local(name: ModelName, source: str, directory: Path, files: list[Path]) -> LocalModel:
    is_gguf = not any(path.suffix == ".safetensors" for path in files)
    return LocalModel(
        name=name.text,
        path=files[0] if is_gguf else directory,
        files=tuple(files),
        size_bytes=sum(path.stat().st_size for path in files),
        licence=name.licence or UNSTATED,
        source=source,
        lineage=name.offer.lineage if name.offer else (),
        repo=name.repo,
    )


def _directories(repo: str, environ: Mapping[str, str]) -> Iterator[tuple[str, Path]]:
    home = home_directory(environ)
    for snapshot in _snapshots(_hub_cache(environ) / f"models--{repo.replace('/', '--')}"):
        yield "Hugging Face cache", snapshot
    for directory in _modelscope_directories(repo, environ, home):
        yield "ModelScope cache", directory
    for models in (home / ".lmstudio" / "models", home / ".cache" / "lm-studio" / "models"):
        yield "LM Studio", models / repo


def _hub_cache(environ: Mapping[str, str]) -> Path:
    named = environ.get("HF_HUB_CACHE") or environ.get("HUGGINGFACE_HUB_CACHE")
    return Path(named).expanduser() if named else hugging_face_home(environ) / "hub"


def _snapshots(repo_directory: Path) -> list[Path]:
    """Its snapshots, that of `main` first, then the newest."""
    main = repo_directory / "refs" / "main"
    head = main.read_text().strip() if main.is_file() else ""
    found = [path for path in (repo_directory / "snapshots").glob("*") if path.is_dir()]
    return sorted(found, key=lambda path: (path.name != head, -path.stat().st_mtime))


def _modelscope_directories(repo: str, environ: Mapping[str, str], home: Path) -> Iterator[Path]:
    named = environ.get("MODELSCOPE_CACHE")
    root = Path(named).expanduser() if named else home / ".cache" / "modelscope"
    owner, _, model = repo.partition("/")
    for base in (root / "models", root / "hub" / "models", root, root / "hub"):
        yield from _snapshots(base / f"{owner}--{model}")
        yield base / owner / model.replace(".", "___")  # as older releases spell a dot
        yield base / owner / model


def _in_ollama(name: ModelName, environ: Mapping[str, str]) -> Path | None:
    if name.gguf_type is None:
        return None
    for models in _ollama_homes(environ):
        for tag in _ollama_tags(models / "manifests", name):
            if blob := _ollama_blob(models, tag, name.gguf_type):
                return blob
    return None


def _ollama_homes(environ: Mapping[str, str]) -> list[Path]:
    if named := environ.get("OLLAMA_MODELS"):
        return [Path(named).expanduser()]
    service = Path("/usr/share/ollama/.ollama/models")  # where its Linux service keeps them
    return [home_directory(environ) / ".ollama" / "models", service]


def _ollama_tags(manifests: Path, name: ModelName) -> Iterator[Path]:
    """Manifests whose tag may mean `name`: of its library, or pulled by it from the hub."""
    if name.offer is not None:
        family, _, tag = name.text.partition(":")
        size = tag.removesuffix(f"-{name.gguf_type}")
        family = _OLLAMA_FAMILIES.get(family, family)
        chat = {f"{size}{word}" for word in ("", "-instruct", "-chat")}
        meant = chat | {f"{each}-{name.gguf_type}" for each in chat}
        yield from _tags(manifests / "registry.ollama.ai" / "library" / family, meant)
    if name.repo is not None:
        yield from _tags(manifests / "hf.co" / name.repo, {name.gguf_type or "latest"})


def _tags(directory: Path, meant: set[str]) -> list[Path]:
    if not directory.is_dir():
        return []
    return [path for path in sorted(directory.iterdir()) if path.name.lower() in meant]


def _ollama_blob(models: Path, manifest: Path, gguf_type: str) -> Path | None:
    """The weights that `manifest` names, if they are whole and of the type asked for."""
    tree = _json(manifest)
    layers = [e for e in _list(tree, "layers") if e.get("mediaType") == _OLLAMA_WEIGHTS]
    if len(layers) != 1:
        return None
    stated = _json(_blob_path(models, tree.get("config"))).get("file_type")
    in_tag = gguf_type_of(f"-{manifest.name}.gguf")
    stated = stated.lower() if isinstance(stated, str) and stated != "unknown" else in_tag
    if {"f16": "fp16"}.get(stated or gguf_type, stated or gguf_type) != gguf_type:
        return None
    blob = _blob_path(models, layers[0])
    is_whole_blob = blob.is_file() and blob.stat().st_size == layers[0].get("size")
    return blob if is_whole_blob else None


def _blob_path(models: Path, layer: object) -> Path:
    digest = str(layer.get("digest")) if isinstance(layer, dict) else ""
    known = re.fullmatch(r"sha256:[0-9a-f]{64}", digest) is not None
    return models / "blobs" / (digest.replace(":", "-") if known else "none")


def _json(path: Path) -> dict[str, Any]:
    """The object in `path`; empty where another tool's file is missing or is no such thing."""
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return tree if isinstance(tree, dict) else {}


def _list(tree: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    entries = tree.get(key)
    return [each for each in entries if isinstance(each, dict)] if isinstance(entries, list) else []
