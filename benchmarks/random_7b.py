"""Does a model of 7B at 4 bits fit as the small ones do, and run at the same share of the wall?

    python benchmarks/random_7b.py --dir DIR_WITH_ROOM [--size 7b] [--layers N]

Writes a GGUF of a published shape with random blocks (Q4_K, the head Q6_K, as a Q4_K_M file has
them) into a directory that is deleted afterwards, and loads it twice, each time in a process of its
own with a home of its own: the first packs it and keeps what it packed, the second maps that.
Memory is that of the process less what its imports took: `peak` while loading, `serving` while
decoding too.  A real model beside it gives the share of the read bandwidth that decoding reaches
there.  Needs twice the model's size on the disk, and 2 GiB.
"""

import json
import math
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter
from harness import MODEL, parser, significant, surroundings

from tongwen.checkpoint.tensor_names import Shape, entries
from tongwen.model.config import Qwen2Config
from tongwen.model.presets import SIZES, preset
from tongwen.quant.format import BlockFormat, format_named
from tongwen.tokenizer.bpe import byte_alphabet

QUESTION = "Memory of loading and share of the read bandwidth in decoding: a random 7B at 4 bits"
CONTEXT = 4096
_NORMAL, _UNUSED = 1, 5
# Where a block's fp16 factors stand, and such values of them that weights come to about 0.02.
_FACTORS = {"Q4_K": {0: 1.4e-4, 2: 1.05e-3}, "Q6_K": {208: 1.5e-5}, "Q4_0": {0: 4.3e-3}}

RUN = """
import json, sys
from pathlib import Path
from tongwen.engine.bench import measure
from tongwen.engine.llm import LLM

def resident(key):
    with open("/proc/self/status") as status:
        [line] = [line for line in status if line.startswith(key + ":")]
    return int(line.split()[1]) * 1024

before = resident("VmRSS")
home = Path(sys.argv[2]) if sys.argv[2] else None
llm = LLM(sys.argv[1], context=4096, home=home, speculate=False)
found = {
    "weights": llm.plan.weights_bytes,
    "load_s": llm.load_s,
    "peak": resident("VmHWM") - before,
    "anonymous": resident("RssAnon"),
}
if "decode" in sys.argv:
    speed = measure(llm, "decode", repeats=3)
    found |= {
        "serving": resident("VmHWM") - before,
        "anonymous_serving": resident("RssAnon"),
        "tokens_per_s": speed.tokens_per_s,
        "read_gb_per_s": speed.read_gb_per_s,
        "wall_share": speed.wall_share,
    }
print(json.dumps(found))
"""


def write_model(path: Path, config: Qwen2Config) -> None:
    """Write a GGUF of this shape, one tensor in memory at a time."""
    writer = GGUFWriter(path, "qwen2moe" if config.num_experts else "qwen2")
    _describe(writer, config)
    shapes = _stacked_shapes(config)
    for name, shape in shapes.items():
        stored, format = _stored_shape(name, shape)
        dtype = np.dtype(np.float32 if format is None else np.uint8)
        kind = None if format is None else GGMLQuantizationType(format.type_id)
        writer.add_tensor_info(name, stored, dtype, math.prod(stored) * dtype.itemsize, kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    generator = np.random.default_rng(0)
    pool = np.frombuffer(generator.bytes(64 << 20), np.uint8)
    for name, shape in shapes.items():
        writer.write_tensor_data(_values(name, shape, pool))
    writer.close()


def _describe(writer: GGUFWriter, config: Qwen2Config) -> None:
    """The shape, and a vocabulary of single bytes and padding."""
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_freq_base(config.rope_theta)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    if config.num_experts:
        writer.add_expert_count(config.num_experts)
        writer.add_expert_used_count(config.num_experts_per_tok)
        writer.add_expert_feed_forward_length(config.moe_intermediate_size)
        writer.add_expert_shared_feed_forward_length(config.shared_expert_intermediate_size)
    tokens = [*byte_alphabet().values(), "ab"]
    padding = [f"[PAD{i}]" for i in range(len(tokens), config.vocab_size)]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens + padding)
    writer.add_token_types([_NORMAL] * len(tokens) + [_UNUSED] * len(padding))
    writer.add_token_merges(["a b"])


def _stacked_shapes(config: Qwen2Config) -> dict[str, Shape]:
    """Shapes by name in the file, experts one upon the other."""
    shapes = {}
    for entry in entries(config).values():
        stack = () if entry.expert is None else (config.num_experts,)
        shapes[entry.gguf] = (*stack, *entry.shape)
    return shapes


def _format_of(name: str, shape: Shape) -> BlockFormat | None:
    """As a Q4_K_M file has it; `None`: float32, for vectors and for what decides."""
    if len(shape) == 1 or "gate_inp" in name:
        return None
    if shape[-1] % 256:
        return format_named("Q4_0")
    return format_named("Q6_K" if name == "output.weight" else "Q4_K")


def _stored_shape(name: str, shape: Shape) -> tuple[Shape, BlockFormat | None]:
    format = _format_of(name, shape)
    if format is None:
        return shape, None
    return (*shape[:-1], format.row_bytes(shape[-1])), format


def _values(name: str, shape: Shape, pool: np.ndarray) -> np.ndarray:
    """Ones for norms, nothing for other vectors, random blocks of sane size for matrices."""
    stored, format = _stored_shape(name, shape)
    if "gate_inp" in name:  # of zeros, a router would send everyone to the first experts
        return np.random.default_rng(0).normal(0, 0.05, shape).astype(np.float32)
    if format is None:
        return np.full(shape, 1.0 if "norm" in name else 0.0, np.float32)
    blocks = np.resize(pool, math.prod(stored)).reshape(-1, format.block_bytes)
    for at, value in _FACTORS[format.name].items():
        blocks[:, at : at + 2] = np.frombuffer(np.float16(value).tobytes(), np.uint8)
    return blocks.reshape(stored)


def run(model: str, home: Path | None, *work: str) -> dict[str, Any]:
    """What one process found."""
    command = [sys.executable, "-c", RUN, model, str(home or ""), *work]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout)
    for name in ("peak", "serving"):
        if name in found:
            found[f"{name}_over_weights"] = found[name] / found["weights"]
    return {name: significant(value) for name, value in found.items()}


def main() -> None:
    """Write, measure, delete and print."""
    if sys.platform != "linux":
        sys.exit("random_7b.py reads /proc/self/status, which only Linux has")
    made = parser(QUESTION, repeats=1)
    made.add_argument("--model", default=MODEL, help="the real one beside it")
    made.add_argument("--size", choices=SIZES, default="7b")
    made.add_argument("--layers", type=int, help="fewer than the published model has")
    made.add_argument("--dir", type=Path, default=Path(tempfile.gettempdir()))
    asked = made.parse_args()
    config = preset(asked.size)
    config = replace(config, num_hidden_layers=asked.layers or config.num_hidden_layers)
    scratch = Path(tempfile.mkdtemp(dir=asked.dir, prefix="random-"))
    try:
        path = scratch / "model.gguf"
        write_model(path, config)
        results = {
            "first start": run(str(path), scratch / "home"),
            "second start": run(str(path), scratch / "home", "decode"),
        }
        kept_bytes = sum(file.stat().st_size for file in (scratch / "home/packed").glob("*"))
        results["files"] = {"stored": path.stat().st_size, "packed": kept_bytes}
    finally:
        shutil.rmtree(scratch)
    results[asked.model] = run(asked.model, None, "decode")
    line = {
        "benchmark": "random_7b",
        "question": QUESTION,
        "results": results,
        "settings": {"size": asked.size, "layers": config.num_hidden_layers, "context": CONTEXT},
        **surroundings(),
    }
    print(json.dumps(line, ensure_ascii=False), flush=True)


if __name__ == "__main__":
    main()
