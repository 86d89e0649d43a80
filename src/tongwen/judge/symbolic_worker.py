"""The child process that lets sympy think: it reads formulas, and says what they are.

Started by `symbolic.Symbolic` as `python -m tongwen.judge.symbolic_worker BYTES SECONDS`.  A line
in is a JSON list of one or two LaTeX strings; a line out is the value of one, or whether two are
equal; `null` says that they are not understood.
Formulas are read by a grammar (`latex2sympy2_extended`), but the digits it finds go through sympy's
reader of Python expressions, which evaluates text as code: before the first formula comes, that
reader is left with numerals and names alone.
"""

import json
import math
import re
import resource
import sys
from typing import Any

import sympy
from latex2sympy2_extended import latex2sympy  # type: ignore[import-untyped]
from math_verify import grader
from sympy.parsing import sympy_parser

from tongwen.judge.extra import library


def main() -> None:
    """Answer until the input ends."""
    max_bytes, seconds = int(sys.argv[1]), int(sys.argv[2])
    confine(max_bytes)
    answers = sys.stdout
    sys.stdout = sys.stderr
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        allow_seconds(seconds)
        print(json.dumps(answer(json.loads(line))), file=answers, flush=True)


def confine(max_bytes: int) -> None:
    """No text becomes code, no file grows, no process starts, memory has an end."""
    library("sympy.physics.units")  # `simplify` loads it later, and then it must be read as code
    sympy_parser.eval_expr = literal
    resource.setrlimit(resource.RLIMIT_AS, (max_bytes, max_bytes))
    for limit in (resource.RLIMIT_FSIZE, resource.RLIMIT_CORE, resource.RLIMIT_NPROC):
        resource.setrlimit(limit, (0, 0))


def allow_seconds(seconds: int) -> None:
    """Let this process use so much more of a processor; the kernel ends it beyond that."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = math.ceil(used.ru_utime + used.ru_stime) + seconds
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.RLIM_INFINITY))


def literal(code: str, *_: object) -> Any:  # noqa: ANN401 (sympy has no types)
    """Stand where sympy evaluates `code` as Python, and understand one number or one name."""
    match = re.fullmatch(r"\s*(Integer|Float|Symbol)\s*\(\s*'?(\w[\w.+-]*)'?\s*\)\s*", code)
    kinds = {"Integer": int, "Float": str, "Symbol": str}
    if match is None:
        raise ValueError("text is not evaluated here")
    kind, written = match.groups()
    return getattr(sympy, kind)(kinds[kind](written))


def answer(formulas: list[str]) -> bool | float | None:
    """The value of one formula, or whether two are equal; None where one is not understood."""
    is_complex = any(map(grader.should_treat_as_complex, formulas))
    try:
        parsed = [latex2sympy(text, is_real=None if is_complex else True) for text in formulas]
        parsed = [imaginary(formula) for formula in parsed] if is_complex else parsed
    except (Exception, RecursionError):  # the parser raises bare `Exception`
        return None
    if len(parsed) == 1:
        found = valued(parsed[0])
        return None if found is None or found.imag else found.real
    left, right = parsed
    return verified(left, right) or verified(right, left) or close(left, right)


def imaginary(formula: Any) -> Any:  # noqa: ANN401
    """`formula` with `i` for the imaginary unit, which the grammar takes for a variable."""
    units = [symbol for symbol in formula.free_symbols if symbol.name == "i"]
    return formula.subs(dict.fromkeys(units, sympy.I))


def verified(left: Any, right: Any) -> bool:  # noqa: ANN401
    """Math-Verify's comparison: numbers, sets, intervals, relations, matrices, `simplify`."""
    return bool(grader.verify(left, right, timeout_seconds=None))


def close(left: Any, right: Any) -> bool:  # noqa: ANN401
    """Whether both are numbers within a relative 1e-4, as Qwen2.5-Math has it."""
    a, b = valued(left), valued(right)
    return a is not None and b is not None and abs(a - b) <= 1e-4 * max(abs(a), abs(b))


def valued(formula: Any) -> complex | None:  # noqa: ANN401
    """The finite number that `formula` comes to, or None."""
    try:
        found = complex(sympy.N(formula.doit()))
    except (TypeError, ValueError, AttributeError, ArithmeticError, RuntimeError):
        return None
    return found if math.isfinite(abs(found)) else None


if __name__ == "__main__":
    main()
