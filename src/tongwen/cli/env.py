"""`tongwen env`: what a bug report needs, and nothing that must not be in one."""

import importlib.metadata
import os
import platform
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import psutil

from tongwen.checkpoint.fit import GIB
from tongwen.checkpoint.kept import Kept
from tongwen.cli.fetch import PLACES
from tongwen.cli.figures import columns, size
from tongwen.cli.names import open_store
from tongwen.cli.terminal import print_json
from tongwen.errors import TongwenError

_PACKAGES = (
    "tongwen", "torch", "numpy", "safetensors", "tokenizers", "huggingface_hub", "jinja2",
    "httpx2", "click", "rich", "prompt-toolkit", "transformers",
)  # fmt: skip

# Of the instructions that a processor may have, those that matter to matrices.
_INSTRUCTIONS = re.compile(r"avx|amx|f16c|fma|sse4|neon|asimd|sve|bf16|i8mm|vnni|dotprod")

_SETTINGS = re.compile(
    r"TONGWEN_\w+|HF_\w+|HUGGING\w+|MODELSCOPE_\w+|OLLAMA_MODELS|PIP_\w+|(https?|all|no)_proxy|"
    r"OMP_\w+|MKL_\w+|CUDA_VISIBLE_DEVICES|NO_COLOR|TERM|LANG|LC_ALL",
    re.IGNORECASE,
)
_SECRET = re.compile(r"token|key|password|secret|auth|cookie", re.IGNORECASE)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--network", is_flag=True, help="Ask the hubs whether they answer, too.")
def command(as_json: bool, network: bool) -> None:
    """Print what a bug report needs.

    Tokens and passwords are left out; look it over all the same before you publish it.
    """
    facts = gather(os.environ)
    if network:
        facts["sources"] = _sources(os.environ)
    if as_json:
        print_json(facts)
        return
    for section, values in facts.items():
        click.echo(f"[{section}]")
        click.echo(columns([(name, str(value)) for name, value in values.items()] or [("-",)]))


def gather(environ: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """The facts, by section."""
    return {
        "versions": {"python": platform.python_version(), **_versions()},
        "machine": _machine(),
        "torch": _torch(),
        "store": _store(),
        "settings": masked(environ),
    }


def masked(environ: Mapping[str, str]) -> dict[str, str]:
    """The settings that matter here, without the secrets among them."""
    chosen = {name: environ[name] for name in sorted(environ) if _SETTINGS.fullmatch(name)}
    return {
        name: "(set)" if _SECRET.search(name) and "PATH" not in name else _without_login(value)
        for name, value in chosen.items()
    }


def _without_login(value: str) -> str:
    """A URL without the name and password in it; anything else as it is."""
    return re.sub(r"(?<=//)[^/@\s]+@", "***@", value) if "@" in value else value


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def _machine() -> dict[str, str]:
    memory = psutil.virtual_memory()
    return {
        "platform": platform.platform(),
        "machine": platform.machine(),
        "processor": _processor(),
        "cores": f"{psutil.cpu_count(logical=False)}, {os.cpu_count()} threads",
        "instructions": _instructions(),
        "memory": f"{memory.total / GIB:.1f} GiB, {memory.available / GIB:.1f} GiB free",
        "terminal": f"stdout {sys.stdout.isatty()}, {sys.stdout.encoding}",
    }


def _cpuinfo() -> dict[str, str]:
    """The first processor's lines of `/proc/cpuinfo`; empty where there is no such file."""
    path = Path("/proc/cpuinfo")
    if not path.is_file():
        return {}
    first = path.read_text(encoding="utf-8", errors="replace").partition("\n\n")[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def _processor() -> str:
    return _cpuinfo().get("model name") or platform.processor() or "unknown"


def _instructions() -> str:
    known = _cpuinfo()
    words = (known.get("flags") or known.get("features") or "").split()
    return " ".join(word for word in words if _INSTRUCTIONS.match(word)) or "unknown"


def _torch() -> dict[str, str]:
    import torch

    accelerator = torch.accelerator.current_accelerator(check_available=True)
    return {
        "build": torch.__version__,
        "threads": str(torch.get_num_threads()),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "mkldnn": str(torch.backends.mkldnn.is_available()),
        "cuda build": str(torch.version.cuda),
        "accelerator": str(accelerator or "none"),
        **{
            f"{accelerator}:{index}": torch.cuda.get_device_name(index)
            for index in range(torch.cuda.device_count())
        },
    }


def _store() -> dict[str, str]:
    store = open_store()
    models = store.list()
    place = next(path for path in (store.home, *store.home.parents) if path.exists())
    return {
        "home": str(store.home),
        "free disk": size(shutil.disk_usage(place).free),
        "models": ", ".join(model.name for model in models) or "none",
        "size": size(sum(model.size_bytes for model in models)),
        "packed weights": size(Kept(store.home).size_bytes()),
    }


def _sources(environ: Mapping[str, str]) -> dict[str, str]:
    """Whether each hub answers a small question."""
    from tongwen.checkpoint.download import Patience
    from tongwen.checkpoint.sources import Hub, ModelScope

    said = {}
    for name, source in (("hub", Hub(environ)), ("modelscope", ModelScope(environ))):
        place = PLACES["hub" if name == "hub" else "modelscope"]
        try:
            source.listing("Qwen/Qwen2-0.5B-Instruct-GGUF", Patience())
            said[place] = "answers"
        except TongwenError as error:
            said[place] = str(error)
    return said
