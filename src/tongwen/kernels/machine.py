"""The native kernels: found once, on first use, and called on tensors.

Everything here has a plain twin: the functions of this package in PyTorch.  Native kernels work on
float32 activations on the CPU, without gradients; whatever else comes goes to the twin.  They are
switched off by `TONGWEN_KERNELS=plain`, bounded by `TONGWEN_ISA`, and absent where no compiler
built them.
"""

import functools
import logging
import os
import platform
import threading
from collections.abc import Sequence
from types import ModuleType

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from tongwen.errors import ConfigError
from tongwen.kernels.memory import Ring
from tongwen.kernels.panels import FORMATS, PANEL_ROWS, STORED, Packed, Stacked
from tongwen.kernels.sampling import CHOSEN, ROW

_X86 = ("avx512", "avx2", "portable")
_ARM = ("neon", "portable")

INSTRUCTION_SETS = {"x86_64": _X86, "amd64": _X86, "aarch64": _ARM, "arm64": _ARM}
"""Values of `TONGWEN_ISA` on each kind of processor, the best first: the best that may be used."""

SCORED_ROWS = 512
"""Rows that are scored together, sharing one reading of the head: 512 x 4096 float32 are 8 MB."""

log = logging.getLogger(__name__)


class Machine:
    """The native kernels with their threads.

    Args:
        library: The extension module.
        most: The best instruction set that may be used.
    """

    def __init__(self, library: ModuleType, most: str) -> None:
        assert library.sample_row_bytes == ROW.itemsize, "another layout of sampling parameters"
        self._library = library
        self._machine = self._library.Machine(most, self._library.usable_threads())
        self._local = threading.local()  # a thread that records has its ring here
        self._recording = threading.Lock()

    @property
    def isa(self) -> str:
        """The instruction set in use."""
        return self._machine.isa

    @property
    def threads(self) -> int:
        """Threads in use."""
        return self._machine.threads

    def peak_int8_ops(self) -> float | None:
        """Multiplies and adds of 8-bit integers a second, from registers, on all threads.

        The wall that products meet: best of three tries of some milliseconds; `None` where no
        instruction for them is known.
        """
        return self._machine.peak_int8_ops() or None

    def takes(self, *tensors: Tensor) -> bool:
        """Whether these tensors are what the kernels work on."""
        return all(x.dtype == torch.float32 and x.device.type == "cpu" for x in tensors) and not (
            torch.is_grad_enabled() and any(x.requires_grad for x in tensors)
        )

    def _refuse_grad(self, x: Tensor) -> None:
        if torch.is_grad_enabled() and x.requires_grad:
            raise RuntimeError(
                "packed weights have no backward; train with `weights` bf16 or float32"
            )

    # ---- weights

    def packed_bytes(self, format: str, rows: int, columns: int) -> int:
        """Bytes that a matrix takes in panels."""
        panels = -(-rows // PANEL_ROWS)
        return panels * self._library.panel_bytes(FORMATS.index(format), columns)

    @property
    def layout_version(self) -> int:
        """Changes when panels of the same weights become other bytes."""
        return self._library.layout_version

    def pack(
        self,
        format: str,
        stored: UInt8[Tensor, "rows bytes"],
        columns: int,
        into: UInt8[Tensor, " panels"],
        *,
        stored_format: str | None = None,
    ) -> Packed:
        """Lay stored rows out in panels.

        Args:
            format: Of the panels.
            stored: Rows as a GGUF file stores them.
            columns: Values of one row.
            into: Where the panels go.
            stored_format: Of the rows; `None`: that of the panels, whose values do not change.
                From any of `STORED`, values are rounded to `BF16`, `Q8_0` or `Q4_0`, in the bits
                of `quant.format`.
        """
        number, source = FORMATS.index(format), STORED.index(stored_format or format)
        stored, rows = stored.contiguous(), len(stored)
        assert stored.shape[1] == self._library.row_bytes(source, columns), "rows of another length"
        assert len(into) == self.packed_bytes(format, rows, columns), "panels of another size"
        self._machine.pack(number, source, stored.data_ptr(), rows, columns, into.data_ptr())
        return Packed(number, into, rows, columns)

    # ---- operations

    def embed(
        self, weight: Packed, token_ids: Int[Tensor, " tokens"]
    ) -> Float[Tensor, "tokens dim"]:
        """Rows of a packed embedding."""
        if token_ids.dtype != torch.long or not token_ids.is_contiguous():
            token_ids = token_ids.long().contiguous()
        _check_ids(token_ids, weight.rows)
        out = self.empty(len(token_ids), weight.columns)
        self._machine.embed(
            weight.format, weight.panels.data_ptr(), weight.columns, weight.rows,
            token_ids.data_ptr(), len(token_ids), out.data_ptr(),
        )  # fmt: skip
        return out

    def linear(
        self,
        x: Float[Tensor, "tokens in"],
        weights: Sequence[Packed],
        biases: Sequence[Tensor | None],
    ) -> list[Float[Tensor, "tokens out"]]:
        """Products of one input with several packed weights; it is quantized once."""
        tokens, columns = x.shape
        self._refuse_grad(x)
        x = x if x.stride(1) == 1 else x.contiguous()
        whole = self.empty(tokens, sum(weight.rows for weight in weights))
        outs = list(whole.split([weight.rows for weight in weights], dim=1))
        calls = [
            (w.format, w.panels.data_ptr(), w.rows, 0 if bias is None else bias.data_ptr(),
             out.data_ptr(), out.stride(0))
            for w, bias, out in zip(weights, biases, outs, strict=True)
        ]  # fmt: skip
        self._machine.linear(x.data_ptr(), x.stride(0), tokens, columns, calls)
        return outs

    def dense(
        self, x: Float[Tensor, "tokens in"], weight: Float[Tensor, "out in"]
    ) -> Float[Tensor, "tokens out"]:
        """`dense`."""
        out = self.empty(len(x), len(weight))
        self._machine.dense(x.data_ptr(), weight.data_ptr(), out.data_ptr(), *x.shape, len(weight))
        return out

    def norm(
        self, x: Float[Tensor, "tokens dim"], weight: Float[Tensor, " dim"], eps: float
    ) -> Float[Tensor, "tokens dim"]:
        """`rms_norm`."""
        out = self.empty(*x.shape)
        self._machine.norm(x.data_ptr(), weight.data_ptr(), out.data_ptr(), *x.shape, eps)
        return out

    def add(
        self, a: Float[Tensor, "tokens dim"], b: Float[Tensor, "tokens dim"]
    ) -> Float[Tensor, "tokens dim"]:
        """`a + b`."""
        out = self.empty(*a.shape)
        self._machine.add(a.data_ptr(), b.data_ptr(), out.data_ptr(), a.numel())
        return out

    def add_gated(
        self,
        a: Float[Tensor, "tokens dim"],
        b: Float[Tensor, "tokens dim"],
        scores: Float[Tensor, "tokens 1"],
    ) -> Float[Tensor, "tokens dim"]:
        """`add_gated`."""
        out = self.empty(*a.shape)
        self._machine.add_gated(
            a.data_ptr(), b.data_ptr(), scores.data_ptr(), out.data_ptr(), *a.shape
        )
        return out

    def route(
        self, logits: Float[Tensor, "tokens experts"], top_k: int, renormalize: bool
    ) -> tuple[Int[Tensor, " pairs"], Float[Tensor, " pairs"], Int[Tensor, " experts"]]:
        """`route`: rows, weights and counts."""
        tokens, experts = logits.shape
        chosen, ranked = self.empty(tokens, top_k), self.empty(tokens, top_k)
        rows, weights = self._integers(tokens * top_k), self.empty(tokens * top_k)
        counts = self._integers(experts)
        self._machine.route(
            logits.data_ptr(), tokens, experts, top_k, renormalize, chosen.data_ptr(),
            ranked.data_ptr(), rows.data_ptr(), weights.data_ptr(), counts.data_ptr(),
        )  # fmt: skip
        return rows, weights, counts

    def experts(
        self,
        x: Float[Tensor, "tokens dim"],
        matrices: tuple[Stacked, Stacked, Stacked],
        *,
        rows: Int[Tensor, " pairs"],
        weights: Float[Tensor, " pairs"],
        counts: Int[Tensor, " experts"],
    ) -> Float[Tensor, "tokens dim"]:
        """What its experts say to each token, weighted; summed in the order of their ids.

        Args:
            x: What they are told.
            matrices: Gate, up and down; gate and up want `x` in one form.
            rows: The token of each pair, experts ascending.
            weights: Of each pair.
            counts: Pairs of each expert.
        """
        gate, _, down = matrices
        out = self.empty(*x.shape)
        self._machine.experts(
            x.data_ptr(), *x.shape, down.columns, len(gate.addresses), len(rows),
            [matrix.format for matrix in matrices],
            [matrix.addresses.data_ptr() for matrix in matrices],
            rows.data_ptr(), counts.data_ptr(), weights.data_ptr(), out.data_ptr(),
        )  # fmt: skip
        return out

    def swiglu(
        self, gate: Float[Tensor, "tokens ffn"], up: Float[Tensor, "tokens ffn"]
    ) -> Float[Tensor, "tokens ffn"]:
        """`silu(gate) * up`."""
        assert gate.stride() == up.stride(), "gate and up are laid out alike"
        out = self.empty(*gate.shape)
        self._machine.swiglu(
            gate.data_ptr(), up.data_ptr(), gate.stride(0), out.data_ptr(), *gate.shape
        )
        return out

    def mlp(
        self, x: Float[Tensor, "tokens in"], gate: Packed, up: Packed, down: Packed
    ) -> Float[Tensor, "tokens out"]:
        """`down(silu(gate(x)) * up(x))`: the bits of `linear` and `swiglu`, not their memory."""
        assert gate.rows == up.rows == down.columns, "down reads what gate and up make"
        self._refuse_grad(x)
        x = x if x.stride(1) == 1 else x.contiguous()
        out = self.empty(len(x), down.rows)
        weights = [(w.format, w.panels.data_ptr(), w.rows) for w in (gate, up, down)]
        self._machine.mlp(x.data_ptr(), x.stride(0), *x.shape, *weights, out.data_ptr())
        return out

    def rope(
        self,
        q: Float[Tensor, "tokens heads head_dim"],
        k: Float[Tensor, "tokens kv_heads head_dim"],
        v: Float[Tensor, "tokens kv_heads head_dim"],
        *,
        angles: Float[Tensor, "positions 2 half"],
        positions: Int[Tensor, " tokens"],
        slots: Int[Tensor, " tokens"],
        cache: Tensor,
    ) -> None:
        """Rotate and scale `q` in place; write rotated `k` and `v` to their slots."""
        tokens, heads, head_dim = q.shape
        self._machine.rope(
            q.data_ptr(), k.data_ptr(), v.data_ptr(), q.stride(0), k.stride(0), v.stride(0),
            tokens, heads, k.shape[1], head_dim, head_dim**-0.5, angles.data_ptr(),
            positions.data_ptr(), slots.data_ptr(), cache.data_ptr(),
        )  # fmt: skip

    def attention(
        self,
        q: Float[Tensor, "tokens heads head_dim"],
        *,
        kv_heads: int,
        window: int | None,
        cache: Tensor,
        starts: Int[Tensor, " ends"],
        context_lens: Int[Tensor, " requests"],
        block_tables: Int[Tensor, "requests blocks"],
    ) -> Float[Tensor, "tokens heads head_dim"]:
        """What each query reads of its request's cached keys and values."""
        out = self.empty(*q.shape)
        self._machine.attention(
            q.data_ptr(), q.stride(0), out.data_ptr(), q.shape[1], kv_heads, q.shape[2],
            window or 0, cache.data_ptr(), starts.data_ptr(), context_lens.data_ptr(),
            block_tables.data_ptr(), block_tables.stride(0), len(context_lens),
        )  # fmt: skip
        return out

    # ---- rows of logits

    def sample(
        self, logits: Float[Tensor, "rows vocab"], specs: np.ndarray, num_tokens: int
    ) -> np.ndarray:
        """Choose a token for each row as its `specs` say; rows are overwritten.

        Args:
            logits: Raw.
            specs: One `ROW` each.
            num_tokens: Ids below it may be chosen.

        Returns:
            One `CHOSEN` for each row.
        """
        assert specs.dtype == ROW, "rows are described as the kernels read them"
        assert len(specs) == len(logits), "one description a row"
        assert logits.stride(-1) == 1, "a row's logits adjoin"
        num_tokens = min(num_tokens, logits.shape[1])
        chosen = np.empty(len(logits), CHOSEN)
        self._machine.sample(
            logits.data_ptr(), logits.stride(0), *logits.shape, num_tokens,
            specs.ctypes.data, chosen.ctypes.data,
        )  # fmt: skip
        return chosen

    def logsumexp(self, logits: Float[Tensor, "rows vocab"]) -> Float[Tensor, " rows"]:
        """Logarithm of the sum of exponentials of each row, in float64; NaN where not finite."""
        logits = logits if logits.stride(-1) == 1 else logits.contiguous()
        out = torch.empty(len(logits), dtype=torch.float64)
        self._machine.logsumexp(logits.data_ptr(), logits.stride(0), *logits.shape, out.data_ptr())
        return out

    def logprobs(
        self,
        hidden: Float[Tensor, "rows dim"],
        head: Packed,
        targets: Int[Tensor, " rows"],
    ) -> Float[Tensor, " rows"]:
        """Natural-log probability of each target under its row's logits.

        Equal bit for bit to what `sample` and `logsumexp` make of all logits, of which only some
        thousands a row are there at a time; NaN where a row's are not finite.
        """
        self._refuse_grad(hidden)
        hidden = hidden if hidden.stride(1) == 1 else hidden.contiguous()
        targets = targets.long().contiguous()
        _check_ids(targets, head.rows)
        out = torch.empty(len(hidden))
        logits = torch.empty(min(len(hidden), SCORED_ROWS), self._library.scored_logits)
        parts = (x.split(SCORED_ROWS) for x in (hidden, targets, out))
        for x, wanted, found in zip(*parts, strict=True):
            self._machine.score(
                x.data_ptr(), x.stride(0), *x.shape, head.format, head.panels.data_ptr(),
                head.rows, wanted.data_ptr(), logits.data_ptr(), found.data_ptr(),
            )  # fmt: skip
        return out

    # ---- capture and replay

    def empty(self, *shape: int) -> Tensor:
        """Memory for a result: fresh, or from the ring while a step is being recorded."""
        ring: Ring | None = getattr(self._local, "ring", None)
        return torch.empty(*shape) if ring is None else ring.empty(*shape)

    def _integers(self, count: int) -> Int[Tensor, " count"]:
        """Likewise, of whole numbers."""
        return self.empty(2 * count).view(torch.int64)

    def record(self, ring: Ring) -> "Recording":
        """Record what is performed within the `with` block; results live in `ring`."""
        return Recording(self, ring)


class Recording:
    """A step being recorded, then a step to replay."""

    def __init__(self, machine: Machine, ring: Ring) -> None:
        self._machine, self._ring, self._program = machine, ring, None

    def __enter__(self) -> "Recording":
        machine = self._machine
        machine._recording.acquire()
        try:
            machine._local.ring = self._ring
            machine._machine.record()
        except BaseException:  # an interruption must not leave the next recording waiting
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        machine = self._machine
        self._program = machine._machine.recorded()
        machine._local.ring = None
        machine._recording.release()

    @property
    def num_operations(self) -> int:
        """Operations that were recorded."""
        return 0 if self._program is None else len(self._program)

    def replay(self) -> None:
        """Perform the step again, on what its inputs hold now."""
        self._machine._machine.replay(self._program)


def _check_ids(token_ids: Int[Tensor, " tokens"], num_rows: int) -> None:
    """Refuse ids that no row stands for: the kernels would read beyond the table."""
    low, high = (int(x) for x in token_ids.aminmax()) if len(token_ids) else (0, 0)
    if low < 0 or high >= num_rows:
        raise IndexError(f"token ids {low} to {high} in a table of {num_rows} rows")


def instruction_sets() -> tuple[str, ...]:
    """Values of `TONGWEN_ISA` on this kind of processor, the best first."""
    return INSTRUCTION_SETS.get(platform.machine().lower(), ("portable",))


@functools.cache
def machine() -> Machine | None:
    """The native kernels, or `None` where there are none or they are switched off."""
    asked = os.environ.get("TONGWEN_KERNELS", "native")
    if asked not in ("native", "plain"):
        raise ConfigError(f"`TONGWEN_KERNELS` must be `native` or `plain`, not `{asked}`")
    possible = instruction_sets()
    most = os.environ.get("TONGWEN_ISA", possible[0])
    if most not in possible:
        raise ConfigError(
            f"`TONGWEN_ISA` must be one of {', '.join(possible)} on this kind of processor "
            f"(`{platform.machine()}`), not `{most}`"
        )
    if asked == "plain":
        return None
    try:
        from tongwen.kernels import _native
    except ImportError:
        log.warning("the native kernels were not built (no compiler?); running slower without them")
        return None
    return Machine(_native, most)


def native_for(*tensors: Tensor) -> Machine | None:
    """The native kernels where they can work on `tensors`."""
    found = machine()
    return found if found is not None and found.takes(*tensors) else None
