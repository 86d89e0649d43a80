"""From a directory or a GGUF file to a model that is ready to run."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Literal, Protocol, get_args, runtime_checkable

import torch
from torch import Tensor, nn

from tongwen.checkpoint.configs import GenerationDefaults
from tongwen.checkpoint.directory import Directory
from tongwen.checkpoint.gguf import GGUFFile
from tongwen.checkpoint.kept import Kept
from tongwen.checkpoint.mapped import Part
from tongwen.checkpoint.packing import (
    Kind,
    held_bytes,
    pack_model,
    packed_format,
    rounded,
    runs_natively,
)
from tongwen.errors import CheckpointError, ConfigError
from tongwen.kernels.machine import Machine, machine
from tongwen.model.account import count_parameters
from tongwen.model.config import Qwen2Config
from tongwen.model.qwen2 import Qwen2ForCausalLM
from tongwen.tokenizer.bpe import Tokenizer

Weights = Literal["auto", "file", "float32", "bf16", "int8", "int4"]

_EMBEDDING = "model.embed_tokens.weight"

WHOLE = ("F32", "F16", "BF16")
"""Formats that hold numbers one by one."""


@runtime_checkable
class Source(Protocol):
    """A checkpoint on disk: what is in it, and its tensors one at a time, by published name."""

    path: Path
    config: Qwen2Config

    @property
    def generation(self) -> GenerationDefaults:
        """How it wants its tokens chosen."""
        ...

    @property
    def chat_template(self) -> str | None:
        """The Jinja template of conversations, where it has one."""
        ...

    @property
    def licence(self) -> str | None:
        """The licence's name, where it states one."""
        ...

    def names(self) -> list[str]:
        """Published names of the tensors that make the model; shapes have been checked."""
        ...

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor."""
        ...

    def dtype(self, name: str) -> torch.dtype:
        """The number format that holds a tensor's values exactly."""
        ...

    def tensor(self, name: str, dtype: torch.dtype | None = None) -> Tensor:
        """A tensor's values, rounded to `dtype`."""
        ...

    def format(self, name: str) -> str:
        """The GGML name of how a tensor is stored."""
        ...

    def parts(self, name: str, num_rows: int) -> Iterator[Part]:
        """A matrix as stored, so many rows at a time; what was read is no longer resident."""
        ...

    def files(self) -> list[Path]:
        """What the tensors are read from."""
        ...

    def tokenizer(self, cache: Path | None = None) -> Tokenizer:
        """Its tokenizer, kept parsed in `cache` where that helps."""
        ...


def open_checkpoint(path: Path) -> Source:
    """Open a GGUF file or a directory of safetensors; reads headers only.

    Raises:
        CheckpointError: There is nothing there, or nothing that is read.
    """
    if path.is_dir():
        return Directory(path)
    if path.is_file():
        return GGUFFile(path)
    raise CheckpointError(f"`{path}` is neither a file nor a directory")


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """How the weights will be held, and what that takes."""

    dtype: torch.dtype
    """Of activations, and of weights that are not packed."""

    kind: Kind | None
    """How matrices are packed for the native kernels; `None`: they are not."""

    machine: Machine | None
    weights_bytes: int
    on_cpu: bool
    embedding_bytes: int
    """Of them the embedding's."""

    @property
    def numerics(self) -> str:
        """What the arithmetic is, for receipts and cache keys."""
        dtype = str(self.dtype).removeprefix("torch.")
        held = dtype if self.kind is None else self.kind
        if self.machine is not None:
            return f"{self.machine.isa}-{held}"
        # Unpacked float32 still takes the native norms; bfloat16 takes nothing of them.
        helped = machine() if self.dtype == torch.float32 and self.on_cpu else None
        return f"plain-{held}" if helped is None else f"plain-{held}-{helped.isa}"

    @property
    def cached_value_bytes(self) -> int:
        """Bytes of one cached key or value: native kernels keep bfloat16."""
        return self.dtype.itemsize if self.machine is None else 2


def plan_weights(source: Source, weights: Weights, device: torch.device) -> Plan:
    """Choose how the weights are held.

    On a CPU with native kernels: `file` runs the stored blocks as they are, `bf16`, `int8` and
    `int4` are packed in that many bits, `auto` is `file` for a quantized file and int8 for others.
    Without them `file` is the smaller of bfloat16 and float32 that holds every stored value
    exactly, `auto` is `file`, and int8 and int4 keep their rounded values in float32.

    Raises:
        ConfigError: `weights` is unknown.
    """
    if weights not in get_args(Weights):
        raise ConfigError(
            f"`weights` must be one of {', '.join(get_args(Weights))}, not `{weights}`"
        )
    native = machine() if device.type == "cpu" and runs_natively(source.config) else None
    if native is None or weights == "float32":
        return _plain_plan(source, weights, device)
    quantized = any(format not in WHOLE for format in map(source.format, source.names()))
    kind: Kind = ("file" if quantized else "int8") if weights == "auto" else weights
    size = sum(held_bytes(source, name, kind, native) for name in source.names())
    return Plan(
        dtype=torch.float32,
        kind=kind,
        machine=native,
        weights_bytes=size,
        on_cpu=True,
        embedding_bytes=held_bytes(source, _EMBEDDING, kind, native),
    )


def _plain_plan(source: Source, weights: Weights, device: torch.device) -> Plan:
    stored = {source.dtype(name) for name in source.names()}
    exact = torch.bfloat16 if stored == {torch.bfloat16} else torch.float32
    asked = {"auto": exact, "file": exact, "bf16": torch.bfloat16}
    dtype = asked.get(weights, torch.float32)
    size = count_parameters(source.config).total * dtype.itemsize
    kind: Kind | None = weights if weights in ("int8", "int4") else None
    return Plan(
        dtype=dtype,
        kind=kind,
        machine=None,
        weights_bytes=size,
        on_cpu=device.type == "cpu",
        embedding_bytes=prod(source.shape(_EMBEDDING)) * dtype.itemsize,
    )


def load_model(
    source: Source, plan: Plan, device: torch.device, kept: Kept | None = None
) -> Qwen2ForCausalLM:
    """Build the model around the checkpoint's tensors, one at a time.

    It is made without memory (on the meta device) and each tensor takes its place when it is
    read, so that peak memory is about the weights once.

    Args:
        source: The checkpoint.
        plan: How the weights are held.
        device: Where.
        kept: Packed weights on the disk, used and added to; `None`: they are packed into memory.
    """
    with torch.device("meta"):
        model = Qwen2ForCausalLM(source.config)
    if plan.machine is not None and plan.kind is not None:
        return pack_model(model, source, plan.kind, plan.machine, kept)
    for name in source.names():
        path, _, leaf = name.rpartition(".")
        values = source.tensor(name, plan.dtype)
        if plan.kind is not None and packed_format(source, name, plan.kind) is not None:
            values = rounded(values, plan.kind)
        parameter = nn.Parameter(values.to(device), requires_grad=False)
        setattr(model.get_submodule(path), leaf, parameter)
    model.tie()
    return model.eval()


def pick_device(device: str) -> torch.device:
    """`auto`: the accelerator, where there is one, else the CPU.

    Raises:
        ConfigError: No such device here.
    """
    if device == "auto":
        found = torch.accelerator.current_accelerator(check_available=True)
        return found or torch.device("cpu")
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"device `{device}` cannot be used: {reason}") from error
