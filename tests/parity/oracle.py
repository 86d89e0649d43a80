"""Qwen2 on one page, in float64, from the published weights' names: what the tests believe.

Written from the facts of the architecture and from nothing in `src/`.  With `rounded`, the three
places where transformers computes in float32 whatever the model's dtype are computed so here too:
norms, rotary angles, the router's softmax.  No YaRN, no cache, no packing.
"""

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from tongwen.model.config import Qwen2Config

Weights = Mapping[str, Tensor]


def logits(weights: Weights, config: Qwen2Config, token_ids: Tensor, *, rounded: bool) -> Tensor:
    """Logits [tokens, vocab] of one sequence."""
    x = weights["model.embed_tokens.weight"][token_ids]
    for layer in range(config.num_hidden_layers):
        prefix = f"model.layers.{layer}."
        w = {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
        normed = norm(x, w["input_layernorm.weight"], config.rms_norm_eps, rounded)
        x = x + attention(normed, w, config, layer, rounded)
        normed = norm(x, w["post_attention_layernorm.weight"], config.rms_norm_eps, rounded)
        if "mlp.gate.weight" in w:
            x = x + mixture(normed, w, config, rounded)
        else:
            x = x + gated(normed, w, "mlp.")
    x = norm(x, weights["model.norm.weight"], config.rms_norm_eps, rounded)
    tied = config.tie_word_embeddings
    return x @ weights["model.embed_tokens.weight" if tied else "lm_head.weight"].T


def norm(x: Tensor, weight: Tensor, eps: float, rounded: bool) -> Tensor:
    wide = x.float() if rounded else x
    return weight * (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps)).to(x.dtype)


def attention(x: Tensor, w: Weights, config: Qwen2Config, layer: int, rounded: bool) -> Tensor:
    q, k, v = (x @ w[f"self_attn.{n}_proj.weight"].T + w[f"self_attn.{n}_proj.bias"] for n in "qkv")
    size, group = config.head_size, config.num_attention_heads // config.num_key_value_heads
    cos, sin = angles(len(x), size, config.rope_theta, torch.float32 if rounded else x.dtype)
    heads = []
    for head in range(config.num_attention_heads):
        mine, theirs = (slice(i * size, (i + 1) * size) for i in (head, head // group))
        scores = turn(q[:, mine], cos, sin) @ turn(k[:, theirs], cos, sin).T / math.sqrt(size)
        for i in range(len(x)):
            scores[i, i + 1 :] = -math.inf
            if windowed(config, layer):
                scores[i, : max(i - config.sliding_window + 1, 0)] = -math.inf
        heads.append(scores.softmax(-1) @ v[:, theirs])
    return torch.cat(heads, dim=-1) @ w["self_attn.o_proj.weight"].T


def windowed(config: Qwen2Config, layer: int) -> bool:
    if config.layer_types is not None:
        return config.use_sliding_window and config.layer_types[layer] == "sliding_attention"
    return config.use_sliding_window and layer >= config.max_window_layers


def angles(length: int, size: int, theta: float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    frequencies = 1.0 / theta ** (torch.arange(0, size, 2, dtype=dtype) / size)
    angle = torch.arange(length, dtype=dtype)[:, None] * frequencies
    angle = torch.cat((angle, angle), dim=-1)
    return angle.cos().double(), angle.sin().double()


def turn(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    low, high = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-high, low), dim=-1) * sin


def gated(x: Tensor, w: Weights, name: str) -> Tensor:
    up = x @ w[name + "up_proj.weight"].T
    return (F.silu(x @ w[name + "gate_proj.weight"].T) * up) @ w[name + "down_proj.weight"].T


def mixture(x: Tensor, w: Weights, config: Qwen2Config, rounded: bool) -> Tensor:
    scores = x @ w["mlp.gate.weight"].T
    probs = (scores.float() if rounded else scores).softmax(-1)
    out = torch.sigmoid(x @ w["mlp.shared_expert_gate.weight"].T) * gated(
        x, w, "mlp.shared_expert."
    )
    for token in range(len(x)):
        chosen = sorted(range(config.num_experts), key=lambda e: (-probs[token, e].item(), e))
        chosen = chosen[: config.num_experts_per_tok]
        share = probs[token, chosen]
        share = (share / share.sum() if config.norm_topk_prob else share).to(x.dtype)
        for weight, expert in zip(share, chosen, strict=True):
            out[token] += weight * gated(x[token], w, f"mlp.experts.{expert}.")
    return out
