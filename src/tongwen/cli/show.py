"""`tongwen show`: what is known of a model."""

import dataclasses
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from tongwen.checkpoint.derived import DerivedModels
from tongwen.checkpoint.fit import GIB, need_of_files, need_of_offer
from tongwen.checkpoint.manifest import LocalModel
from tongwen.checkpoint.model_names import ModelName, parse_name
from tongwen.checkpoint.sources import UNSTATED
from tongwen.cli.figures import columns, parameters, size
from tongwen.cli.list import derived_json, local_json, offer_json
from tongwen.cli.names import complete_model, open_store
from tongwen.cli.terminal import print_json
from tongwen.errors import ModelNotFoundError, TokenizerError


@click.command()
@click.argument("name", shell_complete=complete_model)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(name: str, as_json: bool) -> None:
    """Print what is known of a model.

    Of one on this machine, by its files; of another, by the table of names.
    """
    store = open_store()
    derived = DerivedModels(store.home)
    if derived.has(name):
        _print(derived_json(derived.get(name)), as_json)
        return
    parsed = parse_name(name)
    local = store.find(parsed)
    facts = _facts_of_files(local) if local else _facts_of_name(parsed)
    _print(facts, as_json)


def _print(facts: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(facts)
    else:
        rows = [(_label(key), _said(key, value)) for key, value in facts.items()]
        click.echo(columns(rows))


def _facts_of_name(name: ModelName) -> dict[str, Any]:
    offer = name.offer
    if offer is None:
        raise ModelNotFoundError(
            f"`{name}` is not on this machine, and the table does not know it",
            hint=f"`tongwen pull {name}` fetches it, if a hub has it",
        )
    need = need_of_offer(offer)
    return {**offer_json(offer), "is_here": False, "memory_bytes": need.total_bytes}


def _facts_of_files(local: LocalModel) -> dict[str, Any]:
    # Reading a checkpoint takes torch, and torch two seconds.
    from tongwen.checkpoint.load import open_checkpoint
    from tongwen.model.account import count_parameters

    source = open_checkpoint(local.path)
    config = source.config
    known = local_json(local)
    if local.licence == UNSTATED:
        known["licence"] = source.licence or UNSTATED
    return {
        **known,
        "is_here": True,
        "architecture": "Qwen2MoeForCausalLM" if config.num_experts else "Qwen2ForCausalLM",
        "parameters": count_parameters(config).total,
        "layers": config.num_hidden_layers,
        "width": config.hidden_size,
        "context": config.max_position_embeddings,
        "quantization": _quantization(source),
        "memory_bytes": need_of_files(local.path).total_bytes,
        "chat_template": _template(source, local.name),
        "sampling": dataclasses.asdict(source.generation),
        "sampling_from": _sampling_from(local.path),
    }


def _quantization(source: Any) -> str:  # noqa: ANN401 - `Source`, which comes with torch
    """How the matrices are stored: each format and how many tensors have it."""
    from tongwen.checkpoint.gguf import GGUFFile

    if isinstance(source, GGUFFile):
        formats = [source.raw(name)[0].name for name in source.names()]
    else:
        formats = [str(source.dtype(name)).removeprefix("torch.") for name in source.names()]
    return ", ".join(f"{name} x {count}" for name, count in Counter(formats).most_common())


def _template(source: Any, name: str) -> str:  # noqa: ANN401 - `Source`
    """The family whose chat format the checkpoint has."""
    from tongwen.tokenizer.chat import ChatML
    from tongwen.tokenizer.template import chat_format

    if source.chat_template is None:
        return "none"
    try:
        format = chat_format(source.tokenizer(), source.chat_template, name.partition(":")[0])
    except TokenizerError as error:
        return f"unfit: {error}"
    return format.family.name if isinstance(format, ChatML) else "its own Jinja template"


def _sampling_from(path: Path) -> str:
    if path.is_dir():
        has_file = (path / "generation_config.json").is_file()
        return "its generation_config.json" if has_file else "greedy: it has no generation config"
    return "the table of its family: a GGUF carries none, or what it states"


def _label(key: str) -> str:
    return key.removesuffix("_bytes").replace("_", " ")


def _said(key: str, value: Any) -> str:  # noqa: ANN401 - JSON
    """A fact as a person reads it."""
    if key in _SAID:
        return _SAID[key](value)
    match value:
        case bool():
            return "yes" if value else "no"
        case list():
            return ", ".join(map(str, value)) or "-"
        case dict():
            return ", ".join(f"{name} {each}" for name, each in value.items() if each is not None)
        case _:
            return "-" if value in (None, "") else str(value)


_SAID: dict[str, Callable[[int], str]] = {
    "size_bytes": size,
    "memory_bytes": lambda value: f"{value / GIB:.1f} GiB with the least context",
    "parameters": lambda value: f"{parameters(value)} ({value})",
}
