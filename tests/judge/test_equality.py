r"""Mathematical answers: what equals what, the MATH golds, and formulas made to do harm."""

import gzip
import itertools
import json
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tongwen.judge.equality import Equality, elements, value
from tongwen.judge.mathematics import extract, last_boxed, normalise
from tongwen.judge.symbolic import MAX_LENGTH, Symbolic, UndecidedError

for name in ("sympy", "math_verify", "latex2sympy2_extended"):
    pytest.importorskip(name, reason=f"comparing formulas needs `{name}`")


@pytest.fixture(scope="module")
def symbolic() -> Iterator[Symbolic]:
    with Symbolic(time_limit_s=2.0) as symbolic:
        yield symbolic


@pytest.fixture(scope="module")
def judge(symbolic: Symbolic) -> Equality:
    return Equality(symbolic)


EQUAL = r"""
5 | 5.0
5 | 5.
5 | +5
-5 | −5
0.5 | .5
0.5 | \frac12
0.5 | \frac{1}{2}
0.5 | \dfrac{1}{2}
0.5 | \tfrac 12
0.5 | 1/2
0.5 | 50\%
0.5 | 50%
50 | 50\%
-\frac{1}{2} | \frac{-1}{2}
-\frac{1}{2} | -0.5
-\frac{1}{2} | \frac{1}{-2}
0.3333 | \frac{1}{3}
3.1416 | \pi
2,125 | 2125
1,000,000 | 10^6
2{,}125 | 2125
2\,125 | 2125
12\!000 | 12000
\$12 | 12
\$12.50 | 12.5
12\text{ dollars} | 12
5\text{ cm}^2 | 5
5 \text{ inches} | 5
5\mbox{ cm} | 5
5\mathrm{~cm} | 5
5 cm | 5
45^\circ | 45
45^{\circ} | 45
45 degrees | 45
five | 5
\text{five} | 5
\text{(A)} | A
(A) | A
A. | A
The answer is B | B
x=5 | 5
x = 5 | 5
f(x)=x+1 | x+1
y=2x+1 | 2x+1
y=2x+1 | 2x-y+1=0
y=2x+1 | 2x+1=y
AB=5 | 5
x_1=5 | 5
\theta=\pi | \pi
x\in[1,2] | [1,2]
x \in (-\infty, 3) | (-\infty,3)
\left( 1, 2 \right) | (1,2)
(1, 2) | (1,2)
(1,\frac{1}{2}) | (1,0.5)
(1,\sqrt{4}) | (1,2)
((1,2),(3,4)) | ((1,2), (3,4))
\{1,2\} | \{2,1\}
\{1,2,3\} | {3,1,2}
1,2 | 2,1
1, -1 | -1, 1
1+\sqrt2, 1-\sqrt2 | 1-\sqrt{2},1+\sqrt{2}
[0,1) | [0, 1)
\sqrt8 | 2\sqrt2
\sqrt{8} | 2\sqrt{2}
\sqrt[3]{8} | 2
√2 | \sqrt{2}
\frac{1}{\sqrt{2}} | \frac{\sqrt{2}}{2}
\frac{\sqrt{3}}{3} | \frac{1}{\sqrt3}
3\frac{1}{2} | 3.5
3\frac12 | \frac72
x^2+2x+1 | (x+1)^2
x^{2} | x^2
(x+1)(x-1) | x^2-1
(x-1)(x+1) | (x+1)(x-1)
2(x+3) | 2x+6
\frac{x}{7}+\frac{2}{7} | \frac{x+2}{7}
a\cdot b | ab
ab | ba
2 \times 3 | 6
2\cdot3 | 6
2^{10} | 1024
2^3\cdot3 | 24
5! | 120
\binom{5}{2} | 10
\log_2 8 | 3
\ln e | 1
\sin 30^\circ | \sin 30
\sin(\frac{\pi}{6}) | \frac{1}{2}
\cos \pi | -1
\tan\frac{\pi}{4} | 1
\sec^2(y) | \tan^2(y)+1
\sin2x | 2\sin x\cos x
2\pi | 6.2832
6\pi | 6π
\frac{\pi}{2} | \pi/2
1+i | i+1
(1+i)^2 | 2i
|x| | \sqrt{x^2}
\int_0^1 x dx | \frac12
\sum_{n=1}^{4} n | 10
\begin{pmatrix}1\\2\end{pmatrix} | \begin{bmatrix}1\\ 2\end{bmatrix}
\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix} | \begin{pmatrix}1&2\\3&4\end{pmatrix}
\begin{pmatrix}0.5&2\end{pmatrix} | \begin{pmatrix}\frac12&2\end{pmatrix}
\begin{array}{c}1\\2\end{array} | \begin{pmatrix}1\\2\end{pmatrix}
(-\infty,2)\cup(3,\infty) | (-\infty, 2) \cup (3, \infty)
(3,\infty)\cup(-\infty,2) | (-\infty,2)\cup(3,\infty)
x<3 | 3>x
x \le 3 | x\leq 3
x\ge 2 | x ≥ 2
\text{Monday} | Monday
\text{odd} | Odd
\text{yes} | yes
\textbf{6} | 6
\boldmath 7 | \boldmath 7
10_{2} | 10_2
1.23e3 | 1230
1e5 | 100000
\infty | ∞
$5$ | 5
\(5\) | 5
5\; | 5
101_2 | 101_{2}
101_2 | 101
\displaystyle 5 | 5
\frac{2}{4} | \frac{1}{2}
0.1 | 10\%
e | e
k | k
""".strip().splitlines()

UNEQUAL = r"""
5 | 6
5 | -5
5 | 50
5 | 5.1
5 | five hundred
0.5 | 0.51
\frac{1}{2} | \frac{1}{3}
\frac{1}{2} | \frac{2}{1}
\frac{1}{3} | 0.3
2,125 | 2126
2,125 | 2
12,13 | 1213
1,2 | 1
1,2 | 1,3
1,2 | 1,2,3
1,1 | 1,2
(1,2) | (2,1)
(1,2) | (1,2,3)
(1,2) | [1,2]
(1,2) | \{1,2\}
[0,1) | [0,1]
[0,1] | [0,2]
\{1,2\} | \{1,3\}
((1,2),3) | (1,(2,3))
x=5 | 6
x+y=0 | 0
20x+23y+26z-69=0 | 0
x=5 | y=5
y=2x+1 | y=2x-1
x\in[1,2] | [1,3]
A | B
(A) | B
A or B | C
x | y
xy | x+y
x^2 | x^3
(x+1)^2 | x^2+1
x^2+1 | x^2+2
2x+6 | 2x+3
\sqrt{2} | 2
\sqrt{2} | \sqrt{3}
\sqrt{8} | 4
\pi | 3
2\pi | \pi
\frac{\pi}{2} | 90
2^{10} | 1000
2^{10} | 10^2
5! | 24
\binom{5}{2} | 20
\log_2 8 | 4
\sin x | \cos x
\sin^2 x | \cos^2 x
1+i | 1-i
i | 1
|x| | x+1
\begin{pmatrix}1\\2\end{pmatrix} | \begin{pmatrix}2\\1\end{pmatrix}
\begin{pmatrix}1\\2\end{pmatrix} | \begin{pmatrix}1&2\end{pmatrix}
\begin{pmatrix}1&2\end{pmatrix} | \begin{pmatrix}1&3\end{pmatrix}
\begin{pmatrix}1&2\end{pmatrix} | (1,3)
(-\infty,2)\cup(3,\infty) | (-\infty,2)\cup(4,\infty)
(-\infty,2) | (-\infty,2]
x<3 | x>3
x<3 | x\le 3
x<3 | x<4
\infty | -\infty
\text{Monday} | \text{Tuesday}
\text{odd} | \text{even}
yes | no
f(x) | f(y)
x_1 | x_2
10_2 | 10_3
3\frac{1}{2} | 1.5
5 | x
 | 5
5 |
\emptyset | 0
""".strip("\n").splitlines()


def pair(line: str) -> tuple[str, str]:
    left, _, right = line.partition(" |")
    return left, right.removeprefix(" ")


@pytest.mark.parametrize("line", EQUAL)
def test_answers_that_mean_the_same_are_equal(judge: Equality, line: str) -> None:
    left, right = pair(line)
    assert judge.equal(left, right)
    if right not in "ABCDE":  # a letter as gold is looked for in the words of the answer
        assert judge.equal(right, left)


@pytest.mark.parametrize("line", UNEQUAL)
def test_answers_that_differ_are_unequal(judge: Equality, line: str) -> None:
    left, right = pair(line)
    assert not judge.equal(left, right)
    assert not judge.equal(right, left)


def test_a_factor_of_100_can_be_refused(symbolic: Symbolic) -> None:
    assert Equality(symbolic).equal("50", "0.5")
    assert not Equality(symbolic, percent=False).equal("50", "0.5")


@pytest.fixture(scope="module")
def problems(shared: Path) -> list[dict[str, Any]]:
    path = shared / "data/math/test_sample1499.jsonl.gz"
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def test_every_gold_of_math_is_found_in_its_solution_and_equals_itself(
    judge: Equality, problems: list[dict[str, Any]]
) -> None:
    for problem in problems:
        gold = last_boxed(problem["solution"])
        assert gold
        found = extract(problem["solution"])
        assert judge.equal(found, gold), gold
        assert judge.equal(f" ${gold}$. ", gold), gold
        assert judge.equal(normalise(gold), gold), gold


def test_a_gold_of_math_with_another_digit_is_wrong(
    judge: Equality, problems: list[dict[str, Any]]
) -> None:
    golds = [last_boxed(problem["solution"]) or "" for problem in problems[::4]]
    numbers = 0
    for gold in golds:
        match = re.search(r"(?<![\d.,])[1-9](?![\d.,])", gold)
        if match is None or r"\text" in gold or r"\mbox" in gold:
            continue
        other = gold[: match.start()] + str(int(match[0]) % 9 + 1) + gold[match.end() :]
        # 8 as a power or a product of what stands beside it may give the same again.
        if value(normalise(other)) is not None or elements(normalise(other)):
            assert not judge.equal(other, gold), (other, gold)
            numbers += 1
    assert numbers > 100


def test_math_verify_agrees_on_the_golds(judge: Equality, problems: list[dict[str, Any]]) -> None:
    """Neighbouring golds compared with each other: Math-Verify's yes is ours."""
    grader = pytest.importorskip("math_verify")
    golds = [last_boxed(problem["solution"]) or "" for problem in problems[:120]]
    for left, right in itertools.pairwise(golds):
        theirs = grader.verify(
            grader.parse(f"${left}$", parsing_timeout=None),
            grader.parse(f"${right}$", parsing_timeout=None),
            timeout_seconds=None,
        )
        if theirs:
            assert judge.equal(left, right), (left, right)


# Where the answer is taken from


@pytest.mark.parametrize(
    ("solution", "answer"),
    [
        ("So \\boxed{1} or rather $\\boxed{\\frac{1}{2}}$.", "\\frac{1}{2}"),
        ("\\boxed{a{b}{c{d}}} tail}", "a{b}{c{d}}"),
        ("\\boxed 7$ is it", "7"),
        ("\\fbox{3}", "3"),
        ("\\boxed{never closed", "never closed"),
        ("Final Answer: The final answer is $12$. I hope it is correct. \\boxed{13}", "12"),
        ("The answer is 5. No, the answer is 6.", "6"),
        ("The final answer is: 42.", "42"),
        ("final answer is\n x", "x"),
        ("因此答案是 8。", "8"),
        ("I get 3, then 1,234 apples", "1234"),
        ("so -0.5", "-0.5"),
        ("no number", ""),
        ("", ""),
    ],
)
def test_the_final_answer_is_found(solution: str, answer: str) -> None:
    assert extract(solution) == answer


def test_what_is_not_meaning_falls_away() -> None:
    assert normalise(r"\left( \dfrac12 , \, 3\text{ cm} \right)") == r"(\frac{1}{2},3cm)"
    assert normalise(r"\pi r^2") == r"\pi r^2"
    assert normalise(r"10\text{ m/s}") == "10"
    assert elements("(-1,2)+(3,4)") is None
    assert elements("(1,[2,3])") == ("()", ["1", "[2,3]"])
    assert value(r"-\frac{1}{4}") == -0.25
    assert value("1" * 401) is None
    assert value(r"\frac{1}{0}") is None
    assert value("1e999") is None


FORMULAS = st.recursive(
    st.integers(-99, 99).map(str) | st.sampled_from(["x", "y", r"\pi", "0.25", r"\frac12"]),
    lambda inner: (
        st.tuples(inner, st.sampled_from("+-*,="), inner).map("".join)
        | inner.map(lambda one: f"({one})")
        | inner.map(lambda one: rf"\sqrt{{{one}}}")
    ),
    max_leaves=4,
)
PATIENT = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@given(FORMULAS)
@PATIENT
def test_an_answer_equals_itself_and_its_own_form(judge: Equality, one: str) -> None:
    assert judge.equal(one, one)
    assert judge.equal(one, normalise(one))
    assert normalise(normalise(one)) == normalise(one)


@given(FORMULAS, FORMULAS)
@PATIENT
def test_equality_is_symmetric(judge: Equality, one: str, other: str) -> None:
    assert judge.equal(one, other) == judge.equal(other, one)


@given(st.text(max_size=60))
@PATIENT
def test_any_text_can_be_judged(judge: Equality, text: str) -> None:
    assert judge.equal(text, text)
    assert isinstance(judge.equal(text, "x+1"), bool)
    assert isinstance(extract(text), str)


# Formulas made to do harm


HOSTILE = [
    "9^{9^{9^{9}}}",
    "99999999^{99999999}",
    "100000000!",
    r"\sum_{n=1}^{100000000} n^{n}",
    r"\binom{10^9}{5\cdot 10^8}",
    r"\int \sin(x^{x^{x}}) \cos(e^{x^3}) dx",
    "(" * 400 + "x" + ")" * 400,
    r"\sqrt{" * 120 + "2" + "}" * 120,
    "+".join(f"x_{{{n}}}^{{{n}}}" for n in range(90)),
    r"\frac{1}" * 100,
    r"\left(x+y+z\right)^{3000}",
]


def told(judge: Equality, left: str, right: str) -> bool | None:
    """Whether they are equal; None: that was given up."""
    try:
        return judge.equal(left, right)
    except UndecidedError:
        return None


def test_a_formula_that_would_run_forever_is_given_up() -> None:
    found = []
    with Symbolic(time_limit_s=0.5) as symbolic:
        judge = Equality(symbolic)
        for formula in HOSTILE:
            start = time.monotonic()
            found.append(told(judge, formula, r"\frac{x}{y}+1"))
            # Two tries at most, a second each for a new child to load sympy on a busy machine.
            assert time.monotonic() - start < 30
            assert told(judge, "(x+1)^2", "x^2+2x+1") is not False
    assert True not in found
    assert None in found


def test_what_cannot_be_told_of_one_element_is_told_of_another(judge: Equality) -> None:
    slow = f"({'x+' * MAX_LENGTH}x)^2"
    assert judge.equal(f"\\{{{slow}, z+w+1\\}}", f"\\{{z+w+1, {slow}\\}}")
    with pytest.raises(UndecidedError):
        judge.equal(f"\\{{{slow}, z+w+1\\}}", "\\{z+w+1, y\\}")


def test_a_formula_is_never_run_as_code(symbolic: Symbolic, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    judge = Equality(symbolic)
    call = f"__import__('os').system('touch {trap}')"
    for code in (
        call,
        f"f({call})",
        rf"\operatorname{{{call}}}(x)",
        rf"\text{{{call}}}",
        f"exec({call!r})",
        f"x_{{{call}}}",
        f"1; {call}",
        "().__class__.__bases__[0].__subclasses__()",
    ):
        for other in ("1", "x+1", "x+2"):
            told(judge, code, other)
    assert not trap.exists()


def test_the_worker_reads_numerals_and_names_and_nothing_else() -> None:
    worker = pytest.importorskip("tongwen.judge.symbolic_worker")
    assert worker.literal("Integer (12 )") == 12
    assert worker.literal("Float ('2.50' )") == 2.5
    assert str(worker.literal("Symbol ('x' )")) == "x"
    for code in ("__import__('os')", "Integer (1 ).__class__", "Symbol ('x' ).name", "E ", ""):
        with pytest.raises(ValueError, match="not evaluated"):
            worker.literal(code)


def test_a_worker_that_was_killed_is_replaced() -> None:
    with Symbolic(time_limit_s=10.0) as symbolic:
        assert symbolic.equal("x+x", "2x")
        child = symbolic._child
        assert child is not None
        os.kill(child.pid, 9)
        child.wait()
        assert symbolic.equal("x+x", "2x")
    assert symbolic._child is None


def test_a_formula_too_long_is_not_looked_at() -> None:
    symbolic = Symbolic()
    with pytest.raises(UndecidedError, match=f"{2 * MAX_LENGTH + 1} characters"):
        symbolic.equal("1+" * MAX_LENGTH + "1", "2")
    assert symbolic._child is None
