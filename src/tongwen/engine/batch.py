"""The chunks of one step as tensors of fixed capacity, updated in place."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tongwen.engine.request import Request
from tongwen.engine.scheduler import Chunk


class Part(NamedTuple):
    """One request's share of a step."""

    chunk: Chunk
    request: Request
    first: int
    """Its first row of the stream."""

    samples: range
    """Its rows among those whose next token is wanted: its last token and each draft."""


class Batch:
    """What one step tells the model: which tokens, where they stand, where their cache lies.

    The tensors never move: a recorded step can be replayed on new contents.  `num_requests`,
    `num_tokens` and `num_samples` say how much of each is in use.

        token_ids, positions, slots   [tokens]            one entry per token of the stream
        adapters                      [tokens]            which LoRA adapter each uses; -1: none
        starts                        [requests + 1]      where each request's tokens begin
        context_lens                  [requests]          tokens seen, the new ones included
        block_tables                  [requests, blocks]
        sample_rows                   [samples]           rows whose next token is wanted
    """

    def __init__(
        self,
        *,
        max_tokens: int,
        max_requests: int,
        max_blocks: int,
        block_size: int,
        device: torch.device,
    ) -> None:
        self._staged: list[tuple[np.ndarray, Tensor]] = []

        def whole(*shape: int) -> Tensor:
            staged = np.zeros(shape, np.int64)
            # On a CPU the two share their memory.
            self._staged.append((staged, torch.from_numpy(staged).to(device)))
            return self._staged[-1][1]

        self.block_size = block_size
        # In the order of `_write`.
        self.token_ids, self.positions, self.slots = (whole(max_tokens) for _ in range(3))
        self.adapters, self.sample_rows = whole(max_tokens), whole(max_tokens)
        self.starts, self.context_lens = whole(max_requests + 1), whole(max_requests)
        self.block_tables = whole(max_requests, max_blocks)
        self.num_tokens = self.num_requests = self.num_samples = 0
        self.is_adapted = self.is_decode = False

    def fill(self, chunks: Sequence[Chunk]) -> list[Part]:
        """Describe `chunks`; returns who has which rows."""
        token_ids: list[int] = []
        positions: list[int] = []
        slots: list[int] = []
        adapters: list[int] = []
        starts, context_lens = [0], list[int]()
        rows: list[int] = []
        block_tables = self._staged[-1][0]
        parts: list[Part] = []
        for index, chunk in enumerate(chunks):
            request = chunk.request
            assert isinstance(request, Request), "the engine schedules nothing but requests"
            first = request.num_computed
            new = range(first, first + chunk.num_tokens)
            token_ids += request.tokens(new.start, new.stop)
            positions += new
            slots += self._slots(request.block_table, new)
            adapters += [request.adapter] * chunk.num_tokens
            starts.append(len(token_ids))
            context_lens.append(new.stop)
            block_tables[index, : len(request.block_table)] = request.block_table
            wanted = self._wanted(chunk, request, len(token_ids))
            parts.append(
                Part(chunk, request, starts[-2], range(len(rows), len(rows) + len(wanted)))
            )
            rows += wanted
        self._write(token_ids, positions, slots, adapters, rows, starts, context_lens)
        self.num_tokens, self.num_requests = len(token_ids), len(chunks)
        self.num_samples = len(rows)
        self.is_adapted = any(adapter >= 0 for adapter in adapters)
        # A token is sampled after every row, and nothing else is wanted of any.
        looks = any(part.request.looks_at_prompt for part in parts)
        self.is_decode = rows == list(range(len(token_ids))) and not looks
        return parts

    def _wanted(self, chunk: Chunk, request: Request, end: int) -> range:
        """Rows after which a token is sampled: the last known one, and each draft."""
        if not chunk.is_last or not request.max_tokens:
            return range(0)
        return range(end - 1 - chunk.num_drafts, end)

    def _write(self, *lists: list[int]) -> None:
        """Put each list at the front of its tensor."""
        for (staged, _), values in zip(self._staged, lists, strict=False):  # the last is written
            staged[: len(values)] = values
        if self.token_ids.device.type != "cpu":
            for staged, tensor in self._staged:
                tensor.copy_(torch.from_numpy(staged))

    def _slots(self, block_table: list[int], positions: range) -> list[int]:
        size = self.block_size
        return [block_table[position // size] * size + position % size for position in positions]
