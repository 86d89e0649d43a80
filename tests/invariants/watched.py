"""An engine that shows the logits it samples from, and tiny models to run in it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from tongwen.checkpoint.configs import GenerationDefaults
from tongwen.checkpoint.save import save_checkpoint
from tongwen.checkpoint.tensor_names import entries
from tongwen.engine.batch import Part
from tongwen.engine.engine import Engine, EngineConfig
from tongwen.engine.llm import LLM
from tongwen.engine.params import SamplingParams
from tongwen.engine.request import Request
from tongwen.engine.sampler import Sample
from tongwen.engine.scheduler import SchedulerConfig
from tongwen.engine.speculate import PromptLookup
from tongwen.engine.turn import Turn
from tongwen.model.config import Qwen2Config
from tongwen.model.linear import PackedLinear
from tongwen.model.mlp import MLP, Experts, PackedExperts
from tongwen.tokenizer.bpe import Tokenizer, byte_alphabet

CONTEXT = 512


class WatchedEngine(Engine):
    """Keeps the logits of every sampled token."""

    seen: dict[int, list[Tensor]]
    num_preempted = 0

    def step(self) -> list[Request]:
        """A step; counts who had to give back what was computed."""
        running = list(self.scheduler.running)
        moved = super().step()
        self.num_preempted += sum(request in running for request in self.scheduler.waiting)
        return moved

    def _sample(self, parts: list[Part], logits: Tensor) -> list[Request]:
        self._rows = logits.clone()  # sampling overwrites them
        return super()._sample(parts, logits)

    def _accept(self, turn: Turn, sample: Sample, find_damage: Callable[[], str | None]) -> bool:
        self.seen.setdefault(turn.request.request_id, []).append(self._rows[turn.row])
        return super()._accept(turn, sample, find_damage)


def watched(
    llm: LLM,
    *,
    max_batch_tokens: int = 512,
    max_requests: int = 64,
    cache_tokens: int = 64 * 160,
    replay: bool = True,
    prefix_cache: bool = True,
) -> WatchedEngine:
    """An engine around the model of `llm`."""
    engine = WatchedEngine(
        llm.model,
        llm.tokenizer,
        defaults=llm.generation,
        eos_token_ids=frozenset(llm.generation.eos_token_ids),
        config=EngineConfig(
            context=CONTEXT,
            cache_tokens=cache_tokens,
            scheduler=SchedulerConfig(
                max_batch_tokens=max_batch_tokens,
                max_requests=max_requests,
                prefix_cache=prefix_cache,
            ),
        ),
    )
    engine.seen = {}
    if not replay:
        assert engine.runner.machine is not None, "nothing is replayed anyway"
        engine.runner.machine = None
    return engine


@dataclass(frozen=True, slots=True)
class Answer:
    """All numbers of one completion."""

    token_ids: list[int]
    logprobs: list[float]
    logits: Tensor

    def check_same(self, other: "Answer") -> None:
        """Every bit, not closeness."""
        assert torch.equal(self.logits, other.logits)
        assert self.token_ids == other.token_ids
        assert self.logprobs == other.logprobs


def answer(
    engine: WatchedEngine,
    prompt: list[int],
    params: SamplingParams,
    crowd: list[list[int]] | None = None,
) -> Answer:
    """The answer to `prompt`, which arrives in the middle of `crowd`."""
    others = crowd or []
    half = len(others) // 2
    requests = [engine.add(p, params) for p in (*others[:half], prompt, *others[half:])]
    while engine.has_requests:
        engine.step()
    done = requests[half].completion()
    return Answer(
        done.token_ids, done.logprobs, torch.stack(engine.seen[requests[half].request_id])
    )


def random_prompt(tokens: int, vocab: int, seed: int) -> list[int]:
    """Token ids that nobody chose."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, vocab, (tokens,), generator=generator).tolist()


DENSE = Qwen2Config(
    vocab_size=288,
    hidden_size=128,
    intermediate_size=224,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=1,
    max_position_embeddings=CONTEXT,
    rope_theta=10_000.0,
    rms_norm_eps=1e-6,
    tie_word_embeddings=False,
)
SPARSE = Qwen2Config(
    vocab_size=288,
    hidden_size=128,
    intermediate_size=224,
    num_hidden_layers=1,
    num_attention_heads=2,
    num_key_value_heads=2,
    max_position_embeddings=CONTEXT,
    rope_theta=10_000.0,
    rms_norm_eps=1e-6,
    tie_word_embeddings=False,
    num_experts=5,
    num_experts_per_tok=2,
    moe_intermediate_size=64,
    shared_expert_intermediate_size=96,
)


def save_random(
    directory: Path, config: Qwen2Config, damaged: str | None = None, value: float = torch.nan
) -> Path:
    """A random model in bfloat16, one number of the tensor `damaged` replaced by `value`."""
    generator = torch.Generator().manual_seed(3)
    weights = {
        name: torch.randn(entry.shape, generator=generator).mul(0.15).bfloat16()
        for name, entry in entries(config).items()
    }
    for name in weights:
        if "norm" in name:
            weights[name] += 1
    if damaged is not None:
        weights[damaged].view(-1)[7] = value
    alphabet = list(byte_alphabet().values())
    save_checkpoint(
        directory,
        config=config,
        tensors=weights.items(),
        generation=GenerationDefaults(eos_token_ids=(256,)),
        tokenizer=Tokenizer.from_vocabulary(alphabet, [], control={"<|endoftext|>": 256}),
    )
    return directory


def one_by_one(packed: PackedExperts) -> Experts:
    """The same experts, each called in its turn."""
    experts = Experts(MLP(32, 32) for _ in packed.gate.weights)
    for i, expert in enumerate(experts):
        for name, matrix in (
            ("gate_proj", packed.gate),
            ("up_proj", packed.up),
            ("down_proj", packed.down),
        ):
            expert.set_submodule(name, PackedLinear(packed.machine, matrix.weights[i]))
    return experts


class CountingLookup(PromptLookup):
    """Drafts eagerly, now and then something wrong, and counts what was right."""

    def __init__(self) -> None:
        super().__init__(ngram=1, least=2, max_requests=64)
        self.drafted = self.right = self.proposed = 0

    def propose(self, requests: Sequence[Request]) -> None:
        super().propose(requests)
        for request in requests:
            self.proposed += bool(request.draft_ids)
            if request.draft_ids and self.proposed % 3 == 0:
                request.draft_ids[-1] += 1

    def learn(self, request: Request, num_drafts: int, num_right: int) -> None:
        super().learn(request, num_drafts, num_right)
        self.drafted, self.right = self.drafted + num_drafts, self.right + num_right
