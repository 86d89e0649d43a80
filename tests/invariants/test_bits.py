"""A request's logits, tokens and log-probabilities are the same bits however it is served."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tests.invariants.watched import (
    DENSE,
    SPARSE,
    Answer,
    WatchedEngine,
    answer,
    random_prompt,
    save_random,
    watched,
)

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

    def answer(self, engine: WatchedEngine, others: list[list[int]] | None = None) -> Answer:
        return answer(engine, self.prompt, PARAMS, others)


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


def test_tiny_replayed_as_by_modules(tiny: Case) -> None:
    if tiny.llm.config.num_experts:
        assert watched(tiny.llm).runner.machine is None, "experts are chosen: nothing to replay"
    else:
        check_replay(tiny)


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


@pytest.mark.parametrize("shape", ["sparse"])
def test_tiny_on_one_thread_as_on_three(shape: str, directories: dict[str, Path]) -> None:
    assert on_threads(directories[shape], "file", 1) == on_threads(directories[shape], "file", 3)


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


@pytest.mark.parametrize("weights", ["file", "int8"])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("tensor", DAMAGED)
def test_damaged_weights_fail_the_request_by_name(
    tensor: str, value: float, weights: str, tmp_path: Path
) -> None:
    llm = LLM(save_random(tmp_path / "damaged", DENSE, tensor, value), weights=weights, context=64)
    engine = watched(llm, cache_tokens=512)
    request = engine.add([1, 2, 3], PARAMS)
    while engine.has_requests:
        engine.step()
    assert request.token_ids == []
    with pytest.raises(CheckpointError, match=f"not finite.*`{DAMAGED[tensor]}`"):
        request.completion()
