// What is known of a whole row of logits after one pass over it.
#pragma once

#include "ops.hpp"
#include "vector.hpp"

namespace tongwen {
namespace {

// Sum over a span of exp(scale * (x - largest)).
TW_INLINE float exponentials(const float* x, float largest, float scale) {
  Fl sum = Simd::allf(0);
  for (int i = 0; i < kSpan; i += kLanes)
    sum = Simd::addf(sum, exponential(Simd::mul(Simd::sub(Simd::loadf(x + i), Simd::allf(largest)), Simd::allf(scale))));
  return Simd::sum(sum);
}

// The running sum is kept relative to the running maximum, in double: spans are added in their order,
// so that where a row is cut between two of them does not show.
void statistics(const float* logits, int count, float scale, float* maxima, Statistics* out) {
  constexpr int kTop = 0x7f7fffff;  // the bits of the largest finite float
  alignas(64) float rest[kSpan];
  auto [largest, sum, is_finite] = *out;
  for (int first = 0; first < count; first += kSpan) {
    const int here = smaller(kSpan, count - first);
    const float* x = logits + first;
    if (here < kSpan) {
      for (int i = 0; i < kSpan; ++i) rest[i] = i < here ? x[i] : -kLargestFloat;
      x = rest;
    }
    Fl top = Simd::loadf(x);
    I magnitude = Simd::magnitude(top);
    for (int i = kLanes; i < kSpan; i += kLanes) {
      const Fl value = Simd::loadf(x + i);
      top = Simd::max(top, value);
      magnitude = Simd::max(magnitude, Simd::magnitude(value));
    }
    is_finite &= Simd::largest(magnitude) <= kTop;
    const float here_largest = Simd::largest(top);
    maxima[first / kSpan] = here_largest;
    if (here_largest > largest) {
      if (sum > 0) sum *= __builtin_exp(scale * (static_cast<double>(largest) - here_largest));
      largest = here_largest;
    }
    sum += exponentials(x, largest, scale);
  }
  *out = {largest, sum, is_finite};
}

}  // namespace
}  // namespace tongwen
