"""Does a model fit into memory: told from its name or its header, before anything is fetched.

No tensor is needed for it, so that a refusal comes at once.
"""

import importlib.util
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tongwen.checkpoint.configs import CONFIG_FILE, config_from_json
from tongwen.checkpoint.gguf_config import qwen2_config
from tongwen.checkpoint.json_files import read_json
from tongwen.checkpoint.model_names import ModelName
from tongwen.checkpoint.offers import Offer, offers
from tongwen.errors import CapacityError, CheckpointError, ConfigError
from tongwen.model.account import count_parameters, kv_bytes_per_token
from tongwen.model.config import Qwen2Config
from tongwen.tokenizer.gguf import read_split

MIN_CONTEXT = 4_096
"""Tokens of context below which a model is of little use."""

WORKING_BYTES = 400 << 20
"""What a step needs besides weights and cache: activations of a chunk and rows of logits."""

GIB = 1 << 30

_MEMINFO, _CGROUP = Path("/proc/meminfo"), Path("/sys/fs/cgroup")
_VOCABULARY = ("tokens", "token_type", "merges", "scores")
_PACKED = ("-gptq-int4", "-gptq-int8", "-awq")
_MAX_LAYERS = 10_000

# Keys and values of one token, by number of parameters: 2 layers kv_heads head_dim.
_KV_VALUES = {
    494_032_768: 2 * 24 * 2 * 64,
    1_543_714_304: 2 * 28 * 2 * 128,
    1_777_088_000: 2 * 28 * 2 * 128,
    3_085_938_688: 2 * 36 * 2 * 128,
    7_615_616_512: 2 * 28 * 4 * 128,
    14_770_033_664: 2 * 48 * 8 * 128,
    32_763_876_352: 2 * 64 * 8 * 128,
    57_409_576_448: 2 * 28 * 4 * 128,
    72_706_203_648: 2 * 80 * 8 * 128,
    463_987_712: 2 * 24 * 16 * 64,
    1_836_828_672: 2 * 24 * 16 * 128,
    3_950_369_280: 2 * 40 * 20 * 128,
    7_721_324_544: 2 * 32 * 32 * 128,
    14_167_290_880: 2 * 40 * 40 * 128,
    32_512_218_112: 2 * 64 * 8 * 128,
    72_287_920_128: 2 * 80 * 64 * 128,
}

HEAD_DIMS = (64, 128)
"""Widths of a head that native attention knows."""

# GGML's numbers of the blocks that native kernels read, with values and bytes of one.
_NATIVE_BLOCKS = {
    2: (32, 18),
    3: (32, 20),
    6: (32, 22),
    7: (32, 24),
    8: (32, 34),
    12: (256, 144),
    13: (256, 176),
    14: (256, 210),
    30: (1, 2),
}
_NOT_NATIVE = ("q2_k", "q3_k_m", "fp16")
"""GGUF types of the table that have blocks of other kinds: they are held in float32."""

# Of one weight, its share of the scale included: groups of 32 with one fp16.
_BITS = {"int8": 8.5, "int4": 4.5}


@dataclass(frozen=True, kw_only=True, slots=True)
class Need:
    """The memory that a model takes when it runs."""

    weights_bytes: int
    context: int
    """Tokens for which keys and values are kept."""

    kv_bytes: int
    """Keys and values of that many tokens."""

    @property
    def total_bytes(self) -> int:
        """All of it, with what a step needs."""
        return self.weights_bytes + self.kv_bytes + WORKING_BYTES


@dataclass(frozen=True, kw_only=True, slots=True)
class Stored:
    """What is known of weights before they are read."""

    num_parameters: int
    num_bytes: int
    """Of the files."""

    is_bf16: bool
    """Whether the files hold bfloat16; GGUF, GPTQ and AWQ hold blocks of fewer bits."""

    is_gguf: bool
    """Whether the blocks are GGUF's: those that native kernels read as they are."""


def held_bytes(stored: Stored, weights: str, *, native: bool) -> int:
    """Bytes that the weights take in memory.

    Native kernels keep a GGUF's blocks as they are and pack the rest in as many bits as asked for;
    without them every weight is a bfloat16 or float32 number.

    Args:
        stored: What the files hold.
        weights: As `LLM` has it.
        native: Whether native kernels serve.
    """
    if weights == "bf16":
        return 2 * stored.num_parameters
    if native and weights in _BITS:
        return int(stored.num_parameters * _BITS[weights] / 8)
    if weights in ("auto", "file"):
        if native and stored.is_gguf:
            return stored.num_bytes
        if native and stored.is_bf16 and weights == "auto":
            return int(stored.num_parameters * _BITS["int8"] / 8)
        if stored.is_bf16:
            return 2 * stored.num_parameters
    return 4 * stored.num_parameters


def cached_value_bytes(stored: Stored, weights: str, *, native: bool) -> int:
    """Bytes of one cached key or value: bfloat16 on native kernels, else as the activations."""
    if native and weights != "float32":
        return 2
    return 2 if weights == "bf16" or (stored.is_bf16 and weights in ("auto", "file")) else 4


def has_native_kernels(environ: Mapping[str, str]) -> bool:
    """Whether native kernels serve here; told without importing them."""
    built = importlib.util.find_spec("tongwen.kernels._native") is not None
    return built and environ.get("TONGWEN_KERNELS") != "plain"


def free_memory() -> int:
    """Bytes of main memory that can be had now, by the kernel and by the container's limit."""
    if not _MEMINFO.is_file():
        # Not on Linux, where psutil would need what only POSIX has.
        import psutil

        return int(psutil.virtual_memory().available)
    lines = _MEMINFO.read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    available = int(fields["MemAvailable"].split()[0]) << 10
    return min(available, _left_in_container(available))


def _left_in_container(available: int) -> int:
    """What a container may still take (cgroup v2); `available` where it has no limit."""
    limit, used, statistics = (_CGROUP / f"memory.{name}" for name in ("max", "current", "stat"))
    if not limit.is_file() or (stated := limit.read_text().strip()) == "max":
        return available
    fields = dict(line.split() for line in statistics.read_text().splitlines())
    # Pages of files that were read are given up first.
    taken = int(used.read_text()) - int(fields["inactive_file"])
    return max(int(stated) - taken, 0)


def need_of_offer(offer: Offer, *, weights: str = "auto", context: int | None = None) -> Need:
    """What a model of the table takes; without a wish, with the least context."""
    native = has_native_kernels(os.environ)
    stored = Stored(
        num_parameters=offer.num_parameters,
        num_bytes=offer.num_bytes,
        is_bf16=offer.gguf_type is None and not offer.name.endswith(_PACKED),
        is_gguf=offer.gguf_type is not None and offer.gguf_type not in _NOT_NATIVE,
    )
    tokens = context or min(offer.context, MIN_CONTEXT)
    each = cached_value_bytes(stored, weights, native=native)
    return Need(
        weights_bytes=held_bytes(stored, weights, native=native),
        context=tokens,
        kv_bytes=_KV_VALUES[offer.num_parameters] * tokens * each,
    )


def need_of_files(path: Path, *, weights: str = "auto", context: int | None = None) -> Need:
    """What the checkpoint at `path` takes, by its header or its `config.json`.

    Raises:
        CheckpointError: The file is damaged, or of another architecture.
    """
    try:
        config, stored = _directory(path) if path.is_dir() else _gguf(path)
    except ConfigError as error:
        raise CheckpointError(f"`{path}`: {error}") from error
    native = has_native_kernels(os.environ) and config.head_size in HEAD_DIMS
    tokens = context or min(config.max_position_embeddings, MIN_CONTEXT)
    each = cached_value_bytes(stored, weights, native=native)
    return Need(
        weights_bytes=held_bytes(stored, weights, native=native),
        context=tokens,
        kv_bytes=kv_bytes_per_token(config, each) * tokens,
    )


def need_of_bytes(num_bytes: int) -> Need:
    """The least that a checkpoint of this size takes, where nothing else is known of it."""
    return Need(weights_bytes=num_bytes, context=0, kv_bytes=0)


def check_fits(
    name: str, need: Need, free_bytes: int, *, weights: str = "auto", family: str | None = None
) -> None:
    """Refuse a model that memory is too small for.

    Args:
        name: The model, for the message.
        need: What it takes.
        free_bytes: What there is.
        weights: As `LLM` has it, for the advice.
        family: The part of a table's name before the colon; its models are advised first.

    Raises:
        CapacityError: With the numbers, and the largest name of the table that fits.
    """
    if need.total_bytes <= free_bytes:
        return
    cache = f" and {need.kv_bytes / GIB:.1f} GiB for {need.context} tokens of context"
    raise CapacityError(
        f"`{name}` needs {(need.weights_bytes + WORKING_BYTES) / GIB:.1f} GiB of memory for its "
        f"weights{cache if need.context else ''}; {free_bytes / GIB:.1f} GiB are free",
        hint=_advice(free_bytes, weights, family),
    )


def largest_fitting(
    free_bytes: int, *, weights: str = "auto", family: str | None = None
) -> Offer | None:
    """The model of the table with the most parameters that runs in so much memory.

    Args:
        free_bytes: What there is.
        weights: As `LLM` has it.
        family: Prefer its models (`qwen2`); if none of them fits, any.
    """
    fitting = [
        offer
        for offer in offers().values()
        if need_of_offer(offer, weights=weights).total_bytes <= free_bytes
    ]
    kin = [offer for offer in fitting if offer.name.partition(":")[0] == family]
    # Of equals the first of the table: instruct before base.
    return max(kin or fitting, key=lambda offer: offer.num_parameters, default=None)


def family_of(name: ModelName) -> str | None:
    """The family of a table's name: `qwen2` of `qwen2:7b`; None of any other."""
    return name.text.partition(":")[0] if name.kind == "table" else None


def _advice(free_bytes: int, weights: str, family: str | None) -> str:
    offer = largest_fitting(free_bytes, weights=weights, family=family)
    if offer is None:
        return "no model of the table fits; free some memory"
    total = need_of_offer(offer, weights=weights).total_bytes
    return f"the largest that fits is `{offer.name}`, with {total / GIB:.1f} GiB"


def _gguf(path: Path) -> tuple[Qwen2Config, Stored]:
    headers = read_split(path, {f"tokenizer.ggml.{key}" for key in _VOCABULARY})
    shapes = {name: info.shape for part in headers for name, info in part.tensors.items()}
    config = qwen2_config(headers[0].metadata, shapes)
    return config, Stored(
        num_parameters=sum(map(math.prod, shapes.values())),
        num_bytes=sum(
            _native_bytes(info.type_id, math.prod(info.shape))
            for part in headers
            for info in part.tensors.values()
        ),
        is_bf16=False,
        is_gguf=True,
    )


def _native_bytes(type_id: int, count: int) -> int:
    """Bytes that native kernels hold so many values in; what they do not read is float32."""
    block, size = _NATIVE_BLOCKS.get(type_id, (1, 4))
    return count // block * size


def _directory(path: Path) -> tuple[Qwen2Config, Stored]:
    """The number of parameters by the sizes of the files, or by what is packed in them."""
    published = read_json(path / CONFIG_FILE)
    config = config_from_json(published)
    if config.num_hidden_layers > _MAX_LAYERS:
        raise CheckpointError(f"`{path}` announces {config.num_hidden_layers} layers")
    num_bytes = sum(file.stat().st_size for file in path.glob("*.safetensors"))
    dtype = published.get("torch_dtype", published.get("dtype"))
    if published.get("quantization_config"):
        number, is_bf16 = count_parameters(config).total, False
    else:
        number, is_bf16 = num_bytes // (4 if dtype == "float32" else 2), dtype == "bfloat16"
    return config, Stored(
        num_parameters=number, num_bytes=num_bytes, is_bf16=is_bf16, is_gguf=False
    )
