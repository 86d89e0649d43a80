"""Whose threads work: the kernels', or torch's."""

import contextlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def torch_on_one_thread() -> Iterator[None]:
    """Keep torch from starting threads of its own beside the kernels'.

    torch's threads spin for a while after each of its operations, on the processors that the
    kernels need next: a decode step took twice as long for it.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
