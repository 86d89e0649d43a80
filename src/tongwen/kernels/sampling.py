"""How a row's choice is described to the native kernels."""

import numpy as np

ROW = np.dtype(
    [
        ("temperature", "f8"),
        ("top_p", "f8"),
        ("min_p", "f8"),
        ("repetition_penalty", "f8"),
        ("presence_penalty", "f8"),
        ("frequency_penalty", "f8"),
        ("top_k", "i8"),
        ("seed", "i8"),
        ("position", "i8"),
        ("seen_ids", "u8"),
        ("seen_counts", "u8"),
        ("num_seen", "i8"),
        ("bias_ids", "u8"),
        ("biases", "u8"),
        ("num_biases", "i8"),
        ("allowed", "u8"),
    ]
)
"""`SampleRow` of `native/sampling.hpp`: numbers, and addresses of arrays that their owner keeps."""

CHOSEN = np.dtype([("token_id", "i8"), ("logprob", "f8")])
"""`Sampled` of the same."""

NOT_FINITE = -1
"""In place of a token id: the row holds NaN or infinity."""

NONE_ALLOWED = -2
"""In place of a token id: every token is forbidden."""
