"""Structured output: a constraint is checked and compiled at the door, once for many requests.

A grammar takes about a millisecond to compile, and its matchers microseconds to make.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from threading import Lock, Thread

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
from tongwen.engine.lark import check_lark, json_text
from tongwen.engine.matcher import GrammarMatcher, Matcher, TokenTable, compile_text
from tongwen.engine.names import with_plain_names
from tongwen.engine.repeats import check_repeats
from tongwen.engine.schema import Schema, check_schema
from tongwen.engine.tool_matcher import CallRules, Openings, ToolMatcher
from tongwen.engine.tool_rules import ToolRules
from tongwen.errors import RequestError
from tongwen.tokenizer.bpe import Tokenizer

COMPILE_S = 2.0
"""A grammar that takes longer to compile is refused."""

MAX_CHOICES = 4_096
"""Texts of one choice."""

MAX_CHOICE_BYTES = 65_536
"""All texts of one choice together."""

_MAX_KEPT = 64
_ESCAPES = str.maketrans({char: f"\\{char}" for char in r"\.+*?()|[]{}^$#&-~"})


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
        self.eos_token_ids = tuple(eos_token_ids)
        self._made_table: TokenTable | None = None
        self._openings: dict[tuple[bytes, bool], Openings] = {}
        self._kept: OrderedDict[str, Grammar] = OrderedDict()
        self._keeping = Lock()  # what one thread compiles ahead, another uses

    def compile(self, constraint: Constraint) -> Grammar:
        """The grammar of a constraint.

        Raises:
            RequestError: It is malformed, contradictory or larger than the limits allow, asks for
                what cannot be enforced, takes more than `COMPILE_S`, or no text satisfies it; or
                no token of the vocabulary ends a completion.
        """
        key = repr(constraint)
        with self._keeping:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        grammar = self._compile(constraint)
        with self._keeping:
            self._kept[key] = grammar
            if len(self._kept) > _MAX_KEPT:
                self._kept.popitem(last=False)
        return grammar

    def _compile(self, constraint: Constraint) -> Grammar:
        if isinstance(constraint, ToolCalls):
            return self._tool_calls(constraint)
        return Grammar(self._first_matcher(grammar_text(constraint)).copy)

    def _tool_calls(self, asked: ToolCalls) -> Grammar:
        try:
            return self._calls_by(asked, lambda _: None)
        except RequestError:  # one by one, to find which tool it is
            return self._calls_by(asked, self._refusal)

    def _calls_by(self, asked: ToolCalls, refusal: Callable[[Schema], str | None]) -> Grammar:
        rules = ToolRules(asked, self._tokenizer.control, refusal)
        if asked.choice == "required":
            return Grammar(self._first_matcher(rules.whole()).copy, rules.warnings)
        table, may_open = self._table, asked.choice == "auto" and bool(asked.tools)
        calls = CallRules(
            openings=self._openings_of(rules.marker.encode(), may_open),
            first=self._first_matcher(rules.opened()) if may_open else None,
            parallel=asked.parallel,
        )
        return Grammar(lambda: ToolMatcher(table, calls), rules.warnings)

    def _openings_of(self, marker: bytes, may_open: bool) -> Openings:
        key = (marker, may_open)
        if key not in self._openings:
            self._openings[key] = Openings(self._table, marker, may_open=may_open)
        return self._openings[key]

    def _first_matcher(self, grammar: str) -> GrammarMatcher:
        """A matcher to copy others from; it has a first mask, so some text satisfies it."""
        _check_text(grammar)
        table = self._table
        guidance = table.guidance  # made before the clock starts
        compiled = _within(COMPILE_S, lambda: compile_text(guidance, grammar))
        if compiled.is_error():
            raise RequestError(f"the constraint cannot be kept: {_reason(compiled)}")
        first = GrammarMatcher(table, compiled)
        first.mask()
        return first

    def _refusal(self, schema: Schema) -> str | None:
        try:
            self._first_matcher(_json(schema))
        except RequestError as error:
            return str(error)
        return None

    @property
    def _table(self) -> TokenTable:
        if self._made_table is None:
            self._made_table = TokenTable(
                self._tokenizer, num_rows=self._num_rows, eos_token_ids=self.eos_token_ids
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
            return _json(schema)
        case Regex(pattern):
            _check_text(pattern)
            check_repeats(pattern)
            return LLMatcher.grammar_from_regex(pattern)
        case Choice(options):
            return LLMatcher.grammar_from_regex(_alternatives(list(dict.fromkeys(options))))
        case Lark(grammar):
            check_lark(grammar)
            return grammar


def _json(schema: Schema) -> str:
    return f'{{"grammars": [{{"json_schema": {json_text(with_plain_names(schema))}}}]}}'


def _alternatives(options: Sequence[str]) -> str:
    text = "|".join(option.translate(_ESCAPES) for option in options)
    _check_text(text)
    num_bytes = len(text.encode())
    if len(options) > MAX_CHOICES or num_bytes > MAX_CHOICE_BYTES:
        raise RequestError(
            f"`choice` has {len(options)} texts of {num_bytes} bytes; "
            f"at most {MAX_CHOICES} of {MAX_CHOICE_BYTES} are taken"
        )
    return text


def _reason(matcher: LLMatcher) -> str:
    reason = " ".join(matcher.get_error().split())
    return reason if len(reason) <= 300 else reason[:297] + "..."


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
