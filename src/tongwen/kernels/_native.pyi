"""Numeric kernels for the CPU (`native/module.cpp`); tensors are passed as addresses."""

from collections.abc import Sequence

layout_version: int
scored_logits: int

def usable_threads() -> int: ...
def panel_bytes(format: int, columns: int) -> int: ...
def row_bytes(format: int, columns: int) -> int: ...

class Program:
    def __len__(self) -> int: ...

class Machine:
    def __init__(self, most: str, threads: int) -> None: ...
    @property
    def isa(self) -> str: ...
    @property
    def threads(self) -> int: ...
    def peak_int8_ops(self) -> float: ...
    def record(self) -> None: ...
    def recorded(self) -> Program: ...
    def replay(self, program: Program) -> None: ...
    def pack(
        self, format: int, stored: int, source: int, rows: int, columns: int, panels: int
    ) -> None: ...
    def embed(
        self, format: int, panels: int, columns: int, vocabulary: int, ids: int, rows: int, out: int
    ) -> None: ...
    def linear(
        self,
        x: int,
        stride: int,
        rows: int,
        columns: int,
        weights: Sequence[tuple[int, int, int, int, int, int]],
    ) -> None: ...
    def score(
        self,
        x: int,
        stride: int,
        rows: int,
        columns: int,
        format: int,
        panels: int,
        vocabulary: int,
        targets: int,
        logits: int,
        out: int,
    ) -> None: ...
    def norm(self, x: int, weight: int, out: int, rows: int, columns: int, eps: float) -> None: ...
    def add(self, a: int, b: int, out: int, count: int) -> None: ...
    def add_gated(self, a: int, b: int, scores: int, out: int, rows: int, columns: int) -> None: ...
    def route(self, *arguments: int) -> None: ...
    def experts(
        self,
        x: int,
        rows: int,
        columns: int,
        hidden: int,
        count: int,
        pairs: int,
        formats: Sequence[int],
        panels: Sequence[int],
        pair_rows: int,
        counts: int,
        weights: int,
        out: int,
    ) -> None: ...
    def swiglu(
        self, gate: int, up: int, stride: int, out: int, rows: int, columns: int
    ) -> None: ...
    def mlp(
        self,
        x: int,
        stride: int,
        rows: int,
        columns: int,
        gate: tuple[int, int, int],
        up: tuple[int, int, int],
        down: tuple[int, int, int],
        out: int,
    ) -> None: ...
    def rope(self, *arguments: float) -> None: ...
    def attention(self, *arguments: int) -> None: ...
