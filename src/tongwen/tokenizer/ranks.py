"""Vocabularies as tiktoken keeps them: each token's bytes with its rank, and no merges."""

import base64
import binascii
from itertools import pairwise
from pathlib import Path

from tongwen.errors import TokenizerError
from tongwen.tokenizer.bpe import byte_alphabet


def read_ranks(path: Path) -> dict[bytes, int]:
    """Read a `.tiktoken` file: a line per token, its bytes in base64 and its rank.

    Raises:
        TokenizerError: A line is malformed, or the ranks are not 0, 1, 2 and so on.
    """
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        fields = line.split()
        if not fields:
            continue
        try:
            token, rank = fields
            ranks[base64.b64decode(token, validate=True)] = int(rank)
        except (ValueError, binascii.Error) as error:
            raise TokenizerError(f"`{path}`, line {number}: not a token and its rank") from error
    if sorted(ranks.values()) != list(range(len(ranks))):
        raise TokenizerError(
            f"`{path}`: ranks of {len(ranks)} tokens are not 0 to {len(ranks) - 1}"
        )
    return ranks


def vocabulary_of(ranks: dict[bytes, int]) -> tuple[list[str], list[tuple[str, str]]]:
    """Tokens in byte-level form, and the merges that the ranks imply.

    A token's rank says when it was learned.  Merging its bytes with earlier tokens only leaves
    two parts: the pair whose merge made it.

    Raises:
        TokenizerError: Earlier tokens do not merge a token into two parts.
    """
    alphabet = byte_alphabet()
    tokens = [
        "".join(alphabet[byte] for byte in token) for token in sorted(ranks, key=ranks.__getitem__)
    ]
    merges = []
    for token, rank in sorted(ranks.items(), key=lambda item: item[1]):
        if len(token) == 1:
            continue
        parts = _merge(token, ranks, below=rank)
        if len(parts) != 2:
            raise TokenizerError(f"token {rank} ({token!r}) is not made of two earlier tokens")
        left = len(parts[0])
        merges.append((tokens[rank][:left], tokens[rank][left:]))
    return tokens, merges


def _merge(token: bytes, ranks: dict[bytes, int], below: int) -> list[bytes]:
    """Merge the bytes of `token`, lowest rank first, using only ranks `below` this one."""
    parts = [token[place : place + 1] for place in range(len(token))]
    while len(parts) > 2:
        candidates = (
            (ranks.get(left + right, below), place)
            for place, (left, right) in enumerate(pairwise(parts))
        )
        rank, place = min(candidates)
        if rank >= below:
            break
        parts[place : place + 2] = [parts[place] + parts[place + 1]]
    return parts
