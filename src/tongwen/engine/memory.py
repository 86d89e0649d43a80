"""Does it fit: weights and cache against the memory that is free."""

import torch

from tongwen.checkpoint.fit import GIB, MIN_CONTEXT, WORKING_BYTES, free_memory
from tongwen.errors import CapacityError, ConfigError
from tongwen.model.account import kv_bytes_per_token
from tongwen.model.config import Qwen2Config

DEFAULT_CONTEXT = 32_768
"""Tokens of context where nobody asks for more."""


def free_bytes(device: torch.device) -> int:
    """Memory that can be had on `device` now."""
    if device.type == "cpu":
        return free_memory()
    return int(torch.accelerator.get_memory_info(device)[0])


def check_weights(name: str, weights_bytes: int, free: int) -> None:
    """Refuse weights that do not fit, before anything is read.

    Raises:
        CapacityError: With the numbers.
    """
    needed = weights_bytes + WORKING_BYTES
    if needed > free:
        raise CapacityError(
            f"`{name}` needs {needed / GIB:.1f} GiB of memory, {free / GIB:.1f} GiB are free"
        )


def fit_context(
    config: Qwen2Config, asked: int | None, *, weights_bytes: int, bytes_per_value: int, free: int
) -> int:
    """Tokens of context: what is asked for, or as many as make sense and fit.

    Without a wish: what the model was trained for, at most `DEFAULT_CONTEXT`, halved until its
    cache fits beside the weights, at least `MIN_CONTEXT`.

    Raises:
        ConfigError: `asked` is not positive, or more than the model's positions reach.
        CapacityError: The cache of `asked` tokens, or of the least, does not fit.
    """
    longest = longest_context(config)
    if asked is not None and not 1 <= asked <= longest:
        raise ConfigError(
            f"a context of {asked} tokens is not between 1 and this model's {longest}",
            hint="a longer one needs a checkpoint whose `rope_scaling` is YaRN",
        )
    room = free - weights_bytes - WORKING_BYTES
    per_token = kv_bytes_per_token(config, bytes_per_value)
    context = asked or min(config.max_position_embeddings, DEFAULT_CONTEXT)
    while asked is None and context > MIN_CONTEXT and context * per_token > room:
        context = max(context // 2, MIN_CONTEXT)
    if context * per_token > room:
        raise CapacityError(
            f"a context of {context} tokens needs {context * per_token / GIB:.1f} GiB beside the "
            f"weights, {max(room, 0) / GIB:.1f} GiB are free",
            hint=f"at most {max(room, 0) // per_token} tokens fit",
        )
    return context


def longest_context(config: Qwen2Config) -> int:
    """Positions that the checkpoint says it can use, stretched where it asks for YaRN."""
    yarn = config.rope_scaling
    stretched = 0 if yarn is None else int(yarn.factor * yarn.original_max_position_embeddings)
    return max(config.max_position_embeddings, stretched)
