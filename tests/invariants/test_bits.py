"""A request's logits, tokens and log-probabilities are the same bits however it is served."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.invariants.watched import (
    DENSE,
    SPARSE,
    Answer,
    CountingLookup,
    WatchedEngine,
    answer,
    one_by_one,
    random_prompt,
    save_random,
    watched,
)

from tongwen.engine.admission import Admission
from tongwen.engine.draft import draft_model
from tongwen.engine.llm import LLM
from tongwen.engine.params import SamplingParams
from tongwen.errors import CheckpointError
from tongwen.kernels.machine import machine

pytestmark = pytest.mark.skipif(machine() is None, reason="only native kernels promise bits")

LONG, SHORT = 150, 45
"""Tokens of the real and of the tiny models' prompt: beyond a tile of 128 keys; a block of 32."""

PARAMS = SamplingParams(
    temperature=0, repetition_penalty=1.0, max_tokens=4, ignore_eos=True, logprobs=3
)
DRAWN = replace(PARAMS, temperature=0.8, top_k=20, top_p=0.9, seed=11)
LOOK = SamplingParams(max_tokens=0, prompt_logprobs=0)
KINDS = ("file", "bf16", "int8", "int4")


def crowd(vocab: int) -> list[list[int]]:
    """Sixty-three other prompts of 1 to 20 tokens."""
    return [random_prompt(1 + i * 7 % 20, vocab, seed=i + 1) for i in range(63)]


class Case:
    """A model, a prompt, and the answer it gets when it is alone."""

    def __init__(self, llm: LLM, tokens: int) -> None:
        self.llm, self.vocab = llm, llm.config.vocab_size
        self.prompt = random_prompt(tokens, self.vocab, seed=0)
        self.alone = self.answer(watched(llm))

        self.drawn = self.answer(watched(llm), params=DRAWN)

    def answer(
        self,
        engine: WatchedEngine,
        others: list[list[int]] | None = None,
        params: SamplingParams = PARAMS,
    ) -> Answer:
        return answer(engine, self.prompt, params, others)


@pytest.fixture(scope="module", params=KINDS)
def real(request: pytest.FixtureRequest, real_gguf: Path) -> Case:
    """The 0.5B in each number format."""
    return Case(LLM(real_gguf, weights=request.param, context=512), LONG)


@pytest.fixture(scope="module")
def directories(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    base = tmp_path_factory.mktemp("models")
    shapes = {"dense": DENSE, "sparse": SPARSE}
    return {name: save_random(base / name, shape) for name, shape in shapes.items()}


@pytest.fixture(scope="module", params=["dense", "sparse"])
def shape(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module", params=["file", "int8", "int4"])
def tiny(request: pytest.FixtureRequest, shape: str, directories: dict[str, Path]) -> Case:
    """A random model in each number format; its file holds bfloat16."""
    return Case(LLM(directories[shape], weights=request.param, context=512), SHORT)


def check_crowd(case: Case) -> None:
    case.answer(watched(case.llm), crowd(case.vocab)).check_same(case.alone)


def check_chunks(case: Case, chunk: int) -> None:
    engine = watched(case.llm, max_batch_tokens=chunk, max_requests=1)
    case.answer(engine).check_same(case.alone)


def check_prefix_hit(case: Case) -> None:
    """The same prompt again, another that goes on from its answer, greedy and drawn."""
    engine = watched(case.llm)
    for params, alone in ((PARAMS, case.alone), (DRAWN, case.drawn)) * 2:
        case.answer(engine, params=params).check_same(alone)
    again = engine.add(case.prompt, PARAMS)
    longer = [*case.prompt, *case.alone.token_ids, 5]
    found = answer(engine, longer, DRAWN)
    assert again.num_cached_tokens == (len(case.prompt) - 1) // 32 * 32 > 0
    found.check_same(answer(watched(case.llm, prefix_cache=False), longer, DRAWN))


def check_samples(case: Case) -> None:
    """Several completions of a prompt write on in copies of its last block."""
    engine = watched(case.llm)
    leader = engine.add(case.prompt, replace(DRAWN, n=3))
    everyone = [leader, *leader.followers]
    while engine.has_requests:
        engine.step()
    for place, request in enumerate(everyone):
        lone = case.answer(watched(case.llm), params=replace(DRAWN, seed=11 + place))
        done = request.completion()
        seen = torch.stack(engine.seen[request.request_id])
        Answer(done.token_ids, done.logprobs, seen).check_same(lone)


def check_speculated(case: Case) -> None:
    """On a prompt that repeats itself, asked to repeat itself more: drafts are right and wrong."""
    some = random_prompt(6, case.vocab, seed=5)
    prompt = some * (len(case.prompt) // 6)
    hot = replace(DRAWN, temperature=5.0, top_k=0, top_p=1.0)
    drafted = right = 0
    for asked in (PARAMS, DRAWN, hot):
        params = replace(asked, max_tokens=12, logit_bias=dict.fromkeys(some, 30.0))
        plain, drafting = watched(case.llm), watched(case.llm)
        lookup = CountingLookup()
        drafting.proposers = (lookup,)
        others = [prompt[i:] for i in range(1, 5)]
        answer(drafting, prompt, params, others).check_same(answer(plain, prompt, params))
        drafted, right = drafted + lookup.drafted, right + lookup.right
    assert 0 < right < drafted, "drafts were all right or all wrong: little is shown"


def check_drafted(case: Case) -> None:
    """A model that drafts for itself is right, drawing with the request's own noise."""
    for params in (PARAMS, DRAWN):
        plain, drafting = watched(case.llm), watched(case.llm)
        draft = draft_model(case.llm.model, drafting, cost=0.05)
        drafting.proposers = (draft,)
        found = answer(drafting, case.prompt, params)
        found.check_same(answer(plain, case.prompt, params))
        (shadow,) = draft._shadows.values()
        assert shadow.odds.rate > 0.8, "no draft was right"  # where it begins


def check_score(case: Case) -> None:
    """What was drawn is scored with the log-probabilities that it was drawn with."""
    for alone, chunk in ((case.alone, 512), (case.drawn, 512), (case.drawn, 7)):
        engine = watched(case.llm, max_batch_tokens=chunk, max_requests=1)
        request = engine.add(case.prompt + alone.token_ids, LOOK)
        while engine.has_requests:
            engine.step()
        scored = request.completion().prompt_logprobs
        assert scored is not None
        assert scored[len(case.prompt) :] == alone.logprobs


def check_vectors(case: Case) -> None:
    """Embeddings do not show where chunks begin, nor who is beside them."""
    for pooling in ("mean", "last"):
        vectors = []
        for chunk in (512, 1, 7, 40):
            engine = watched(case.llm, max_batch_tokens=chunk, max_requests=1)
            request = engine.add(case.prompt, LOOK, Admission(pooling=pooling))
            while engine.has_requests:
                engine.step()
            vectors.append(request.completion().vector)
        assert all(np.array_equal(vector, vectors[0]) for vector in vectors)


def check_replay(case: Case) -> None:
    case.answer(watched(case.llm, replay=False)).check_same(case.alone)


def test_tiny_alone_as_in_a_crowd(tiny: Case) -> None:
    check_crowd(tiny)


@pytest.mark.parametrize("chunk", [1, 7, 40])
def test_tiny_whole_as_in_chunks(tiny: Case, chunk: int) -> None:
    check_chunks(tiny, chunk)


def test_tiny_preempted_as_alone(tiny: Case) -> None:
    """All grow into a second block where there is none: the young start over."""
    engine = watched(tiny.llm, cache_tokens=512)
    others = [random_prompt(30, tiny.vocab, seed=i) for i in range(14)]
    tiny.answer(engine, others).check_same(tiny.alone)
    assert engine.num_preempted, "the cache was not small enough to show anything"


def test_tiny_replayed_as_by_modules(tiny: Case) -> None:
    check_replay(tiny)


def test_tiny_after_a_prefix_hit_as_alone(tiny: Case) -> None:
    check_prefix_hit(tiny)


def test_tiny_samples_of_one_prompt_as_alone(tiny: Case) -> None:
    check_samples(tiny)


def test_tiny_speculated_as_alone(tiny: Case) -> None:
    check_speculated(tiny)


def test_tiny_drafted_for_as_alone(tiny: Case) -> None:
    check_drafted(tiny)


def test_tiny_scored_as_sampled(tiny: Case) -> None:
    check_score(tiny)


def test_tiny_vectors_whole_as_in_chunks(tiny: Case) -> None:
    check_vectors(tiny)


@pytest.mark.real
@pytest.mark.slow
def test_real_alone_as_in_a_crowd(real: Case) -> None:
    check_crowd(real)


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.parametrize("chunk", [1, 7, 64])
def test_real_whole_as_in_chunks(real: Case, chunk: int) -> None:
    check_chunks(real, chunk)


@pytest.mark.real
@pytest.mark.slow
def test_real_preempted_as_alone(real: Case) -> None:
    engine = watched(real.llm, cache_tokens=512)
    others = [random_prompt(31, real.vocab, seed=i) for i in range(11)]
    real.answer(engine, others).check_same(real.alone)
    assert engine.num_preempted, "the cache was not small enough to show anything"


@pytest.mark.real
def test_real_after_a_prefix_hit_as_alone(real: Case) -> None:
    check_prefix_hit(real)


@pytest.mark.real
def test_real_samples_of_one_prompt_as_alone(real: Case) -> None:
    check_samples(real)


@pytest.mark.real
def test_real_speculated_as_alone(real: Case) -> None:
    check_speculated(real)


def test_real_drafted_for_as_alone(real: Case) -> None:
    check_drafted(real)


@pytest.mark.real
def test_real_scored_as_sampled(real: Case) -> None:
    check_score(real)


@pytest.mark.real
def test_real_replayed_as_by_modules(real: Case) -> None:
    check_replay(real)


BY_THREADS = """
import sys
import torch
from tests.invariants.test_bits import Case
from tongwen.engine.llm import LLM
from tongwen.kernels.machine import machine
llm = LLM(sys.argv[1], weights=sys.argv[2], context=512)
alone = Case(llm, 45).alone
print(machine().threads, alone.token_ids, [p.hex() for p in alone.logprobs])
print(alone.logits.view(dtype=torch.int32).sum(-1).tolist())
"""


def on_threads(model: Path, weights: str, threads: int) -> list[str]:
    """What one process with so many threads computes."""
    root = Path(__file__).resolve().parents[2]
    ran = subprocess.run(
        [sys.executable, "-c", BY_THREADS, str(model), weights],
        env={**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stderr
    used, _, numbers = ran.stdout.partition(" ")
    assert int(used) == threads
    return numbers.splitlines()


@pytest.mark.parametrize("weights", ["file", "int4"])
def test_tiny_on_one_thread_as_on_three(weights: str, directories: dict[str, Path]) -> None:
    sparse = directories["sparse"]
    assert on_threads(sparse, weights, 1) == on_threads(sparse, weights, 3)


@pytest.mark.parametrize("weights", ["file", "int8", "int4"])
def test_tiny_experts_at_once_as_one_by_one(weights: str, directories: dict[str, Path]) -> None:
    """Which then are modules, called: nothing is recorded."""
    case = Case(LLM(directories["sparse"], weights=weights, context=512), SHORT)
    mixture = case.llm.model.model.layers[0].mlp
    mixture.experts = one_by_one(mixture.experts)
    engine = watched(case.llm)
    assert engine.runner.machine is None
    case.answer(engine, crowd(case.vocab)).check_same(case.alone)


@pytest.mark.real
@pytest.mark.slow
def test_real_on_one_thread_as_on_two(real_gguf: Path) -> None:
    assert on_threads(real_gguf, "file", 1) == on_threads(real_gguf, "file", 2)


DAMAGED = {
    "model.layers.1.input_layernorm.weight": "model.layers.1.input_layernorm",
    "model.norm.weight": "model.norm",
    "model.layers.0.self_attn.q_proj.weight": "model.layers.0.self_attn",
    "model.layers.0.self_attn.k_proj.weight": "model.layers.0.self_attn",
    "model.layers.1.self_attn.o_proj.weight": "model.layers.1.self_attn.o_proj",
    "model.layers.1.mlp.down_proj.weight": "model.layers.1.mlp.down_proj",
    "lm_head.weight": "lm_head",
}
"""What is damaged, and which module is then named."""


DAMAGED_MIXTURE = {
    "model.layers.0.mlp.gate.weight": "model.layers.0.mlp.gate",
    "model.layers.0.mlp.experts.1.up_proj.weight": "model.layers.0.mlp.experts",
    "model.layers.0.mlp.shared_expert.down_proj.weight": (
        "model.layers.0.mlp.shared_expert.down_proj"
    ),
    "model.layers.0.mlp.shared_expert_gate.weight": "model.layers.0.mlp.shared_expert_gate",
}
"""Likewise, where experts are routed."""


@pytest.mark.parametrize("weights", ["file", "int8"])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("tensor", [*DAMAGED, *DAMAGED_MIXTURE])
def test_damaged_weights_fail_the_request_by_name(
    tensor: str, value: float, weights: str, tmp_path: Path
) -> None:
    config = SPARSE if tensor in DAMAGED_MIXTURE else DENSE
    named = (DAMAGED | DAMAGED_MIXTURE)[tensor]
    llm = LLM(save_random(tmp_path / "damaged", config, tensor, value), weights=weights, context=64)
    engine = watched(llm, cache_tokens=512)
    request = engine.add([1, 2, 3], PARAMS)
    while engine.has_requests:
        engine.step()
    assert request.token_ids == []
    with pytest.raises(CheckpointError, match=f"not finite.*`{named}`"):
        request.completion()
