"""The child process that lets sympy think: it reads pairs of formulas and says whether equal.

Started by `symbolic.Symbolic` as `python -m tongwen.judge.symbolic_worker BYTES SECONDS`.  A line
in is a JSON pair of LaTeX strings; a line out is `true`, `false` or `null` (not understood).
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

import sympy  # type: ignore[import-untyped]
from latex2sympy2_extended import latex2sympy  # type: ignore[import-untyped]
from math_verify import grader  # type: ignore[import-untyped]
from sympy.parsing import sympy_parser  # type: ignore[import-untyped]

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
        left, right = json.loads(line)
        print(json.dumps(judged(left, right)), file=answers, flush=True)


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


def judged(left: str, right: str) -> bool | None:
    """Whether the two formulas are equal; None where one is not understood."""
    try:
        pair = [parsed(text) for text in (left, right)]
    except (Exception, RecursionError):  # the parser raises bare `Exception`
        return None
    return verified(*pair) or verified(*reversed(pair)) or close(*pair)


def parsed(latex: str) -> Any:  # noqa: ANN401
    """The formula, by the grammar alone."""
    return latex2sympy(latex, is_real=not grader.should_treat_as_complex(latex))


def verified(left: Any, right: Any) -> bool:  # noqa: ANN401
    """Math-Verify's comparison: numbers, sets, intervals, relations, matrices, `simplify`."""
    return bool(grader.verify(left, right, timeout_seconds=None))


def close(left: Any, right: Any) -> bool:  # noqa: ANN401
    """Whether both are numbers within a relative 1e-4, as Qwen2.5-Math has it."""
    try:
        values = [complex(sympy.N(side.doit())) for side in (left, right)]
    except (TypeError, ValueError, AttributeError, OverflowError, ArithmeticError):
        return False
    apart = abs(values[0] - values[1])
    return math.isfinite(apart) and apart <= 1e-4 * max(map(abs, values))


if __name__ == "__main__":
    main()
