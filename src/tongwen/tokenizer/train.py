"""A new byte-level vocabulary, learned from texts."""

from collections.abc import Iterable, Sequence

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from tongwen.errors import TokenizerError
from tongwen.tokenizer.bpe import PATTERN, Ends, Tokenizer, byte_alphabet
from tongwen.tokenizer.special import QWEN2

_CONTROL = tuple(token.text for token in QWEN2)


def train_tokenizer(
    texts: Iterable[str],
    vocab_size: int,
    control: Sequence[str] = _CONTROL,
    *,
    min_frequency: int = 2,
) -> Tokenizer:
    """Learn merges under Qwen2's normaliser and split pattern.

    All 256 bytes are tokens, so every text can be encoded.  The control tokens follow the last
    learned token; of them `<|endoftext|>` pads, and `<|im_end|>` or else it ends.

    Args:
        texts: What to learn from, read once.
        vocab_size: Ids wanted, control tokens included; fewer come out where `texts` has not
            enough pairs.
        control: Control tokens in the order of their ids.
        min_frequency: How often a pair must occur to be merged.

    Raises:
        TokenizerError: `vocab_size` has no room for the bytes and the control tokens.
    """
    num_learned = vocab_size - len(control)
    if num_learned < 256:
        raise TokenizerError(
            f"`vocab_size` ({vocab_size}) is less than 256 bytes and {len(control)} control tokens"
        )
    learner = tokenizers.Tokenizer(models.BPE())
    learner.decoder = decoders.ByteLevel()
    learner.normalizer = normalizers.NFC()
    learner.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(tokenizers.Regex(PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=num_learned,
        min_frequency=min_frequency,
        initial_alphabet=list(byte_alphabet().values()),
        show_progress=False,
    )
    learner.train_from_iterator(texts, trainer)
    ids = {token: learner.get_vocab_size() + place for place, token in enumerate(control)}
    end = ids.get("<|endoftext|>")
    return Tokenizer(
        learner,
        control=ids,
        rules=f"NFC {PATTERN}",
        ends=Ends(eos_token_id=ids.get("<|im_end|>", end), pad_token_id=end),
    )
