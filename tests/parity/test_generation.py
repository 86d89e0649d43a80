"""Greedy completions of a tiny float32 model against transformers' `generate`, token for token."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
from transformers import PreTrainedModel

from tongwen.engine.engine import Engine, EngineConfig
from tongwen.engine.params import SamplingParams
from tongwen.model.config import Qwen2Config
from tongwen.model.qwen2 import Qwen2ForCausalLM
from tongwen.tokenizer.bpe import Tokenizer, byte_alphabet

VOCAB, NEW = 256, 24


@dataclass(frozen=True)
class Plain:
    """A checkpoint that recommends nothing."""

    do_sample: bool = False
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int | None = None
    repetition_penalty: float = 1.0


def make(config: Qwen2Config) -> Qwen2ForCausalLM:
    generator = torch.Generator().manual_seed(17)
    model = Qwen2ForCausalLM(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.normal_(1.0 if "norm" in name else 0.0, 0.2, generator=generator)
    return model.requires_grad_(False).eval()


@pytest.mark.parametrize("penalty", [1.0, 1.3])
@pytest.mark.parametrize("kind", ["dense", "moe"])
def test_greedy_completions_are_those_of_transformers(
    kind: str,
    penalty: float,
    tiny_config: Qwen2Config,
    twin: Callable[[Qwen2ForCausalLM], PreTrainedModel],
) -> None:
    config = replace(tiny_config, vocab_size=VOCAB, tie_word_embeddings=kind == "dense")
    if kind == "moe":
        config = replace(
            config,
            num_experts=4,
            num_experts_per_tok=2,
            moe_intermediate_size=16,
            shared_expert_intermediate_size=24,
        )
    model = make(config)
    theirs = twin(model)
    alphabet = list(byte_alphabet().values())
    engine = Engine(
        model,
        Tokenizer.from_vocabulary(alphabet, [], control={}),
        defaults=Plain(),
        eos_token_ids=frozenset(),
        config=EngineConfig(context=64, cache_tokens=256),
    )
    prompts = [[1], [9, 200, 31], list(range(40, 70))]
    params = SamplingParams(repetition_penalty=penalty, max_tokens=NEW)
    requests = [engine.add(prompt, params) for prompt in prompts]
    while engine.has_requests:
        engine.step()
    for prompt, request in zip(prompts, requests, strict=True):
        expected = theirs.generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
            max_new_tokens=NEW,
            do_sample=False,
            repetition_penalty=penalty,
            pad_token_id=0,
        )
        assert request.completion().token_ids == expected[0, len(prompt) :].tolist()
