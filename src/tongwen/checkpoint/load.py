"""From a directory or a GGUF file to a model that is ready to run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, get_args, runtime_checkable

import torch
from torch import Tensor, nn

from tongwen.checkpoint.configs import GenerationDefaults
from tongwen.checkpoint.directory import Directory
from tongwen.checkpoint.gguf import GGUFFile
from tongwen.errors import CheckpointError, ConfigError
from tongwen.model.account import count_parameters
from tongwen.model.config import Qwen2Config
from tongwen.model.qwen2 import Qwen2ForCausalLM
from tongwen.tokenizer.bpe import Tokenizer

Weights = Literal["auto", "file", "float32", "bf16", "int8", "int4"]


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
    """In which number format the weights will be held, and what that takes."""

    dtype: torch.dtype
    weights_bytes: int

    @property
    def numerics(self) -> str:
        """What the arithmetic is, for receipts and cache keys."""
        return f"plain-{str(self.dtype).removeprefix('torch.')}"


def plan_weights(source: Source, weights: Weights) -> Plan:
    """Choose the number format.

    `file` is the smallest of bfloat16 and float32 that holds every stored value exactly; blocks
    of fewer bits stand for values that only float32 holds.  `auto` is `file`.

    Raises:
        ConfigError: `weights` is unknown, or has no arithmetic here yet.
    """
    if weights not in get_args(Weights):
        raise ConfigError(
            f"`weights` must be one of {', '.join(get_args(Weights))}, not `{weights}`"
        )
    if weights in ("int8", "int4"):
        raise ConfigError(
            f"`weights` `{weights}` needs kernels that this build does not have",
            hint="use `weights` bf16, or a quantized GGUF file as it is",
        )
    stored = {source.dtype(name) for name in source.names()}
    exact = torch.bfloat16 if stored == {torch.bfloat16} else torch.float32
    dtype = {"float32": torch.float32, "bf16": torch.bfloat16}.get(weights, exact)
    parameters = count_parameters(source.config).total
    return Plan(dtype=dtype, weights_bytes=parameters * dtype.itemsize)


def load_model(source: Source, plan: Plan, device: torch.device) -> Qwen2ForCausalLM:
    """Build the model around the checkpoint's tensors, one at a time.

    It is made without memory (on the meta device) and each tensor takes its place when it is
    read, so that peak memory is about the weights once.
    """
    with torch.device("meta"):
        model = Qwen2ForCausalLM(source.config)
    for name in source.names():
        path, _, leaf = name.rpartition(".")
        values = source.tensor(name, plan.dtype).to(device)
        setattr(model.get_submodule(path), leaf, nn.Parameter(values, requires_grad=False))
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
