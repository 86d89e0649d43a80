"""Text to token ids and back: byte-level BPE on the `tokenizers` library.

The library holds the vocabulary, the merges, the normaliser and the split pattern, and nothing
else: control tokens such as `<|im_end|>` are kept beside it, so text alone can never become one.

Qwen2 Technical Report, section 2.1; the pattern and the NFC normaliser are those of the published
`tokenizer.json`.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers

from tongwen.errors import TokenizerError

PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""How Qwen2 cuts text into words before merging; every digit stands alone."""


def byte_alphabet() -> dict[int, str]:
    """Map each byte to the printable character that stands for it in a byte-level vocabulary.

    Printable Latin-1 stands for itself; the other 68 bytes take the code points from 256 on, in
    order (GPT-2's convention, which every Qwen vocabulary file follows).
    """
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [byte for byte in range(256) if byte not in plain]
    return {byte: chr(byte) for byte in plain} | {
        byte: chr(256 + place) for place, byte in enumerate(rest)
    }


_TO_LATIN1 = str.maketrans({char: chr(byte) for byte, char in byte_alphabet().items()})


@dataclass(frozen=True, kw_only=True, slots=True)
class Ends:
    """The ids that begin, end and pad a sequence; `None` where the vocabulary names none."""

    bos_token_id: int | None = None
    """First id of a sequence; `encode` never prepends it."""

    eos_token_id: int | None = None
    """Id that ends a sequence or a turn."""

    pad_token_id: int | None = None
    """Id that fills a padded batch."""

    add_bos_token: bool = False
    """Whether the files ask that `bos_token_id` be put before a bare prompt."""


class Tokenizer:
    """A byte-level BPE vocabulary with its control tokens.

    Args:
        backend: Vocabulary, merges, normaliser and pre-tokenizer, without any added token.
        control: Control tokens and their ids; disjoint from the vocabulary.
        special: Those of `control` that `decode(skip_control=True)` leaves out.  Markers such as
            `<tool_call>` are control tokens without being special: a caller reads them.
        rules: Normaliser and pre-tokenizer in words that do not depend on the library's version.
        num_rows: Rows of the model's embedding, where known; ids from `num_tokens` up to it are
            padding and stand for no text.
        ends: The ids that begin, end and pad a sequence, as the vocabulary's files name them.

    Raises:
        TokenizerError: A control token has the id of an ordinary one, two share an id, or a
            special token is no control token.
    """

    def __init__(
        self,
        backend: tokenizers.Tokenizer,
        *,
        control: Mapping[str, int],
        special: Iterable[str] | None = None,
        rules: str,
        num_rows: int | None = None,
        ends: Ends = Ends(),
    ) -> None:
        self.backend = backend
        self.control: Mapping[str, int] = MappingProxyType(dict(control))
        self.special = frozenset(control if special is None else special)
        self.rules = rules
        self.ends = ends
        self._check_control()
        self.num_tokens = self._count()
        self.num_rows = max(num_rows or 0, self.num_tokens)
        self._bytes = _TokenBytes(self)
        self._special_ids = frozenset(self.control[token] for token in self.special)
        longest_first = sorted(filter(None, self.control), key=len, reverse=True)
        self._control_pattern = re.compile(f"({'|'.join(map(re.escape, longest_first))})")

    @classmethod
    def from_vocabulary(
        cls,
        vocabulary: Mapping[str, int] | Sequence[str],
        merges: Sequence[tuple[str, str]],
        *,
        control: Mapping[str, int],
        special: Iterable[str] | None = None,
        pattern: str = PATTERN,
        nfc: bool = True,
        num_rows: int | None = None,
        ends: Ends = Ends(),
    ) -> "Tokenizer":
        """Build from tokens in byte-level form, with their ids or in the order of their ids.

        Raises:
            TokenizerError: A merge names a token that is not in the vocabulary, or the pattern is
                no regular expression.
        """
        backend = _backend(vocabulary, merges)
        try:
            split = pre_tokenizers.Split(tokenizers.Regex(pattern), behavior="isolated")
        except Exception as error:  # the library raises nothing narrower
            raise TokenizerError(f"split pattern `{pattern}` is invalid: {error}") from error
        backend.pre_tokenizer = pre_tokenizers.Sequence(
            [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
        )
        if nfc:
            backend.normalizer = normalizers.NFC()
        return cls(
            backend,
            control=control,
            special=special,
            rules=f"{'NFC' if nfc else 'as is'} {pattern}",
            num_rows=num_rows,
            ends=ends,
        )

    def encode(self, text: str, *, allow_control: bool = False) -> list[int]:
        """Token ids of `text`.

        Args:
            text: Any text; the empty text has no tokens.
            allow_control: Turn control strings in `text` into control ids, longest first, and
                encode what lies between as separate runs.  Otherwise they are ordinary text.

        Raises:
            TokenizerError: `text` holds half of a surrogate pair, which no UTF-8 can express.
        """
        if not allow_control:
            return self._encode_run(text)
        token_ids: list[int] = []
        for part, is_control in self.split_control(text):
            if is_control:
                token_ids.append(self.control[part])
            else:
                token_ids += self._encode_run(part)
        return token_ids

    def encode_batch(self, texts: Sequence[str], *, allow_control: bool = False) -> list[list[int]]:
        """Token ids of each text, in parallel where control tokens are not looked for.

        Raises:
            TokenizerError: As for `encode`.
        """
        if allow_control:
            return [self.encode(text, allow_control=True) for text in texts]
        for text in texts:
            _check_text(text)
        runs = self.backend.encode_batch_fast(list(texts), add_special_tokens=False)
        return [run.ids for run in runs]

    def decode(self, token_ids: Iterable[int], *, skip_control: bool = False) -> str:
        """Text of `token_ids`; bytes that are no UTF-8 become U+FFFD.

        Args:
            token_ids: Ids of this vocabulary or of its padding rows.
            skip_control: Leave the `special` control tokens out.

        Raises:
            TokenizerError: An id is negative or not below `num_rows`.
        """
        if skip_control:
            token_ids = (token for token in token_ids if token not in self._special_ids)
        return b"".join(map(self._bytes.__getitem__, token_ids)).decode("utf-8", "replace")

    def token_bytes(self, token_id: int) -> bytes:
        """The exact bytes that one token stands for; none for a padding row.

        Raises:
            TokenizerError: The id is negative or not below `num_rows`.
        """
        return self._bytes[token_id]

    def id_of(self, token: str) -> int | None:
        """Id of a control token, or of an ordinary one in byte-level form; `None` if unknown."""
        return self.control.get(token, self.backend.token_to_id(token))

    def is_special(self, token_id: int) -> bool:
        """Whether `decode(skip_control=True)` leaves this id out."""
        return token_id in self._special_ids

    def split_control(self, text: str) -> list[tuple[str, bool]]:
        """Cut `text` at its control strings: parts, each with whether it is a control token."""
        if not self.control:
            return [(text, False)] if text else []
        parts = self._control_pattern.split(text)
        return [(part, place % 2 == 1) for place, part in enumerate(parts) if part]

    @cached_property
    def digest(self) -> str:
        """SHA-256 over vocabulary, merges, control tokens, normaliser and split rules."""
        model = json.loads(self.backend.to_str())["model"]
        merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
        said = [model["vocab"], merges, dict(self.control), sorted(self.special), self.rules]
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()

    def __len__(self) -> int:
        return self.num_tokens

    def __repr__(self) -> str:
        return f"Tokenizer({self.num_tokens} tokens, {len(self.control)} of them control)"

    def _encode_run(self, text: str) -> list[int]:
        _check_text(text)
        # The fast batch call skips character offsets, which cost a third of the time.
        ids: list[int] = self.backend.encode_batch_fast([text], add_special_tokens=False)[0].ids
        return ids

    def _check_control(self) -> None:
        if len(set(self.control.values())) < len(self.control):
            raise TokenizerError("two control tokens share an id")
        if unknown := self.special - self.control.keys():
            raise TokenizerError(f"special token `{min(unknown)}` is no control token")
        for token, token_id in self.control.items():
            owner = self.backend.id_to_token(token_id) if token_id >= 0 else "nothing"
            if owner is not None:
                raise TokenizerError(
                    f"control token `{token}` has id `{token_id}`, which is that of `{owner}`"
                )
            if self.backend.token_to_id(token) is not None:
                raise TokenizerError(f"control token `{token}` is also an ordinary token")

    def _count(self) -> int:
        vocabulary_size = self.backend.get_vocab_size(with_added_tokens=False)
        last = vocabulary_size - 1
        if vocabulary_size and self.backend.id_to_token(last) is None:  # ids with holes
            last = max(self.backend.get_vocab(with_added_tokens=False).values())
        return max([last, *self.control.values()]) + 1


class _TokenBytes(dict[int, bytes]):
    """Bytes of each token, found when first asked for: a full table costs 40 ms at start-up."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__()
        self._backend, self._num_rows = tokenizer.backend, tokenizer.num_rows
        self._control = {token_id: token for token, token_id in tokenizer.control.items()}

    def __missing__(self, token_id: int) -> bytes:
        if not 0 <= token_id < self._num_rows:
            raise TokenizerError(f"token id `{token_id}` is outside 0 to {self._num_rows - 1}")
        self[token_id] = found = self._look_up(token_id)
        return found

    def _look_up(self, token_id: int) -> bytes:
        if token_id in self._control:
            return self._control[token_id].encode()
        token = self._backend.id_to_token(token_id)
        if token is None:
            return b""
        try:
            return token.translate(_TO_LATIN1).encode("latin-1")
        except UnicodeEncodeError:
            message = f"token `{token_id}` (`{token}`) is not in byte-level form"
            raise TokenizerError(message) from None


def _backend(
    vocabulary: Mapping[str, int] | Sequence[str], merges: Sequence[tuple[str, str]]
) -> tokenizers.Tokenizer:
    if not isinstance(vocabulary, Mapping):
        tokens = vocabulary
        vocabulary = {token: token_id for token_id, token in enumerate(tokens)}
        if len(vocabulary) < len(tokens):
            raise TokenizerError(f"{len(tokens) - len(vocabulary)} tokens occur twice")
    if absent := [char for char in byte_alphabet().values() if char not in vocabulary]:
        raise TokenizerError(f"{len(absent)} of 256 bytes are no token: not byte-level")
    try:
        model = models.BPE(vocab=dict(vocabulary), merges=list(merges))
    except Exception as error:  # the library raises nothing narrower
        raise TokenizerError(f"merges do not fit the vocabulary: {error}") from error
    backend = tokenizers.Tokenizer(model)
    backend.decoder = decoders.ByteLevel()
    return backend


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = ord(text[error.start])
        raise TokenizerError(
            f"text holds a lone surrogate (U+{half:04X}) at character {error.start}",
            hint="decode the input with errors='replace' before it comes here",
        ) from None
