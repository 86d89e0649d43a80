"""Tiny engines: a random float64 model, a tokenizer of printable characters, small caches."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import pytest
import torch

from tongwen.engine.admission import Admission
from tongwen.engine.completion import Completion
from tongwen.engine.engine import Engine, EngineConfig
from tongwen.engine.grammar import Grammars
from tongwen.engine.llm import best_completions
from tongwen.engine.params import SamplingParams
from tongwen.engine.scheduler import SchedulerConfig
from tongwen.model.config import Qwen2Config, Yarn
from tongwen.model.qwen2 import Qwen2ForCausalLM
from tongwen.tokenizer.bpe import Tokenizer, byte_alphabet
from tongwen.tokenizer.special import QWEN2_5
from tongwen.tokenizer.train import train_tokenizer

PRINTABLE, EOS, VOCAB = 95, 256, 264
CONTEXT = 48


@dataclass(frozen=True)
class Plain:
    """Sampling values of a checkpoint that recommends nothing."""

    do_sample: bool = True
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int | None = None
    repetition_penalty: float = 1.0


Run = Callable[..., list[Completion]]


@pytest.fixture(autouse=True, scope="package")
def _one_thread() -> Iterator[None]:
    """Threads waiting for each other cost tiny models more than they bring, and more so in CI."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    """One token for each byte, those of printable characters first, and an end."""
    alphabet = byte_alphabet()
    printable = range(ord(" "), ord("~") + 1)
    order = [*printable, *(byte for byte in alphabet if byte not in printable)]
    tokens = [alphabet[byte] for byte in order]
    return Tokenizer.from_vocabulary(tokens, [], control={"<|end|>": EOS}, num_rows=VOCAB)


@pytest.fixture(scope="session")
def words() -> Tokenizer:
    """A trained vocabulary with all control tokens of Qwen2.5."""
    texts = ['{"name": "value", "next": [1, 2.5, null], "a b": true}\n', "2024-01-01T00:00:00Z é"]
    return train_tokenizer(texts * 9, 420, [token.text for token in QWEN2_5])


@pytest.fixture(scope="session")
def num_rows(words: Tokenizer) -> int:
    """Rows of logits for `words`, some of them padding."""
    return len(words) + 28


@pytest.fixture(scope="session")
def grammars(words: Tokenizer, num_rows: int) -> Grammars:
    """Compiles constraints over `words`, with the ends of a Qwen2.5 instruct model."""
    ends = [words.control["<|im_end|>"], words.control["<|endoftext|>"]]
    return Grammars(words, num_rows=num_rows, eos_token_ids=ends)


@pytest.fixture(scope="session")
def models(tiny_config_of_engines: Qwen2Config) -> dict[str, Qwen2ForCausalLM]:
    """Models of every kind that a cache must serve, with rows of padding in the embedding."""
    base = tiny_config_of_engines
    window = {"use_sliding_window": True, "sliding_window": 6, "max_window_layers": 1}
    moe = {
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 8,
        "shared_expert_intermediate_size": 12,
    }
    yarn = Yarn(factor=4.0, original_max_position_embeddings=16)
    configs = {
        "dense": base,
        "windowed": replace(base, **window),
        "moe": replace(base, **moe),
        "yarn": replace(base, rope_scaling=yarn),
    }
    return {name: random_model(config) for name, config in configs.items()}


@pytest.fixture(scope="session")
def tiny_config_of_engines() -> Qwen2Config:
    """Two layers, untied: rows of the embedding can be damaged without damaging all logits."""
    return Qwen2Config(
        vocab_size=VOCAB,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        rope_theta=10_000.0,
        rms_norm_eps=1e-6,
        tie_word_embeddings=False,
    )


def random_model(config: Qwen2Config) -> Qwen2ForCausalLM:
    generator = torch.Generator().manual_seed(21)
    model = Qwen2ForCausalLM(config).double()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.normal_(1.0 if "norm" in name else 0.0, 0.3, generator=generator)
        model.lm_head.weight[PRINTABLE:EOS] = 0.0  # never the largest logit: greedy text is ASCII
    return model.requires_grad_(False).eval()


@pytest.fixture(scope="session")
def make_engine(tokenizer: Tokenizer) -> Callable[..., Engine]:
    """Makes an engine; by default nothing is ever short."""

    def make(
        model: Qwen2ForCausalLM,
        *,
        cache_tokens: int = 1000,
        block_size: int = 4,
        max_batch_tokens: int = 512,
        max_requests: int = 64,
        max_waiting: int | None = None,
        prefix_cache: bool = True,
    ) -> Engine:
        return Engine(
            model,
            tokenizer,
            defaults=Plain(),
            eos_token_ids=frozenset({EOS}),
            config=EngineConfig(
                context=CONTEXT,
                cache_tokens=cache_tokens,
                block_size=block_size,
                scheduler=SchedulerConfig(
                    max_batch_tokens=max_batch_tokens,
                    max_requests=max_requests,
                    max_waiting=max_waiting,
                    prefix_cache=prefix_cache,
                ),
            ),
        )

    return make


@pytest.fixture(scope="session")
def run_all() -> Run:
    """Runs requests to their ends, checking the engine's invariants after every step."""

    def run(
        engine: Engine,
        prompts: Sequence[list[int]],
        params: Sequence[SamplingParams],
        admissions: Sequence[Admission | None] | None = None,
    ) -> list[Completion]:
        asked = zip(prompts, params, admissions or [None] * len(prompts), strict=True)
        groups = [engine.add(*one) for one in asked]
        everyone = [[leader, *leader.followers] for leader in groups]
        while engine.has_requests:
            engine.step()
            engine.scheduler.check()
        assert not [*engine.scheduler.waiting, *engine.scheduler.running]
        assert engine.scheduler.pool.num_free == engine.scheduler.pool.num_blocks
        return [best_completions(requests) for requests in everyone]

    return run
