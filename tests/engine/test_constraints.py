"""What a completion may hold, who watches it, and whose failure is whose."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.engine.conftest import PRINTABLE, VOCAB

from tongwen.engine.completion import Completion, FinishReason
from tongwen.engine.engine import Engine
from tongwen.engine.guards import LanguageGuard, LoopGuard
from tongwen.engine.params import SamplingParams
from tongwen.engine.request import Matcher, Request
from tongwen.engine.sampler import bitmask
from tongwen.errors import EngineError, RequestError, TongwenError
from tongwen.model.qwen2 import Qwen2ForCausalLM

Make = Callable[..., Engine]
Run = Callable[..., list[Completion]]
Models = dict[str, Qwen2ForCausalLM]

PROMPT = [3, 14, 15, 92, 65, 35]


def greedy(**asked: object) -> SamplingParams:
    return SamplingParams(**{"temperature": 0, "max_tokens": 12, **asked})  # type: ignore[arg-type]


@pytest.fixture
def engine(models: Models, make_engine: Make) -> Engine:
    return make_engine(models["dense"])


@pytest.fixture
def free(engine: Engine, run_all: Run) -> Completion:
    return run_all(engine, [PROMPT], [greedy(ignore_eos=True)])[0]


def test_no_end_comes_before_enough_is_written(
    engine: Engine, run_all: Run, free: Completion
) -> None:
    engine.eos_token_ids = frozenset({free.token_ids[1]})
    stop = free.token_ids[2]
    (soon,) = run_all(engine, [PROMPT], [greedy(stop_token_ids=[stop])])
    assert len(soon.token_ids) <= 3
    for least in (4, 9, 12):
        params = greedy(stop_token_ids=[stop], min_tokens=least)
        (done,) = run_all(engine, [PROMPT], [params])
        assert len(done.token_ids) >= least
        ends = {stop, free.token_ids[1]}
        # One that comes as the last of the least is not yet allowed either.
        assert not ends & set(done.token_ids[:least])


def test_a_bias_brings_a_token_up_and_another_down(
    engine: Engine, run_all: Run, free: Completion
) -> None:
    first = free.token_ids[0]
    up, down = run_all(
        engine, [PROMPT] * 2, [greedy(logit_bias={77: 100}), greedy(logit_bias={first: -100})]
    )
    assert up.token_ids == [77] * 12
    assert first not in down.token_ids
    assert up.logprobs[0] < free.logprobs[0]  # of the raw logits: it was not probable


def test_bad_tokens_are_not_written(engine: Engine, run_all: Run, free: Completion) -> None:
    bad = set(free.token_ids[:4])
    (done,) = run_all(engine, [PROMPT], [greedy(bad_token_ids=sorted(bad), ignore_eos=True)])
    assert not bad & set(done.token_ids)
    assert len(done.token_ids) == 12


@pytest.mark.parametrize("temperature", [0, 1.5])
def test_nothing_but_allowed_tokens_is_written(
    engine: Engine, run_all: Run, temperature: float
) -> None:
    allowed = [5, 40, 64, 94]
    params = greedy(temperature=temperature, allowed_token_ids=allowed, seed=1)
    (done,) = run_all(engine, [PROMPT], [params])
    assert set(done.token_ids) <= set(allowed)
    assert len(done.token_ids) == 12


def test_allowed_tokens_that_do_not_exist_end_that_request_alone(
    engine: Engine, free: Completion
) -> None:
    """Rows of padding may be named but never come."""
    nothing = engine.add(PROMPT, greedy(allowed_token_ids=[VOCAB - 1]))
    other = engine.add(PROMPT, greedy(ignore_eos=True))
    run_out(engine)
    with pytest.raises(RequestError, match="after 0 tokens the parameters forbid every token"):
        nothing.completion()
    assert other.completion().token_ids == free.token_ids


def constrained(engine: Engine, params: SamplingParams, matcher: Matcher) -> Request:
    """A request that a matcher of the test holds."""
    request = engine.add(PROMPT, params)
    request.matcher = matcher
    return request


def run_out(engine: Engine) -> None:
    """Step to the end."""
    while engine.has_requests:
        engine.step()
        engine.scheduler.check()
    assert engine.scheduler.pool.num_free == engine.scheduler.pool.num_blocks


# ---- guards


def ended_at(guard: LoopGuard, token_ids: list[int]) -> int | None:
    """Tokens after which the guard ends it."""
    for count, token_id in enumerate(token_ids, start=1):
        if guard.push(token_id, "") is not None:
            return count
    return None


@pytest.mark.parametrize(
    ("period", "tokens"), [(1, 49), (2, 50), (16, 64), (17, 68), (40, 160), (64, 256)]
)
def test_a_loop_is_recognised_after_four_rounds_and_48_repeated_tokens(
    period: int, tokens: int
) -> None:
    before = list(range(1000, 1007))
    text = before + list(range(period)) * 60
    assert ended_at(LoopGuard(), text) == len(before) + tokens


def test_what_repeats_in_a_longer_rhythm_is_no_loop() -> None:
    assert ended_at(LoopGuard(), list(range(65)) * 20) is None


@given(st.lists(st.integers(0, 5), max_size=48))
def test_few_tokens_are_no_loop(token_ids: list[int]) -> None:
    assert ended_at(LoopGuard(), token_ids) is None


def test_a_list_with_numbers_that_count_is_no_loop() -> None:
    lines = [token for number in range(80) for token in (1, 2, 3, 100 + number, 4, 5)]
    assert ended_at(LoopGuard(), lines) is None


def test_a_completion_that_repeats_itself_is_ended(
    models: Models, make_engine: Make, run_all: Run
) -> None:
    """The tiny context holds 48 tokens: a loop of one token needs 49, so it is made to wait."""
    engine = make_engine(models["dense"])
    guarded = engine.add([1] * 4, greedy(logit_bias={9: 100}, max_tokens=44, loop_guard=True))
    (guard,) = guarded.guards
    for _ in range(20):
        assert guard.push(9, "") is None
    run_out(engine)
    done = guarded.completion()
    assert (done.finish_reason, len(done.token_ids)) == ("loop", 29)
    (free,) = run_all(engine, [[1] * 4], [greedy(logit_bias={9: 100}, max_tokens=44)])
    assert (free.finish_reason, len(free.token_ids)) == ("length", 44)


@pytest.mark.parametrize(
    ("scripts", "text", "said"),
    [
        (["Latin"], "Größe, naïve: 12 % + αβγ", None),
        (["Latin"], "This is 一二三四五六七八九 Chinese", "language"),
        (["Latin"], "This is 一二三四五六七八 Chinese", None),
        (["Han"], "北京大学 said hello, 你好", "language"),
        (["Han", "Latin"], "北京大学 said hello, 你好", None),
        (["Cyrillic"], "Привет, мир! 1234 😀", None),
        (["Kana", "Han"], "カタカナとひらがなと漢字", None),
        (["Hangul"], "안녕하세요 여러분 abc", None),
        (["Greek"], "hello world", "language"),
    ],
)
def test_letters_of_another_script_end_it_after_a_few(
    scripts: list[str], text: str, said: FinishReason | None
) -> None:
    guard = LanguageGuard(scripts)
    found = [reason for letter in text if (reason := guard.push(0, letter))]
    assert found[:1] == ([said] if said else [])
    assert LanguageGuard(scripts).push(0, text) == said  # in one piece too


def test_an_unknown_script_is_refused_with_the_known_ones(engine: Engine) -> None:
    with pytest.raises(RequestError, match="unknown script `Klingon`; known are Latin, Han"):
        engine.add(PROMPT, greedy(language_guard=["Latin", "Klingon"]))
    assert not engine.has_requests


def test_a_completion_that_leaves_its_script_is_ended(engine: Engine, run_all: Run) -> None:
    letter = ord("q") - ord(" ")  # the tokenizer begins with the printable characters
    params = [
        greedy(logit_bias={letter: 100}, max_tokens=20, language_guard=scripts)
        for scripts in (["Han"], ["Latin"])
    ]
    foreign, native = run_all(engine, [PROMPT] * 2, params)
    assert (foreign.finish_reason, foreign.text) == ("language", "q" * 9)
    assert (native.finish_reason, native.text) == ("length", "q" * 20)


# ---- constraints


class Ascending:
    """Allows printable tokens above the last one, and is content after `count` of them."""

    def __init__(self, count: int) -> None:
        self.left, self.last = count, 0

    @property
    def is_finished(self) -> bool:
        return not self.left

    def mask(self) -> np.ndarray | None:
        return bitmask(range(self.last + 1, PRINTABLE), VOCAB)

    def accept(self, token_id: int) -> None:
        self.last = token_id
        self.left -= 1


class Failing(Ascending):
    """Raises when it is asked for its `when`-th mask, or given its `when`-th token."""

    def __init__(self, where: str, when: int, error: Exception) -> None:
        super().__init__(100)
        self.where, self.when, self.error = where, when, error

    def _count(self, where: str) -> None:
        self.when -= where == self.where
        if not self.when:
            raise self.error

    def mask(self) -> np.ndarray | None:
        self._count("mask")
        return None

    def accept(self, token_id: int) -> None:
        self._count("accept")


class FailingGuard:
    """Raises at its third token."""

    def __init__(self) -> None:
        self.left = 3

    def push(self, token_id: int, text: str) -> FinishReason | None:
        self.left -= 1
        if not self.left:
            raise ZeroDivisionError("of the guard")
        return None


@pytest.mark.parametrize("temperature", [0, 1.0])
def test_a_constraint_is_held_to_and_ends_the_completion(
    engine: Engine, free: Completion, temperature: float
) -> None:
    params = greedy(temperature=temperature, seed=2, max_tokens=30)
    held = constrained(engine, params, Ascending(4))
    other = engine.add(PROMPT, greedy(ignore_eos=True))
    run_out(engine)
    done = held.completion()
    assert (len(done.token_ids), done.finish_reason) == (4, "stop")
    assert all(before < after < PRINTABLE for before, after in pairwise(done.token_ids))
    assert other.completion().token_ids == free.token_ids


def test_a_constraint_and_allowed_tokens_hold_together(engine: Engine) -> None:
    params = greedy(allowed_token_ids=[80, 7, 30])
    held = constrained(engine, params, Ascending(4))
    run_out(engine)
    with pytest.raises(RequestError, match="forbid every token"):
        held.completion()
    assert held.token_ids == sorted(set(held.token_ids))
    assert set(held.token_ids) <= {80, 7, 30}


@pytest.mark.parametrize("moment", [("mask", 1), ("mask", 4), ("accept", 1), ("accept", 4)])
@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("broken"), r"the request failed: ValueError: broken"),
        (RequestError("too deep"), r"^too deep$"),
    ],
    ids=["foreign", "ours"],
)
def test_a_failing_constraint_ends_its_own_request_alone(
    engine: Engine, free: Completion, moment: tuple[str, int], error: Exception, said: str
) -> None:
    failing = constrained(engine, greedy(), Failing(*moment, error))
    others = [engine.add(PROMPT, greedy(ignore_eos=True)) for _ in range(2)]
    run_out(engine)
    with pytest.raises(TongwenError, match=said):
        failing.completion()
    assert failing.finish_reason == "error"
    for other in others:
        assert other.completion().token_ids == free.token_ids


def test_a_failing_guard_ends_its_own_request_alone(engine: Engine, free: Completion) -> None:
    failing = engine.add(PROMPT, greedy(ignore_eos=True))
    failing.guards = [FailingGuard()]
    other = engine.add(PROMPT, greedy(ignore_eos=True))
    run_out(engine)
    with pytest.raises(EngineError, match="ZeroDivisionError: of the guard"):
        failing.completion()
    assert other.completion().token_ids == free.token_ids


def test_one_completions_failure_leaves_the_others_of_its_prompt(
    models: Models, make_engine: Make, run_all: Run
) -> None:
    params = SamplingParams(temperature=1.0, seed=5, n=3, max_tokens=8, ignore_eos=True)
    (expected,) = run_all(make_engine(models["dense"]), [PROMPT], [params])
    tokens = {done.seed: done.token_ids for done in (expected, *expected.alternatives)}
    for index in range(3):
        engine = make_engine(models["dense"])
        leader = engine.add(PROMPT, params)
        everyone: list[Request] = [leader, *leader.followers]
        everyone[index].matcher = Failing("accept", 1, ValueError("broken"))
        run_out(engine)
        for place, request in enumerate(everyone):
            if place != index:
                assert request.completion().token_ids == tokens[5 + place]
        with pytest.raises(EngineError, match="broken"):
            everyone[index].completion()


def test_typical_sampling_keeps_to_typical_tokens(engine: Engine, run_all: Run) -> None:
    """What transformers keeps is tested beside the sampler; here, that the parameter arrives."""
    narrow = [
        SamplingParams(temperature=1.0, typical_p=1e-6, seed=seed, max_tokens=1)
        for seed in range(12)
    ]
    assert len({done.token_ids[0] for done in run_all(engine, [PROMPT] * 12, narrow)}) == 1
