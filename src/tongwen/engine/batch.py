"""The chunks of one step as tensors of fixed capacity, updated in place."""

from collections.abc import Sequence

import torch
from torch import Tensor

from tongwen.engine.request import Request
from tongwen.engine.scheduler import Chunk


class Batch:
    """What one step tells the model: which tokens, where they stand, where their cache lies.

    The tensors never move: a recorded step can be replayed on new contents.  `num_requests`,
    `num_tokens` and `num_samples` say how much of each is in use.

        token_ids, positions, slots   [tokens]            one entry per token of the stream
        starts                        [requests + 1]      where each request's tokens begin
        context_lens                  [requests]          tokens seen, the new ones included
        block_tables                  [requests, blocks]
        sample_rows                   [requests]          rows whose next token is wanted
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
        def whole(*shape: int) -> Tensor:
            return torch.zeros(*shape, dtype=torch.long, device=device)

        self.block_size = block_size
        self.token_ids, self.positions, self.slots = (whole(max_tokens) for _ in range(3))
        self.starts, self.context_lens = whole(max_requests + 1), whole(max_requests)
        self.block_tables, self.sample_rows = whole(max_requests, max_blocks), whole(max_requests)
        self.num_tokens = self.num_requests = self.num_samples = 0

    @property
    def is_decode(self) -> bool:
        """Whether every token is a request's only one, and its next token is wanted."""
        return self.num_tokens == self.num_requests == self.num_samples

    def fill(self, chunks: Sequence[Chunk]) -> list[Request]:
        """Describe `chunks`; returns the requests that get a new token, in order of their rows."""
        token_ids: list[int] = []
        positions: list[int] = []
        slots: list[int] = []
        starts = [0]
        sampled: list[Request] = []
        rows: list[int] = []
        for index, chunk in enumerate(chunks):
            request = chunk.request
            assert isinstance(request, Request), "the engine schedules nothing but requests"
            first = request.num_computed
            new = range(first, first + chunk.num_tokens)
            token_ids += request.tokens(new.start, new.stop)
            positions += new
            slots += [self._slot(request.block_table, position) for position in new]
            starts.append(len(token_ids))
            self._describe(index, request.block_table, new.stop)
            if chunk.is_last:
                sampled.append(request)
                rows.append(len(token_ids) - 1)
        _write(self.token_ids, token_ids)
        _write(self.positions, positions)
        _write(self.slots, slots)
        _write(self.starts, starts)
        _write(self.sample_rows, rows)
        self.num_tokens, self.num_requests = len(token_ids), len(chunks)
        self.num_samples = len(rows)
        return sampled

    def _slot(self, block_table: list[int], position: int) -> int:
        block, offset = divmod(position, self.block_size)
        return block_table[block] * self.block_size + offset

    def _describe(self, index: int, block_table: list[int], context_len: int) -> None:
        self.context_lens[index] = context_len
        _write(self.block_tables[index], block_table)


def _write(target: Tensor, values: list[int]) -> None:
    """Copy `values` to the front of `target`."""
    target[: len(values)] = torch.tensor(values, dtype=target.dtype)
