"""The sampling parameters that a command line or a conversation may set."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

SAMPLING: dict[str, tuple[type, str]] = {
    "temperature": (float, "0: always the likeliest token."),
    "top_p": (float, "Choose among the fewest tokens that reach this probability."),
    "top_k": (int, "Choose among this many tokens; 0: all."),
    "min_p": (float, "Drop tokens less likely than this share of the likeliest."),
    "repetition_penalty": (float, "Make what was said before less likely; 1: no effect."),
    "presence_penalty": (float, "Subtracted from the logit of what the answer holds."),
    "frequency_penalty": (float, "The same, for each time that it holds it."),
    "seed": (int, "The same answer again."),
    "max_tokens": (int, "The most tokens of an answer."),
    "stop": (str, "End before this text; repeatable."),
}
"""Each parameter of `SamplingParams` that can be set: its type, and what it does."""


def sampling_options(command: Decorated) -> Decorated:
    """Add an option for each parameter; where it is not given the checkpoint's default holds."""
    for name, (kind, help) in reversed(SAMPLING.items()):
        option = click.option(
            f"--{name.replace('_', '-')}", type=kind, help=help, multiple=name == "stop"
        )
        command = option(command)
    return command


def settings_of(options: dict[str, Any]) -> dict[str, Any]:
    """The parameters among a command's options that were given."""
    return {name: options[name] for name in SAMPLING if options[name] not in (None, ())}
