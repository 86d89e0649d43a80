"""Without the native kernels, or switched off, the same model answers: slower, and closely."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tests.invariants.watched import DENSE, SPARSE, answer, random_prompt, save_random, watched
from torch import Tensor

from tongwen.engine.llm import LLM
from tongwen.engine.params import SamplingParams
from tongwen.kernels.machine import machine

ROOT = Path(__file__).resolve().parents[2]

PROMPTS = [
    "The capital of France is",
    "def fibonacci(n):",
    "SELECT name FROM users WHERE",
    "中国的首都是",
    "عاصمة مصر هي",
    "Once upon a time there was a king who",
    "1, 2, 3, 4, 5,",
    "#include <stdio.h>\nint main(void) {",
    "Столица России —",
    "import numpy as np\n\nx = np.",
    "The derivative of x squared is",
    "<html><head><title>",
    "Der Hund läuft über die",
    "for i in range(10):\n    print(",
    "To be, or not to be, that is the",
    "git commit -m",
    "水の化学式は",
    "class Stack:\n    def __init__(self):",
    "Water boils at",
    "The opposite of hot is",
]
MOST_KL = 5e-3
"""Mean divergence that rounding activations to 8 bits and the cache to bfloat16 may cost."""

PLAIN = """
import sys, torch
from tests.invariants.test_twins import next_logprobs
from tongwen.engine.llm import LLM
from tongwen.kernels.machine import machine
assert machine() is None
torch.save(next_logprobs(LLM(sys.argv[1], weights="file", context=512)), sys.argv[2])
"""

UNBUILT = """
import sys
sys.modules["tongwen.kernels._native"] = None  # importing it now fails as if it did not exist
from tongwen.engine.llm import LLM
from tongwen.engine.params import SamplingParams
for weights in ("auto", "int8", "int4"):
    llm = LLM(sys.argv[1], weights=weights, context=64)
    done = llm.generate([[1, 2, 3]], SamplingParams(max_tokens=2, ignore_eos=True))[0]
    print(len(done.token_ids))
"""


def next_logprobs(llm: LLM) -> Tensor:
    """Log-probabilities of every token that may follow each prompt."""
    first = SamplingParams(temperature=0, repetition_penalty=1.0, max_tokens=1)
    rows = [
        answer(watched(llm), llm.tokenizer.encode(prompt), first).logits[0] for prompt in PROMPTS
    ]
    return torch.stack(rows).double().log_softmax(-1)


def run(program: str, *arguments: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a program in a process of its own."""
    ran = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stderr
    return ran


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.skipif(machine() is None, reason="there is one side only")
def test_native_predicts_what_plain_predicts(real_gguf: Path, tmp_path: Path) -> None:
    run(PLAIN, real_gguf, tmp_path / "plain.pt", TONGWEN_KERNELS="plain", OMP_NUM_THREADS="1")
    plain = torch.load(tmp_path / "plain.pt")
    native = next_logprobs(LLM(real_gguf, weights="file", context=512))
    divergences = (plain.exp() * (plain - native)).sum(-1)
    for prompt, divergence in zip(PROMPTS, divergences.tolist(), strict=True):
        sys.stdout.write(f"{divergence:.1e}  {prompt!r}\n")
    assert divergences.min() >= -1e-9
    assert 0 < divergences.mean() <= MOST_KL, divergences.tolist()


@pytest.mark.skipif(machine() is None, reason="there is one side only")
@pytest.mark.parametrize(("weights", "most"), [("bf16", 0.02), ("int8", 0.05)])
def test_a_mixture_natively_scores_as_plainly(weights: str, most: float, tmp_path: Path) -> None:
    """Rounding activations moves a token's log-probability by some hundredths.

    Where two experts nearly tie it may send a token elsewhere: the median judges.
    """
    path = save_random(tmp_path / "sparse", SPARSE)
    prompt = random_prompt(300, SPARSE.vocab_size, seed=4)
    [plain], [native] = (
        LLM(path, weights=kind, context=512).score([prompt]) for kind in ("float32", weights)
    )
    apart = (torch.tensor(plain[1:]) - torch.tensor(native[1:])).abs()
    assert 0 < apart.median() < most


def test_without_the_extension_everything_answers_and_says_so_once(tmp_path: Path) -> None:
    ran = run(UNBUILT, save_random(tmp_path / "tiny", DENSE))
    assert ran.stdout.split() == ["2", "2", "2"]
    assert ran.stderr.count("native kernels were not built") == 1
    assert len(ran.stderr.splitlines()) == 1
