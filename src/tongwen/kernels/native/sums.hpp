// Sums of products over the columns of a group, in the ways that processors offer.
//
// Usually a register of weights, four columns of as many rows as there are lanes, meets one row's
// four activations in every lane.  ARM takes them from a lane of a register that holds several
// rows' (`Simd::kByLane`), or multiplies 2 x 8 with 8 x 2 bytes (`Simd::kMatrix`).  All are sums of
// integers, and exact: how they are come by does not show.
//
// What only some processors have is asked of `S`, which is `Simd`, and so only where it is used.
#pragma once

#include "formats.hpp"
#include "vector.hpp"

namespace tongwen {
namespace {

// What the integer sum starts from: minus offset times the sum of the activations' codes.
template <Format F>
TW_INLINE I start_of(I minus_sums) {
  constexpr Layout kLayout = layout_of(F);
  if constexpr (kLayout.log2_offset < 0) return Simd::zero();
  else if constexpr (kLayout.bits == 8 && Simd::kCentred) return Simd::zero();  // the offset is 128
  else return Simd::shift_left<kLayout.log2_offset>(minus_sums);
}

template <Format F>
TW_INLINE I dot_of(I sum, I weights, I activations) {
  if constexpr (layout_of(F).bits == 8) return Simd::dot8(sum, weights, activations);
  else return Simd::dot(sum, weights, activations);
}

template <class S, Format F, int M, int ROWS, int TILE>
TW_INLINE void dot_lanes(I (&sums)[ROWS][TILE], int t, I weights, I activations) {
  sums[M][t] = S::template dot_lane<M, layout_of(F).bits == 8>(sums[M][t], weights, activations);
  if constexpr (M + 1 < ROWS) dot_lanes<S, F, M + 1>(sums, t, weights, activations);
}

// Register `t` of a step's weights with every row's activations, which lie side by side at `x`.
template <class S, Format F, int ROWS, int TILE>
TW_INLINE void dot_rows(I (&sums)[ROWS][TILE], int t, I weights, const int32_t* x) {
  if constexpr (S::kByLane) {
    dot_lanes<S, F, 0>(sums, t, weights, S::load(x));  // four words: further ones of the record, if any
  } else {
    TW_UNROLL for (int m = 0; m < ROWS; ++m) sums[m][t] = dot_of<F>(sums[m][t], weights, S::all(x[m]));
  }
}

// All registers of a step's weights with every row's activations.
template <class S, Format F, int ROWS, int TILE>
TW_INLINE void dot_step(I (&sums)[ROWS][TILE], const I (&weights)[TILE], const int32_t* x) {
  if constexpr (S::kByLane) {
    TW_UNROLL for (int t = 0; t < TILE; ++t) dot_rows<S, F>(sums, t, weights[t], x);
  } else {
    TW_UNROLL for (int m = 0; m < ROWS; ++m) {
      const I activations = S::all(x[m]);
      TW_UNROLL for (int t = 0; t < TILE; ++t) sums[m][t] = dot_of<F>(sums[m][t], weights[t], activations);
    }
  }
}

// ---- products of matrices ------------------------------------------------------------------------

// Words of two steps, four rows each: eight columns of the first two rows, and of the others.
template <class S>
TW_INLINE void pair_steps(I& even, I& odd) {
  const I first = S::zip_low(even, odd), others = S::zip_high(even, odd);
  even = first, odd = others;
}

// The activations of two steps likewise; an odd row's partner is zero.
template <class S, int ROWS>
TW_INLINE void pair_rows(const int32_t* x, I (&rows)[(ROWS + 1) / 2]) {
  if constexpr (ROWS == 4) {
    rows[0] = S::load(x), rows[1] = S::load(x + 4);
    pair_steps<S>(rows[0], rows[1]);
  } else {
    TW_UNROLL for (int m = 0; m < ROWS; m += 2) {
      const bool both = m + 1 < ROWS;
      const int32_t words[4] = {x[m], x[ROWS + m], both ? x[m + 1] : 0, both ? x[ROWS + m + 1] : 0};
      rows[m / 2] = S::load(words);
    }
  }
}

// Sums over steps [FIRST, LAST) of unpacked weights whose steps are paired.
template <class S, Format F, int FIRST, int LAST, int ROWS, int TILE>
TW_INLINE void sum_matrices(I (&sums)[ROWS][TILE], const uint8_t* weights, const int32_t* x, const int32_t* minus_sums) {
  constexpr int kPairs = (ROWS + 1) / 2;
  I low[kPairs][TILE], high[kPairs][TILE];  // of the first two rows of weights, and of the others
  TW_UNROLL for (int p = 0; p < kPairs; ++p) {
    const int partner = 2 * p + 1 < ROWS ? 2 * p + 1 : 2 * p;
    const I start = start_of<F>(S::all_pairs(minus_sums[2 * p], minus_sums[partner]));
    TW_UNROLL for (int t = 0; t < TILE; ++t) low[p][t] = high[p][t] = start;
  }
  TW_UNROLL for (int step = FIRST; step < LAST; step += 2) {
    I rows[kPairs];
    pair_rows<S, ROWS>(x + step * ROWS, rows);
    TW_UNROLL for (int t = 0; t < TILE; ++t) {
      const uint8_t* at = weights + step * kStepBytes + t * kLanes * 4;
      const I first = S::load(at), others = S::load(at + kStepBytes);
      TW_UNROLL for (int p = 0; p < kPairs; ++p) {
        low[p][t] = S::matrix(low[p][t], first, rows[p]);
        high[p][t] = S::matrix(high[p][t], others, rows[p]);
      }
    }
  }
  TW_UNROLL for (int m = 0; m < ROWS; ++m)
    TW_UNROLL for (int t = 0; t < TILE; ++t)
      sums[m][t] = m % 2 ? S::odd(low[m / 2][t], high[m / 2][t]) : S::even(low[m / 2][t], high[m / 2][t]);
}

// ---- either ---------------------------------------------------------------------------------------

// Sums over steps [FIRST, LAST) of unpacked weights, TILE registers of each, and ROWS rows at `x`.
template <class S, Format F, int FIRST, int LAST, int ROWS, int TILE>
TW_INLINE void sum_steps(I (&sums)[ROWS][TILE], const uint8_t* weights, const int32_t* x, const int32_t* minus_sums) {
  if constexpr (S::kMatrix) {
    sum_matrices<S, F, FIRST, LAST>(sums, weights, x, minus_sums);
  } else {
    TW_UNROLL for (int m = 0; m < ROWS; ++m) {
      const I start = start_of<F>(S::all(minus_sums[m]));
      TW_UNROLL for (int t = 0; t < TILE; ++t) sums[m][t] = start;
    }
    TW_UNROLL for (int step = FIRST; step < LAST; ++step) {
      I registers[TILE];
      TW_UNROLL for (int t = 0; t < TILE; ++t) {
        registers[t] = S::load(weights + step * kStepBytes + t * kLanes * 4);
        S::hold(registers[t]);
      }
      dot_step<S, F>(sums, registers, x + step * ROWS);
    }
  }
}

}  // namespace
}  // namespace tongwen
