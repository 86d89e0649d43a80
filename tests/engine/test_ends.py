"""How a completion ends, and what is refused before it begins."""

from collections.abc import Callable
from copy import deepcopy

import pytest
import torch
from tests.engine.conftest import Plain

from tongwen.engine.admission import Admission
from tongwen.engine.admit import check_prompt
from tongwen.engine.completion import Completion
from tongwen.engine.engine import Engine, EngineConfig
from tongwen.engine.params import SamplingParams
from tongwen.errors import BusyError, CheckpointError, ConfigError, RequestError
from tongwen.model.qwen2 import Qwen2ForCausalLM

Make = Callable[..., Engine]
Run = Callable[..., list[Completion]]
Models = dict[str, Qwen2ForCausalLM]

PROMPT = [3, 14, 15, 92, 65, 35]
CONTEXT, NUM_TOKENS, VOCAB = 48, 257, 264


def greedy(**asked: object) -> SamplingParams:
    return SamplingParams(temperature=0, **{"ignore_eos": True, **asked})  # type: ignore[arg-type]


@pytest.fixture
def engine(models: Models, make_engine: Make) -> Engine:
    return make_engine(models["dense"])


@pytest.fixture
def whole(engine: Engine, run_all: Run) -> Completion:
    """Twenty tokens that nothing stops."""
    done = run_all(engine, [PROMPT], [greedy(max_tokens=20)])[0]
    assert len(done.token_ids) == len(done.text) == 20
    return done


def test_max_tokens_ends_by_length(engine: Engine, run_all: Run, whole: Completion) -> None:
    for count in (1, 7):
        done = run_all(engine, [PROMPT], [greedy(max_tokens=count)])[0]
        assert (done.token_ids, done.finish_reason) == (whole.token_ids[:count], "length")
        assert done.text == whole.text[:count]
        assert done.stop_reason is None


def test_without_max_tokens_the_context_is_filled(engine: Engine, run_all: Run) -> None:
    done = run_all(engine, [PROMPT], [greedy()])[0]
    assert len(done.token_ids) == CONTEXT - len(PROMPT)
    assert done.finish_reason == "length"


def test_a_stop_token_ends_and_is_no_text(engine: Engine, run_all: Run, whole: Completion) -> None:
    stop = whole.token_ids[8]
    first = whole.token_ids.index(stop)
    done = run_all(engine, [PROMPT], [greedy(max_tokens=20, stop_token_ids=[stop])])[0]
    assert done.token_ids == whole.token_ids[: first + 1]
    assert len(done.logprobs) == first + 1
    assert (done.text, done.finish_reason, done.stop_reason) == (whole.text[:first], "stop", stop)


def test_the_models_own_end_ends_unless_ignored(
    models: Models, make_engine: Make, run_all: Run, whole: Completion
) -> None:
    engine = make_engine(models["dense"])
    engine.eos_token_ids = frozenset({whole.token_ids[4]})
    first = whole.token_ids.index(whole.token_ids[4])
    ended, ignored = run_all(
        engine, [PROMPT] * 2, [greedy(max_tokens=20, ignore_eos=flag) for flag in (False, True)]
    )
    assert ended.token_ids == whole.token_ids[: first + 1]
    assert (ended.finish_reason, ended.text) == ("stop", whole.text[:first])
    assert ignored.token_ids == whole.token_ids


def test_a_stop_string_cuts_the_text_before_it(
    engine: Engine, run_all: Run, whole: Completion
) -> None:
    stop = whole.text[9:12]
    first = whole.text.index(stop)
    done = run_all(engine, [PROMPT], [greedy(max_tokens=20, stop=["\u00e9", stop])])[0]
    assert (done.text, done.finish_reason, done.stop_reason) == (whole.text[:first], "stop", stop)
    assert done.token_ids == whole.token_ids[: first + 3]


def test_the_beginning_of_a_stop_string_is_released_at_the_end(
    engine: Engine, run_all: Run, whole: Completion
) -> None:
    stop = whole.text[4:6] + "\u00e9"
    done = run_all(engine, [PROMPT], [greedy(max_tokens=6, stop=stop)])[0]
    assert (done.text, done.finish_reason, done.stop_reason) == (whole.text[:6], "length", None)


def test_text_grows_as_tokens_come(engine: Engine, whole: Completion) -> None:
    request = engine.add(PROMPT, greedy(max_tokens=20))
    seen = [""]
    while not request.is_finished:
        assert engine.step() == [request]
        seen.append(request.text)
    assert seen == [whole.text[:n] for n in range(21)]


def test_an_aborted_request_keeps_what_it_has(engine: Engine, whole: Completion) -> None:
    request = engine.add(PROMPT, greedy(max_tokens=20))
    for _ in range(5):
        engine.step()
    engine.abort(request)
    engine.abort(request)
    done = request.completion()
    assert (done.token_ids, done.finish_reason) == (whole.token_ids[:5], "abort")
    assert not engine.has_requests


def test_a_finished_request_cannot_be_aborted(engine: Engine) -> None:
    request = engine.add(PROMPT, greedy(max_tokens=1))
    engine.step()
    engine.abort(request)
    assert request.completion().finish_reason == "length"


def test_an_idle_engine_steps_without_doing_anything(engine: Engine) -> None:
    assert engine.step() == []
    assert not engine.has_requests


def test_logits_that_are_not_finite_end_that_request_alone(
    models: Models, make_engine: Make, whole: Completion
) -> None:
    damaged = deepcopy(models["dense"])
    with torch.no_grad():
        damaged.model.embed_tokens.weight[90] = torch.nan
    assert 90 not in [*PROMPT, *whole.token_ids]
    engine = make_engine(damaged, max_batch_tokens=70)
    healthy = engine.add(PROMPT, greedy(max_tokens=20))
    sick = [engine.add([*PROMPT, 90], greedy(max_tokens=20)), engine.add([90] * 30, greedy())]
    late = engine.add(PROMPT, greedy(max_tokens=20))
    while engine.has_requests:
        engine.step()
        engine.scheduler.check()
    for request in sick:
        assert request.finish_reason == "error"
        with pytest.raises(CheckpointError, match=f"position {request.num_tokens} are not finite"):
            request.completion()
    # Blocks that held what is not a number are used again without harm.
    again = engine.add(PROMPT, greedy(max_tokens=20))
    while engine.has_requests:
        engine.step()
    for request in (healthy, late, again):
        assert request.completion().token_ids == whole.token_ids


@pytest.mark.parametrize(
    ("prompt", "asked", "said"),
    [
        ([], {}, "the prompt is empty"),
        ([1] * 48, {}, "48 tokens does not fit the context of 48"),
        ([1] * 60, {}, "60 tokens does not fit the context of 48"),
        ([1] * 40, {"max_tokens": 9}, "40 tokens and `max_tokens` 9 exceed the context of 48"),
        ([1, VOCAB], {}, "token id 264 is outside the vocabulary of 264"),
        ([5, -1], {}, "token id -1 is outside the vocabulary of 264"),
    ],
)
def test_what_cannot_be_served_is_refused_with_the_numbers(
    engine: Engine, prompt: list[int], asked: dict[str, int], said: str
) -> None:
    with pytest.raises(RequestError, match=said):
        engine.add(prompt, greedy(**asked))
    assert not engine.has_requests
    engine.scheduler.check()


def test_the_longest_request_that_fits_is_served(engine: Engine, run_all: Run) -> None:
    done = run_all(engine, [[1] * 40, [1] * 47], [greedy(max_tokens=8), greedy()])
    assert [len(c.token_ids) for c in done] == [8, 1]


def test_a_context_may_be_scored_to_its_last_token(engine: Engine, run_all: Run) -> None:
    look = SamplingParams(max_tokens=0, prompt_logprobs=0)
    (done,) = run_all(engine, [[1] * 48], [look])
    assert done.prompt_logprobs is not None
    assert len(done.prompt_logprobs) == 48
    check_prompt(engine, [1] * 48, room=0)
    with pytest.raises(RequestError, match=r"49 tokens does not fit the context of 48$"):
        check_prompt(engine, [1] * 49, room=0)


def test_without_tokens_to_write_a_prompt_is_only_looked_at(engine: Engine, run_all: Run) -> None:
    (done,) = run_all(engine, [PROMPT], [greedy(max_tokens=0)])
    assert (done.token_ids, done.text, done.finish_reason) == ([], "", "length")
    assert done.prompt_logprobs is None


def test_several_completions_of_no_tokens_are_refused(engine: Engine) -> None:
    with pytest.raises(RequestError, match="3 completions are asked for"):
        engine.add(PROMPT, SamplingParams(n=3, max_tokens=0))
    with pytest.raises(RequestError, match="2 completions are asked for"):
        engine.add(PROMPT, SamplingParams(n=2), Admission(pooling="mean"))
    assert not engine.has_requests


def test_an_adapter_that_is_not_loaded_is_refused(engine: Engine) -> None:
    with pytest.raises(RequestError, match="no adapter 0 is loaded"):
        engine.add(PROMPT, greedy(), Admission(adapter=0))
    assert not engine.has_requests


@pytest.mark.parametrize(
    "asked",
    [
        {"stop_token_ids": [VOCAB]},
        {"bad_token_ids": [VOCAB]},
        {"allowed_token_ids": [3, VOCAB]},
        {"logit_bias": {VOCAB: 1.0}},
    ],
)
def test_parameters_that_name_unknown_tokens_are_refused(
    engine: Engine, asked: dict[str, object]
) -> None:
    with pytest.raises(RequestError, match=r"parameters' token id 264 is outside .* 264"):
        engine.add(PROMPT, greedy(**asked))
    assert not engine.has_requests


def test_greedy_copies_by_the_checkpoints_default_are_refused(
    models: Models, make_engine: Make
) -> None:
    engine = make_engine(models["dense"])
    engine.defaults = Plain(do_sample=False)
    with pytest.raises(RequestError, match="the same completion 2 times"):
        engine.add(PROMPT, SamplingParams(n=2))


def test_a_full_queue_refuses_and_serves_those_that_it_took(
    models: Models, make_engine: Make, whole: Completion
) -> None:
    engine = make_engine(models["dense"], max_waiting=2)
    taken = [engine.add(PROMPT, greedy(max_tokens=20)) for _ in range(2)]
    with pytest.raises(BusyError, match="2 requests are waiting"):
        engine.add(PROMPT, greedy(max_tokens=20))
    engine.step()
    taken.append(engine.add(PROMPT, greedy(max_tokens=20)))
    while engine.has_requests:
        engine.step()
    assert [request.completion().token_ids for request in taken] == [whole.token_ids] * 3


def test_padding_ids_in_a_prompt_are_served_with_penalties(engine: Engine, run_all: Run) -> None:
    params = SamplingParams(temperature=0, repetition_penalty=1.3, max_tokens=5, ignore_eos=True)
    done = run_all(engine, [[VOCAB - 1, *PROMPT]], [params])[0]
    assert all(token_id < NUM_TOKENS for token_id in done.token_ids)


@pytest.mark.parametrize(
    ("context", "cache_tokens", "block_size", "said"),
    [(0, 10, 4, r"\(0\)"), (11, 10, 4, r"\(11\).*\(10\)"), (4, 10, 0, "`block_size`.*0")],
)
def test_an_impossible_engine_is_refused(
    context: int, cache_tokens: int, block_size: int, said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        EngineConfig(context=context, cache_tokens=cache_tokens, block_size=block_size)
