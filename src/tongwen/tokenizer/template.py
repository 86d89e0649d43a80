"""Which format a checkpoint's chat template is, and the way out where it is none of ours.

A template whose text equals that of a native family on a few probing conversations is that
family's, whatever its source looks like; one that differs in its default system text alone becomes
a family with that text.  Any other runs as it is, in the sandbox.  No template is ever guessed.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from tongwen.errors import TokenizerError
from tongwen.tokenizer.bpe import Tokenizer
from tongwen.tokenizer.chat import FAMILIES, ChatFormat, ChatML, Family

# SHA-256 of published sources less a last newline: they need no probing, and no Jinja.
_KNOWN_SOURCES: Mapping[str, str] = {
    "55b2f4a26ac9ee719330a61a0c39d9e538b0e9322212f048326318cff4f8674a": "qwen2.5",
    "793202280c0910ab26bc6eb57c8212c2417324c6d8c4efd0d10d59092ab3e3eb": "qwen2",
}


def chat_format(
    tokenizer: Tokenizer, template: str | None, family_hint: str | None = None
) -> ChatFormat:
    """The chat format of a checkpoint.

    Args:
        tokenizer: Its vocabulary.
        template: Its Jinja chat template, if it has one.
        family_hint: Name in `FAMILIES`, from the model's name: it decides where there is no
            template, and which of two families that render alike is named.

    Raises:
        TokenizerError: There is neither a template nor a known family, or the template does not
            compile.
    """
    if template is None:
        family = FAMILIES.get(family_hint or "")
        if family is None:
            raise TokenizerError(
                "this model has no chat template, and is of no known instruct family",
                hint="a base model continues text; to chat with it, give a template or a family",
            )
        return ChatML(tokenizer, family)
    if not {"<|im_start|>", "<|im_end|>"} <= tokenizer.control.keys():
        return _foreign(tokenizer, template)
    known = _family_of(tokenizer, template, family_hint)
    return _foreign(tokenizer, template) if known is None else ChatML(tokenizer, known)


def _foreign(tokenizer: Tokenizer, template: str) -> ChatFormat:
    from tongwen.tokenizer.foreign import JinjaChat  # Jinja takes 50 ms to import

    return JinjaChat(tokenizer, template)


def _family_of(tokenizer: Tokenizer, template: str, hint: str | None) -> Family | None:
    """The native family that prints the probes as the template does, the hinted one first."""
    names = sorted(FAMILIES, key=lambda name: name != hint)
    digest = hashlib.sha256(template.removesuffix("\n").encode()).hexdigest()
    if digest in _KNOWN_SOURCES:
        alike = FAMILIES[_KNOWN_SOURCES[digest]]
        return next(FAMILIES[name] for name in names if _render_alike(FAMILIES[name], alike))
    if "strftime_now" in template:
        return None  # what it prints today says nothing of tomorrow
    foreign = _foreign(tokenizer, template)
    families = [FAMILIES[name] for name in names]
    families += _with_own_system(foreign)
    return next((each for each in families if _agrees(ChatML(tokenizer, each), foreign)), None)


def _render_alike(one: Family, other: Family) -> bool:
    return (one.default_system, one.tool_form) == (other.default_system, other.tool_form)


def _with_own_system(foreign: ChatFormat) -> list[Family]:
    """The families under the default system text that the template prints, if it prints one."""
    try:
        printed = foreign.text(_HELLO)
    except TokenizerError:
        return []
    opening, closing = "<|im_start|>system\n", "<|im_end|>\n<|im_start|>user\n"
    if not printed.startswith(opening) or closing not in printed:
        return []
    system = printed.removeprefix(opening).partition(closing)[0]
    return [
        replace(FAMILIES[name], name=f"{name} with its own system text", default_system=system)
        for name in ("qwen2.5", "qwen2")
    ]


def _agrees(native: ChatML, foreign: ChatFormat) -> bool:
    """Whether both print every probe alike.

    Templates before Qwen2.5 do not know tools: they must ignore definitions and are not asked
    about calls.
    """
    knows_tools = native.tool_form == "hermes"
    for messages, tools, prompted in _probes(knows_tools):
        expected = native.text(
            messages, tools=tools if knows_tools else None, add_generation_prompt=prompted
        )
        try:
            printed = foreign.text(messages, tools=tools, add_generation_prompt=prompted)
        except TokenizerError:
            return False
        if printed != expected:
            return False
    return True


def _probes(
    with_calls: bool,
) -> Iterator[tuple[list[dict[str, Any]], list[dict[str, Any]] | None, bool]]:
    """Conversations that tell templates apart: blanks at every edge, reasoning, tools, no end."""
    system = {"role": "system", "content": " Be brief.\n"}
    user = {"role": "user", "content": "\n 你好 <b>&amp;\"'</b> \n"}
    answer = {"role": "assistant", "content": "<think>\nWhy?\n</think>\n\n Hi. \n"}
    yield _HELLO, None, True
    yield [system, user], None, True
    yield [user, answer, user], None, True
    yield [system, user, answer, system, user, answer], None, False
    yield _HELLO, [_TOOL], True
    yield [system, user], [_TOOL, _TOOL], False
    if with_calls:
        function = {"name": "f", "arguments": {"é": "<a>", "b": [1.5, None, True]}}
        call = {"type": "function", "function": function}
        both = {"role": "assistant", "content": "Wait.", "tool_calls": [call, call]}
        silent = {"role": "assistant", "content": "", "tool_calls": [call]}
        result = {"role": "tool", "content": " 7\n"}
        yield [user, both, result, result, answer, user, silent, result], [_TOOL], True
        yield [user, silent], None, False


_HELLO = [{"role": "user", "content": "Hello"}]
_TOOL = {
    "type": "function",
    "function": {
        "name": "f",
        "description": "it's <é>",
        "parameters": {"type": "object", "properties": {"b": {"type": "array"}}},
    },
}
