"""What the files of a model say of it, for a server that shows it."""

import contextlib
import re
from collections import Counter
from math import prod
from pathlib import Path

from tongwen.checkpoint.load import Source, open_checkpoint
from tongwen.checkpoint.manifest import LocalModel
from tongwen.errors import TokenizerError
from tongwen.model.account import count_parameters
from tongwen.server.facts import Facts
from tongwen.tokenizer.fim import fim_stop_ids
from tongwen.tokenizer.template import chat_format

_IN_NAME = re.compile(r"(?:^|[-.])(I?Q\d\w*|BF16|F16|F32)(?:[-.]|$)")


def read_facts(local: LocalModel, cache: Path) -> Facts:
    """Read the head of a model's files.

    Args:
        local: The model.
        cache: Where parsed tokenizers are kept.

    Raises:
        CheckpointError: They are damaged, or no Qwen2 model.
    """
    source = open_checkpoint(local.path)
    tokenizer = source.tokenizer(cache)
    can_call = can_fill = False
    if source.chat_template is not None:
        family = local.name.partition(":")[0]
        form = chat_format(tokenizer, source.chat_template, family).tool_form
        can_call = form is not None
    with contextlib.suppress(TokenizerError):
        can_fill = bool(fim_stop_ids(tokenizer))
    names = source.names()
    return Facts(
        local=local,
        config=source.config,
        generation=source.generation,
        num_parameters=count_parameters(source.config).total,
        quantization=_quantization(local, source),
        template=source.chat_template,
        licence=source.licence,
        can_call=can_call,
        can_fill=can_fill,
        vocab_size=len(tokenizer),
        tensors=tuple((name, source.format(name), tuple(source.shape(name))) for name in names),
    )


def _quantization(local: LocalModel, source: Source) -> str:
    """The type in a GGUF's name, where it has one there; else the format of most values."""
    if local.path.is_file() and (named := _IN_NAME.search(local.path.stem.upper())):
        return named[1]
    held: Counter[str] = Counter()
    for name in source.names():
        held[source.format(name)] += prod(source.shape(name))
    return held.most_common(1)[0][0]
