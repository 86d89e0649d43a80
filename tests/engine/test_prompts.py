"""What is made of a prompt itself: its log-probabilities and its vector."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tongwen.engine.admission import Admission
from tongwen.engine.completion import Completion, Pooling
from tongwen.engine.engine import Engine
from tongwen.engine.params import SamplingParams
from tongwen.engine.request import Request
from tongwen.errors import EngineError
from tongwen.model.attention import PackedCausal
from tongwen.model.qwen2 import Qwen2ForCausalLM
from tongwen.model.stream import Stream

Make = Callable[..., Engine]
Run = Callable[..., list[Completion]]
Models = dict[str, Qwen2ForCausalLM]

PROMPT = [(7 * i + 3) % 95 for i in range(23)]
LOOK = SamplingParams(max_tokens=0, prompt_logprobs=4)
CHUNKS = (1, 2, 7, 22, 23, 512)
CLOSE = 1e-11
"""float64 roundings of other shapes of the same products, of numbers of about 5."""


@pytest.fixture(scope="module", params=("dense", "windowed", "moe", "yarn"))
def model(request: pytest.FixtureRequest, models: Models) -> Qwen2ForCausalLM:
    return models[request.param]


def forward(model: Qwen2ForCausalLM, prompt: list[int]) -> tuple[Tensor, Tensor]:
    """Hidden states and log-probabilities of the whole prompt at once."""
    attend = PackedCausal([len(prompt)], model.config, dtype=torch.float64)
    stream = Stream(attend=attend)
    with torch.inference_mode():
        hidden = model.model(torch.tensor(prompt), stream)
        return hidden, model.lm_head(hidden, stream).log_softmax(-1)


def chunked(make: Make, model: Qwen2ForCausalLM, chunk: int, **more: int) -> Engine:
    """An engine whose steps take `chunk` tokens."""
    return make(model, max_batch_tokens=chunk, max_requests=min(chunk, 8), **more)


@pytest.mark.parametrize("chunk", CHUNKS)
def test_prompt_log_probabilities_are_those_of_the_plain_forward(
    model: Qwen2ForCausalLM, make_engine: Make, run_all: Run, chunk: int
) -> None:
    (done,) = run_all(chunked(make_engine, model, chunk), [PROMPT], [LOOK])
    _, logprobs = forward(model, PROMPT)
    expected = logprobs[:-1].gather(1, torch.tensor(PROMPT[1:]).unsqueeze(1)).flatten()
    assert done.prompt_logprobs is not None
    assert done.prompt_logprobs[0] is None
    assert done.prompt_logprobs[1:] == pytest.approx(expected.tolist(), abs=CLOSE)
    assert done.prompt_top_logprobs is not None
    assert done.prompt_top_logprobs[0] is None
    assert len(done.prompt_top_logprobs) == len(PROMPT)
    for top, row in zip(done.prompt_top_logprobs[1:], logprobs, strict=False):
        assert top is not None
        assert list(top) == row.topk(4).indices.tolist()
        assert list(top.values()) == pytest.approx(row.topk(4).values.tolist(), abs=CLOSE)


def test_only_their_own_log_probabilities_are_given_where_no_others_are_asked_for(
    models: Models, make_engine: Make, run_all: Run
) -> None:
    look = SamplingParams(max_tokens=0, prompt_logprobs=0)
    done = run_all(make_engine(models["dense"]), [PROMPT, PROMPT[:1]], [look, look])
    assert [d.prompt_logprobs is not None and len(d.prompt_logprobs) for d in done] == [23, 1]
    assert done[1].prompt_logprobs == [None]
    assert [d.prompt_top_logprobs for d in done] == [None, None]


def test_a_completions_score_is_what_it_was_sampled_with(
    model: Qwen2ForCausalLM, make_engine: Make, run_all: Run
) -> None:
    engine = make_engine(model)
    params = SamplingParams(temperature=1.0, seed=3, max_tokens=20, ignore_eos=True)
    (done,) = run_all(engine, [PROMPT], [params])
    (scored,) = run_all(engine, [PROMPT + done.token_ids], [LOOK])
    assert scored.prompt_logprobs is not None
    assert scored.prompt_logprobs[len(PROMPT) :] == pytest.approx(done.logprobs, abs=CLOSE)


def test_a_prompt_is_looked_at_though_its_blocks_are_cached(
    models: Models, make_engine: Make, run_all: Run
) -> None:
    engine = make_engine(models["dense"])
    first, again = (run_all(engine, [PROMPT], [LOOK])[0] for _ in range(2))
    assert again.prompt_logprobs == first.prompt_logprobs
    assert again.num_cached_tokens == 0


def test_a_completion_follows_what_was_looked_at(
    models: Models, make_engine: Make, run_all: Run
) -> None:
    params = SamplingParams(temperature=0, max_tokens=5, ignore_eos=True, prompt_logprobs=0)
    plain = SamplingParams(temperature=0, max_tokens=5, ignore_eos=True)
    for chunk in (3, 512):
        engine = chunked(make_engine, models["dense"], chunk)
        (done,) = run_all(engine, [PROMPT], [params])
        (expected,) = run_all(engine, [PROMPT], [plain])
        assert done.token_ids == expected.token_ids
        assert done.prompt_logprobs is not None
        assert len(done.prompt_logprobs) == len(PROMPT)


def preempted(engine: Engine, watched: Request) -> bool:
    """Step to the end; whether the request began its prompt and had to begin again."""
    again, last = False, 0
    while engine.has_requests:
        engine.step()
        engine.scheduler.check()
        again |= watched.num_computed < last and not watched.is_finished
        last = watched.num_computed
    return again


@pytest.mark.parametrize("pooling", [None, "mean", "last"])
def test_a_prompt_preempted_in_its_middle_is_looked_at_as_if_nothing_had_happened(
    models: Models, make_engine: Make, pooling: Pooling | None
) -> None:
    model = models["dense"]
    admission = None if pooling is None else Admission(pooling=pooling)
    lone = make_engine(model, max_batch_tokens=4, max_requests=4)
    undisturbed = lone.add(PROMPT, LOOK, admission)
    while lone.has_requests:
        lone.step()
    engine = make_engine(model, max_batch_tokens=4, max_requests=4, cache_tokens=48, block_size=1)
    greedy = SamplingParams(temperature=0, max_tokens=14, ignore_eos=True)
    for token_id in (1, 2):
        engine.add([token_id] * 2, greedy)
    for _ in range(2):
        engine.step()
    looked = engine.add(PROMPT, LOOK, admission)
    assert preempted(engine, looked), "the cache was not small enough to show anything"
    assert looked.completion().prompt_logprobs == pytest.approx(
        undisturbed.completion().prompt_logprobs, abs=CLOSE
    )
    if pooling is not None:
        torch.testing.assert_close(vector_of(looked), vector_of(undisturbed))


def vector(engine: Engine, pooling: Pooling) -> Tensor:
    request = engine.add(PROMPT, SamplingParams(max_tokens=0), Admission(pooling=pooling))
    while engine.has_requests:
        engine.step()
        engine.scheduler.check()
    assert request.completion().token_ids == []
    return vector_of(request)


def vector_of(request: Request) -> Tensor:
    made = request.completion().vector
    assert made is not None
    return torch.from_numpy(made)


@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_vectors_are_those_of_the_plain_forward(
    model: Qwen2ForCausalLM, make_engine: Make, pooling: Pooling
) -> None:
    hidden, _ = forward(model, PROMPT)
    expected = hidden.mean(0) if pooling == "mean" else hidden[-1]
    found = vector(make_engine(model), pooling)
    assert found.dtype == torch.float32
    # Rounded to float32 once, at the end.
    expected = F.normalize(expected.double(), dim=-1).float()
    torch.testing.assert_close(found, expected, atol=1e-7, rtol=2e-7)
    assert torch.equal(vector(make_engine(model), pooling), found)


@pytest.mark.parametrize("pooling", ["mean", "last"])
@pytest.mark.parametrize("chunk", CHUNKS)
def test_a_vector_is_the_same_in_chunks_of_any_size(
    model: Qwen2ForCausalLM, make_engine: Make, pooling: Pooling, chunk: int
) -> None:
    """To the last bit of the float32 that is returned; steps compute in float64 here."""
    found = vector(chunked(make_engine, model, chunk), pooling)
    whole = vector(make_engine(model), pooling)
    torch.testing.assert_close(found, whole, atol=0, rtol=1.2e-7)


def test_vectors_are_made_beside_completions_that_do_not_notice(
    models: Models, make_engine: Make, run_all: Run
) -> None:
    model = models["dense"]
    greedy = SamplingParams(temperature=0, max_tokens=9, ignore_eos=True)
    (alone,) = run_all(make_engine(model), [PROMPT], [greedy])
    engine = chunked(make_engine, model, 9)
    looked = [
        engine.add(PROMPT[i:], SamplingParams(max_tokens=0), Admission(pooling="mean"))
        for i in range(5)
    ]
    (done,) = run_all(engine, [PROMPT], [greedy])
    assert done.token_ids == alone.token_ids
    for i, request in enumerate(looked):
        expected = F.normalize(forward(model, PROMPT[i:])[0].mean(0).double(), dim=-1).float()
        torch.testing.assert_close(vector_of(request), expected, atol=1e-7, rtol=2e-7)


def test_echo_begins_the_text_with_the_prompts(
    models: Models, make_engine: Make, run_all: Run
) -> None:
    engine = make_engine(models["dense"])
    params = SamplingParams(temperature=0, max_tokens=6, ignore_eos=True)
    echo = SamplingParams(temperature=0, max_tokens=6, ignore_eos=True, echo=True)
    look = SamplingParams(max_tokens=0, echo=True)
    plain, echoed, looked = run_all(engine, [PROMPT] * 3, [params, echo, look])
    prompt = engine.tokenizer.decode(PROMPT)
    assert echoed.text == prompt + plain.text
    assert echoed.token_ids == plain.token_ids
    assert looked.text == prompt


def test_an_echoed_prompt_does_not_stop_itself(
    models: Models, make_engine: Make, run_all: Run
) -> None:
    engine = make_engine(models["dense"])
    stop = engine.tokenizer.decode(PROMPT[3:9])
    params = SamplingParams(temperature=0, max_tokens=6, ignore_eos=True, echo=True, stop=stop)
    (done,) = run_all(engine, [PROMPT], [params])
    assert (len(done.token_ids), done.finish_reason) == (6, "length")


def test_an_error_while_a_prompt_is_looked_at_is_that_requests_alone(
    models: Models, make_engine: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make_engine(models["dense"])

    def fail(*_: object) -> None:
        raise MemoryError("no room for logits")

    monkeypatch.setattr(engine.runner, "logprobs", fail)
    looked = engine.add([1, 2, 3], SamplingParams(max_tokens=4, prompt_logprobs=0))
    other = engine.add([4, 5, 6], SamplingParams(max_tokens=4, ignore_eos=True))
    while engine.has_requests:
        engine.step()
        engine.scheduler.check()
    assert len(other.token_ids) == 4
    with pytest.raises(EngineError, match="no room for logits"):
        looked.completion()


@pytest.mark.parametrize("chunk", CHUNKS)
@pytest.mark.parametrize("start", [0, 1, 2, 9, 17, 22, 23, 99])
def test_log_probabilities_from_a_place_on_are_those_of_the_whole(
    models: Models, make_engine: Make, run_all: Run, chunk: int, start: int
) -> None:
    look = SamplingParams(max_tokens=0, prompt_logprobs=2)
    (whole,) = run_all(chunked(make_engine, models["dense"], chunk), [PROMPT], [look])
    engine = chunked(make_engine, models["dense"], chunk)
    some = replace(look, prompt_logprobs_from=start)
    for _ in range(2):  # the second time from the prefix cache
        (done,) = run_all(engine, [PROMPT], [some])
        assert whole.prompt_logprobs is not None
        assert whole.prompt_top_logprobs is not None
        first = min(max(start, 1), len(PROMPT))
        missing = [None] * first
        expected = missing + whole.prompt_logprobs[first:]
        assert done.prompt_logprobs == pytest.approx(expected, abs=CLOSE)
        assert done.prompt_top_logprobs is not None
        assert done.prompt_top_logprobs[:first] == missing
        tops = [set(top or ()) for top in done.prompt_top_logprobs]
        assert tops[first:] == [set(top or ()) for top in whole.prompt_top_logprobs[first:]]
    size = engine.scheduler.pool.block_size
    assert done.num_cached_tokens == max(min(start, len(PROMPT)) - 1, 0) // size * size
