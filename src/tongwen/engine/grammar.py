"""Structured output: a constraint is checked and compiled at the door, once for many requests.

A grammar takes about a millisecond to compile, and its matchers microseconds to make.
"""

import json
from collections import OrderedDict
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from threading import Thread

from llguidance import LLMatcher

from tongwen.engine.constraint import (
    Choice,
    Constraint,
    JsonObject,
    JsonSchema,
    Lark,
    Regex,
    ToolCalls,
)
from tongwen.engine.lark import WHITESPACE, ToolRules, check_lark
from tongwen.engine.matcher import GrammarMatcher, Mask, Matcher, TokenTable
from tongwen.engine.repeats import check_repeats
from tongwen.engine.schema import check_schema
from tongwen.engine.tool_matcher import CallRules, Openings, ToolMatcher
from tongwen.errors import RequestError
from tongwen.tokenizer.bpe import Tokenizer

__all__ = ["Grammar", "Grammars", "Mask", "Matcher"]

COMPILE_S = 2.0
"""A grammar that takes longer to compile is refused."""

MAX_CHOICES = 4_096
"""Texts of one choice."""

MAX_CHOICE_BYTES = 65_536
"""All texts of one choice together."""

_MAX_KEPT = 64
_PUNCTUATION = {char: f"\\{char}" for char in r"\.+*?()|[]{}^$#&-~"}


class Grammar:
    """A constraint, compiled.

    Args:
        make: Makes a matcher.
        warnings: What the constraint asks for that is not enforced, each as a sentence.
    """

    def __init__(self, make: Callable[[], Matcher], warnings: Sequence[str] = ()) -> None:
        self._make, self.warnings = make, tuple(warnings)

    def matcher(self) -> Matcher:
        """A matcher for one completion, at its beginning."""
        return self._make()


class Grammars:
    """Compiles constraints over one vocabulary, and keeps the latest.

    Args:
        tokenizer: The vocabulary.
        num_rows: Rows of the logits, padding included; masks have a bit for each.
        eos_token_ids: Tokens that end a completion.
    """

    def __init__(
        self, tokenizer: Tokenizer, *, num_rows: int, eos_token_ids: Sequence[int]
    ) -> None:
        self._tokenizer, self._num_rows = tokenizer, num_rows
        self._eos_token_ids = tuple(eos_token_ids)
        self._made_table: TokenTable | None = None
        self._kept: OrderedDict[str, Grammar] = OrderedDict()

    def compile(self, constraint: Constraint) -> Grammar:
        """The grammar of a constraint.

        Raises:
            RequestError: It is malformed, contradictory or larger than the limits allow, asks for
                what cannot be enforced, takes more than `COMPILE_S`, or no text satisfies it; or
                no token of the vocabulary ends a completion.
        """
        key = repr(constraint)
        grammar = self._kept.pop(key, None) or self._compile(constraint)
        self._kept[key] = grammar
        if len(self._kept) > _MAX_KEPT:
            self._kept.popitem(last=False)
        return grammar

    def _compile(self, constraint: Constraint) -> Grammar:
        if isinstance(constraint, ToolCalls):
            return self._tool_calls(constraint)
        return Grammar(self._first_matcher(grammar_text(constraint)).copy)

    def _tool_calls(self, asked: ToolCalls) -> Grammar:
        rules = ToolRules(asked, self._tokenizer.control)
        if asked.choice == "required":
            return Grammar(self._first_matcher(rules.whole()).copy, rules.warnings)
        may_open = asked.choice == "auto" and bool(asked.tools)
        calls = CallRules(
            marker=rules.marker.encode(),
            first=self._first_matcher(rules.opened()) if may_open else None,
            parallel=asked.parallel,
        )
        table = self._table
        openings = Openings(table, calls)
        return Grammar(lambda: ToolMatcher(table, calls, openings), rules.warnings)

    def _first_matcher(self, grammar: str) -> GrammarMatcher:
        """A matcher to copy others from; it has a first mask, so some text satisfies it."""
        _check_text(grammar)
        table = self._table
        table.guidance  # noqa: B018  made before the clock starts
        compiled = _within(COMPILE_S, lambda: table.matcher(grammar))
        if compiled.is_error():
            reason = " ".join(compiled.get_error().split())
            raise RequestError(f"the constraint cannot be compiled: {reason[:300]}")
        first = GrammarMatcher(table, compiled)
        first.mask()
        return first

    @property
    def _table(self) -> TokenTable:
        if self._made_table is None:
            self._made_table = TokenTable(
                self._tokenizer, num_rows=self._num_rows, eos_token_ids=self._eos_token_ids
            )
        return self._made_table


def grammar_text(constraint: JsonObject | JsonSchema | Regex | Choice | Lark) -> str:
    """A constraint in the words of llguidance, once it is known to be one that can be kept.

    Raises:
        RequestError: It exceeds the limits, or asks for what cannot be enforced.
    """
    match constraint:
        case JsonObject():
            return _json({"type": "object"})
        case JsonSchema(schema):
            check_schema(schema)
            return _json({"allOf": [schema]} if isinstance(schema, bool) else dict(schema))
        case Regex(pattern):
            check_repeats(pattern)
            return LLMatcher.grammar_from_regex(pattern)
        case Choice(options):
            return LLMatcher.grammar_from_regex(_alternatives(options))
        case Lark(grammar):
            check_lark(grammar)
            return grammar


def _json(schema: dict[str, object]) -> str:
    options = {"whitespace_pattern": WHITESPACE}
    return json.dumps({"grammars": [{"json_schema": schema | {"x-guidance": options}}]})


def _alternatives(options: Sequence[str]) -> str:
    num_bytes = sum(len(option.encode(errors="surrogatepass")) for option in options)
    if len(options) > MAX_CHOICES or num_bytes > MAX_CHOICE_BYTES:
        raise RequestError(
            f"`choice` has {len(options)} texts of {num_bytes} bytes; "
            f"at most {MAX_CHOICES} of {MAX_CHOICE_BYTES} are taken"
        )
    escapes = str.maketrans(_PUNCTUATION)
    return "|".join(option.translate(escapes) for option in options)


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = ord(text[error.start])
        raise RequestError(f"the constraint holds a lone surrogate (U+{half:04X})") from None


def _within(limit_s: float, compile_grammar: Callable[[], LLMatcher]) -> LLMatcher:
    """The result of a call that may not end in time; left to itself, its thread ends some day."""
    results: SimpleQueue[LLMatcher] = SimpleQueue()
    Thread(target=lambda: results.put(compile_grammar()), daemon=True).start()
    try:
        return results.get(timeout=limit_s)
    except Empty:
        raise RequestError(f"the constraint takes more than {limit_s} s to compile") from None
