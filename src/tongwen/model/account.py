"""What a model of a given shape costs: parameters, arithmetic, memory."""

from dataclasses import dataclass

from tongwen.model.config import Qwen2Config


@dataclass(frozen=True, kw_only=True, slots=True)
class Parameters:
    """Counts of parameters; a tied embedding counts once."""

    total: int
    """All of them."""

    embedding: int
    """Embedding and, where it is not tied, language head."""

    active: int
    """Those that one token meets: of the routed experts only its own."""

    @property
    def non_embedding(self) -> int:
        """All but embedding and head."""
        return self.total - self.embedding

    @property
    def active_non_embedding(self) -> int:
        """Those that one token meets, less embedding and head."""
        return self.active - self.embedding


def count_parameters(config: Qwen2Config) -> Parameters:
    """Parameters of a model of this shape."""
    table = config.vocab_size * config.hidden_size
    embedding = table if config.tie_word_embeddings else 2 * table
    layers = range(config.num_hidden_layers)
    sparse = sum(config.is_sparse(layer) for layer in layers)
    rest = config.hidden_size + config.num_hidden_layers * _attention(config)
    rest += (config.num_hidden_layers - sparse) * _gated(config, config.intermediate_size)
    always = sparse * _shared(config)
    expert = sparse * _gated(config, config.moe_intermediate_size)
    return Parameters(
        total=embedding + rest + always + config.num_experts * expert,
        embedding=embedding,
        active=embedding + rest + always + config.num_experts_per_tok * expert,
    )


def _attention(config: Qwen2Config) -> int:
    """One block's attention and both its norms."""
    q_dim = config.num_attention_heads * config.head_size
    kv_dim = config.num_key_value_heads * config.head_size
    projections = config.hidden_size * (2 * q_dim + 2 * kv_dim)
    return projections + q_dim + 2 * kv_dim + 2 * config.hidden_size


def _gated(config: Qwen2Config, ffn: int) -> int:
    return 3 * config.hidden_size * ffn


def _shared(config: Qwen2Config) -> int:
    """A sparse layer's router, shared expert and its gate."""
    router = config.hidden_size * (config.num_experts + 1)
    return router + _gated(config, config.shared_expert_intermediate_size)


def forward_flops(config: Qwen2Config, context_len: int) -> int:
    """Floating-point operations of one token's forward pass, its logits included.

    Two for each parameter that is multiplied, and `4 q_dim` for each token seen, in every layer:
    scores and weighted sum.  Training takes three times as many.

    Args:
        config: The shape.
        context_len: Tokens that the token sees, itself included.
    """
    parameters = count_parameters(config)
    table = config.vocab_size * config.hidden_size
    q_dim = config.num_attention_heads * config.head_size
    layers = range(config.num_hidden_layers)
    seen = sum(min(context_len, config.window(layer) or context_len) for layer in layers)
    return 2 * (parameters.active_non_embedding + table) + 4 * q_dim * seen


def kv_bytes_per_token(config: Qwen2Config, bytes_per_value: int = 2) -> int:
    """Bytes of the cache that one token takes; 2 bytes a value: bfloat16."""
    values = 2 * config.num_key_value_heads * config.head_size
    return config.num_hidden_layers * values * bytes_per_value
