"""A small vocabulary with all control tokens of Qwen2.5, trained on the spot."""

import pytest

from tongwen.tokenizer.bpe import Tokenizer
from tongwen.tokenizer.special import QWEN2, QWEN2_5
from tongwen.tokenizer.train import train_tokenizer

CORPUS = [
    "The quick brown fox jumps over the lazy dog, and the dog sleeps on.\n\n",
    "通问是一个完整的系统：模型、分词器、引擎与训练。\n",
    "def is_prime(n):\n    return n > 1 and all(n % d for d in range(2, n))\n",
    "Быстрая лиса прыгает через ленивую собаку. الثعلب السريع يقفز.\r\n",
    "user\nassistant\nsystem\nYou are a helpful assistant. <|im_end|> <tool_call> 12345\n",
] * 4


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return train_tokenizer(CORPUS, 620, [token.text for token in QWEN2_5])


@pytest.fixture(scope="session")
def older() -> Tokenizer:
    """With the three control tokens of Qwen2 only."""
    return train_tokenizer(CORPUS, 600, [token.text for token in QWEN2])
