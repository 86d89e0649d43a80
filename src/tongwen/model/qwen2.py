"""Qwen2, dense and mixture of experts: the file to read first.

    token_ids [tokens] -> Embedding -> Block x layers -> RMSNorm -> hidden [tokens, dim]

    Block:   x + Attention(RMSNorm(x)),  then  x + MLP(RMSNorm(x))

One class is trained, scored and served.  It runs on a flat stream of tokens and is handed what
connects them (`stream.py`).  It makes no logits: a head (`heads.py`) is called on the rows that
are wanted.  Names of modules and parameters are those of the published checkpoints.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tongwen.kernels.machine import Machine
from tongwen.kernels.mlp import add
from tongwen.kernels.norm import rms_norm
from tongwen.model.attention import Attention
from tongwen.model.config import Qwen2Config
from tongwen.model.heads import LanguageHead
from tongwen.model.linear import Embedding, PackedEmbedding
from tongwen.model.mlp import MLP, MixtureOfExperts
from tongwen.model.stream import Stream


class RMSNorm(nn.Module):
    """Root-mean-square normalisation with a learned scale."""

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(dim))
        self.eps = eps

    def forward(self, x: Float[Tensor, "tokens dim"]) -> Float[Tensor, "tokens dim"]:
        """Normalise each row."""
        return rms_norm(x, self.weight, self.eps)


class Block(nn.Module):
    """One transformer block: attention, then feed-forward, each on a normalised residual."""

    def __init__(self, config: Qwen2Config, layer: int) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = Attention(config, layer)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp: MLP | MixtureOfExperts = (
            MixtureOfExperts(config)
            if config.is_sparse(layer)
            else MLP(config.hidden_size, config.intermediate_size)
        )

    def forward(
        self, x: Float[Tensor, "tokens dim"], stream: Stream
    ) -> Float[Tensor, "tokens dim"]:
        """Add to the residual what attention and feed-forward make of it."""
        x = add(x, self.self_attn(self.input_layernorm(x), stream))
        return add(x, self.mlp(self.post_attention_layernorm(x), stream))


class Qwen2(nn.Module):
    """The backbone: token ids in, hidden states out (Qwen2 Technical Report, section 2.2)."""

    def __init__(self, config: Qwen2Config) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens: Embedding | PackedEmbedding = Embedding(
            config.vocab_size, config.hidden_size
        )
        self.layers = nn.ModuleList(Block(config, i) for i in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(
        self, token_ids: Int[Tensor, " tokens"], stream: Stream
    ) -> Float[Tensor, "tokens dim"]:
        """Hidden state of every token of the stream, after the last norm."""
        x = self.embed_tokens(token_ids, stream)
        for block in self.layers:
            x = block(x, stream)
        return self.norm(x)


class Qwen2ForCausalLM(nn.Module):
    """The backbone and its language head, named as in the published checkpoints.

    With `tie_word_embeddings` the head's weight *is* the embedding's, one parameter.
    """

    def __init__(self, config: Qwen2Config) -> None:
        super().__init__()
        self.config = config
        self.machine: Machine | None = None
        """The native kernels, where the model's matrices are packed for them."""
        self.model = Qwen2(config)
        self.lm_head = LanguageHead(config.hidden_size, config.vocab_size)
        self.tie()

    def forward(
        self, token_ids: Int[Tensor, " tokens"], stream: Stream
    ) -> Float[Tensor, "tokens vocab"]:
        """Logits of every token; for a few rows only, call `model` and `lm_head` in turn."""
        return self.lm_head(self.model(token_ids, stream), stream)

    def tie(self) -> None:
        """Make the head's weight the embedding's again, where the config says so."""
        table = self.model.embed_tokens
        if self.config.tie_word_embeddings and isinstance(table, Embedding):
            self.lm_head.weight = table.weight

    @torch.no_grad()
    def initialize(self, generator: torch.Generator | None = None) -> None:
        """Fill with fresh weights: normal of `initializer_range`, biases 0, norms 1."""
        for module in self.modules():
            for name, parameter in module.named_parameters(recurse=False):
                if isinstance(module, RMSNorm):
                    parameter.fill_(1.0)
                elif name == "bias":
                    parameter.zero_()
                else:
                    parameter.normal_(0.0, self.config.initializer_range, generator=generator)
