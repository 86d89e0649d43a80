"""Chat templates are programs of strangers: Jinja in a sandbox, with bounds.

Trimming, `tojson`, `raise_exception` and `strftime_now` are as in transformers
(`utils/chat_template_utils.py`), for which templates are written.  Source, steps (loop rounds and
calls), output, and the operands of whatever makes a long string of short ones are bounded; that
stops accidents and the usual bombs, and is no proof against every one.
"""

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from functools import wraps
from types import BuiltinMethodType
from typing import Any, NoReturn

import jinja2
from jinja2 import filters, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from tongwen.errors import TokenizerError

MAX_SOURCE_CHARS = 256 << 10
"""Longest template that is compiled; published ones have at most some ten thousand characters."""

_MAX_STEPS, _STEPS_PER_CHAR = 100_000, 10
_MAX_OUTPUT_CHARS, _OUTPUT_PER_CHAR = 1 << 20, 8
_MAX_OPERANDS, _MAX_ITEMS = 1 << 27, 1 << 20
_WIDE_FIELD = re.compile(r"\d{6,}")


class Template:
    """One compiled chat template.

    Args:
        source: Jinja.

    Raises:
        TokenizerError: It is too long or does not parse.
    """

    def __init__(self, source: str) -> None:
        if len(source) > MAX_SOURCE_CHARS:
            raise TokenizerError(
                f"the chat template has {len(source)} characters, more than {MAX_SOURCE_CHARS}"
            )
        try:
            self._compiled = _environment().from_string(source)
        except (jinja2.TemplateError, RecursionError) as error:
            raise TokenizerError(f"the chat template does not compile: {_line(error)}") from error

    def render(self, num_input_chars: int, variables: dict[str, Any]) -> str:
        """Print `variables` through the template.

        Args:
            num_input_chars: Size of what is printed, which the bounds grow with.
            variables: What the template may name.

        Raises:
            TokenizerError: The template refuses the conversation, fails, or leaves its bounds.
        """
        budget = _Budget(_MAX_STEPS + _STEPS_PER_CHAR * num_input_chars)
        limit = _MAX_OUTPUT_CHARS + _OUTPUT_PER_CHAR * num_input_chars
        pieces, length = [], 0
        try:
            for piece in self._compiled.generate(**variables, _budget=budget):
                pieces.append(piece)
                length += len(piece)
                if length > limit:
                    raise jinja2.TemplateRuntimeError(f"it prints more than {limit} characters")
        except Exception as error:  # whatever a stranger's program may raise
            raise TokenizerError(f"the chat template failed: {_line(error)}") from error
        return "".join(pieces)


class _Budget:
    """Steps that one rendering may still take."""

    def __init__(self, steps: int) -> None:
        self._steps = steps

    def _spend(self) -> None:
        self._steps -= 1
        if self._steps < 0:
            raise jinja2.TemplateRuntimeError("it takes too many steps")


class _Sandbox(ImmutableSandboxedEnvironment):
    """Jinja's sandbox, with loop rounds and calls counted and operands bounded."""

    intercepted_binops = frozenset({"*", "**", "%", "+"})

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree: nodes.Template = _Bounding().visit(super()._parse(source, name, filename))
        return tree

    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        context["_budget"]._spend()
        match obj:
            case BuiltinMethodType(__self__=str() as text):
                _check_product(text, *args, *kwargs.values())
        return super().call(context, obj, *args, **kwargs)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:  # noqa: ANN401
        if operator == "%" and isinstance(left, str) and _WIDE_FIELD.search(left):
            raise jinja2.TemplateRuntimeError("a field is too wide")
        if operator == "**" and _size(left).bit_length() * _size(right) > 64:
            raise jinja2.TemplateRuntimeError("a number is too large")
        if operator == "*":
            _check_product(left, right)
        if operator == "+":
            _check_product(2, max(_size(left), _size(right)))
        return super().call_binop(context, operator, left, right)


class _Bounding(NodeTransformer):
    """Rewrites a template so that its loops are counted and its `~` is bounded."""

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802 - the base class's habit
        self.generic_visit(node)
        assert isinstance(node.iter, nodes.Expr), "a loop goes over an expression"
        node.iter = _filtered(node.iter, "_counted")
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _filtered(nodes.List(node.nodes, lineno=node.lineno), "_joined")


def _filtered(node: nodes.Expr, name: str) -> nodes.Filter:
    return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)


class _Generation(Extension):
    """The tags by which a template marks what the assistant wrote; they print their body."""

    tags = {"generation"}  # noqa: RUF012 - as the base class has it

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _environment() -> _Sandbox:
    environment = _Sandbox(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    environment.filters |= {"tojson": _tojson, "_counted": _counted, "_joined": _joined}
    for name in ("replace", "center", "indent", "wordwrap"):
        environment.filters[name] = _bounded(filters.FILTERS[name])
    environment.globals |= {"raise_exception": _refuse, "strftime_now": _now}
    return environment


@jinja2.pass_context
def _counted(context: Context, values: Iterable[Any]) -> Iterator[Any]:
    budget = context["_budget"]
    for value in values:
        budget._spend()
        yield value


def _tojson(
    value: Any,  # noqa: ANN401 - JSON
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _refuse(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _now(form: str) -> str:
    return datetime.now().strftime(form)  # the local time, as transformers gives it


def _joined(parts: list[Any]) -> str:
    texts = [str(part) for part in parts]
    _check_product(sum(map(len, texts)))
    return "".join(texts)


def _bounded(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        _check_product(*args, *kwargs.values())
        return function(*args, **kwargs)

    return checked


def _check_product(*operands: object) -> None:
    """Refuse operands of which a string could be made that is as long as their product."""
    most = _MAX_ITEMS if any(isinstance(x, list | tuple) for x in operands) else _MAX_OPERANDS
    if math.prod(max(1, _size(operand)) for operand in operands) > most:
        raise jinja2.TemplateRuntimeError("it makes something too large")


def _size(operand: object) -> int:
    """A number's size, or how many items there are."""
    if isinstance(operand, int | float):
        return int(min(abs(operand), _MAX_OPERANDS + 1))
    return len(operand) if isinstance(operand, str | list | tuple) else 1


def _line(error: BaseException) -> str:
    lines = str(error).splitlines()
    return f"{lines[0][:200] if lines else type(error).__name__}"
