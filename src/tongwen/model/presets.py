"""The shapes of the published Qwen2 models (Qwen2 Technical Report, table 1, and their configs)."""

from dataclasses import replace

from tongwen.errors import ConfigError
from tongwen.model.config import Qwen2Config

_BASE_CONTEXT, _INSTRUCT_CONTEXT = 131_072, 32_768


def _dense(
    *, dim: int, layers: int, heads: tuple[int, int], ffn: int, rows: int, tied: bool
) -> Qwen2Config:
    """A base model's shape; `heads` are those of queries and those of keys and values."""
    return Qwen2Config(
        vocab_size=rows,
        hidden_size=dim,
        intermediate_size=ffn,
        num_hidden_layers=layers,
        num_attention_heads=heads[0],
        num_key_value_heads=heads[1],
        max_position_embeddings=_BASE_CONTEXT,
        rope_theta=1_000_000.0,
        rms_norm_eps=1e-6,
        tie_word_embeddings=tied,
        sliding_window=_BASE_CONTEXT,
        max_window_layers=layers,
    )


_SMALL, _LARGE = 151_936, 152_064  # rows of the embedding

_BASE = {
    "0.5b": _dense(dim=896, layers=24, heads=(14, 2), ffn=4864, rows=_SMALL, tied=True),
    "1.5b": _dense(dim=1536, layers=28, heads=(12, 2), ffn=8960, rows=_SMALL, tied=True),
    "7b": _dense(dim=3584, layers=28, heads=(28, 4), ffn=18_944, rows=_LARGE, tied=False),
    "57b-a14b": replace(
        _dense(dim=3584, layers=28, heads=(28, 4), ffn=18_944, rows=_SMALL, tied=False),
        num_experts=64,
        num_experts_per_tok=8,
        moe_intermediate_size=2560,
        # The report's table says eight shared experts; the weights hold one of eight times 2560.
        shared_expert_intermediate_size=20_480,
    ),
    # The only one whose base and instruct models differ in epsilon and in the unused
    # `max_window_layers`.
    "72b": replace(
        _dense(dim=8192, layers=80, heads=(64, 8), ffn=29_568, rows=_LARGE, tied=False),
        rms_norm_eps=1e-5,
        max_window_layers=28,
    ),
}

SIZES = tuple(_BASE)
"""The published sizes, smallest first."""

# `max_window_layers` and `sliding_window` are stated by these files and used by none of them.
_INSTRUCT_WINDOW = {"0.5b": 32_768, "1.5b": 32_768, "57b-a14b": 65_536}


def preset(size: str, *, instruct: bool = True) -> Qwen2Config:
    """The shape of one published Qwen2 model.

    Args:
        size: One of `SIZES`.
        instruct: The instruct model's config, else the base model's: they differ in
            `max_position_embeddings`, in the unused `sliding_window`, and at 72B in epsilon and
            the unused `max_window_layers`.

    Raises:
        ConfigError: No such size.
    """
    if size not in _BASE:
        raise ConfigError(f"no Qwen2 model of size `{size}`; there are {', '.join(SIZES)}")
    base = _BASE[size]
    if not instruct:
        return base
    return replace(
        base,
        max_position_embeddings=_INSTRUCT_CONTEXT,
        sliding_window=_INSTRUCT_WINDOW.get(size, _BASE_CONTEXT),
        max_window_layers=base.num_hidden_layers,
        rms_norm_eps=1e-6,
    )
