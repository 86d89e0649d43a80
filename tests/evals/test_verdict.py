"""What a judge's words come to, and what is done where they come to nothing."""

import itertools

import pytest
from tests.client.standin import answered
from tests.evals.tasks.judging import FAILURES, Bench, Script, judging, with_judge

from tongwen.client.http import HttpClient
from tongwen.errors import RequestError, SourceError
from tongwen.evals.verdict import Judge, Tries, Verdict, filled, in_both_orders, label, rating

QUICK = Tries(first_wait_s=0.01)
ASKED = [{"role": "user", "content": "Rate this."}]
RUBBISH = ("", "I would rather not say.", "[[11]]", "[[3]] or [[9]]", "[[seven]]")


def rated(bench: Bench) -> Verdict[float]:
    async def work(client: HttpClient) -> Verdict[float]:
        return await Judge(client, seed=5, tries=QUICK).verdict(ASKED, rating)

    return with_judge(bench, work)


def script_of(*answers: str | bytes) -> Script:
    return lambda _, number: answers[min(number, len(answers) - 1)]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Clear and right. Rating: [[8]]", 8.0),
        ("Rating: [[7.5]]", 7.5),
        ("Rating: [6]", 6.0),
        ("As I said, [[4]]. Rating: [[4]]", 4.0),
        ("Steps [1] and [2] are right. Rating: [[9]]", 9.0),
        ("Rating: 8", None),
        ("[[0]]", None),
        ("[[2]] ... no, [[5]]", None),
    ],
)
def test_a_rating_is_one_number_within_the_scale(text: str, value: float | None) -> None:
    assert rating(text) == value


def test_a_label_is_the_only_one_in_brackets() -> None:
    labels = ["safe", "harmful"]
    assert label("It helps nobody do harm: [[Safe]]", labels) == "safe"
    assert label("[[safe]] or [[harmful]]", labels) is None
    assert label("[[safe]] [[maybe]]", labels) is None
    assert label("safe", labels) is None


def test_braces_of_an_answer_stay_as_they_are() -> None:
    found = filled("{q} -> {a}", {"q": "{a}", "a": "{x} {}"})
    assert found == "{a} -> {x} {}"
    with pytest.raises(RequestError, match=r"`\{b\}`"):
        filled("{b}", {"a": ""})


def test_the_transcript_tells_who_was_asked_what() -> None:
    with judging(script_of("Good. [[8]]")) as bench:
        found = rated(bench)
    assert found.value == 8
    assert found.notes["judge"] == "wise"
    assert found.notes["asked"] == ASKED
    only = {"temperature": 0.0, "seed": 5, "finish_reason": "stop"}
    assert found.notes["tries"] == [{**only, "said": "Good. [[8]]", "read": "8.0"}]


@pytest.mark.parametrize("rubbish", RUBBISH)
def test_rubbish_is_asked_again_warmer_and_with_another_seed(rubbish: str) -> None:
    with judging(script_of(rubbish, "[[3]]")) as bench:
        found = rated(bench)
    assert found.value == 3
    assert [(body.get("temperature", 1), body["seed"]) for body in bench.bodies] == [
        (0.0, 5),
        (0.3, 6),
    ]
    assert [note["read"] for note in found.notes["tries"]] == [None, "3.0"]


@pytest.mark.parametrize("failure", FAILURES)
def test_an_endpoint_that_fails_for_a_while_is_waited_for(failure: bytes) -> None:
    with judging(script_of(failure, failure, failure, "[[6]]")) as bench:
        found = rated(bench)
    assert found.value == 6
    assert "error" in found.notes["tries"][0]


@pytest.mark.parametrize("failure", [*RUBBISH, *FAILURES])
def test_a_judge_that_never_decides_is_a_failure_and_no_zero(failure: str | bytes) -> None:
    with (
        judging(script_of(failure)) as bench,
        pytest.raises(SourceError, match=r"`wise`.* 4 tries"),
    ):
        rated(bench)


def test_a_judge_that_refuses_the_request_is_not_asked_again() -> None:
    refusal = answered(400, {"error": {"message": "context too long"}})
    with judging(script_of(refusal)) as bench, pytest.raises(RequestError, match="too long"):
        rated(bench)
    assert len(bench.bodies) == 1


def test_waits_grow_and_have_a_bound() -> None:
    waits = [Tries(first_wait_s=1.0, longest_wait_s=6.0).wait_s(number) for number in range(9)]
    assert all(later > earlier for earlier, later in itertools.pairwise(waits[:3]))
    assert waits[-1] == 6.0


def test_both_orders_swap_the_answers() -> None:
    def script(asked: str, _: int) -> str:
        return "[[A]]" if asked == "left | right" else "[[B]]"

    async def work(client: HttpClient) -> tuple[Verdict[str], Verdict[str]]:
        return await in_both_orders(
            Judge(client, tries=QUICK),
            lambda first, second: [{"role": "user", "content": f"{first} | {second}"}],
            ("left", "right"),
            lambda text: label(text, ["A", "B"]),
        )

    with judging(script) as bench:
        straight, swapped = with_judge(bench, work)
    assert (straight.value, swapped.value) == ("A", "B")
    assert swapped.notes["asked"][0]["content"] == "right | left"


def test_a_pair_without_one_of_its_verdicts_fails() -> None:
    def script(asked: str, _: int) -> str:
        return "[[A]]" if asked == "left | right" else "who knows"

    async def work(client: HttpClient) -> object:
        return await in_both_orders(
            Judge(client, tries=QUICK),
            lambda first, second: [{"role": "user", "content": f"{first} | {second}"}],
            ("left", "right"),
            lambda text: label(text, ["A", "B"]),
        )

    with judging(script) as bench, pytest.raises(SourceError, match="who knows"):
        with_judge(bench, work)
