"""A tiny model that chats, one that does not, and the program as a user starts it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tests.cli.program import Run

from tongwen.checkpoint.configs import GenerationDefaults
from tongwen.checkpoint.save import save_checkpoint
from tongwen.checkpoint.tensor_names import entries
from tongwen.model.config import Qwen2Config
from tongwen.tokenizer.bpe import Tokenizer
from tongwen.tokenizer.special import QWEN2
from tongwen.tokenizer.train import train_tokenizer

CORPUS = ["The quick brown fox jumps over the lazy dog.\nuser\nassistant\nsystem\n"] * 8
TEMPLATE = (
    "{% for message in messages %}"
    "{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
CONTEXT = 9_000


@pytest.fixture(scope="session")
def tiny_tokenizer() -> Tokenizer:
    return train_tokenizer(CORPUS, 300, [token.text for token in QWEN2])


def save_tiny(directory: Path, tokenizer: Tokenizer, *, chat: bool) -> Path:
    """A random model whose greedy answers do not end by themselves."""
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT,
        rope_theta=10_000.0,
        rms_norm_eps=1e-6,
        tie_word_embeddings=False,
    )
    torch.manual_seed(7)
    weights = {name: torch.randn(entry.shape) * 0.5 for name, entry in entries(config).items()}
    document, _, turn = (tokenizer.control[token.text] for token in QWEN2)
    weights["lm_head.weight"][[document, turn]] = 0
    ends = (turn, document) if chat else (document,)
    save_checkpoint(
        directory,
        config=config,
        tensors=weights.items(),
        generation=GenerationDefaults(eos_token_ids=ends),
        tokenizer=tokenizer,
        chat_template=TEMPLATE if chat else None,
        licence="apache-2.0",
    )
    return directory


@pytest.fixture(scope="session")
def tiny_chat(tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: Tokenizer) -> Path:
    """A directory with a model that takes turns."""
    return save_tiny(tmp_path_factory.mktemp("models") / "chat", tiny_tokenizer, chat=True)


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: Tokenizer) -> Path:
    """A directory with a model that continues text."""
    return save_tiny(tmp_path_factory.mktemp("models") / "base", tiny_tokenizer, chat=False)


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """An empty store, no other tool's caches, and no hub or index that answers."""
    nowhere = "http://127.0.0.1:9"
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "PIP_", "TONGWEN_"))}
    return kept | {
        "HOME": str(tmp_path / "user"),
        "TONGWEN_HOME": str(tmp_path / "home"),
        "HF_ENDPOINT": nowhere,
        "MODELSCOPE_ENDPOINT": nowhere,
        "PIP_INDEX_URL": nowhere,
        "OMP_NUM_THREADS": "1",
        "TERM": "xterm-256color",
        "PROMPT_TOOLKIT_NO_CPR": "1",
    }


@pytest.fixture
def tongwen(environ: dict[str, str], tmp_path: Path) -> Run:
    """Runs the program to its end, without a terminal, and gives what it printed."""

    def run(
        *arguments: str, stdin: str = "", timeout_s: float = 60
    ) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "tongwen", *arguments],
            env=environ,
            cwd=tmp_path,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
        )

    return run
