// From a row of logits to a token.  `engine/sampler.py` is the definition.
#pragma once

#include "ops.hpp"

namespace tongwen {

// What one row's choice depends on.  The layout is that of `ROW` in `kernels/sampling.py`.
struct SampleRow {
  double temperature, top_p, min_p;
  double repetition, presence, frequency;  // penalties; 1, 0 and 0: none
  int64_t top_k;                           // 0: all
  int64_t seed, position;
  const int64_t* seen_ids;  // distinct tokens of the request, and how often it generated each
  const float* seen_counts;
  int64_t num_seen;
  const int64_t* bias_ids;  // added to logits before the penalties
  const float* biases;
  int64_t num_biases;
  const uint32_t* allowed;  // one bit a token; null: all are
};

struct Sampled {
  int64_t token_id;  // -1: the row is not finite, -2: nothing is allowed
  double logprob;    // under the raw logits, rounded to a float
};

// Chooses; `logits` is overwritten where the parameters change it.
//
// `vocabulary` is the row's length, `num_tokens` how many of its ids may be chosen.
Sampled choose(const Kernels& kernels, const SampleRow& row, float* logits, int vocabulary, int num_tokens);

// Logarithm of the sum of a row's exponentials; NaN where the row is not finite.
double logsumexp(const Kernels& kernels, const float* logits, int vocabulary);
double logsumexp(const Statistics& found);

}  // namespace tongwen
