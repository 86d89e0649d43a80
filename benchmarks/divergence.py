"""How far predictions stray: windows of a text, hidden states of the plain twin, their difference.

Logits of a window are 311 MB, hidden states 1.8 MB: so a twin's hidden states are kept, computed
once in a process without native kernels, and its logits are made again when they are compared.
"""

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import exp
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tongwen.checkpoint.load import Weights, load_model, open_checkpoint, plan_weights
from tongwen.checkpoint.packing import rounded
from tongwen.kernels.rope import rotate
from tongwen.model.attention import PackedCausal
from tongwen.model.qwen2 import Qwen2ForCausalLM
from tongwen.model.stream import Stream
from tongwen.tokenizer.bpe import Tokenizer

ROWS = 64
"""Rows of logits that are compared at a time."""

GROUP = 32
"""Activations that share a scale."""

Windows = list[list[int]]


def read_windows(tokenizer: Tokenizer, data: Path, count: int, length: int) -> Windows:
    """The first `count` windows of `length` tokens of wikitext-2's test part."""
    with gzip.open(data / "wikitext2/wiki_test_raw.jsonl.gz", "rt", encoding="utf-8") as rows:
        text = "\n".join(json.loads(row)["text"] for row in rows)
    # Eight characters a token are more than any window of English takes.
    ids = tokenizer.encode(text[: 8 * count * length])
    windows = [ids[start : start + length] for start in range(0, count * length, length)]
    assert len(windows[-1]) == length, "the text is too short"
    return windows


# ---- the plain twin


def twin(path: Path, weights: Weights) -> Qwen2ForCausalLM:
    """The model in plain float32, over the values that `weights` stores."""
    source, cpu = open_checkpoint(path), torch.device("cpu")
    kept = weights if weights in ("int8", "int4") else "float32"
    model = load_model(source, plan_weights(source, kept, cpu), cpu)
    if weights == "bf16":
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.copy_(parameter.bfloat16())
    return model


def head_values(path: Path, weights: Weights) -> Tensor:
    """The head of the same twin, [vocab, dim]."""
    source = open_checkpoint(path)
    is_tied = source.config.tie_word_embeddings
    name = "model.embed_tokens.weight" if is_tied else "lm_head.weight"
    values = source.tensor(name, torch.bfloat16 if weights == "bf16" else torch.float32).float()
    return rounded(values, weights) if weights in ("int8", "int4") else values


def twin_hidden(
    path: Path, weights: Weights, windows: Windows, scratch: Path, *, rounding: str = ""
) -> list[Tensor]:
    """Hidden states of the twin for each window, computed in a process with plain kernels."""
    asked, found = scratch / "windows.json", scratch / "hidden.pt"
    asked.write_text(json.dumps(windows), encoding="utf-8")
    subprocess.run(
        [sys.executable, __file__, str(path), weights, str(asked), str(found), rounding],
        env={**os.environ, "TONGWEN_KERNELS": "plain"},
        check=True,
    )
    return torch.load(found)


@torch.inference_mode()
def write_hidden(path: str, weights: Weights, asked: str, found: str, rounding: str) -> None:
    """What `twin_hidden` lets another process do."""
    model = twin(Path(path), weights)
    attend = RoundedCausal if rounding == "attention" else PackedCausal
    for name, module in model.named_modules():
        if rounding and name.endswith(tuple(rounding.split(","))):
            module.register_forward_pre_hook(_round_input)
    hidden = []
    for window in json.loads(Path(asked).read_text(encoding="utf-8")):
        stream = Stream(attend=attend([len(window)], model.config))
        hidden.append(model.model(torch.tensor(window), stream))
    torch.save(hidden, found)


# ---- what the native kernels round, done to the twin one kind at a time


def to_8_bits(x: Tensor) -> Tensor:
    """Activations as the kernels' products see them: 8 bits, a scale for each group."""
    groups = x.unflatten(-1, (-1, GROUP))
    scale = groups.abs().amax(-1, keepdim=True).clamp_min(1e-30) / 127
    return ((groups / scale).round() * scale).flatten(-2)


def _round_input(_: nn.Module, inputs: tuple[Tensor, Stream]) -> tuple[Tensor, Stream]:
    x, stream = inputs
    return to_8_bits(x), stream


class RoundedCausal(PackedCausal):
    """Attention as the kernels compute it: queries, keys, values and weights in bfloat16."""

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend within the only document; sums are float32."""
        [length] = self.lengths
        q, k = rotate(q, self.rotation), rotate(k, self.rotation)
        q, k, v = _bf16(q * q.shape[-1] ** -0.5), _bf16(k), _bf16(v)
        k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], dim=1) for x in (k, v))
        scores = torch.einsum("qhd,khd->hqk", q, k)
        hidden = torch.ones(length, length, dtype=torch.bool).triu(1)
        scores.masked_fill_(hidden, -torch.inf)
        weights = (scores - scores.amax(-1, keepdim=True)).exp()
        read = torch.einsum("hqk,khd->hqd", _bf16(weights), v) / weights.sum(-1, keepdim=True)
        return read.transpose(0, 1)


def _bf16(x: Tensor) -> Tensor:
    return x.bfloat16().float()


# ---- the difference


@dataclass(slots=True)
class Divergence:
    """How one model's predictions differ from another's, window by window."""

    kl: list[float] = field(default_factory=list)
    """Mean KL divergence of each window, in nats, of the approximation from the reference."""

    agreement: list[float] = field(default_factory=list)
    """Share of positions whose most probable token is the same."""

    true_nll: list[float] = field(default_factory=list)
    """Mean negative log-likelihood of the text under the reference."""

    nll: list[float] = field(default_factory=list)
    """The same under the approximation."""

    @property
    def perplexity(self) -> float:
        """Under the approximation."""
        return exp(_mean(self.nll))

    @property
    def true_perplexity(self) -> float:
        """Under the reference."""
        return exp(_mean(self.true_nll))

    def figures(self) -> dict[str, float | list[float]]:
        """What is reported."""
        return {
            "kl": _mean(self.kl),
            "kl_spread": [min(self.kl), max(self.kl)],
            "agreement": _mean(self.agreement),
            "perplexity": self.perplexity,
            "true_perplexity": self.true_perplexity,
            "perplexity_change": self.perplexity / self.true_perplexity - 1,
        }

    def add(self, hidden: Tensor, head: Tensor, logits: Tensor, window: list[int]) -> None:
        """Compare one window: logits of the reference are `hidden @ head.T`.

        Log-probabilities are float32: each errs by 1e-6 at most, and a divergence is their mean
        difference, so by less; sums are float64.
        """
        targets = torch.tensor([*window[1:], 0]).unsqueeze(-1)
        kl, same, true_nll, nll = [], [], [], []
        for start in range(0, len(window), ROWS):
            rows = slice(start, start + ROWS)
            true = F.linear(hidden[rows], head).log_softmax(-1)
            found = logits[rows].log_softmax(-1)
            same.append((true.argmax(-1) == found.argmax(-1)).double())
            true_nll.append(-true.gather(-1, targets[rows]).squeeze(-1).double())
            nll.append(-found.gather(-1, targets[rows]).squeeze(-1).double())
            kl.append((true.exp() * true.sub_(found)).sum(-1, dtype=torch.float64))
        self.kl.append(float(torch.cat(kl).mean()))
        self.agreement.append(float(torch.cat(same).mean()))
        self.true_nll.append(float(torch.cat(true_nll)[:-1].mean()))
        self.nll.append(float(torch.cat(nll)[:-1].mean()))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


if __name__ == "__main__":
    write_hidden(*sys.argv[1:])  # type: ignore[arg-type]
